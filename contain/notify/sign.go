package notify

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Prefixes of secrets in Standard Webhooks: a symmetric key, and an Ed25519 private key (its seed, or seed and public key).
const (
	symmetricPrefix  = "whsec_"
	asymmetricPrefix = "whsk_"
)

// leastKey is how short a symmetric key may be, bytes: Standard Webhooks asks for 24 to 64.
const leastKey = 24

// key signs. Exactly one of the two is set.
type key struct {
	symmetric []byte
	private   ed25519.PrivateKey
}

var errKey = errors.New("the secret must be whsec_ and the base64 of at least 24 bytes, or whsk_ and that of an Ed25519 private key")

// signingKey reads a secret. Its error does not show it.
func signingKey(secret string) (k key, err error) {
	if text, ok := strings.CutPrefix(secret, symmetricPrefix); ok {
		k.symmetric, err = base64.StdEncoding.DecodeString(text)
		if err != nil || len(k.symmetric) < leastKey {
			return key{}, errKey
		}
		return k, nil
	}
	text, ok := strings.CutPrefix(secret, asymmetricPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize {
		return key{}, errKey
	}
	return key{private: ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])}, nil
}

// sign sets the headers of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks, spec 1.0.0, "Signature scheme").
func (k key) sign(r *http.Request, id string, body []byte, now time.Time) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	message := []byte(id + "." + stamp + "." + string(body))
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", k.signature(message))
}

func (k key) signature(message []byte) string {
	if k.private != nil {
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, message))
	}
	mac := hmac.New(sha256.New, k.symmetric)
	mac.Write(message)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
