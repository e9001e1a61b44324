package chain_test

import (
	"testing"

	"github.com/agentcustody/custody/chain"
)

func BenchmarkAppend(b *testing.B) {
	head, _ := chain.New(origin)
	buf, e := make([]byte, 0, chain.LeafSize), entry(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := head.Append(buf, e); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyStream checks each leaf as an auditor does: link and root.
func BenchmarkVerifyStream(b *testing.B) {
	const n = 10_000
	h := write(b, n)
	b.ReportAllocs()
	for b.Loop() {
		head, _ := chain.New(origin)
		for _, leaf := range h.leaves {
			if _, _, err := head.Replay(leaf); err != nil {
				b.Fatal(err)
			}
		}
		if head.Root() != h.head.Root() {
			b.Fatal("another root")
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}

func BenchmarkEventHash(b *testing.B) {
	for name, size := range map[string]int{"400B": 400, "2KiB": 2048} {
		b.Run(name, func(b *testing.B) {
			event := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_ = chain.EventHash(event)
			}
		})
	}
}

func BenchmarkEventRoot(b *testing.B) {
	hashes := write(b, 1024).hashes
	b.ReportAllocs()
	for b.Loop() {
		_ = chain.EventRoot(hashes)
	}
}
