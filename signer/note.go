package signer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
)

// Signature types of https://c2sp.org/signed-note.
const (
	typeEd25519     = 0x01 // over the note text
	typeCosignature = 0x04 // timestamped, https://c2sp.org/tlog-cosignature
)

// maxNote is the largest signed note in bytes that is parsed: a checkpoint
// with 100 cosignatures is under 64 KiB.
const maxNote = 64 << 10

var (
	// ErrVKey says that a text is not a verifier key.
	ErrVKey = errors.New("malformed verifier key")
	// ErrNote says that bytes are not a signed note of the expected form.
	ErrNote = errors.New("malformed signed note")
)

// NoteSigner makes signatures of type 0x01 under the given key name, for
// note.Sign. The error is ErrVKey for a name that cannot stand in a note.
func NoteSigner(s Signer, name string) (note.Signer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return &noteSigner{noteKey{name, keyHash(name, typeEd25519, s.Public()), s.Public()}, s}, nil
}

// NoteVerifier checks signatures of type 0x01, for note.Open.
func NoteVerifier(name string, key PublicKey) (note.Verifier, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return &noteVerifier{noteKey{name, keyHash(name, typeEd25519, key), key}}, nil
}

// VKey returns the verifier key text for signatures of type 0x01, for policy
// files: <name>+<hash>+<base64>.
func VKey(name string, key PublicKey) string { return vkey(name, typeEd25519, key) }

// ParseVKey is the inverse of VKey and accepts nothing else. The error is
// ErrVKey or ErrKey.
func ParseVKey(text string) (name string, key PublicKey, err error) {
	return parseVKey(text, typeEd25519)
}

type noteKey struct {
	name string
	hash uint32
	key  PublicKey
}

func (k *noteKey) Name() string    { return k.name }
func (k *noteKey) KeyHash() uint32 { return k.hash }

type noteSigner struct {
	noteKey
	signer Signer
}

func (s *noteSigner) Sign(text []byte) ([]byte, error) { return s.signer.Sign(text) }

type noteVerifier struct{ noteKey }

func (v *noteVerifier) Verify(text, sig []byte) bool { return v.key.Verify(text, sig) }

func checkName(name string) error {
	if err := chain.CheckOrigin(name); err != nil {
		return fmt.Errorf("key name: %w: %w", ErrVKey, err)
	}
	return nil
}

// keyHash is the key ID of https://c2sp.org/signed-note.
func keyHash(name string, sigType byte, key PublicKey) uint32 {
	b := append([]byte(name), '\n', sigType)
	sum := sha256.Sum256(append(b, key[:]...))
	return binary.BigEndian.Uint32(sum[:])
}

func vkey(name string, sigType byte, key PublicKey) string {
	material := append([]byte{sigType}, key[:]...)
	return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, sigType, key), base64.StdEncoding.EncodeToString(material))
}

func parseVKey(text string, sigType byte) (string, PublicKey, error) {
	name, rest, _ := strings.Cut(text, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	material, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(material) != 33 || material[0] != sigType {
		return "", PublicKey{}, fmt.Errorf("parse verifier key: not Ed25519 of type %d: %w", sigType, ErrVKey)
	}
	if err := checkName(name); err != nil {
		return "", PublicKey{}, fmt.Errorf("parse verifier key: %w", err)
	}
	key, err := ParsePublicKey(material[1:])
	if err != nil {
		return "", PublicKey{}, fmt.Errorf("parse verifier key: %w", err)
	}
	if vkey(name, sigType, key) != text {
		return "", PublicKey{}, fmt.Errorf("parse verifier key: wrong hash or second encoding: %w", ErrVKey)
	}
	return name, key, nil
}

// CosignatureSigner makes timestamped cosignatures of type 0x04 at one moment:
// seconds since 1970, ≥ 0. It signs nothing but strict checkpoints.
func CosignatureSigner(s Signer, name string, seconds int64) (note.Signer, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if seconds < 0 {
		return nil, fmt.Errorf("cosign at %d seconds: time before 1970", seconds)
	}
	return &cosigner{noteKey{name, keyHash(name, typeCosignature, s.Public()), s.Public()}, s, seconds}, nil
}

// CosignatureVerifier checks cosignatures of type 0x04.
func CosignatureVerifier(name string, key PublicKey) (note.Verifier, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return &cosignatureVerifier{noteKey{name, keyHash(name, typeCosignature, key), key}}, nil
}

// CosignatureVKey returns the verifier key text for cosignatures of type 0x04.
func CosignatureVKey(name string, key PublicKey) string { return vkey(name, typeCosignature, key) }

// ParseCosignatureVKey is the inverse of CosignatureVKey and accepts nothing
// else. The error is ErrVKey or ErrKey.
func ParseCosignatureVKey(text string) (name string, key PublicKey, err error) {
	return parseVKey(text, typeCosignature)
}

type cosigner struct {
	noteKey
	signer  Signer
	seconds int64
}

// Sign returns the timestamped_signature of https://c2sp.org/tlog-cosignature:
// the time in seconds, big endian, then the Ed25519 signature.
func (c *cosigner) Sign(text []byte) ([]byte, error) {
	if _, err := chain.ParseCheckpoint(text); err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	sig, err := c.signer.Sign(cosignedMessage(uint64(c.seconds), text))
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(c.seconds)), sig...), nil
}

type cosignatureVerifier struct{ noteKey }

func (v *cosignatureVerifier) Verify(text, sig []byte) bool {
	if len(sig) != 8+SignatureSize {
		return false
	}
	seconds := binary.BigEndian.Uint64(sig)
	if _, err := chain.ParseCheckpoint(text); err != nil || seconds > math.MaxInt64 {
		return false
	}
	return v.key.Verify(cosignedMessage(seconds, text), sig[8:])
}

func cosignedMessage(seconds uint64, text []byte) []byte {
	b := strconv.AppendUint([]byte("cosignature/v1\ntime "), seconds, 10)
	return append(append(b, '\n'), text...)
}
