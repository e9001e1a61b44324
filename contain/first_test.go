package contain

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/stream"
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
	tests := map[string]struct {
		events []*eventv1.Event
		first  []Path
	}{
		"a rule's pause of a run":             {containment("", "run/acme/r", mine), []Path{mine}},
		"of a run at two gates":               {containment("", "run/acme/r", mine, third), []Path{mine, third}},
		"of a run at gates that nobody knows": {containment("", "run/acme/r"), []Path{mine, other, third}},
		"a person's pause of a run":           {containment("dana", "run/acme/r", mine), []Path{mine, other, third}},
		"an instance":                         {containment("dana", "instance/acme/mine", mine), []Path{mine}},
		"an instance with a gate more":        {containment("dana", "instance/acme/mine", other), []Path{mine, other}},
		"the tenant":                          {containment("dana", "tenant/acme", mine), []Path{mine, other, third}},
		"a manifest":                          {manifest, []Path{mine, other, third}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, later := toldOf(test.events, map[Path]event.InstanceID{mine: "mine", other: "other", third: "third"})
				if diff := cmp.Diff(test.first, first); diff != "" {
					t.Errorf("told at once (-want +got):\n%s", diff)
				}
				want := []time.Duration{headStart, headStart + otherEvery, headStart + 2*otherEvery}[:3-len(test.first)]
				if diff := cmp.Diff(want, later, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("turns of the others (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// toldOf is who is told of a change at once, in order, and when the others are.
func toldOf(events []*eventv1.Event, gates map[Path]event.InstanceID) (first []Path, later []time.Duration) {
	e := &Engine{tenants: make(map[event.TenantID]*tenant)}
	var told sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for gate, instance := range gates {
		l := newListener(gate, instance)
		defer e.listen("acme", l)()
		all.Go(func() {
			<-l.news
			told.Lock()
			defer told.Unlock()
			if after := time.Since(began); after > 0 {
				later = append(later, after)
			} else {
				first = append(first, gate)
			}
		})
	}
	e.mu.Lock()
	e.tell(&e.tenants["acme"].audience, firstOf(events))
	e.mu.Unlock()
	all.Wait()
	slices.Sort(first)
	return first, later
}

// TestALateTurnMakesNobodyWait: a gate that has gone keeps no turn from others, a gate has one turn however many changes there are, and turns that
// came late come together.
func TestALateTurnMakesNobodyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{tenants: make(map[event.TenantID]*tenant)}
		gone, here := newListener(GatePath([32]byte{1}), "gone"), newListener(GatePath([32]byte{2}), "here")
		leave := e.listen("acme", gone)
		e.listen("acme", here)
		about := &first{target: event.Target{Kind: event.TargetInstance, Tenant: "acme", Instance: "mine"}}
		e.mu.Lock()
		audience := &e.tenants["acme"].audience
		e.tell(audience, about)
		e.tell(audience, about)
		if len(audience.later) != 2 {
			t.Errorf("%d turns for two gates", len(audience.later))
		}
		audience.next = time.Now().Add(-time.Second) // as if nothing had run for a while
		e.mu.Unlock()
		leave()
		e.tellLater(audience)
		if len(here.news) != 1 || len(audience.later) != 0 {
			t.Errorf("%d turns are left after their time", len(audience.later))
		}
		time.Sleep(time.Minute)
	})
}

// TestAnOrderHasTheRightOfWay until those whom it is about have been told.
func TestAnOrderHasTheRightOfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{cfg: Config{Way: new(stream.RightOfWay)}}
		began, done := time.Now(), e.hasten()
		time.AfterFunc(time.Millisecond, done)
		e.cfg.Way.Give(t.Context())
		if want := time.Millisecond + headStart; time.Since(began) != want {
			t.Errorf("others wait %s, want %s", time.Since(began), want)
		}
		time.Sleep(time.Second)
	})
}
