package torture

import (
	"testing"
	"time"

	"github.com/agentcustody/custody/ledger"
)

// steps are the named steps of the commit protocol, in order.
var steps = []ledger.Step{ledger.StepClaimed, ledger.StepIntended, ledger.StepInserted, ledger.StepDone, ledger.StepPublished}

// TestKilledAtEachStep kills the server at each step of the commit while agents record, and again at another step
// while it recovers.
func TestKilledAtEachStep(t *testing.T) {
	rnd := random(t)
	s := newSite(t, t.TempDir())
	s.start()
	s.populate(2)
	s.stop()
	for _, e := range s.emitters {
		e.start()
	}
	for range rounds(1, 20) {
		for _, step := range steps {
			again := steps[rnd.IntN(len(steps))]
			s.dieAt(step, 1+rnd.Int32N(3))
			s.dieAt(again, 1)
			s.start()
			a := s.invariant()
			t.Logf("killed when a block was %s, then when one was %s; %d messages, %s", step, again, a.Committed, s.promised())
			s.server.kill()
		}
	}
	s.start()
	s.settled()
}

// dieAt runs the server until it kills itself at the nth time that it comes to a step. A writer claims once.
func (s *site) dieAt(step ledger.Step, nth int32) {
	s.t.Helper()
	if step == ledger.StepClaimed {
		nth = 1
	}
	s.config.KillAt, s.config.KillNth = step, nth
	defer func() { s.config.KillAt = "" }()
	s.launch()
	select {
	case <-s.server.ended:
	case <-time.After(patience):
		s.t.Fatalf("the server has not come to step %q %d times", step, nth)
	}
}

// TestKilledAtItsFirstStart kills the server while it makes its keys, its people and the operator's log: the next
// start that is let be serves its admin.
func TestKilledAtItsFirstStart(t *testing.T) {
	rnd := random(t)
	for range rounds(3, 100) {
		s := newSite(t, t.TempDir())
		for range 1 + rnd.IntN(4) {
			s.launch()
			time.Sleep(time.Duration(rnd.Int64N(int64(time.Second))))
			s.server.kill()
		}
		s.start()
		s.populate(1)
		s.emitters[0].start()
		s.settled()
		s.stop()
	}
}
