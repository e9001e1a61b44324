package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
)

const (
	keySize   = 32 // AES-256
	nonceSize = 12 // GCM (NIST SP 800-38D section 5.2.1.1)
	tagSize   = 16
)

// Overhead is how many bytes a sealed value is longer than its plaintext: the
// nonce before it and the tag after it.
const Overhead = nonceSize + tagSize

// RotateAfter is how many values one process seals under one generation before
// Ensure begins the next. NIST SP 800-38D section 8.3 allows 2^32 random
// nonces; the count starts anew with each process, and this leaves room for 16.
const RotateAfter = 1 << 28

var (
	// ErrErased says that the key was destroyed: the content is gone for good.
	ErrErased = errors.New("data key is erased")
	// ErrSealed says that a value was not sealed with this key and this
	// additional data, or was altered.
	ErrSealed = errors.New("sealed value does not open")
)

// Key is the data key of one generation of one subject. It is safe for
// concurrent use and stops working when it is destroyed.
type Key struct {
	owner      *subject
	generation uint32
	aead       cipher.AEAD
}

func newKey(owner *subject, generation uint32, material []byte) (*Key, error) {
	aead, err := newGCM(material)
	if err != nil {
		return nil, err
	}
	return &Key{owner: owner, generation: generation, aead: aead}, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return aead, nil
}

// Generation counts from 1. It must be stored beside what the key seals.
func (k *Key) Generation() uint32 { return k.generation }

// String names the generation and shows nothing else.
func (k *Key) String() string { return fmt.Sprintf("vault.Key(generation %d, redacted)", k.generation) }

// Format is String for every verb.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue is String.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

func (k *Key) erased() bool { return k.generation <= k.owner.erased.Load() }

// Seal encrypts a value: nonce[12] ‖ ciphertext ‖ tag[16]. aad is authenticated
// but not contained; it must say where the value belongs, so that it cannot be
// moved. On ErrErased the subject was erased meanwhile: ask Ensure for its next
// key, or drop the value.
func Seal(k *Key, aad, plaintext []byte) ([]byte, error) {
	return AppendSealed(make([]byte, 0, len(plaintext)+Overhead), k, aad, plaintext)
}

// AppendSealed appends what Seal returns to dst, which must not overlap
// plaintext.
func AppendSealed(dst []byte, k *Key, aad, plaintext []byte) ([]byte, error) {
	var nonce Nonce
	rand.Read(nonce[:]) // never fails
	return AppendSealedWith(dst, k, nonce, aad, plaintext)
}

// NonceSize is the length of a nonce in bytes.
const NonceSize = nonceSize

// Nonce is what a value is sealed with besides the key: random, and used once.
type Nonce [NonceSize]byte

// AppendSealedWith is AppendSealed for a caller that seals many values and draws
// their nonces at once, from crypto/rand: a nonce used twice under one key gives
// both values away.
func AppendSealedWith(dst []byte, k *Key, nonce Nonce, aad, plaintext []byte) ([]byte, error) {
	if k.erased() {
		return dst, fmt.Errorf("seal under generation %d: %w", k.generation, ErrErased)
	}
	k.owner.seals.Add(1)
	at := len(dst)
	dst = append(dst, nonce[:]...)
	return k.aead.Seal(dst, dst[at:], plaintext, aad), nil
}

// Open is the inverse of Seal. The errors are ErrErased and ErrSealed.
func Open(k *Key, aad, sealed []byte) ([]byte, error) {
	plaintext, err := AppendOpened(nil, k, aad, sealed)
	if err != nil {
		return nil, err
	}
	return plaintext, nil
}

// AppendOpened appends what Open returns to dst, which must not overlap sealed. On an error dst is as it was.
func AppendOpened(dst []byte, k *Key, aad, sealed []byte) ([]byte, error) {
	if k.erased() {
		return dst, fmt.Errorf("open under generation %d: %w", k.generation, ErrErased)
	}
	if len(sealed) < Overhead {
		return dst, fmt.Errorf("open %d bytes: %w", len(sealed), ErrSealed)
	}
	plaintext, err := k.aead.Open(dst, sealed[:nonceSize], sealed[nonceSize:], aad)
	if err != nil {
		return dst, fmt.Errorf("open under generation %d: %w", k.generation, ErrSealed)
	}
	return plaintext, nil
}
