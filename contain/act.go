package contain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ProposalTTL is how long a proposal can be confirmed: an incident, not a shift.
const ProposalTTL = time.Hour

// Why a request is refused.
var (
	// ErrNotFound says that there is no such tenant, instance or containment.
	ErrNotFound = errors.New("not found")
	// ErrGrown says that a plan reaches more than when it was made.
	ErrGrown = errors.New("the reach has grown since the plan was made")
	// ErrLasts says that a containment was to last longer than any may.
	ErrLasts = fmt.Errorf("a containment lasts at most %s, or until it is released", MaxLasts)
	// ErrNoPath says that nothing can be done about a target.
	ErrNoPath = errors.New("nothing here can stop it: no connector revokes this credential")
)

// Order is what a person asks for.
type Order struct {
	Target     event.Target
	Level      Level
	Actor      string
	Reason     string
	BreakGlass bool // no second person
	// Lasts is how long it is in force, at most MaxLasts; 0 is until it is released. A person is told before it ends.
	Lasts time.Duration

	drill bool // a drill's own: what else is asked for meanwhile is a containment beside it
}

// needsTwo reports whether a containment takes two people.
func needsTwo(t event.Target, l Level) bool { return t.Kind == event.TargetTenant || l == Quarantine }

// Contain puts a containment in force, or proposes it where a second person is needed. One that is in force already, at this
// level or a stricter one, is returned as it is. Errors: ErrNotFound, ErrNoPath, those of the stream.
func (e *Engine) Contain(ctx context.Context, o Order) (c *Containment, already bool, err error) {
	e.acting.Lock()
	defer e.acting.Unlock()
	defer e.hasten()()
	return e.contain(ctx, o)
}

// contain is Contain for whoever is acting.
func (e *Engine) contain(ctx context.Context, o Order) (c *Containment, already bool, err error) {
	if o.Lasts < 0 || o.Lasts > MaxLasts {
		return nil, false, fmt.Errorf("contain %s: %w", o.Target, ErrLasts)
	}
	if err := e.catchUp(ctx, o.Target.Tenant); err != nil {
		return nil, false, fmt.Errorf("contain %s: %w", o.Target, err)
	}
	if err := e.exists(o.Target); err != nil {
		return nil, false, fmt.Errorf("contain %s: %w", o.Target, err)
	}
	found, id := e.standing(o)
	if found != nil && found.Phase.Holds() {
		return found, true, nil
	}
	if err := e.begin(ctx, o, found, id); err != nil {
		return nil, false, fmt.Errorf("contain %s: %w", o.Target, err)
	}
	if o.drill {
		e.drills[id] = true
	}
	return e.snapshot(o.Target.Tenant, id), false, nil
}

// exists reports why there is no such target. Runs, connectors, credentials and principals are not listed anywhere, so any is
// taken.
func (e *Engine) exists(t event.Target) error {
	known := false
	tenant := e.cfg.Roster.View(t.Tenant, func(s *registry.State) {
		_, known = s.Instance(string(t.Instance))
	})
	switch {
	case !tenant, (t.Kind == event.TargetInstance || t.Kind == event.TargetConnector && t.Instance != event.AnyInstance) && !known:
		return ErrNotFound
	case t.Kind == event.TargetCredential && len(e.connectorsFor(t, Quarantine)) == 0:
		return ErrNoPath
	}
	return nil
}

// standing is what is in force or proposed for an order already, and the id that it has or would have. What a drill will release counts
// for nobody else.
func (e *Engine) standing(o Order) (found *Containment, id ID) {
	e.look(o.Target.Tenant, func(s *State) {
		for _, c := range s.All() {
			holds := c.Phase.Holds() && (o.drill || !e.drills[c.ID]) && c.Level.Covers(o.Level) && c.outlasts(o)
			waits := c.Phase == Proposed && c.Level == o.Level && c.Lasts == int64(o.Lasts) && e.isFresh(c)
			if c.Target == o.Target && (holds || waits && found == nil) {
				found = c.clone()
			}
		}
		if id = s.NextID(o.Target, o.Level); found != nil {
			id = found.ID
		}
	})
	return found, id
}

