package torture

import (
	"path/filepath"
	"testing"
	"time"
)

// TestPowerCut takes the power from the server, from the agents' machine, or from both, under load. What has a
// receipt is in the log whatever happens; a cut at the agents may take what was recorded and not flushed.
func TestPowerCut(t *testing.T) {
	rnd := random(t)
	server, agents := newVolume(t, "server", "1G"), newVolume(t, "agents", "256M")
	s := newSite(t, t.TempDir(), func(c *serveConfig) { c.Data = filepath.Join(server.path, "data") })
	s.agents = agents.path
	s.start()
	s.populate(2)
	for round := range rounds(9, 90) {
		for _, e := range s.emitters {
			if round > 0 { // the first cut comes right after the agents have joined
				e.start()
			}
		}
		time.Sleep(time.Duration(rnd.Int64N(int64(2 * mostLoad))))
		what := []string{"both", "the server", "the agents"}[round%3]
		if what != "the agents" {
			s.server.kill()
			server.cut()
			s.start()
		}
		if what != "the server" {
			for _, e := range s.emitters {
				e.kill()
			}
			agents.cut()
			s.forgive()
		}
		a := s.invariant()
		t.Logf("round %d: the power of %s was cut; %d messages, %s", round+1, what, a.Committed, s.promised())
	}
	s.settled()
	s.opens()
}

// forgive notes what a power cut took from the spools: it was recorded, had no receipt and did not arrive.
func (s *site) forgive() {
	s.t.Helper()
	var a audit
	s.server.ask("audit", &a)
	in := a.positions()
	for _, e := range s.emitters {
		c := e.claims()
		for i, r := range c.recorded {
			if in[r.ID] == 0 && !c.spooled[r.ID] && i >= c.flushed {
				e.lost[r.ID] = true
			}
		}
	}
}
