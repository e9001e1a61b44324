package contain

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// said is one containment event of the tests: what, about which path, by whom.
func said(id string, state eventv1.ContainmentState, path Path, observer string) *eventv1.System {
	return &eventv1.System{Actor: "dana", Reason: "test", Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
		State: state, Target: "instance/acme/a", Level: "pause", Plan: id, Path: string(path), Observer: observer, Evidence: "seen",
	}}}
}

const path = Path("gate/0000000000000000000000000000000000000000000000000000000000000001")

func TestFold(t *testing.T) {
	began := []*eventv1.System{said("c1", requested, "", ""), said("c1", requested, path, byCustody)}
	tests := map[string]struct {
		events []*eventv1.System
		phase  Phase
		state  eventv1.ContainmentState // of the step, 0 if there is none
		doubt  bool
		open   bool
	}{
		"requested":                    {nil, InForce, requested, false, false},
		"delivered":                    {[]*eventv1.System{said("c1", delivered, path, byAgent)}, InForce, delivered, false, false},
		"verified by a probe":          {[]*eventv1.System{said("c1", verified, path, byProbe)}, InForce, verified, false, false},
		"not by its own word":          {[]*eventv1.System{said("c1", verified, path, byAgent)}, InForce, requested, false, false},
		"never backwards":              {[]*eventv1.System{said("c1", acknowledged, path, byAgent), said("c1", delivered, path, byAgent)}, InForce, acknowledged, false, false},
		"an intent":                    {[]*eventv1.System{said("c1", intended, path, byCustody)}, InForce, requested, false, true},
		"an intent and its end":        {[]*eventv1.System{said("c1", intended, path, byCustody), said("c1", acknowledged, path, byCustody)}, InForce, acknowledged, false, false},
		"doubt":                        {[]*eventv1.System{said("c1", unproven, path, byCustody)}, InForce, requested, true, false},
		"doubt takes a proof away":     {[]*eventv1.System{said("c1", verified, path, byProbe), said("c1", unproven, path, byProbe)}, InForce, acknowledged, true, false},
		"a proof ends doubt":           {[]*eventv1.System{said("c1", unproven, path, byProbe), said("c1", verified, path, byProbe)}, InForce, verified, false, false},
		"released":                     {[]*eventv1.System{said("c1", released, "", "")}, Released, requested, false, false},
		"nothing after the release":    {[]*eventv1.System{said("c1", released, "", ""), said("c1", verified, path, byProbe)}, Released, requested, false, false},
		"its release is proposed":      {[]*eventv1.System{said("c1", proposed, "", "")}, ReleaseProposed, requested, false, false},
		"a state of an unknown path":   {[]*eventv1.System{said("c1", delivered, "gate/other", byAgent)}, InForce, requested, false, false},
		"a state of an unknown plan":   {[]*eventv1.System{said("c9", delivered, path, byAgent)}, InForce, requested, false, false},
		"a release of an unknown plan": {[]*eventv1.System{said("c9", released, "", "")}, InForce, requested, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var s State
			for i, x := range slices.Concat(began, test.events) {
				s.Apply(int64(i), x)
			}
			c := s.Find("c1")
			step := c.step(path)
			if c.Phase != test.phase || step.State != test.state || (step.Doubt != "") != test.doubt || step.Open != test.open || len(s.All()) != 1 {
				t.Errorf("got %s, %+v", c.Phase, step)
			}
		})
	}
}

// TestRepeatsChangeNothing: an event that is folded again, at once or later, leaves the state as it is; but for intents, each
// of which is a call.
func TestRepeatsChangeNothing(t *testing.T) {
	events := []*eventv1.System{
		said("c1", proposed, "", ""), said("c1", requested, "", ""), said("c1", requested, path, byCustody), said("c1", delivered, path, byAgent),
		said("c1", acknowledged, path, byAgent), said("c1", unproven, path, byCustody), said("c1", verified, path, byGateway),
	}
	var once State
	for i, x := range events {
		once.Apply(int64(i), x)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var often State
		for i, x := range events {
			if !often.Apply(int64(i), x) {
				t.Fatalf("event %d changes nothing", i)
			}
			switch k := random.IntN(i + 1); {
			case i >= 5 && k == 5, k == 0 && i > 0: // doubt of what is proven, a proposal to release: news when they come again
			default:
				often.Apply(int64(i+100), events[k])
			}
		}
		if often.Hash() != once.Hash() {
			t.Fatal("a repeated event has changed the state")
		}
	}
}

