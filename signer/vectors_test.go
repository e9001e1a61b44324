package signer_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/signer"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors")

// vector is one key and what it signs, for other implementations. Ed25519 is
// deterministic, so every byte must agree.
type vector struct {
	Seed            string           `json:"seed_hex"`
	PublicKey       signer.PublicKey `json:"public_key"`
	KeyID           signer.KeyID     `json:"key_id"`
	PayloadType     string           `json:"payload_type"`
	Payload         string           `json:"payload_hex"`
	PAE             string           `json:"pae_hex"`
	Signature       string           `json:"dsse_signature_hex"`
	VKey            string           `json:"vkey"`
	CosignatureVKey string           `json:"cosignature_vkey"`
	Checkpoint      string           `json:"checkpoint"`
	Receipt         string           `json:"receipt"`
}

func TestVectors(t *testing.T) {
	var out []vector
	for n := range byte(3) {
		out = append(out, vectorOf(t, n))
	}
	got := append(must(json.MarshalIndent(out, "", "  ")), '\n')
	const path = "testdata/vectors/signer.json"
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(must(os.ReadFile(path))), string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func vectorOf(t *testing.T, n byte) vector {
	seed := [32]byte{n}
	k, payload := signer.FromSeed(seed), []byte{1, 2, 3, n}
	return vector{
		Seed: hex.EncodeToString(seed[:]), PublicKey: k.Public(), KeyID: k.ID(),
		PayloadType: signer.PayloadTypeBatch, Payload: hex.EncodeToString(payload),
		PAE:             hex.EncodeToString(signer.PAE(signer.PayloadTypeBatch, payload)),
		Signature:       hex.EncodeToString(must(signer.SignDSSE(k, signer.PayloadTypeBatch, payload))),
		VKey:            signer.VKey(origin, k.Public()),
		CosignatureVKey: signer.CosignatureVKey("time."+origin, k.Public()),
		Checkpoint:      string(sign(t, checkpoint(5), noteSigner(t, k, origin), cosigner(t, k, "time."+origin, 1_700_000_000))),
		Receipt:         string(must(signer.SignReceipt(receipt(), noteSigner(t, k, origin)))),
	}
}
