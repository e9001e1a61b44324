package contain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Point names a moment of a connector's call at which a test may end the process.
type Point string

// The points, in their order.
const (
	PointFollowed Point = "followed" // the delegates are listed, none of them is recorded
	PointIntended Point = "intended" // the intent is durable, nothing was called
	PointCalled   Point = "called"   // the call has ended, nothing of it is recorded
	PointClaimed  Point = "claimed"  // its success is recorded as the connector's word
	PointProbed   Point = "probed"   // the probe has ended, nothing of it is recorded
)

const (
	leastRetry = time.Second
	mostRetry  = time.Minute
	// mostSteps bounds the steps that delegates add: an agent that may make roles may make a million.
	mostSteps = 1024
	// maxDelegateName is how long a delegate's name may be, in bytes: what PostgreSQL and file systems take.
	maxDelegateName = 256
	// maxEvidence is how much of what others say is recorded, in bytes.
	maxEvidence = 512
)

// caller works on one connector's step until it is proven or released. Its intent is in the log before each call; where it
// finds an intent of which nothing more is known, it probes, repeats what may be repeated, and leaves the rest to a person.
type caller struct {
	engine    *Engine
	job       job
	connector *Connector
	unsent    bool // the last call never left
	crashed   bool // a test has ended it at a point
}

// at passes a point, unless a test ends the caller there.
func (w *caller) at(p Point) error {
	err := w.engine.cfg.Hook(p)
	w.crashed = w.crashed || err != nil
	return err
}

// run works until the containment is released: it tries until the step is verified, with pauses that double, and then looks now and
// then whether it still is.
func (w *caller) run(ctx context.Context) {
	for wait := leastRetry; ctx.Err() == nil && !w.crashed; wait = min(2*wait, mostRetry) {
		c := w.engine.snapshot(w.job.tenant, w.job.id)
		if c == nil || !c.Phase.Holds() || c.step(w.job.path) == nil {
			return
		}
		do := w.attempt
		if c.step(w.job.path).State == verified {
			do, wait = w.recheck, leastRetry
		}
		if err := do(ctx, c, c.step(w.job.path)); err != nil && ctx.Err() == nil {
			w.engine.cfg.Log.WarnContext(ctx, "connector", slog.String("name", w.connector.Name), slog.String("containment", string(w.job.id)), slog.Any("error", err))
		}
		if s := w.now(); s != nil && s.State != verified && !w.crashed {
			sleep(ctx, wait, nil)
		}
	}
}

// recheck waits, and then looks whether what was verified is still so: who can undo a revocation at its server is not stopped by it.
func (w *caller) recheck(ctx context.Context, _ *Containment, _ *Step) error {
	sleep(ctx, w.engine.cfg.Recheck, nil)
	c := w.engine.snapshot(w.job.tenant, w.job.id)
	if ctx.Err() != nil || c == nil || !c.Phase.Holds() {
		return nil
	}
	found, evidence, err := w.look(ctx, c)
	if err != nil || found != Alive {
		return err
	}
	return w.record(ctx, c, c.step(w.job.path), unproven, byProbe, stillAlive+evidence)
}

// attempt is one go: look first if a call may have been made, call if that is safe and of use, look again.
func (w *caller) attempt(ctx context.Context, c *Containment, s *Step) error {
	if s.Attempts == 0 || w.unsent {
		return w.revokeAndProbe(ctx, c, s)
	}
	found, err := w.probe(ctx, c, s)
	switch {
	case found == Dead || w.crashed:
		return err
	case s.State == acknowledged && (found == Unclear || !w.connector.Idempotent):
		return err // it was done, as far as anybody says; a person hears of it in time
	case !w.connector.Idempotent:
		return errors.Join(err, w.leave(ctx, c))
	}
	return errors.Join(err, w.revokeAndProbe(ctx, c, s))
}

func (w *caller) revokeAndProbe(ctx context.Context, c *Containment, s *Step) error {
	followed := w.follow(ctx, c) // what cannot be listed does not keep the credential alive
	if w.crashed {
		return followed
	}
	if err := w.revoke(ctx, c, s); err != nil {
		return errors.Join(followed, err)
	}
	_, err := w.probe(ctx, c, s)
	return err
}

// follow makes a step of every delegate that has none. Their callers come with the patrol's next round.
func (w *caller) follow(ctx context.Context, c *Containment) error {
	delegator, ok := w.connector.Revoker.(Delegator)
	if !ok {
		return nil
	}
	bounded, cancel := w.connector.bounded(ctx)
	defer cancel()
	names, err := delegator.Delegates(bounded)
	if hook := w.at(PointFollowed); hook != nil {
		return hook
	}
	if err != nil {
		return fmt.Errorf("delegates: %w", err)
	}
	events, err := w.newSteps(names)
	if len(events) == 0 {
		return err
	}
	return errors.Join(err, w.engine.record(ctx, w.job.tenant, events...))
}

