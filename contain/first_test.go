package contain

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestThoseItIsAboutComeFirst: the gates that a change names are told at once, and the tenant's others one after the other; a change that names
// none is for all of them.
func TestThoseItIsAboutComeFirst(t *testing.T) {
	about, other, third := GatePath([32]byte{1}), GatePath([32]byte{2}), GatePath([32]byte{3})
	of := func(paths ...Path) (events []*eventv1.Event) {
		for _, p := range append(paths, "") { // the whole has no path
			events = append(events, &eventv1.Event{Body: &eventv1.Event_System{System: &eventv1.System{Detail: &eventv1.System_Containment{
				Containment: &eventv1.Containment{Plan: "c", Path: string(p), State: requested},
			}}}})
		}
		return events
	}
	tests := map[string]struct {
		named []Path
		want  []time.Duration // of about, other, third
	}{
		"one gate":    {[]Path{about}, []time.Duration{0, headStart + otherEvery, headStart + 2*otherEvery}},
		"two gates":   {[]Path{about, third}, []time.Duration{0, headStart + otherEvery, 0}},
		"no gate":     {nil, []time.Duration{0, 0, 0}},
		"a connector": {[]Path{ConnectorPath("vault")}, []time.Duration{0, 0, 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := newTenant()
			in.first = firstOf(of(test.named...))
			e := &Engine{tenants: map[event.TenantID]*tenant{"acme": in}}
			var got []time.Duration
			for _, gate := range []Path{about, other, third} {
				got = append(got, e.later("acme", gate))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("turns (-want +got):\n%s", diff)
			}
		})
	}
}
