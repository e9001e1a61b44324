package edge

import (
	"testing"
	"time"
)

// TestSpread: a batch is never older than its age, and goes earlier by a part of it at the most.
func TestSpread(t *testing.T) {
	for _, age := range []time.Duration{0, 1, time.Millisecond, DefaultMaxBatchAge} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			got := spread(age)
			if got > age || got < age-age/ageSpread {
				t.Fatalf("%s of %s", got, age)
			}
			seen[got] = true
		}
		if age >= time.Millisecond && len(seen) < 2 {
			t.Errorf("%s is not spread", age)
		}
	}
}
