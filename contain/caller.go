package contain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Point names a moment of a connector's call at which a test may end the process.
type Point string

// The points, in their order.
const (
	PointIntended Point = "intended" // the intent is durable, nothing was called
	PointCalled   Point = "called"   // the call has ended, nothing of it is recorded
	PointClaimed  Point = "claimed"  // its success is recorded as the connector's word
	PointProbed   Point = "probed"   // the probe has ended, nothing of it is recorded
)

const (
	leastRetry = time.Second
	mostRetry  = time.Minute
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

// run tries until the step is verified, with pauses that double.
func (w *caller) run(ctx context.Context) {
	for wait := leastRetry; ctx.Err() == nil && !w.crashed; wait = min(2*wait, mostRetry) {
		c := w.engine.snapshot(w.job.tenant, w.job.id)
		if c == nil || !c.Phase.Holds() || c.step(w.job.path) == nil || c.step(w.job.path).State == verified {
			return
		}
		if err := w.attempt(ctx, c, c.step(w.job.path)); err != nil && ctx.Err() == nil {
			w.engine.cfg.Log.WarnContext(ctx, "connector", slog.String("name", w.connector.Name), slog.String("containment", string(w.job.id)), slog.Any("error", err))
		}
		if c = w.engine.snapshot(w.job.tenant, w.job.id); c != nil && c.step(w.job.path).State == verified {
			return
		}
		if !w.crashed {
			sleep(ctx, wait, nil)
		}
	}
}

// attempt is one go: look first if a call may have been made, call if that is safe, look again.
func (w *caller) attempt(ctx context.Context, c *Containment, s *Step) error {
	if s.Attempts > 0 && !w.unsent {
		dead, err := w.probe(ctx, c, s)
		if dead || err != nil {
			return err
		}
		if !w.connector.Idempotent {
			return w.leave(ctx, c)
		}
	}
	if err := w.revoke(ctx, c, s); err != nil {
		return err
	}
	_, err := w.probe(ctx, c, s)
	return err
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

// probe looks whether the credential is dead. Nothing else proves.
func (w *caller) probe(ctx context.Context, c *Containment, s *Step) (dead bool, err error) {
	bounded, cancel := w.connector.bounded(ctx)
	defer cancel()
	found, evidence, err := w.connector.Revoker.Probe(bounded, w.errand(c))
	if hook := w.at(PointProbed); hook != nil {
		return false, hook
	}
	switch {
	case err != nil:
		return false, fmt.Errorf("probe: %w", err)
	case found == Dead:
		return true, w.record(ctx, c, s, verified, byProbe, evidence)
	case found == Alive:
		return false, w.stillAlive(ctx, c, evidence)
	}
	return false, nil
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
	return Errand{ID: c.ID, Target: c.Target, Level: c.Level, Reason: c.Reason}
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
	text = event.Escape(text)
	if len(text) > maxEvidence {
		text = strings.ToValidUTF8(text[:maxEvidence], "")
	}
	if _, found := event.ScanSecrets([]byte(text)); found {
		return "(withheld: it looked like a secret)"
	}
	return text
}
