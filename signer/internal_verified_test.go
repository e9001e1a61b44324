package signer

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

// TestVerifiedRemembers: a signature that was found good is known, in a slot that all of its digest's first two bytes choose; one
// that was found bad is not.
func TestVerifiedRemembers(t *testing.T) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	public, payload := PublicKey(private.Public().(ed25519.PublicKey)), []byte("statement")
	good := ed25519.Sign(private, PAE(PayloadTypeBatch, payload))
	bad := bytes.Clone(good)
	bad[3] ^= 1
	v := new(Verified)
	for name, c := range map[string]struct {
		sig   []byte
		knows bool
	}{"good": {good, true}, "bad": {bad, false}} {
		err := v.VerifyDSSE(public, PayloadTypeBatch, payload, c.sig)
		digest := verifiedDigest(public, PayloadTypeBatch, payload, c.sig)
		if (err == nil) != c.knows || v.knows(&digest) != c.knows {
			t.Errorf("%s: %v, known: %t", name, err, v.knows(&digest))
		}
	}
	first, _ := v.slot(&[32]byte{1, 2})
	for _, other := range [][32]byte{{1, 3}, {2, 2}, {2, 1}} {
		if second, _ := v.slot(&other); first == second {
			t.Errorf("%v shares the slot", other[:2])
		}
	}
}
