package contain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestThoseItIsAboutComeFirst: gates that a rule's pause of a run names, and those of an instance that is contained, are told at once, and
// the tenant's others one after the other. What is about everybody is told to everybody.
func TestThoseItIsAboutComeFirst(t *testing.T) {
	mine, other, third := GatePath([32]byte{1}), GatePath([32]byte{2}), GatePath([32]byte{3})
	containment := func(actor, target string, named ...Path) (events []*eventv1.Event) {
		for _, path := range append([]Path{""}, named...) { // the whole has no path
			events = append(events, &eventv1.Event{Body: &eventv1.Event_System{System: &eventv1.System{Actor: actor, Detail: &eventv1.System_Containment{
				Containment: &eventv1.Containment{Target: target, Plan: "c", Path: string(path), State: requested},
			}}}})
		}
		return events
	}
	manifest := []*eventv1.Event{{Body: &eventv1.Event_System{System: &eventv1.System{Detail: &eventv1.System_Manifest{}}}}}
	const once, twice = headStart + otherEvery, headStart + 2*otherEvery
	tests := map[string]struct {
		events []*eventv1.Event
		want   []time.Duration // of mine, other, third
	}{
		"a rule's pause of a run":             {containment("", "run/acme/r", mine), []time.Duration{0, once, twice}},
		"of a run at two gates":               {containment("", "run/acme/r", mine, third), []time.Duration{0, once, 0}},
		"of a run at gates that nobody knows": {containment("", "run/acme/r"), []time.Duration{0, 0, 0}},
		"a person's pause of a run":           {containment("dana", "run/acme/r", mine), []time.Duration{0, 0, 0}},
		"an instance":                         {containment("dana", "instance/acme/mine", mine), []time.Duration{0, once, twice}},
		"an instance with a gate more":        {containment("dana", "instance/acme/mine", other), []time.Duration{0, 0, once}},
		"the tenant":                          {containment("dana", "tenant/acme", mine), []time.Duration{0, 0, 0}},
		"a manifest":                          {manifest, []time.Duration{0, 0, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := newTenant()
			in.first = firstOf(test.events)
			e := &Engine{tenants: map[event.TenantID]*tenant{"acme": in}}
			got := []time.Duration{e.later("acme", mine, "mine"), e.later("acme", other, "other"), e.later("acme", third, "third")}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}
