package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// actRetry is the pause before something is asked for again that failed.
	actRetry = 200 * time.Millisecond
	// mostDelay is how old a firing may be when it is acted on: what the server finds an hour late is for a person to judge.
	mostDelay = time.Hour
)

// Order is what a firing asks of the brake.
type Order = contain.AutomaticOrder

// Point names a moment of an action at which a test may end the engine.
type Point string

// The points, in their order.
const (
	PointFired Point = "fired" // the firing is pending, nothing was asked for
	PointAsked Point = "asked" // the brake has answered, nothing of it has come back through the log
)

// act asks for what is pending until ctx ends, the most severe first.
func (e *Engine) act(ctx context.Context) {
	for {
		name, f := e.next()
		if f == nil {
			select {
			case <-e.urge:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := e.ask(ctx, name, f)
		switch {
		case err == nil:
			e.settle(name, f.ID)
		case errors.Is(err, errStopped) || ctx.Err() != nil:
			return
		default:
			e.cfg.Log.ErrorContext(ctx, "a rule's containment is not in force yet", slog.String("firing", f.ID.String()), slog.Any("error", err))
			pause(ctx, actRetry)
		}
	}
}

// next is a copy of the most severe firing that is pending; nil if none is, or if the stream is not folded to where it ended at the start.
func (e *Engine) next() (name event.TenantID, first *Firing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if applied, _, _ := e.progress.At(); applied < e.cfg.End {
		return "", nil
	}
	for _, candidate := range e.names() {
		t := e.tenants[candidate]
		for _, f := range t.book.Pending() {
			if !t.acted[f.ID] && (first == nil || rank(f.Severity) > rank(first.Severity)) {
				name, first = candidate, f
			}
		}
	}
	if first != nil {
		c := *first
		first = &c
	}
	return name, first
}

// ask has the brake contain, or hands the firing to a person. Asking again changes nothing.
func (e *Engine) ask(ctx context.Context, name event.TenantID, f *Firing) error {
	if err := e.cfg.Hook(PointFired); err != nil {
		return fmt.Errorf("%w: %w", errStopped, err)
	}
	if late := e.cfg.Now().Sub(time.Unix(0, f.Time)); late > mostDelay {
		return e.hand(ctx, name, f, fmt.Sprintf("found %s late: whether to stop it now is for a person to say", late.Round(time.Minute)))
	}
	target, err := event.ParseTarget(f.Target)
	if err != nil {
		return e.hand(ctx, name, f, err.Error())
	}
	err = e.cfg.Brake.Automatic(ctx, Order{
		ID: contain.ID(f.Plan()), Target: target, Level: level(f.Action), Instance: event.InstanceID(f.Instance), Propose: f.Action == "quarantine",
		Reason: fmt.Sprintf("rule %s version %d fired at record %d: firing %s", f.Rule, f.Version, f.Index, f.ID),
	})
	if hook := e.cfg.Hook(PointAsked); hook != nil {
		return fmt.Errorf("%w: %w", errStopped, hook)
	}
	if errors.Is(err, contain.ErrNotFound) || errors.Is(err, contain.ErrNoPath) {
		return e.hand(ctx, name, f, err.Error())
	}
	return err
}

// hand records that a person is needed.
func (e *Engine) hand(ctx context.Context, name event.TenantID, f *Firing, why string) error {
	_, err := e.cfg.Recorder.Record(ctx, name, &eventv1.Event{Body: &eventv1.Event_System{System: &eventv1.System{
		Reason: why, Detail: &eventv1.System_Firing{Firing: &eventv1.FiringChange{
			Firing: f.ID[:], Rule: f.Rule, Version: f.Version, State: string(needsPerson),
		}},
	}}})
	return err
}

// settle lets gates go on that wait for what was asked for. The log comes back with it in a moment.
func (e *Engine) settle(name event.TenantID, id event.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[name]
	t.acted[id] = true
	for other := range t.acted {
		if f := t.book.Find(other); f == nil || !f.pending() && other != id {
			delete(t.acted, other)
		}
	}
	e.progress.Wake()
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
