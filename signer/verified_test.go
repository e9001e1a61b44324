package signer_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/agentcustody/custody/signer"
)

// TestVerifiedRemembersNothingElse: what was found good is good again; nothing beside it is, and what was found bad is found bad again.
func TestVerifiedRemembersNothingElse(t *testing.T) {
	payload := []byte("statement")
	sig, err := signer.SignDSSE(key(1), signer.PayloadTypeBatch, payload)
	if err != nil {
		t.Fatal(err)
	}
	flipped := append([]byte{}, sig...)
	flipped[40] ^= 1
	public := key(1).Public()
	for name, v := range map[string]*signer.Verified{"remembers": new(signer.Verified), "nil": nil} {
		for range 3 {
			if err := v.VerifyDSSE(public, signer.PayloadTypeBatch, payload, sig); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for what, err := range map[string]error{
				"other key":     v.VerifyDSSE(key(2).Public(), signer.PayloadTypeBatch, payload, sig),
				"other type":    v.VerifyDSSE(public, "application/vnd.in-toto+json", payload, sig),
				"other payload": v.VerifyDSSE(public, signer.PayloadTypeBatch, []byte("statemenT"), sig),
				"bit flip":      v.VerifyDSSE(public, signer.PayloadTypeBatch, payload, flipped),
				"short":         v.VerifyDSSE(public, signer.PayloadTypeBatch, payload, sig[:63]),
				"long":          v.VerifyDSSE(public, signer.PayloadTypeBatch, payload, append(sig, 0)),
			} {
				if !errors.Is(err, signer.ErrSignature) {
					t.Errorf("%s: %s: %v, want ErrSignature", name, what, err)
				}
			}
		}
	}
}

// TestVerifiedCannotBeShifted: a payload that has another payload's encoding in it, signed and remembered, does not make its beginning
// part of a longer signature of that other one.
func TestVerifiedCannotBeShifted(t *testing.T) {
	evil := []byte("evil")
	inner := signer.PAE(signer.PayloadTypeBatch, evil)
	outer := signer.PAE(signer.PayloadTypeBatch, inner)
	sig, err := signer.SignDSSE(key(1), signer.PayloadTypeBatch, inner)
	if err != nil {
		t.Fatal(err)
	}
	v, public := new(signer.Verified), key(1).Public()
	if err := v.VerifyDSSE(public, signer.PayloadTypeBatch, inner, sig); err != nil {
		t.Fatal(err)
	}
	shifted := append(sig, outer[:len(outer)-len(inner)]...)
	if err := v.VerifyDSSE(public, signer.PayloadTypeBatch, evil, shifted); !errors.Is(err, signer.ErrSignature) {
		t.Errorf("a shifted signature: %v, want ErrSignature", err)
	}
}

// TestVerifiedAtOnce: many at once, in the same slots, are told the truth.
func TestVerifiedAtOnce(t *testing.T) {
	var v signer.Verified
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 50 {
				payload := []byte{byte(j)}
				sig, err := signer.SignDSSE(key(byte(1+i%2)), signer.PayloadTypeBatch, payload)
				good := v.VerifyDSSE(key(byte(1+i%2)).Public(), signer.PayloadTypeBatch, payload, sig)
				bad := v.VerifyDSSE(key(3).Public(), signer.PayloadTypeBatch, payload, sig)
				if err != nil || good != nil || bad == nil {
					t.Errorf("signed %v, good %v, bad %v", err, good, bad)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkVerifiedDSSE(b *testing.B) {
	k, payload := key(1), make([]byte, 300)
	sig, err := signer.SignDSSE(k, signer.PayloadTypeBatch, payload)
	if err != nil {
		b.Fatal(err)
	}
	v, public := new(signer.Verified), k.Public()
	b.ReportAllocs()
	for b.Loop() {
		if err := v.VerifyDSSE(public, signer.PayloadTypeBatch, payload, sig); err != nil {
			b.Fatal(err)
		}
	}
}