func (e *Engine) isFresh(c *Containment) bool {
	return e.cfg.Now().Sub(time.Unix(0, c.RequestedAt)) < ProposalTTL
}

// begin records what an order leads to: a proposal, or the containment and its steps. The first event is what counts; a crash
// after it leaves steps that the patrol adds.
func (e *Engine) begin(ctx context.Context, o Order, pending *Containment, id ID) error {
	whole := &eventv1.Containment{Target: o.Target.String(), Level: string(o.Level), Plan: string(id), State: requested, Lasts: int64(o.Lasts)}
	switch two := needsTwo(o.Target, o.Level); {
	case two && o.BreakGlass:
		whole.BreakGlass = true
		e.cfg.Log.WarnContext(ctx, "GLASS BROKEN: contained without a second person",
			slog.String("target", whole.Target), slog.String("level", whole.Level), slog.String("by", o.Actor))
	case two && pending != nil && pending.Actor != o.Actor:
		whole.Second = o.Actor
	case two && pending != nil:
		return nil // the same person again: it still waits
	case two:
		whole.State = proposed
		return e.record(ctx, o.Target.Tenant, system(o, whole))
	}
	events := []*eventv1.System{system(o, whole)}
	return e.record(ctx, o.Target.Tenant, append(events, e.steps(o.Target, o.Level, whole)...)...)
}

func system(o Order, x *eventv1.Containment) *eventv1.System {
	return &eventv1.System{Actor: o.Actor, Reason: o.Reason, Detail: &eventv1.System_Containment{Containment: x}}
}

// steps are the requests of each path that a containment closes.
func (e *Engine) steps(t event.Target, l Level, whole *eventv1.Containment) []*eventv1.System {
	var events []*eventv1.System
	for _, path := range e.paths(t, l) {
		events = append(events, step(whole, uint32(len(events))+1, path, requested, byCustody, ""))
	}
	return events
}

// step is one state of one step.
func step(whole *eventv1.Containment, number uint32, path Path, state eventv1.ContainmentState, observer, evidence string) *eventv1.System {
	return &eventv1.System{Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
		State: state, Target: whole.GetTarget(), Level: whole.GetLevel(), Plan: whole.GetPlan(),
		Step: number, Path: string(path), Observer: observer, Evidence: evidence,
	}}}
}

// wholeOf is the event that a containment is about.
func wholeOf(c *Containment) *eventv1.Containment {
	return &eventv1.Containment{Target: c.Target.String(), Level: string(c.Level), Plan: string(c.ID)}
}

// paths are all that a containment closes, gates first.
func (e *Engine) paths(t event.Target, l Level) (paths []Path) {
	for _, g := range e.gatesOf(t) {
		paths = append(paths, GatePath(g.ID))
	}
	for _, c := range e.connectorsFor(t, l) {
		paths = append(paths, ConnectorPath(c.Name))
	}
	return paths
}

// gatesOf are the keys that may act under a target, by instance and key. A credential is not known at a gate.
func (e *Engine) gatesOf(t event.Target) (keys []registry.Key) {
	if t.Kind == event.TargetCredential {
		return nil
	}
	e.cfg.Roster.View(t.Tenant, func(s *registry.State) {
		for _, k := range s.Keys() {
			if hasGate(k) && t.Concerns(event.InstanceID(k.Instance)) {
				keys = append(keys, k)
			}
		}
	})
	slices.SortFunc(keys, func(x, y registry.Key) int { return compare(x, y) })
	return keys
}

func compare(x, y registry.Key) int {
	if x.Instance != y.Instance {
		if x.Instance < y.Instance {
			return -1
		}
		return 1
	}
	return slices.Compare(x.ID[:], y.ID[:])
}

