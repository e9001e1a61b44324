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
	h := sha256.New()
	buf := append(make([]byte, 0, 256), sealedDomain...)
	buf = appendPart(buf, id[:])
	buf = appendPart(buf, []byte(path))
	buf = appendPart(buf, []byte(mediaType))
	buf = appendPart(buf, salt[:])
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(value)))
	h.Write(buf)
	h.Write(value)
	return [DigestSize]byte(h.Sum(nil))
}

func appendPart(dst, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(part))), part...)
}

// CheckOpening holds a disclosed value against the event that commits to it: size, digest, and the fingerprints of its
// path, which must be exactly those that Fingerprints finds. Without a fingerprint key these are not checked. The error is
// a *FieldError that names the event's field.
func CheckOpening(e *eventv1.Event, o *eventv1.Opening, fpKey []byte, fpKeyID uint32) error {
	i := slices.IndexFunc(e.GetSealed(), func(s *eventv1.Sealed) bool { return s.GetPath() == o.GetPath() })
	if i < 0 {
		return &FieldError{"sealed", "has no field for the opening"}
	}
	if err := checkDigest(e, e.Sealed[i], o).under(at("sealed", i)); err != nil {
		return err
	}
	if len(fpKey) == 0 {
		return nil
	}
	return checkFingerprints(e, o, fpKey, fpKeyID).err()
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

// checkFingerprints computes the fingerprints of the path again, after the same fingerprints before it: their number
// limits how many there may be.
func checkFingerprints(e *eventv1.Event, o *eventv1.Opening, key []byte, keyID uint32) *FieldError {
	all := e.GetFingerprints()
	from := slices.IndexFunc(all, func(f *eventv1.Fingerprint) bool { return f.GetPath() == o.GetPath() })
	if from < 0 {
		from = before(e, o.GetPath())
	}
	want := Fingerprints(key, keyID, o.GetPath(), o.GetValue(), all[:from:from])[from:]
	for i, f := range want {
		if from+i >= len(all) || !sameFingerprint(all[from+i], f) {
			return &FieldError{at("fingerprints", from+i), "is not that of the opened value"}
		}
	}
	if end := from + len(want); end < len(all) && all[end].GetPath() == o.GetPath() {
		return &FieldError{at("fingerprints", end), "is of nothing in the opened value"}
	}
	return nil
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

func sameFingerprint(a, b *eventv1.Fingerprint) bool {
	return a.GetPath() == b.GetPath() && compareFingerprints(a, b) == 0
}
