package system

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// lagAim is how far behind the ledger should be just before it commits a block; the bound is 2 s, and a search takes its time too.
	lagAim = 1300 * time.Millisecond
	// steerEvery is how often the controller looks.
	steerEvery = 100 * time.Millisecond
	// lagOver is for how long a lag counts: longer than from one commit to the next, before which it is at its largest.
	lagOver = 1500 * time.Millisecond
	// speedOver is over what time the ledger's speed is measured, which commits in lumps of half a second and more.
	speedOver = 5 * time.Second

	// firstRate is the rate at the beginning, which grows by growth in a second until the lag is for the first time within lagNear of what it should be.
	firstRate = 20_000
	growth    = 1.12
	lagNear   = 200 * time.Millisecond
	// gain is how much faster or slower than the ledger the fleet then is for each second that is missing from the lag or too much.
	gain = 0.35
	// leastRate is what the controller sets at the least, events a second.
	leastRate = 2_000
)

// steer sets the fleet's rate by how far the ledger is behind, slowly: a rate that jumps leaves the machine idle in one moment and
// fills it with the emitters' work in the next.
func (f *Fleet) steer(ctx context.Context) error {
	c := controller{rate: firstRate}
	f.SetRate(c.rate)
	for pause(ctx, steerEvery) == nil {
		status, err := f.server.Status(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("steer: %w", err)
		}
		f.SetRate(c.next(f.sample(status)))
	}
	return nil
}

// sample is how many events the agents have recorded in all, and how many of them the ledger has committed.
type sample struct {
	at              time.Time
	made, committed float64
	lag             time.Duration // age of the oldest that is not committed
}

func (f *Fleet) sample(status *apiv1.StatusResponse) sample {
	waiting := f.Recorded() - min(f.Recorded(), f.Acknowledged()) + status.GetBacklog()
	var made uint64
	for i := range f.made {
		made += f.made[i].Load()
	}
	return sample{at: time.Now(), made: float64(made), committed: float64(made) - float64(min(made, waiting))}
}

// controller finds the rate at which the ledger is lagAim behind.
type controller struct {
	rate    float64
	settled bool     // the lag was what it should be
	history []sample // of speedOver
}

// next takes a sample and returns the rate until the next one.
func (c *controller) next(s sample) float64 {
	s.lag = c.age(s)
	c.history = append(c.history, s)
	for c.history[0].at.Before(s.at.Add(-speedOver)) {
		c.history = c.history[1:]
	}
	worst := c.worst(s.at.Add(-lagOver))
	if c.settled = c.settled || worst >= lagAim-lagNear; c.settled {
		c.rate = c.speed() * (1 + gain*(lagAim-worst).Seconds())
	} else {
		c.rate *= math.Pow(growth, steerEvery.Seconds())
	}
	c.rate = max(c.rate, leastRate)
	return c.rate
}

// age is how long ago the oldest event was recorded that is not committed: at the earliest when the last sample was taken that did not have it.
func (c *controller) age(s sample) time.Duration {
	if s.committed >= s.made {
		return 0
	}
	for _, before := range slices.Backward(c.history) {
		if before.made <= s.committed {
			return s.at.Sub(before.at)
		}
	}
	if len(c.history) == 0 {
		return 0
	}
	return s.at.Sub(c.history[0].at)
}

// worst is the largest lag since then.
func (c *controller) worst(since time.Time) (most time.Duration) {
	for _, s := range c.history {
		if !s.at.Before(since) {
			most = max(most, s.lag)
		}
	}
	return most
}

// speed is how many events a second the ledger commits: the line that is nearest to the samples, as commits come in lumps.
func (c *controller) speed() float64 {
	var at, committed, square, both float64 // sums, from the first sample on
	for _, s := range c.history {
		x, y := s.at.Sub(c.history[0].at).Seconds(), s.committed-c.history[0].committed
		at, committed, square, both = at+x, committed+y, square+x*x, both+x*y
	}
	n := float64(len(c.history))
	return max(0, (n*both-at*committed)/max(n*square-at*at, math.SmallestNonzeroFloat64))
}
