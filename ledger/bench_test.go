package ledger

import (
	"testing"
)

// benchBatches is how many batches of 256 events a benchmark folds.
const benchBatches = 600

// BenchmarkRun is the whole writer, from the stream to the store, on batches of 256 events.
func BenchmarkRun(b *testing.B) {
	s := newSite(b, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	for range benchBatches {
		a.send(256)
	}
	s.publish()
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
	s := newSite(b, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	for range benchBatches {
		a.send(256)
	}
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	for b.Loop() {
		s.expectClean(r.Ledger)
	}
	b.ReportMetric(float64(b.N)*benchBatches*256/b.Elapsed().Seconds(), "events/s")
}
