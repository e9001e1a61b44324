package torture

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Moments of the kill, after everything was started.
const (
	mostLoad  = 600 * time.Millisecond
	mostStart = 1500 * time.Millisecond // of a server that is killed while it starts
)

// TestKilledFiftyTimes kills emitters, the server, or all of them at random moments under load, and holds the
// invariant after each.
func TestKilledFiftyTimes(t *testing.T) {
	rnd := random(t)
	s := newSite(t, t.TempDir())
	s.start()
	s.populate(2)
	for round := range rounds(50, 1000) {
		for _, e := range s.emitters {
			e.start()
		}
		time.Sleep(time.Duration(rnd.Int64N(int64(mostLoad))))
		what := s.killSome(rnd)
		if !s.server.alive() {
			what += s.restart(rnd)
		}
		a := s.invariant()
		t.Logf("round %d: killed %s; %d messages, %s", round+1, what, a.Committed, s.promised())
	}
	s.settled()
	s.stop()
}

// killSome kills an emitter, all emitters, the server, or everything in a random order.
func (s *site) killSome(rnd *rand.Rand) string {
	one := s.emitters[rnd.IntN(len(s.emitters))]
	switch rnd.IntN(5) {
	case 0:
		one.kill()
		return one.name
	case 1:
		for _, e := range s.emitters {
			e.kill()
		}
		return "all emitters"
	case 2, 3:
		s.server.kill()
		return "the server"
	}
	victims := []func(){s.server.kill}
	for _, e := range s.emitters {
		victims = append(victims, e.kill)
	}
	rnd.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, kill := range victims {
		kill()
	}
	return "everything"
}

// restart starts the server again; now and then it is killed once more while it starts.
func (s *site) restart(rnd *rand.Rand) (what string) {
	s.t.Helper()
	if rnd.IntN(4) == 0 {
		s.launch()
		after := time.Duration(rnd.Int64N(int64(mostStart)))
		time.Sleep(after)
		s.server.kill()
		what = fmt.Sprintf(", and the server again %s after its start", after.Round(time.Millisecond))
	}
	s.start()
	return what
}