func TestReleasedOnesAreForgottenInTheEnd(t *testing.T) {
	var s State
	for i := range maxReleased + 10 {
		id := s.NextID(event.Target{Kind: event.TargetTenant, Tenant: "acme"}, Pause)
		s.Apply(int64(i), said(string(id), requested, "", ""))
		if i > 4 {
			s.Apply(int64(i), said(string(id), released, "", ""))
		}
	}
	if got, want := len(s.All()), maxReleased+5; got != want {
		t.Errorf("%d are kept, want %d", got, want)
	}
}

// TestIDsCollapse: two that know the same log choose the same id.
func TestIDsCollapse(t *testing.T) {
	var a, b State
	target := event.Target{Kind: event.TargetTenant, Tenant: "acme"}
	if a.NextID(target, Pause) != b.NextID(target, Pause) || a.NextID(target, Pause) == a.NextID(target, Quarantine) {
		t.Error("ids")
	}
	before := a.NextID(target, Pause)
	a.Apply(1, said(string(before), requested, "", ""))
	if a.NextID(target, Pause) == before {
		t.Error("an id is used twice")
	}
}

func TestProofs(t *testing.T) {
	over, out := standing{over: true, lent: true}, standing{}
	tests := map[string]struct {
		step Step
		at   standing
		want string
	}{
		"agent's word":    {Step{Path: path, State: acknowledged, Observer: byAgent}, over, "NOT PROVEN (agent's word only)"},
		"gateway's word":  {Step{Path: path, State: acknowledged, Observer: byGateway}, over, "NOT PROVEN (closed, and nothing has tried it yet)"},
		"silence":         {Step{Path: path, State: requested}, over, "lease-expired (cooperative)"},
		"never seen":      {Step{Path: path, State: requested}, standing{over: true}, "NOT PROVEN (no gate has connected)"},
		"lease is out":    {Step{Path: path, State: requested}, out, "NOT PROVEN (may act until 00:00:00)"},
		"still running":   {Step{Path: path, State: delivered}, out, "NOT PROVEN (calls are still running)"},
		"seen":            {Step{Path: path, State: verified, Evidence: "refused\x1b[0m"}, out, `verified: refused\x1b[0m`},
		"connector":       {Step{Path: "connector/x", State: requested}, out, "NOT PROVEN (not called yet)"},
		"being called":    {Step{Path: "connector/x", State: requested, Open: true}, out, "NOT PROVEN (a call is on its way)"},
		"connector's yes": {Step{Path: "connector/x", State: acknowledged}, out, "NOT PROVEN (the connector's word only)"},
		"in doubt":        {Step{Path: "connector/x", State: acknowledged, Doubt: "STILL ALIVE"}, out, "NOT PROVEN (STILL ALIVE)"},
	}
	for name, test := range tests {
		if diff := cmp.Diff(test.want, test.step.proof(test.at)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestWhatKeepsIt: the command that is logged before a containment ends is one that a single person can run, and holds nothing that an
// agent has written.
func TestWhatKeepsIt(t *testing.T) {
	hostile := event.Target{Kind: event.TargetRun, Tenant: "acme", Name: "x'; rm -rf $HOME #"}
	for level, want := range map[Level]string{
		Restrict:   "custody contain c-1 --level restrict --reason 'not over'",
		Pause:      "custody contain c-1 --level pause --reason 'not over'",
		Quarantine: "custody contain c-1 --level pause --reason 'not over'",
	} {
		if got := keepCommand(&Containment{ID: "c-1", Target: hostile, Level: level}); got != want {
			t.Errorf("%s: %s", level, got)
		}
	}
}
