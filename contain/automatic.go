package contain

import (
	"context"
	"fmt"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// AutomaticOrder is what a rule asks for. Its id is made from what led to it, so that asking again changes nothing.
type AutomaticOrder struct {
	ID      ID
	Target  event.Target
	Level   Level // restrict or pause: neither takes a second person
	Reason  string
	Propose bool // propose a quarantine of the target beside it, for a person to confirm; its id ends in "-q"
}

// Automatic puts in force what a rule asks for, in nobody's name. An order that was obeyed before changes nothing, also if it was released
// since. Everything stands in one batch: after a crash there is all of it or nothing. Errors:
// ErrNotFound, ErrNoPath, those of the stream.
func (e *Engine) Automatic(ctx context.Context, a AutomaticOrder) error {
	e.acting.Lock()
	defer e.acting.Unlock()
	if err := e.catchUp(ctx, a.Target.Tenant); err != nil {
		return fmt.Errorf("contain %s for a rule: %w", a.Target, err)
	}
	if err := e.exists(a.Target); err != nil {
		return fmt.Errorf("contain %s for a rule: %w", a.Target, err)
	}
	if e.snapshot(a.Target.Tenant, a.ID) != nil {
		return nil
	}
	o := Order{Target: a.Target, Level: a.Level, Reason: a.Reason}
	whole := &eventv1.Containment{Target: a.Target.String(), Level: string(a.Level), Plan: string(a.ID), State: requested}
	events := append([]*eventv1.System{system(o, whole)}, e.steps(o.Target, o.Level, whole)...)
	if a.Propose {
		events = append(events, system(o, &eventv1.Containment{
			Target: whole.GetTarget(), Level: string(Quarantine), Plan: string(a.ID) + "-q", State: proposed,
		}))
	}
	if err := e.record(ctx, a.Target.Tenant, events...); err != nil {
		return fmt.Errorf("contain %s for a rule: %w", a.Target, err)
	}
	return nil
}
