package signer

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"

	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// SignatureSize is the length of every signature in bytes.
const SignatureSize = ed25519.SignatureSize

// pemType is the PEM label of PKCS#8 (RFC 7468 section 10).
const pemType = "PRIVATE KEY"

var (
	// ErrKey says that bytes are not an Ed25519 key, or one that binds nobody.
	ErrKey = errors.New("not a usable Ed25519 key")
	// ErrKeyExposed says that others may read a key file.
	ErrKeyExposed = keyfile.ErrExposed
	// ErrSignature says that a signature does not verify.
	ErrSignature = errors.New("signature does not verify")
)

// PublicKey is an Ed25519 public key (RFC 8032 section 5.1.2). Its text form is
// lower-case hexadecimal.
type PublicKey [ed25519.PublicKeySize]byte

// KeyID is SHA-256 of a public key. Its text form is lower-case hexadecimal.
type KeyID [sha256.Size]byte

// Signer makes Ed25519 signatures. An implementation is safe for concurrent
// use, and its public key never changes.
type Signer interface {
	// Public returns the key that verifies the signatures.
	Public() PublicKey
	// Sign returns the SignatureSize bytes of a signature over message itself,
	// not over a digest of it.
	Sign(message []byte) ([]byte, error)
}

// ParsePublicKey checks that b is a public key that binds its holder. The
// error is ErrKey for another length, an encoding that is not the shortest, or
// a point of small order.
func ParsePublicKey(b []byte) (PublicKey, error) {
	if len(b) != ed25519.PublicKeySize {
		return PublicKey{}, fmt.Errorf("parse public key of %d bytes: %w", len(b), ErrKey)
	}
	p := PublicKey(b)
	if p.smallOrder() || !p.canonical() {
		return PublicKey{}, fmt.Errorf("parse public key: small order or second encoding: %w", ErrKey)
	}
	return p, nil
}

// ID returns SHA-256 of p.
func (p PublicKey) ID() KeyID { return sha256.Sum256(p[:]) }

// Verify reports whether sig is a signature of message by the holder of p.
func (p PublicKey) Verify(message, sig []byte) bool {
	return ed25519.Verify(p[:], message, sig) // false too for a signature of another length
}

// String returns p in lower-case hexadecimal.
func (p PublicKey) String() string { return hex.EncodeToString(p[:]) }

// MarshalText returns p in lower-case hexadecimal.
func (p PublicKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText is the inverse of MarshalText, with the checks of
// ParsePublicKey.
func (p *PublicKey) UnmarshalText(text []byte) error {
	b, err := parseHex(text)
	if err != nil {
		return fmt.Errorf("parse public key: %w", err)
	}
	parsed, err := ParsePublicKey(b[:])
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// String returns id in lower-case hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names no key.
func (id KeyID) IsZero() bool { return id == KeyID{} }

// MarshalText returns id in lower-case hexadecimal.
func (id KeyID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *KeyID) UnmarshalText(text []byte) error {
	b, err := parseHex(text)
	if err != nil {
		return fmt.Errorf("parse key id: %w", err)
	}
	*id = b
	return nil
}

// ParseKeyID reads 64 lower-case hexadecimal digits. The error is ErrKey.
func ParseKeyID(text string) (KeyID, error) {
	var id KeyID
	return id, id.UnmarshalText([]byte(text))
}

func parseHex(text []byte) (b [32]byte, err error) {
	if len(text) != hex.EncodedLen(len(b)) {
		return b, fmt.Errorf("%d characters, want %d: %w", len(text), hex.EncodedLen(len(b)), ErrKey)
	}
	if _, err := hex.Decode(b[:], text); err != nil || hex.EncodeToString(b[:]) != string(text) {
		return [32]byte{}, fmt.Errorf("not lower-case hexadecimal: %w", ErrKey)
	}
	return b, nil
}

// Key is a private key held in memory. It is safe for concurrent use, prints
// only its KeyID, and is a Signer.
type Key struct {
	public PublicKey
	// private is a function because fmt looks into every other type, through
	// pointers too, when a Key sits in an unexported field of what is printed.
	private func() ed25519.PrivateKey
}

// Generate returns a new random key.
func Generate() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return newKey(private), nil
}

// FromSeed returns the key of a 32-byte seed (RFC 8032 section 5.1.5), for
// tests and vectors that must be the same each time.
func FromSeed(seed [ed25519.SeedSize]byte) *Key { return newKey(ed25519.NewKeyFromSeed(seed[:])) }

func newKey(private ed25519.PrivateKey) *Key {
	return &Key{
		public:  PublicKey(private[ed25519.SeedSize:]),
		private: func() ed25519.PrivateKey { return private },
	}
}

// Load reads a key from a PKCS#8 PEM file. It fails with fs.ErrNotExist,
// ErrKeyExposed or ErrKey.
func Load(path string) (*Key, error) {
	data, err := keyfile.Read(path)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	key, err := parsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	return key, nil
}

// LoadOrCreate is Load, but makes a new key if there is no file. The new file
// has mode 0600 and is durable when LoadOrCreate returns; if two processes
// race, both return the same key.
func LoadOrCreate(path string) (*Key, error) {
	data, err := keyfile.LoadOrCreate(path, newPEM)
	if err != nil {
		return nil, fmt.Errorf("load or create key: %w", err)
	}
	key, err := parsePEM(data)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	return key, nil
}

func newPEM() ([]byte, error) {
	key, err := Generate()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key.private())
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func parsePEM(data []byte) (*Key, error) {
	parsed, err := parsePrivate(data)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%T is another algorithm: %w", parsed, ErrKey)
	}
	return newKey(private), nil
}

