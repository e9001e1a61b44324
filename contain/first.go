package contain

import (
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// A change is about the gates whose work must stop, and every other gate of the tenant gets it too. The others follow after the head start, one
// after the other: each then saves what it was told and asks for a lease, and a thousand at once would take the processors from those
// whom it is about.
const (
	headStart  = 2 * time.Millisecond
	otherEvery = 200 * time.Microsecond
)

// first is whom a change is about. It is guarded by the engine's mutex.
type first struct {
	target event.Target  // empty if it is about everybody
	gates  map[Path]bool // named in steps
	only   bool          // the gates that are named are all that have something to stop, as far as anybody knows
	later  int           // gates that have been told to come later
}

// firstOf reads the events of one message.
func firstOf(events []*eventv1.Event) *first {
	f := &first{gates: make(map[Path]bool)}
	for _, ev := range events {
		c := ev.GetSystem().GetContainment()
		target, err := event.ParseTarget(c.GetTarget())
		if c == nil || err != nil {
			return &first{} // a manifest, a key, a lease
		}
		if _, is := Path(c.GetPath()).Gate(); is {
			f.gates[Path(c.GetPath())] = true
		}
		f.target, f.only = target, isRuleOnRun(ev.GetSystem().GetActor(), target)
	}
	f.only = f.only && len(f.gates) > 0
	return f
}

// waits reports whether a gate comes after others: its instance has nothing to do with the change, or nobody knows that it has.
func (f *first) waits(gate Path, instance event.InstanceID) bool {
	return f.target != event.Target{} && !f.gates[gate] && (f.only || !f.target.Concerns(instance))
}

// later is how long a gate waits for its turn after the newest change.
func (e *Engine) later(name event.TenantID, gate Path, instance event.InstanceID) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.tenants[name].first
	if !f.waits(gate, instance) {
		return 0
	}
	f.later++
	return headStart + time.Duration(f.later)*otherEvery
}
