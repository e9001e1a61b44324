package system

import (
	"math"
	"testing"
	"time"
)

// A ledger that commits so many events a second, a block every 0.7 s, is given as many, and is behind by what it should be.
func TestControllerFindsTheRateThatTheLedgerFollows(t *testing.T) {
	const capacity, block = 37_000.0, 700 * time.Millisecond
	c := controller{rate: firstRate}
	var made, committed, took float64 // took is until the writer has read
	var rates, lags []float64
	began := time.Now()
	for step := range 400 {
		now := time.Duration(step) * steerEvery
		made += c.rate * steerEvery.Seconds()
		took = min(took+capacity*steerEvery.Seconds(), made)
		if now%block == 0 {
			committed = took
		}
		c.next(sample{at: began.Add(now), made: made, committed: committed})
		if now > 15*time.Second {
			rates, lags = append(rates, c.rate), append(lags, c.worst(began.Add(now-lagOver)).Seconds())
		}
	}
	for i := range rates {
		if math.Abs(rates[i]-capacity) > capacity/5 || math.Abs(lags[i]-lagAim.Seconds()) > 0.4 {
			t.Fatalf("after %d steps: %.0f events/s, %.2f s behind; the ledger commits %.0f events/s", i, rates[i], lags[i], capacity)
		}
	}
}
