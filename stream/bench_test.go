package stream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkPublishMany is many agents that publish at once, each the next message when it has the acknowledgement of the one before: how long
// that takes, and how long a message of Custody's own takes meanwhile to be durable and to be read.
func BenchmarkPublishMany(b *testing.B) {
	for _, agents := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(agents), func(b *testing.B) { benchmarkPublishMany(b, agents) })
	}
}

func benchmarkPublishMany(b *testing.B, agents int) {
	s, data := open(b, Config{}), make([]byte, 32<<10)
	took := make([][]time.Duration, agents)
	own, stop := ownMessages(b, s)
	work := make(chan int)
	var all sync.WaitGroup
	for i := range agents {
		all.Go(func() {
			subject, last := EventSubject("acme", key(fmt.Sprint(i))), uint64(0)
			for range work {
				began := time.Now()
				seq, _, err := s.Publish(b.Context(), Msg{Subject: subject, ExpectLast: last, Data: data})
				if err != nil {
					b.Error(err)
				}
				last, took[i] = seq, append(took[i], time.Since(began))
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		work <- i
	}
	close(work)
	all.Wait()
	stop()
	b.ReportMetric(milliseconds(slices.Concat(took...), 99), "ms-p99")
	b.ReportMetric(milliseconds(*own, 50), "own-ms-p50")
	b.ReportMetric(milliseconds(*own, 99), "own-ms-p99")
}

// ownMessages publishes and reads Custody's own messages one after the other until stop is called.
func ownMessages(b *testing.B, s *Stream) (took *[]time.Duration, stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	took = new([]time.Duration)
	r := s.Read(1, SystemSubject("acme"))
	var done sync.WaitGroup
	done.Go(func() {
		defer r.Close()
		for last := uint64(0); ctx.Err() == nil; {
			began := time.Now()
			seq, _, err := s.Publish(b.Context(), Msg{Subject: SystemSubject("acme"), ExpectLast: last, Data: []byte("own")})
			if err == nil {
				_, err = r.Next(b.Context())
			}
			if err != nil {
				b.Error(err)
				return
			}
			last, *took = seq, append(*took, time.Since(began))
		}
	})
	return took, func() { cancel(); done.Wait() }
}

// milliseconds is a percentile.
func milliseconds(all []time.Duration, percent int) float64 {
	slices.Sort(all)
	return float64(all[(len(all)-1)*percent/100].Microseconds()) / 1000
}
