//go:build unix

package evidence

import (
	"bytes"
	"context"
	"runtime/debug"
	"testing"
)

// BenchmarkVerify reports events a second of one core: with one worker, reading, hashing, checking and judging share it.
func BenchmarkVerify(b *testing.B) {
	const batches, events = 400, 128
	w := newWorld(b, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	for range batches {
		a.send(events)
	}
	w.clock("11:00")
	w.access()
	bundle, policy := w.bundle("08:30", "10:00"), w.policy()
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // as the program does
	b.SetBytes(int64(len(bundle)))
	b.ResetTimer()
	start := cpuTime()
	for range b.N {
		v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), policy, VerifyOptions{})
		if err != nil || v.Integrity != Intact || v.Authenticity != Authentic {
			b.Fatal(err, v.Text())
		}
	}
	b.ReportMetric(float64(b.N*batches*events)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(b.N*batches*events)/(cpuTime()-start).Seconds(), "events/cpu-s")
}
