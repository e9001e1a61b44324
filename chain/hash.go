package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// HashSize is the length of a SHA-256 hash in bytes.
const HashSize = sha256.Size

// RFC 6962 section 2.1: prefixes that keep leaves and nodes apart.
const (
	leafPrefix = 0x00
	nodePrefix = 0x01
)

// instanceDomain separates instance tags from every other use of SHA-256.
const instanceDomain = "custody/instance/v1\x00"

// ErrHash says that a text is not 64 lower-case hexadecimal digits.
var ErrHash = errors.New("not a hash of 64 lower-case hexadecimal digits")

// Hash is a SHA-256 hash. Its text form is lower-case hexadecimal.
type Hash [HashSize]byte

// emptyRoot is SHA-256 of nothing (RFC 6962 section 2.1).
var emptyRoot = Hash(sha256.Sum256(nil))

// EmptyRoot is the root of a tree without leaves.
func EmptyRoot() Hash { return emptyRoot }

// IsZero reports whether every byte of h is zero.
func (h Hash) IsZero() bool { return h == Hash{} }

// String returns h in lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns h in lower-case hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText is the inverse of MarshalText and accepts nothing else.
func (h *Hash) UnmarshalText(text []byte) error {
	parsed, err := ParseHash(string(text))
	if err != nil {
		return err
	}
	*h = parsed
	return nil
}

// ParseHash reads 64 lower-case hexadecimal digits.
func ParseHash(text string) (Hash, error) {
	var h Hash
	if len(text) != hex.EncodedLen(HashSize) {
		return Hash{}, fmt.Errorf("parse hash of %d characters: %w", len(text), ErrHash)
	}
	if _, err := hex.Decode(h[:], []byte(text)); err != nil || h.String() != text {
		return Hash{}, fmt.Errorf("parse hash: %w", ErrHash)
	}
	return h, nil
}

// EventHash returns SHA-256(0x00 ‖ event).
func EventHash(event []byte) Hash { return hashLeaf(event) }

// EventRoot returns the RFC 6962 root over event hashes, in order. The hashes
// are leaves already hashed by [EventHash].
func EventRoot(events []Hash) Hash {
	var f Frontier
	for _, h := range events {
		f.push(0, h)
	}
	return f.Root()
}

// LeafHash returns SHA-256(0x00 ‖ leaf).
func LeafHash(leaf []byte) Hash { return hashLeaf(leaf) }

// NodeHash returns SHA-256(0x01 ‖ left ‖ right).
func NodeHash(left, right Hash) Hash {
	var b [1 + 2*HashSize]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+HashSize:], right[:])
	return sha256.Sum256(b[:])
}

// InstanceTag hides an instance name behind its salt:
// SHA-256("custody/instance/v1\0" ‖ salt ‖ instance).
func InstanceTag(salt [32]byte, instance string) Hash {
	b := make([]byte, 0, 128)
	b = append(b, instanceDomain...)
	b = append(b, salt[:]...)
	b = append(b, instance...)
	return sha256.Sum256(b)
}

// OriginHash returns SHA-256(origin), the form in which leaves name their log.
func OriginHash(origin string) Hash { return sha256.Sum256([]byte(origin)) }

// smallInput is the longest input that is copied beside its prefix on the
// stack. Leaves fit; copying is then cheaper than streaming.
const smallInput = 511

func hashLeaf(data []byte) Hash {
	if len(data) > smallInput {
		return hashLongLeaf(data)
	}
	b := [1 + smallInput]byte{leafPrefix}
	n := copy(b[1:], data)
	return sha256.Sum256(b[:1+n])
}

func hashLongLeaf(data []byte) (h Hash) {
	d := sha256.New()
	d.Write([]byte{leafPrefix})
	d.Write(data)
	d.Sum(h[:0])
	return h
}
