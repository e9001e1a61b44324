package vault_test

import (
	"fmt"
	"testing"

	"github.com/agentcustody/custody/signer/vault"
)

func BenchmarkSeal(b *testing.B) {
	k := ensure(b, open(b, b.TempDir()), "alice")[0]
	value := make([]byte, 200)
	dst := make([]byte, 0, 200+vault.Overhead)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vault.AppendSealed(dst, k, aad, value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := ensure(b, open(b, b.TempDir()), "alice")[0]
	sealed := seal(b, k, string(make([]byte, 200)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vault.Open(k, aad, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnsureKnown(b *testing.B) {
	v := open(b, b.TempDir())
	subjects := []string{"a", "b", "c", "d"}
	b.ReportAllocs()
	for b.Loop() {
		ensure(b, v, subjects...)
	}
}

// BenchmarkEnsureNew makes the keys of one batch of 1,024 new subjects.
func BenchmarkEnsureNew(b *testing.B) {
	v := open(b, b.TempDir())
	subjects := make([]string, 1024)
	batch := 0
	for b.Loop() {
		for i := range subjects {
			subjects[i] = fmt.Sprintf("subject-%d-%d", batch, i)
		}
		batch++
		ensure(b, v, subjects...)
	}
	b.ReportMetric(float64(1024*b.N)/b.Elapsed().Seconds(), "keys/s")
}