// parsePrivate reads a private key of whatever algorithm.
func parsePrivate(data []byte) (any, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) != 0 {
		return nil, fmt.Errorf("not one PEM block %q: %w", pemType, ErrKey)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("not PKCS#8: %w", ErrKey) // the cause could quote the key
	}
	return parsed, nil
}

// Public implements Signer.
func (k *Key) Public() PublicKey { return k.public }

// ID returns the id of the public key.
func (k *Key) ID() KeyID { return k.public.ID() }

// Algorithm is AlgorithmEd25519.
func (k *Key) Algorithm() string { return AlgorithmEd25519 }

// Sign implements Signer. It never fails.
func (k *Key) Sign(message []byte) ([]byte, error) {
	return ed25519.Sign(k.private(), message), nil
}

// Crypto returns the key for libraries that want a crypto.Signer.
func (k *Key) Crypto() crypto.Signer { return k.private() }

// String returns the key's id and no secret.
func (k Key) String() string { return "signer.Key(" + k.public.ID().String() + ", private redacted)" }

// GoString is String, for %#v.
func (k Key) GoString() string { return k.String() }

// Format is String for every verb, so that %x prints no secret either.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue is the key's id.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText refuses: a private key has no text form outside its file.
func (k Key) MarshalText() ([]byte, error) {
	return nil, fmt.Errorf("encode private key: %w", errors.ErrUnsupported)
}

// FromCrypto makes a Signer of a crypto.Signer with an Ed25519 key, such as a
// hardware token or a key service offers. The error is ErrKey.
func FromCrypto(s crypto.Signer) (Signer, error) {
	public, ok := s.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("signer with a %T: %w", s.Public(), ErrKey)
	}
	p, err := ParsePublicKey(public)
	if err != nil {
		return nil, err
	}
	return &cryptoSigner{p, s}, nil
}

type cryptoSigner struct {
	public PublicKey
	signer crypto.Signer
}

func (c *cryptoSigner) Public() PublicKey { return c.public }

func (c *cryptoSigner) Sign(message []byte) ([]byte, error) {
	sig, err := c.signer.Sign(rand.Reader, message, crypto.Hash(0)) // 0: the message itself
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(sig) != SignatureSize {
		return nil, fmt.Errorf("sign: %d bytes: %w", len(sig), ErrSignature)
	}
	return sig, nil
}
