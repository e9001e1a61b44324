package chain_test

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/agentcustody/custody/chain"
)

// Two at a time are the same hashes as one at a time, whatever their lengths.
func TestPairHashesAsOneByOne(t *testing.T) {
	p := chain.NewPair()
	text := bytes.Repeat([]byte("0123456789abcdef"), 40)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		a, b := text[:rnd.IntN(len(text))], text[rnd.IntN(len(text)):]
		if x, y := p.Sums(a, b); x != sha256.Sum256(a) || y != sha256.Sum256(b) {
			t.Fatalf("hashes of %d and %d bytes", len(a), len(b))
		}
		if x, y := p.LeafHashes(a, b); x != chain.LeafHash(a) || y != chain.EventHash(b) {
			t.Fatalf("leaf hashes of %d and %d bytes", len(a), len(b))
		}
	}
}

func TestPairRoot(t *testing.T) {
	p := chain.NewPair()
	var hashes []chain.Hash
	for n := range 300 {
		if got, want := p.EventRoot(append([]chain.Hash{}, hashes...)), chain.EventRoot(hashes); got != want {
			t.Fatalf("root of %d is %s, want %s", n, got, want)
		}
		hashes = append(hashes, chain.EventHash([]byte{byte(n), byte(n >> 8)}))
	}
}

func BenchmarkPairOfEvents(b *testing.B) {
	p, e := chain.NewPair(), make([]byte, 438)
	for b.Loop() {
		p.LeafHashes(e, e)
	}
}
