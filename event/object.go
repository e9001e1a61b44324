package event

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// StandsForObject says whether an opening of a sealed field stands for an object: the value has more than MaxSealedInline
// bytes and travels apart from the batch; the opening holds its salt alone. A long field without an opening is withheld, as a
// short one is.
func StandsForObject(s *eventv1.Sealed, o *eventv1.Opening) bool {
	return s.GetSize() > MaxSealedInline && len(o.GetValue()) == 0
}

// tooManyObjects is why an object of so many bytes cannot come with its batch.
func tooManyObjects(i int, size uint64) *FieldError {
	if size > MaxObject {
		return &FieldError{at("openings", i) + ".value", fmt.Sprintf("longer than %d bytes", MaxObject)}
	}
	return &FieldError{at("openings", i) + ".value", fmt.Sprintf("the objects of one batch are longer than %d bytes", MaxBatchObjects)}
}

// NewCommitment begins the digest of a sealed value of size bytes, for a value that is not in memory as a whole: what is
// written to it is the value, and its sum is SealedDigest.
func NewCommitment(id ID, path, mediaType string, salt *[SaltSize]byte, size int) hash.Hash {
	h := sha256.New()
	h.Write(appendCommitment(nil, id, path, mediaType, salt, size))
	return h
}

// maxPasses is how often a long value is scrubbed. Ordinary text needs two passes; a text that is made to need one for each of
// its secrets would cost hours.
const maxPasses = 4

// ScrubObject is Scrub with an end: after maxPasses a secret that only showed when its neighbour was gone may be left. Custody
// flags it like any secret in sealed content.
func ScrubObject(b []byte) (out []byte, n int) {
	for range maxPasses {
		next, found := scrubOnce(b)
		if found == 0 {
			break
		}
		b, n = next, n+found
	}
	return b, n
}

// AppendObject is Append for a long value: the same fingerprints, found in memory that does not grow with the value.
func (f *Fingerprinter) AppendObject(dst []*eventv1.Fingerprint, path string, value []byte) []*eventv1.Fingerprint {
	chosen := f.ChooseObject(value)
	return f.append(dst, path, chosen[:min(len(chosen), max(0, MaxFingerprints-len(dst)))])
}

// chosenAtOnce is how many fingerprints of a long value are gathered before the greatest are dropped.
const chosenAtOnce = 64 * MaxFingerprintsPerValue

// ChooseObject returns the fingerprints of a long value, ascending, at most MaxFingerprintsPerValue. They are valid until
// the next call. An event that has many before may hold fewer of them, the smallest.
func (f *Fingerprinter) ChooseObject(value []byte) [][FingerprintSize]byte {
	f.found = f.found[:0]
	f.scan.add = func(v []byte) {
		if f.add(v); len(f.found) >= chosenAtOnce {
			f.keepSmallest()
		}
	}
	f.scan.each(value)
	f.scan.add = f.add
	f.keepSmallest()
	return f.found
}

func (f *Fingerprinter) keepSmallest() {
	slices.SortFunc(f.found, func(a, b [FingerprintSize]byte) int { return bytes.Compare(a[:], b[:]) })
	f.found = slices.Compact(f.found)
	f.found = f.found[:min(len(f.found), MaxFingerprintsPerValue)]
}

// CheckChosen holds the event's fingerprints of a path against those that ChooseObject found in its value. The error is a
// *FieldError that names the event's field.
func (f *Fingerprinter) CheckChosen(e *eventv1.Event, path string, chosen [][FingerprintSize]byte) error {
	from := begin(e, path)
	return f.compare(e.GetFingerprints(), from, path, chosen[:min(len(chosen), max(0, MaxFingerprints-from))]).err()
}
