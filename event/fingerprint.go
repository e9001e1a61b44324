package event

import (
	"bytes"
	"cmp"
	"crypto/sha256"
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
	keyID        uint32
	inner, outer []byte // see add
	found        [][FingerprintSize]byte
	scan         normaliser
	lent         []*eventv1.Fingerprint
	used         int // of lent
}

// NewFingerprinter takes the tenant's fingerprint key and its number (from 1).
func NewFingerprinter(key []byte, keyID uint32) *Fingerprinter {
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	f := &Fingerprinter{keyID: keyID, inner: make([]byte, sha256.BlockSize), outer: make([]byte, sha256.BlockSize+sha256.Size)}
	copy(f.inner, key)
	copy(f.outer, key)
	for i := range sha256.BlockSize {
		f.inner[i] ^= 0x36
		f.outer[i] ^= 0x5c
	}
	f.scan.add = f.add
	return f
}

// Append is Fingerprints.
func (f *Fingerprinter) Append(dst []*eventv1.Fingerprint, path string, value []byte) []*eventv1.Fingerprint {
	return f.append(dst, path, f.choose(value, len(dst)))
}

// choose returns the fingerprints of a value in an event that has so many before; they are valid until the next call.
func (f *Fingerprinter) choose(value []byte, before int) [][FingerprintSize]byte {
	f.found = f.found[:0]
	f.scan.each(value)
	slices.SortFunc(f.found, func(a, b [FingerprintSize]byte) int { return bytes.Compare(a[:], b[:]) })
	f.found = slices.Compact(f.found)
	return f.found[:min(len(f.found), MaxFingerprintsPerValue, max(0, MaxFingerprints-before))]
}

// add is HMAC (RFC 2104): H(key ⊕ opad ‖ H(key ⊕ ipad ‖ value)). The values are short, so hashing the padded key again costs less
// than a hash that keeps its state.
func (f *Fingerprinter) add(value []byte) {
	f.inner = append(f.inner[:sha256.BlockSize], value...)
	sum := sha256.Sum256(f.inner)
	copy(f.outer[sha256.BlockSize:], sum[:])
	sum = sha256.Sum256(f.outer)
	f.found = append(f.found, [FingerprintSize]byte(sum[:FingerprintSize]))
}

// Lend is Append of messages that stay the fingerprinter's: they are valid until Forget.
func (f *Fingerprinter) Lend(dst []*eventv1.Fingerprint, path string, value []byte) []*eventv1.Fingerprint {
	for _, v := range f.choose(value, len(dst)) {
		if f.used == len(f.lent) {
			f.lent = append(f.lent, &eventv1.Fingerprint{Value: make([]byte, FingerprintSize)})
		}
		p := f.lent[f.used]
		p.Path, p.KeyId, p.Normaliser = path, f.keyID, NormaliserV1
		copy(p.Value, v[:])
		dst = append(dst, p)
		f.used++
	}
	return dst
}

// Forget takes back what was lent.
func (f *Fingerprinter) Forget() { f.used = 0 }

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
