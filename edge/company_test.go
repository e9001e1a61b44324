package edge

import (
	"testing"
	"time"
)

// TestCompany: a batch that is cut has time to be sent before its age is over, and is cut earlier by a part of it at the most.
func TestCompany(t *testing.T) {
	for _, age := range []time.Duration{0, 1, time.Millisecond, DefaultMaxBatchAge} {
		seen := map[time.Duration]bool{}
		most := age - age/ageReserve
		for range 1000 {
			got := company(age)
			if got > most || got < most-age/ageSpread {
				t.Fatalf("%s of %s", got, age)
			}
			seen[got] = true
		}
		if age >= time.Millisecond && len(seen) < 2 {
			t.Errorf("%s is not spread", age)
		}
	}
}
