package contain

import (
	"context"
	"fmt"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// AutomaticOrder is what a rule asks for. Its id is made from what led to it, so that asking again changes nothing.
type AutomaticOrder struct {
	ID     ID
	Target event.Target
	Level  Level // restrict or pause: neither takes a second person
	Reason string
	// Instance is whose run it is, of a run: its gates are the steps. Every gate gets the containment all the same, and one that has something
	// of the run to stop becomes a step too. Empty is not known: then every gate of the tenant is a step.
	Instance event.InstanceID
	Propose  bool // propose a quarantine of the target beside it, for a person to confirm; its id ends in "-q"
}

// Automatic puts in force what a rule asks for, in nobody's name. An order that was obeyed before changes nothing, also if it was released
// since. Everything stands in one batch: after a crash there is all of it or nothing. Errors:
// ErrNotFound, ErrNoPath, those of the stream.
func (e *Engine) Automatic(ctx context.Context, a AutomaticOrder) error {
	e.acting.Lock()
	defer e.acting.Unlock()
	defer e.hasten()()
	if err := e.knows(ctx, a); err != nil {
		return fmt.Errorf("contain %s for a rule: %w", a.Target, err)
	}
	if e.snapshot(a.Target.Tenant, a.ID) != nil {
		return nil
	}
	o := Order{Target: a.Target, Level: a.Level, Reason: a.Reason}
	whole := &eventv1.Containment{Target: a.Target.String(), Level: string(a.Level), Plan: string(a.ID), State: requested}
	events := append([]*eventv1.System{system(o, whole)}, e.steps(e.within(a), o.Level, whole)...)
	if a.Propose {
		events = append(events, system(o, &eventv1.Containment{
			Target: whole.GetTarget(), Level: string(Quarantine), Plan: string(a.ID) + "-q", State: proposed,
		}))
	}
	if err := e.record(ctx, a.Target.Tenant, events...); err != nil {
		e.unsure[a.ID] = true
		return fmt.Errorf("contain %s for a rule: %w", a.Target, err)
	}
	return nil
}

// knows makes sure that the target exists, and that the order is known if it was recorded before. It asks the stream only where what is
// folded leaves a doubt: an order comes from an event, after what made its target, and somebody's work goes on meanwhile.
func (e *Engine) knows(ctx context.Context, a AutomaticOrder) error {
	if !e.unsure[a.ID] && e.exists(a.Target) == nil {
		return nil
	}
	if err := e.catchUp(ctx, a.Target.Tenant); err != nil {
		return err
	}
	delete(e.unsure, a.ID)
	return e.exists(a.Target)
}

// within is what the steps of an automatic containment are of. A tenant with a thousand gates would have a thousand steps for a run of one
// of them, and as many pages for a person.
func (e *Engine) within(a AutomaticOrder) event.Target {
	own := event.Target{Kind: event.TargetInstance, Tenant: a.Target.Tenant, Instance: a.Instance}
	if a.Target.Kind != event.TargetRun || a.Instance == "" || len(e.gatesOf(own)) == 0 {
		return a.Target
	}
	return own
}

// isOfInstances reports whether the steps of a containment are those of the instances that they name, and of no others: a rule has paused a
// run.
func (c *Containment) isOfInstances() bool { return isRuleOnRun(c.Actor, c.Target) }

// isRuleOnRun reports whether a rule, which is nobody, has asked for the containment of a run.
func isRuleOnRun(actor string, target event.Target) bool {
	return actor == "" && target.Kind == event.TargetRun
}

// pathsOf are all that a containment closes by now.
func (e *Engine) pathsOf(c *Containment) (paths []Path) {
	if !c.isOfInstances() || len(c.Steps) == 0 {
		return e.paths(c.Target, c.Level)
	}
	seen := map[string]bool{}
	for i := range c.Steps {
		instance := e.instanceOf(c.Target.Tenant, c.Steps[i].Path)
		if instance == "" || seen[instance] {
			continue
		}
		seen[instance] = true
		paths = append(paths, e.paths(event.Target{Kind: event.TargetInstance, Tenant: c.Target.Tenant, Instance: event.InstanceID(instance)}, c.Level)...)
	}
	return paths
}
