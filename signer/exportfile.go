package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// ErrAlgorithm says that there are no export keys of an algorithm.
var ErrAlgorithm = errors.New("algorithm is neither " + AlgorithmEd25519 + " nor " + AlgorithmP256)

// ExportKeys is a folder of private export keys, one PKCS#8 PEM file of mode 0600 each, named by the key's id.
type ExportKeys string

// Create makes a key of an algorithm; its file is durable when Create returns. The error is ErrAlgorithm.
func (d ExportKeys) Create(algorithm string) (ExportKey, error) {
	private, err := newPrivate(algorithm)
	if err != nil {
		return "", fmt.Errorf("create export key: %w", err)
	}
	_, public, err := exporterOf(private)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("encode export key: %w", err)
	}
	file := pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
	if err := keyfile.Create(d.path(public.ID()), file); err != nil {
		return "", fmt.Errorf("create export key: %w", err)
	}
	return public, nil
}

// Load reads the key of an id. It fails with fs.ErrNotExist, ErrKeyExposed, or ErrKey for what is no key or another one.
func (d ExportKeys) Load(id KeyID) (Exporter, error) {
	data, err := keyfile.Read(d.path(id))
	if err != nil {
		return nil, fmt.Errorf("load export key: %w", err)
	}
	private, err := parsePrivate(data)
	if err != nil {
		return nil, fmt.Errorf("load export key %s: %w", d.path(id), err)
	}
	key, public, err := exporterOf(private)
	if err == nil && public.ID() != id {
		err = fmt.Errorf("is key %s: %w", public.ID(), ErrKey)
	}
	if err != nil {
		return nil, fmt.Errorf("load export key %s: %w", d.path(id), err)
	}
	return key, nil
}

// Remove takes a key's file away. One that is not there is no error.
func (d ExportKeys) Remove(id KeyID) error {
	err := os.Remove(d.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = keyfile.SyncDir(string(d))
	}
	if err != nil {
		return fmt.Errorf("remove export key: %w", err)
	}
	return nil
}

func (d ExportKeys) path(id KeyID) string { return filepath.Join(string(d), id.String()+".pem") }

func newPrivate(algorithm string) (any, error) {
	switch algorithm {
	case AlgorithmEd25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case AlgorithmP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return nil, fmt.Errorf("%q: %w", algorithm, ErrAlgorithm)
}

// exporterOf is the private key with its public one. The error is ErrKey.
func exporterOf(private any) (Exporter, ExportKey, error) {
	switch private := private.(type) {
	case ed25519.PrivateKey:
		key := newKey(private)
		return key, key.Public().Export(), nil
	case *ecdsa.PrivateKey:
		key, err := newP256Key(private)
		if err != nil {
			return nil, "", err
		}
		return key, key.public, nil
	}
	return nil, "", fmt.Errorf("%T is another algorithm: %w", private, ErrKey)
}

// P256Key is a private export key on P-256 held in memory. It is safe for concurrent use, prints only its KeyID, and is an Exporter.
type P256Key struct {
	secret
	public  ExportKey
	private func() *ecdsa.PrivateKey // a function for the reason that Key has one
}

// P256FromScalar returns the key of a secret number, for tests and vectors that must be the same each time. The error is ErrKey.
func P256FromScalar(scalar [32]byte) (*P256Key, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		return nil, fmt.Errorf("number of a key: %w", ErrKey) // the cause could quote it
	}
	return newP256Key(private)
}

func newP256Key(private *ecdsa.PrivateKey) (*P256Key, error) {
	if private.Curve != elliptic.P256() {
		return nil, fmt.Errorf("on another curve than P-256: %w", ErrKey)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", ErrKey)
	}
	public := ExportKey(p256Prefix + string(point[1:]))
	return &P256Key{secret(public.ID().String()), public, func() *ecdsa.PrivateKey { return private }}, nil
}

// Public is the key that verifies the signatures.
func (k *P256Key) Public() ExportKey { return k.public }

// ID implements Exporter.
func (k *P256Key) ID() KeyID { return k.public.ID() }

// Algorithm implements Exporter.
func (k *P256Key) Algorithm() string { return AlgorithmP256 }

// Sign implements Exporter. The same message gives the same signature (RFC 6979), so that no random number can betray the key.
func (k *P256Key) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	sig, err := k.private().Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sig, nil
}

// secret stands in a private key for the id that is printed in its place.
type secret string

// String returns the key's id and no secret.
func (s secret) String() string { return "signer.Key(" + string(s) + ", private redacted)" }

// GoString is String, for %#v.
func (s secret) GoString() string { return s.String() }

// Format is String for every verb, so that %x prints no secret either.
func (s secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue is the key's id.
func (s secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText refuses: a private key has no text form outside its file.
func (s secret) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("encode private key: %w", errors.ErrUnsupported)
}
