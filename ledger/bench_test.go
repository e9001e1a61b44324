package ledger

import (
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/signer"
)

// benchBatches is how many batches of 256 events a benchmark folds.
const benchBatches = 600

// benchSite is a stream with benchBatches batches of 256 events.
func benchSite(b *testing.B) *site {
	b.Helper()
	s := newSite(b, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	for range benchBatches {
		a.send(256)
	}
	s.publish()
	return s
}

// BenchmarkRun is the whole writer, from the stream to the store, on batches of 256 events.
func BenchmarkRun(b *testing.B) {
	s := benchSite(b)
	for b.Loop() {
		b.StopTimer()
		s.openStore()
		s.rewind()
		b.StartTimer()
		r := start0(s.config())
		s.catchUp(r)
		b.StopTimer()
		s.check(r.stop())
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*benchBatches*256/b.Elapsed().Seconds(), "events/s")
}

// rewind sets the head back to the beginning.
func (s *site) rewind() {
	register := s.stream.Head("0")
	_, revision, err := register.Load(s.t.Context())
	s.check(err)
	h := head{Version: headVersion, Incarnation: s.stream.Incarnation()}
	_, err = register.CompareAndSet(s.t.Context(), h.marshal(), revision)
	s.check(err)
}

func BenchmarkCheck(b *testing.B) {
	s := benchSite(b)
	r := s.run(s.config())
	s.catchUp(r)
	for b.Loop() {
		s.expectClean(r.Ledger)
	}
	b.ReportMetric(float64(b.N)*benchBatches*256/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFollowers is two followers at once from one stream: CPU time an event, of both together and of the stream's server.
func BenchmarkFollowers(b *testing.B) {
	s := benchSite(b)
	last := uint64(len(s.messages))
	var before, after unix.Rusage
	s.check(unix.Getrusage(unix.RUSAGE_SELF, &before))
	for b.Loop() {
		both := s.followers()
		var work sync.WaitGroup
		for _, f := range both {
			work.Go(func() {
				for f.Seq() < last {
					_, err := f.Next(b.Context())
					s.check(err)
				}
				f.Close()
			})
		}
		work.Wait()
	}
	s.check(unix.Getrusage(unix.RUSAGE_SELF, &after))
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/1000/float64(b.N)/benchBatches/256, "µs-CPU/event")
}

func (s *site) followers() [2]*Follower {
	feed, verified := NewFeed(s.stream), new(signer.Verified)
	var both [2]*Follower
	for i := range both {
		both[i] = NewFollower(feed, s.system.Public(), new(memory), func() uint64 { return 0 })
		both[i].Remember(verified)
	}
	return both
}
