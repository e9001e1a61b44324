package store_test

import (
	"io"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/storetest"
)

// batchEvents is the size of the batches that benchmarks make.
const batchEvents = 100

// cpuTime is the process's processor time, ns: on a busy machine it says more
// than the clock.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}

func messages(b *testing.B, l *storetest.Log, events int) (all []*store.Folded) {
	b.Helper()
	for range events / batchEvents {
		all = append(all, l.Random("acme", batchEvents))
	}
	return all
}

// BenchmarkDerive is what the writer spends on an event before the engine has
// it: deriving the rows and handing the columns to the driver.
func BenchmarkDerive(b *testing.B) {
	const events = 10_000
	all := messages(b, storetest.NewLog(b, 1), events)
	block := store.NewBlock(1)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		block.Reset(1)
		for _, f := range all {
			block.Add(f)
		}
		if err := block.Append(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*events), "cpu-ns/event")
}

// BenchmarkWrite is what an event costs on its way into the embedded engine before the engine has it.
func BenchmarkWrite(b *testing.B) {
	const events = 40_000
	l := storetest.NewLog(b, 1)
	all := messages(b, l, events)
	block := l.Block(store.NewBlock(all[0].StreamSeq), all...)
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		if err := block.Write(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*events), "cpu-ns/event")
}

func benchmarkInsert(b *testing.B, events int) {
	var head atomic.Uint64
	s := storetest.Fresh(b, openDirect, &head)
	l := storetest.NewLog(b, 1)
	var block *store.Block
	var spent int64
	for b.Loop() {
		b.StopTimer()
		all := messages(b, l, events)
		before := cpuTime(b)
		b.StartTimer()
		if block == nil {
			block = store.NewBlock(all[0].StreamSeq)
		} else {
			block.Reset(all[0].StreamSeq)
		}
		if err := s.Insert(b.Context(), l.Block(block, all...)); err != nil {
			b.Fatal(err)
		}
		spent += cpuTime(b) - before
	}
	b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(spent)/float64(b.N)/1e6, "cpu-ms/block")
}

func BenchmarkInsert100(b *testing.B)   { benchmarkInsert(b, 100) }
func BenchmarkInsert1000(b *testing.B)  { benchmarkInsert(b, 1000) }
func BenchmarkInsert10000(b *testing.B) { benchmarkInsert(b, 10_000) }
func BenchmarkInsert40000(b *testing.B) { benchmarkInsert(b, 40_000) }
