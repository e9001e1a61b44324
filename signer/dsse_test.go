package signer_test

import (
	"errors"
	"testing"

	"github.com/agentcustody/custody/signer"
)

// The test vector of the DSSE v1 protocol document.
func TestPAE(t *testing.T) {
	got := string(signer.PAE("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("PAE is %q, want %q", got, want)
	}
	if got := string(signer.AppendPAE([]byte("x"), "", nil)); got != "xDSSEv1 0  0 " {
		t.Errorf("PAE of nothing is %q", got)
	}
}

func TestDSSEBindsEverything(t *testing.T) {
	payload := []byte("statement")
	sig, err := signer.SignDSSE(key(1), signer.PayloadTypeBatch, payload)
	if err != nil {
		t.Fatal(err)
	}
	public := key(1).Public()
	if err := signer.VerifyDSSE(public, signer.PayloadTypeBatch, payload, sig); err != nil {
		t.Error(err)
	}
	flipped := append([]byte{}, sig...)
	flipped[40] ^= 1
	raw, _ := key(1).Sign(payload)
	for name, err := range map[string]error{
		"other key":     signer.VerifyDSSE(key(2).Public(), signer.PayloadTypeBatch, payload, sig),
		"other type":    signer.VerifyDSSE(public, "application/vnd.in-toto+json", payload, sig),
		"other payload": signer.VerifyDSSE(public, signer.PayloadTypeBatch, []byte("statemenT"), sig),
		"moved border":  signer.VerifyDSSE(public, signer.PayloadTypeBatch+" ", payload, sig),
		"bit flip":      signer.VerifyDSSE(public, signer.PayloadTypeBatch, payload, flipped),
		"short":         signer.VerifyDSSE(public, signer.PayloadTypeBatch, payload, sig[:63]),
		"none":          signer.VerifyDSSE(public, signer.PayloadTypeBatch, payload, nil),
		"without PAE":   signer.VerifyDSSE(public, signer.PayloadTypeBatch, payload, raw),
	} {
		if !errors.Is(err, signer.ErrSignature) {
			t.Errorf("%s: %v, want ErrSignature", name, err)
		}
	}
}

func BenchmarkSignDSSE(b *testing.B) {
	k, payload := key(1), make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signer.SignDSSE(k, signer.PayloadTypeBatch, payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyDSSE(b *testing.B) {
	k, payload := key(1), make([]byte, 300)
	sig, _ := signer.SignDSSE(k, signer.PayloadTypeBatch, payload)
	b.ReportAllocs()
	for b.Loop() {
		if err := signer.VerifyDSSE(k.Public(), signer.PayloadTypeBatch, payload, sig); err != nil {
			b.Fatal(err)
		}
	}
}
