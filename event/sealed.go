package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const sealedDomain = "custody/sealed/v1\x00"

// SealedDigest commits to a sealed value: SHA-256 of "custody/sealed/v1\0" and then event id, path, media type, salt and
// value, each after its length as a big-endian uint32. The salt is random, so that a short value cannot be guessed.
func SealedDigest(id ID, path, mediaType string, salt *[SaltSize]byte, value []byte) [DigestSize]byte {
	var room [shortCommitment]byte
	b := appendCommitment(room[:0], id, path, mediaType, salt, len(value))
	if len(b)+len(value) <= len(room) {
		return sha256.Sum256(append(b, value...))
	}
	h := sha256.New()
	h.Write(b)
	h.Write(value)
	return [DigestSize]byte(h.Sum(nil))
}

// AppendCommitment appends all that [SealedDigest] is the hash of.
func AppendCommitment(b []byte, id ID, path, mediaType string, salt *[SaltSize]byte, value []byte) []byte {
	return append(appendCommitment(b, id, path, mediaType, salt, len(value)), value...)
}

// appendCommitment appends what is hashed before the value.
func appendCommitment(b []byte, id ID, path, mediaType string, salt *[SaltSize]byte, size int) []byte {
	b = append(b, sealedDomain...)
	b = appendPart(b, id[:])
	b = appendPart(b, path)
	b = appendPart(b, mediaType)
	b = appendPart(b, salt[:])
	return binary.BigEndian.AppendUint32(b, uint32(size))
}

// shortCommitment is how much is put together on the stack to be hashed at once.
const shortCommitment = 1024

func appendPart[T string | []byte](dst []byte, part T) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(part))), part...)
}

// CheckOpening holds a disclosed value against the event that commits to it: size, digest, and the fingerprints of its
// path, which must be exactly those that Fingerprints finds. Without a fingerprint key these are not checked. The error is
// a *FieldError that names the event's field.
func CheckOpening(e *eventv1.Event, o *eventv1.Opening, fpKey []byte, fpKeyID uint32) error {
	var f *Fingerprinter
	if len(fpKey) > 0 {
		f = NewFingerprinter(fpKey, fpKeyID)
	}
	return f.CheckOpening(e, o)
}

// CheckOpening is the function of that name, for many openings. A nil fingerprinter checks no fingerprints.
func (f *Fingerprinter) CheckOpening(e *eventv1.Event, o *eventv1.Opening) error {
	err := checkCommitment(e, o)
	if err == nil && f != nil {
		err = f.check(e, o)
	}
	return err.err()
}

func checkCommitment(e *eventv1.Event, o *eventv1.Opening) *FieldError {
	i := slices.IndexFunc(e.GetSealed(), func(s *eventv1.Sealed) bool { return s.GetPath() == o.GetPath() })
	if i < 0 {
		return &FieldError{"sealed", "has no field for the opening"}
	}
	if err := checkDigest(e, e.Sealed[i], o); err != nil {
		return err.under(at("sealed", i))
	}
	return nil
}

func checkDigest(e *eventv1.Event, s *eventv1.Sealed, o *eventv1.Opening) *FieldError {
	id, err := IDFromBytes(e.GetId())
	switch {
	case err != nil:
		return &FieldError{"digest", "event has no id"}
	case uint64(len(o.GetValue())) != s.GetSize():
		return &FieldError{"size", "is not that of the opened value"}
	case len(o.GetSalt()) != SaltSize:
		return &FieldError{"digest", "opening has no salt"}
	}
	digest := SealedDigest(id, s.GetPath(), s.GetMediaType(), (*[SaltSize]byte)(o.Salt), o.Value)
	if !bytes.Equal(digest[:], s.GetDigest()) {
		return &FieldError{"digest", "does not match the opened value"}
	}
	return nil
}

// check computes the fingerprints of the path again. How many stand before them limits how many there may be.
func (f *Fingerprinter) check(e *eventv1.Event, o *eventv1.Opening) *FieldError {
	all := e.GetFingerprints()
	from := begin(e, o.GetPath())
	return f.compare(all, from, o.GetPath(), f.choose(o.GetValue(), from))
}

// compare holds the fingerprints of a path, which begin at from, against those that its value has.
func (f *Fingerprinter) compare(all []*eventv1.Fingerprint, from int, path string, want [][FingerprintSize]byte) *FieldError {
	for i := range want {
		if from+i >= len(all) || !f.made(all[from+i], path, &want[i]) {
			return &FieldError{at("fingerprints", from+i), "is not that of the opened value"}
		}
	}
	if end := from + len(want); end < len(all) && all[end].GetPath() == path {
		return &FieldError{at("fingerprints", end), "is of nothing in the opened value"}
	}
	return nil
}

// begin is where the fingerprints of a path stand, or would stand.
func begin(e *eventv1.Event, path string) int {
	from := slices.IndexFunc(e.GetFingerprints(), func(f *eventv1.Fingerprint) bool { return f.GetPath() == path })
	if from < 0 {
		return before(e, path)
	}
	return from
}

// made says whether x is this value under the fingerprinter's key.
func (f *Fingerprinter) made(x *eventv1.Fingerprint, path string, value *[FingerprintSize]byte) bool {
	return x.GetPath() == path && x.GetKeyId() == f.keyID && x.GetNormaliser() == NormaliserV1 && bytes.Equal(x.GetValue(), value[:])
}

// before counts the fingerprints of the sealed fields before path.
func before(e *eventv1.Event, path string) int {
	n := 0
	for _, s := range e.Sealed {
		if s.GetPath() == path {
			break
		}
		for n < len(e.Fingerprints) && e.Fingerprints[n].GetPath() == s.GetPath() {
			n++
		}
	}
	return n
}
