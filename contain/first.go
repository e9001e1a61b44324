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

// first is whom a change is about.
type first struct {
	target event.Target  // empty if it is about everybody
	gates  map[Path]bool // named in steps
	only   bool          // the gates that are named are all that have something to stop, as far as anybody knows
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

// hasten takes the right of way for an order. done gives it back when those whom the order is about have been told.
func (e *Engine) hasten() (done func()) {
	giveBack := e.cfg.Way.Take()
	return func() { time.AfterFunc(headStart, giveBack) }
}

// listener is one gate's stream that waits for changes.
type listener struct {
	gate     Path
	instance event.InstanceID
	news     chan struct{} // holds one: there may be a change
	waits    bool          // for its turn; guarded by the engine's mutex
}

func newListener(gate Path, instance event.InstanceID) *listener {
	return &listener{gate: gate, instance: instance, news: make(chan struct{}, 1)}
}

func (l *listener) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// audience is the listeners of one tenant, and those of them whose turn is yet to come. It is guarded by the engine's mutex.
type audience struct {
	listeners map[*listener]bool
	later     []*listener // in the order of their turns
	next      time.Time   // when the first of them is due
}

// listen adds a listener; leave takes it away.
func (e *Engine) listen(name event.TenantID, l *listener) (leave func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := &e.tenant(name).audience
	a.listeners[l] = true
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(a.listeners, l)
	}
}

// tell wakes those whom a change is about, and gives the others a turn. The engine's mutex is held.
func (e *Engine) tell(a *audience, f *first) {
	idle := len(a.later) == 0
	for l := range a.listeners {
		switch {
		case !f.waits(l.gate, l.instance):
			l.wake()
		case !l.waits:
			l.waits, a.later = true, append(a.later, l)
		}
	}
	if idle && len(a.later) > 0 {
		a.next = time.Now().Add(headStart)
		time.AfterFunc(headStart, func() { e.tellLater(a) })
	}
}

// tellLater wakes those whose turn has come.
func (e *Engine) tellLater(a *audience) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for now := time.Now(); len(a.later) > 0 && !a.next.After(now); a.next = a.next.Add(otherEvery) {
		l := a.later[0]
		l.waits, a.later = false, a.later[1:]
		l.wake()
	}
	if len(a.later) > 0 {
		time.AfterFunc(time.Until(a.next), func() { e.tellLater(a) })
	}
}
