package contain

import (
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// A change names the gates whose work must stop, and every other gate of the tenant gets it too. The others follow after the head start, one
// after the other: each then saves what it was told and asks for a lease, and a thousand at once would take the processors from whom it
// is about.
const (
	headStart  = 2 * time.Millisecond
	otherEvery = 200 * time.Microsecond
)

// first is whom a change is about. It is guarded by the engine's mutex.
type first struct {
	gates map[Path]bool
	later int // gates that have been told to come later
}

// firstOf is the gates that the events of one message name in steps.
func firstOf(events []*eventv1.Event) *first {
	f := &first{gates: make(map[Path]bool)}
	for _, ev := range events {
		path := Path(ev.GetSystem().GetContainment().GetPath())
		if _, is := path.Gate(); is {
			f.gates[path] = true
		}
	}
	return f
}

// later is how long a gate waits for its turn after the newest change.
func (e *Engine) later(name event.TenantID, gate Path) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.tenants[name].first
	if len(f.gates) == 0 || f.gates[gate] {
		return 0
	}
	f.later++
	return headStart + time.Duration(f.later)*otherEvery
}
