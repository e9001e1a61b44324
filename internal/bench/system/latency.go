package system

import (
	"context"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
)

// Latencies runs the fleet at a rate and returns the seconds from Record to the receipt of every event recorded, of those
// that have one.
func (f *Fleet) Latencies(ctx context.Context, perSecond float64, d time.Duration) ([]float64, error) {
	// A receipt for what was recorded before would be taken for that of a later event.
	if err := f.Flush(ctx); err != nil {
		return nil, err
	}
	f.SetRate(perSecond)
	defer f.SetRate(0)
	clocks := make([]receiptClock, len(f.emitters))
	for i, e := range f.emitters {
		clocks[i].acknowledged = func() uint64 { return e.Stats().Acknowledged }
		clocks[i].done = clocks[i].acknowledged()
	}
	watching, stop := context.WithCancel(ctx)
	var side sync.WaitGroup
	side.Go(func() {
		for pause(watching, receiptStep) == nil {
			for i := range clocks {
				clocks[i].look()
			}
		}
	})
	err := f.run(ctx, d, func(emitter int, _ event.ID) { clocks[emitter].started() })
	_ = f.Flush(ctx)
	_ = pause(ctx, 10*receiptStep)
	stop()
	side.Wait()
	var all []float64
	for i := range clocks {
		all = append(all, clocks[i].seconds...)
	}
	return all, err
}

// receiptStep is how exactly receipts are seen.
const receiptStep = time.Millisecond

// receiptClock pairs the events of one emitter with its receipts: both come in order.
type receiptClock struct {
	acknowledged func() uint64
	done         uint64 // receipts seen

	mu      sync.Mutex
	open    []time.Time // of events without a receipt
	seconds []float64
}

func (c *receiptClock) started() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, now)
}

func (c *receiptClock) look() {
	acknowledged, now := c.acknowledged(), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(int(acknowledged-c.done), len(c.open)) // an event may have its receipt before it is noted here
	for _, began := range c.open[:n] {
		c.seconds = append(c.seconds, now.Sub(began).Seconds())
	}
	c.open, c.done = c.open[n:], c.done+uint64(n)
}
