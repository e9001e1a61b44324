package event

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// NormaliserV1 is the version of the rules in normalise.go. Other rules get another number, because fingerprints stand in
// signed events for ever.
const NormaliserV1 = 1

// Fingerprints appends the fingerprints of the distinctive values inside a sealed value: the first 8 bytes of
// HMAC-SHA-256 under the tenant's fingerprint key of each normalised value, unique and ascending. Where there are more than
// MaxFingerprintsPerValue, or than the event still holds, the smallest stay: the choice does not depend on the order of
// the content, and two texts that share values tend to keep the same ones.
func Fingerprints(key []byte, keyID uint32, path string, value []byte, dst []*eventv1.Fingerprint) []*eventv1.Fingerprint {
	return NewFingerprinter(key, keyID).Append(dst, path, value)
}

// Fingerprinter makes fingerprints under one key. It reuses its memory and is not safe for concurrent use.
type Fingerprinter struct {
	keyID uint32
	mac   hash.Hash
	sum   [sha256.Size]byte
	found [][FingerprintSize]byte
	scan  normaliser
}

// NewFingerprinter takes the tenant's fingerprint key and its number (from 1).
func NewFingerprinter(key []byte, keyID uint32) *Fingerprinter {
	return &Fingerprinter{keyID: keyID, mac: hmac.New(sha256.New, key)}
}

// Append is Fingerprints.
func (f *Fingerprinter) Append(dst []*eventv1.Fingerprint, path string, value []byte) []*eventv1.Fingerprint {
	return f.append(dst, path, f.choose(value, len(dst)))
}

// choose returns the fingerprints of a value in an event that has so many before; they are valid until the next call.
func (f *Fingerprinter) choose(value []byte, before int) [][FingerprintSize]byte {
	f.found = f.found[:0]
	f.scan.each(value, f.add)
	slices.SortFunc(f.found, func(a, b [FingerprintSize]byte) int { return bytes.Compare(a[:], b[:]) })
	f.found = slices.Compact(f.found)
	return f.found[:min(len(f.found), MaxFingerprintsPerValue, max(0, MaxFingerprints-before))]
}

func (f *Fingerprinter) add(value []byte) {
	f.mac.Reset()
	f.mac.Write(value)
	f.found = append(f.found, [FingerprintSize]byte(f.mac.Sum(f.sum[:0])))
}

// append makes the messages in two allocations.
func (f *Fingerprinter) append(dst []*eventv1.Fingerprint, path string, values [][FingerprintSize]byte) []*eventv1.Fingerprint {
	all := make([]eventv1.Fingerprint, len(values))
	backing := make([]byte, 0, len(values)*FingerprintSize)
	for i, v := range values {
		backing = append(backing, v[:]...)
		p := &all[i]
		p.Path, p.KeyId, p.Normaliser = path, f.keyID, NormaliserV1
		p.Value = backing[i*FingerprintSize : len(backing) : len(backing)]
		dst = append(dst, p)
	}
	return dst
}

// compareFingerprints orders fingerprints of one path.
func compareFingerprints(a, b *eventv1.Fingerprint) int {
	return cmp.Or(
		cmp.Compare(a.GetKeyId(), b.GetKeyId()),
		cmp.Compare(a.GetNormaliser(), b.GetNormaliser()),
		bytes.Compare(a.GetValue(), b.GetValue()),
	)
}