// hasGate reports whether a key is in use by something that acts.
func hasGate(k registry.Key) bool {
	acts := k.Producer == eventv1.ProducerClass_PRODUCER_CLASS_AGENT || k.Producer == eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY
	return acts && k.To == registry.Forever && k.Instance != string(event.InstanceCustody)
}

// Release lifts every containment of exactly this target, or proposes it where a second person is needed. What is released
// already stays so. The second result is what else reaches the target.
func (e *Engine) Release(ctx context.Context, o Order) (lifted, remaining []*Containment, err error) {
	return e.lift(ctx, o, func(c *Containment) bool { return c.Target == o.Target })
}

// lift is Release of the containments that are chosen.
func (e *Engine) lift(ctx context.Context, o Order, chosen func(*Containment) bool) (lifted, remaining []*Containment, err error) {
	e.acting.Lock()
	defer e.acting.Unlock()
	if err := e.catchUp(ctx, o.Target.Tenant); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", o.Target, err)
	}
	standing := e.active(o.Target.Tenant)
	mine := slices.DeleteFunc(slices.Clone(standing), func(c *Containment) bool { return !chosen(c) })
	if len(mine) == 0 {
		return nil, nil, fmt.Errorf("release %s: %w: nothing contains exactly this", o.Target, ErrNotFound)
	}
	var events []*eventv1.System
	for _, c := range mine {
		if x := e.release(ctx, o, c); x != nil {
			events = append(events, x)
		}
	}
	if err := e.record(ctx, o.Target.Tenant, events...); err != nil {
		return nil, nil, fmt.Errorf("release %s: %w", o.Target, err)
	}
	for _, c := range mine {
		if now := e.snapshot(o.Target.Tenant, c.ID); now != nil {
			lifted = append(lifted, now)
		}
	}
	return lifted, e.reaching(o.Target), nil
}

// release is the event that lifts one containment, or proposes to; nil if the same person has proposed it already.
func (e *Engine) release(ctx context.Context, o Order, c *Containment) *eventv1.System {
	x := wholeOf(c)
	x.State = released
	switch two := needsTwo(c.Target, c.Level) && c.Phase.Holds(); {
	case two && o.BreakGlass:
		x.BreakGlass = true
		e.cfg.Log.WarnContext(ctx, "GLASS BROKEN: released without a second person", slog.String("target", x.GetTarget()), slog.String("by", o.Actor))
	case two && (c.Phase == InForce || !e.isWaiting(c)):
		x.State = proposed // a proposal that nobody has confirmed in time is none any more
	case two && c.Releaser == o.Actor:
		return nil
	case two:
		x.Second = o.Actor
	}
	return system(o, x)
}

// isWaiting reports whether a proposed release can still be confirmed.
func (e *Engine) isWaiting(c *Containment) bool {
	return e.cfg.Now().Sub(time.Unix(0, c.ReleaseAt)) < ProposalTTL
}

// active are copies of the containments of a tenant that are not released.
func (e *Engine) active(name event.TenantID) (list []*Containment) {
	e.look(name, func(s *State) {
		for _, c := range s.All() {
			if c.Phase != Released {
				list = append(list, c.clone())
			}
		}
	})
	return list
}

// reaching are the containments in force that stop something of a target besides those of the target itself.
func (e *Engine) reaching(t event.Target) []*Containment {
	return slices.DeleteFunc(e.active(t.Tenant), func(c *Containment) bool {
		wider := c.Target.Kind == event.TargetTenant || t.Kind != event.TargetTenant && t.Instance != "" && c.Target.Instance == t.Instance
		return !c.Phase.Holds() || c.Target == t || !wider
	})
}

// instanceOf is the instance of a gate's key.
func (e *Engine) instanceOf(name event.TenantID, p Path) (instance string) {
	key, ok := p.Gate()
	if !ok {
		return ""
	}
	e.cfg.Roster.View(name, func(s *registry.State) {
		if k, known := s.Key(key); known {
			instance = k.Instance
		}
	})
	return instance
}