// newSteps are the requests of delegates that are no steps yet. What cannot be one is an error: then nothing is verified.
func (w *caller) newSteps(delegates []string) (events []*eventv1.System, err error) {
	c := w.engine.snapshot(w.job.tenant, w.job.id)
	for _, name := range delegates {
		path := DelegatePath(w.connector.Name, name)
		switch {
		case c == nil || c.step(path) != nil:
		case len(name) > maxDelegateName || !utf8.ValidString(name) || name == "":
			err = errors.Join(err, fmt.Errorf("delegate %q cannot be a step", event.Escape(name)))
		case len(c.Steps)+len(events) >= mostSteps:
			return events, fmt.Errorf("%d delegates are more than a containment has steps for: needs a person", len(delegates))
		default:
			events = append(events, step(wholeOf(c), uint32(len(c.Steps)+len(events))+1, path, requested, byCustody, ""))
		}
	}
	return events, err
}

// revoke records the intent, calls, and records what was answered.
func (w *caller) revoke(ctx context.Context, c *Containment, s *Step) error {
	if err := w.record(ctx, c, s, intended, byCustody, ""); err != nil {
		return err
	}
	if err := w.at(PointIntended); err != nil {
		return err
	}
	bounded, cancel := w.connector.bounded(ctx)
	defer cancel()
	evidence, err := w.connector.Revoker.Revoke(bounded, w.errand(c))
	if hook := w.at(PointCalled); hook != nil {
		return hook
	}
	w.unsent = errors.Is(err, ErrNotSent)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	if err := w.record(ctx, c, s, acknowledged, byCustody, evidence); err != nil {
		return err
	}
	return w.at(PointClaimed)
}

// probe looks whether the credential is dead. Nothing else proves; and nothing is proven before what was derived from it is known.
func (w *caller) probe(ctx context.Context, c *Containment, s *Step) (found Liveness, err error) {
	found, evidence, err := w.look(ctx, c)
	if hook := w.at(PointProbed); hook != nil {
		return Unclear, hook
	}
	switch {
	case err != nil:
		return Unclear, err
	case found == Alive:
		return Alive, w.stillAlive(ctx, c, evidence)
	case found == Unclear:
		return Unclear, nil
	}
	if err := w.follow(ctx, c); err != nil {
		return Dead, err
	}
	return Dead, w.record(ctx, c, s, verified, byProbe, evidence)
}

// look is one probe.
func (w *caller) look(ctx context.Context, c *Containment) (found Liveness, evidence string, err error) {
	bounded, cancel := w.connector.bounded(ctx)
	defer cancel()
	if found, evidence, err = w.connector.Revoker.Probe(bounded, w.errand(c)); err != nil {
		return Unclear, "", fmt.Errorf("probe: %w", err)
	}
	return found, evidence, nil
}

// What a step is doubted for beside its deadline.
const (
	unknown    = "unknown: needs a person: a revocation was begun that may not be repeated, and its end is not known"
	stillAlive = "STILL ALIVE: "
)

// leave leaves to a person what may not be repeated. The probes go on.
func (w *caller) leave(ctx context.Context, c *Containment) error {
	s := w.now()
	if s == nil || s.Doubt == unknown || strings.HasPrefix(s.Doubt, stillAlive) {
		return nil
	}
	return w.record(ctx, c, s, unproven, byCustody, unknown)
}

// stillAlive records a connector that lies, once.
func (w *caller) stillAlive(ctx context.Context, c *Containment, evidence string) error {
	s := w.now()
	if s == nil || s.State != acknowledged || strings.HasPrefix(s.Doubt, stillAlive) {
		return nil
	}
	return w.record(ctx, c, s, unproven, byProbe, stillAlive+evidence)
}

// now is the step as it is.
func (w *caller) now() *Step {
	c := w.engine.snapshot(w.job.tenant, w.job.id)
	if c == nil {
		return nil
	}
	return c.step(w.job.path)
}

func (w *caller) errand(c *Containment) Errand {
	return Errand{ID: c.ID, Target: c.Target, Level: c.Level, Reason: c.Reason, Delegate: w.job.path.Delegate()}
}

func (w *caller) record(ctx context.Context, c *Containment, s *Step, state eventv1.ContainmentState, observer, evidence string) error {
	err := w.engine.record(ctx, w.job.tenant, step(wholeOf(c), s.Number, s.Path, state, observer, short(evidence)))
	if err == nil && state == unproven {
		w.engine.patrol.escalate(ctx, w.job.tenant, c, s)
	}
	return err
}

// short is evidence that fits an event and holds nothing that looks like a secret.
func short(text string) string {
	text = event.Cut(event.Escape(text), maxEvidence)
	if _, found := event.ScanSecrets([]byte(text)); found {
		return "(withheld: it looked like a secret)"
	}
	return text
}
