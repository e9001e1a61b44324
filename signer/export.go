package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// Algorithms of export keys.
const (
	AlgorithmEd25519 = "ed25519"    // RFC 8032
	AlgorithmP256    = "ecdsa-p256" // ECDSA over SHA-256 on the curve P-256 (FIPS 186-5)
)

// ExportKeySizeP256 is the length of an export key on P-256 in bytes.
const ExportKeySizeP256 = len(p256Prefix) + 64

// p256Prefix begins the SubjectPublicKeyInfo (RFC 5480 section 2) of every key on P-256 with a whole point. The coordinates follow.
const p256Prefix = "\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04"

// ExportKey is the public key that signs what is handed to others: bundles and statements. It is the bytes of the key in its one
// encoding, 32 of Ed25519 or the 91 of the SubjectPublicKeyInfo of an ECDSA key on P-256. Its text form is lower-case hexadecimal; the
// zero value is no key.
type ExportKey string

// Exporter signs with an export key. A [Key] is one. It is safe for concurrent use.
type Exporter interface {
	// ID names the key that verifies the signatures.
	ID() KeyID
	// Algorithm is that of the key.
	Algorithm() string
	// Sign returns a signature over message itself: the 64 bytes of Ed25519, or the DER of ECDSA.
	Sign(message []byte) ([]byte, error)
}

// ParseExportKey checks that b is an export key that binds its holder. The error is ErrKey.
func ParseExportKey(b []byte) (ExportKey, error) {
	if len(b) == ExportKeySizeP256 {
		_, err := parseP256(b)
		return ExportKey(b), err
	}
	p, err := ParsePublicKey(b)
	if err != nil {
		return "", err
	}
	return p.Export(), nil
}

// parseP256 accepts one encoding of a point on the curve. The point at infinity has none of this length.
func parseP256(b []byte) (*ecdsa.PublicKey, error) {
	if !bytes.HasPrefix(b, []byte(p256Prefix)) {
		return nil, fmt.Errorf("parse export key: not ECDSA on P-256: %w", ErrKey)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b[len(p256Prefix)-1:])
	if err != nil {
		return nil, fmt.Errorf("parse export key: %w: %w", ErrKey, err)
	}
	return key, nil
}

// Export is p as an export key.
func (p PublicKey) Export() ExportKey { return ExportKey(p[:]) }

// ID returns SHA-256 of k.
func (k ExportKey) ID() KeyID { return sha256.Sum256([]byte(k)) }

// Algorithm names what k is of.
func (k ExportKey) Algorithm() string {
	if len(k) == ExportKeySizeP256 {
		return AlgorithmP256
	}
	return AlgorithmEd25519
}

// Verify reports whether sig is a signature of message by the holder of k. One of ECDSA is strict DER without anything behind it;
// whoever has a signature can make the other one of the pair (r, n−s), which verifies too, so that nothing may be named by a signature.
func (k ExportKey) Verify(message, sig []byte) bool {
	if k.Algorithm() == AlgorithmEd25519 {
		return len(k) == ed25519.PublicKeySize && ed25519.Verify(ed25519.PublicKey(k), message, sig)
	}
	key, err := parseP256([]byte(k))
	digest := sha256.Sum256(message)
	return err == nil && ecdsa.VerifyASN1(key, digest[:], sig)
}

// VerifyDSSE is [VerifyDSSE] with an export key.
func (k ExportKey) VerifyDSSE(payloadType string, payload, sig []byte) error {
	if !k.Verify(PAE(payloadType, payload), sig) {
		return fmt.Errorf("verify %s by key %s: %w", payloadType, k.ID(), ErrSignature)
	}
	return nil
}

// PEM is k as other tools read it: a SubjectPublicKeyInfo. The error is ErrKey.
func (k ExportKey) PEM() ([]byte, error) {
	if _, err := ParseExportKey([]byte(k)); err != nil {
		return nil, err
	}
	der := []byte(k)
	if k.Algorithm() == AlgorithmEd25519 {
		var err error
		if der, err = x509.MarshalPKIXPublicKey(ed25519.PublicKey(k)); err != nil {
			return nil, fmt.Errorf("encode export key: %w", err)
		}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// String returns k in lower-case hexadecimal.
func (k ExportKey) String() string { return hex.EncodeToString([]byte(k)) }

// MarshalText returns k in lower-case hexadecimal.
func (k ExportKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, []byte(k)), nil }

// UnmarshalText is the inverse of MarshalText, with the checks of ParseExportKey.
func (k *ExportKey) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || hex.EncodeToString(b) != string(text) {
		return fmt.Errorf("parse export key: not lower-case hexadecimal: %w", ErrKey)
	}
	parsed, err := ParseExportKey(b)
	if err == nil {
		*k = parsed
	}
	return err
}
