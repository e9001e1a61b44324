package contain

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// patrolPause is the least time between two rounds: a burst of events makes one.
	patrolPause = 50 * time.Millisecond
	// patrolRest is the longest, so that what could not be recorded is tried again.
	patrolRest = 5 * time.Second
)

// patrol brings what is in force to its end: it adds the steps that a crash or a new key has left out, calls connectors, and
// passes on to a person what stays unproven. It only looks at the state; each round begins anew.
type patrol struct {
	engine *Engine

	mu   sync.Mutex
	busy map[job]bool // connectors and holds at work
	work sync.WaitGroup
}

type job struct {
	tenant event.TenantID
	id     ID
	path   Path
}

func newPatrol(e *Engine) *patrol { return &patrol{engine: e, busy: make(map[job]bool)} }

// run makes rounds until ctx ends.
func (p *patrol) run(ctx context.Context) {
	defer p.work.Wait()
	for ctx.Err() == nil {
		moved := p.engine.movement()
		rest := p.round(ctx)
		sleep(ctx, patrolPause, nil)
		sleep(ctx, rest, moved)
	}
}

func (e *Engine) movement() <-chan struct{} {
	_, moved, _ := e.progress.At()
	return moved
}

// sleep waits for a time, for ctx, or for early.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-timer.C:
	}
}

// round looks at everything in force once, and returns when to look again if nothing moves.
func (p *patrol) round(ctx context.Context) time.Duration {
	rest := patrolRest
	for _, name := range p.engine.names() {
		for _, c := range p.engine.active(name) {
			if !c.Phase.Holds() {
				continue
			}
			if err := p.complete(ctx, name, c); err != nil && ctx.Err() == nil {
				p.engine.cfg.Log.ErrorContext(ctx, "containment not recorded", slog.String("containment", string(c.ID)), slog.Any("error", err))
			}
			rest = min(rest, max(min(p.untilDeadline(c), p.untilExpiry(c)), patrolPause))
		}
	}
	return rest
}

// untilDeadline is the time until the containment's steps count as unproven.
func (p *patrol) untilDeadline(c *Containment) time.Duration {
	left := time.Unix(0, c.InForceAt).Add(p.engine.cfg.UnprovenAfter).Sub(p.engine.cfg.Now())
	if left <= 0 {
		return patrolRest
	}
	return left
}

// complete does for one containment what is due.
func (p *patrol) complete(ctx context.Context, name event.TenantID, c *Containment) error {
	events := p.missing(c)
	overdue := p.overdue(c)
	for _, s := range overdue {
		claim := s.proof(p.engine.standingOf(name, s.Path))
		text := fmt.Sprintf("not proven within %s: %s", p.engine.cfg.UnprovenAfter, claim)
		events = append(events, step(wholeOf(c), s.Number, s.Path, unproven, byCustody, text))
	}
	if len(events) > 0 {
		if err := p.engine.record(ctx, name, events...); err != nil {
			return err
		}
	}
	for _, s := range overdue {
		p.escalate(ctx, name, c, s)
	}
	for i := range c.Steps {
		p.call(ctx, name, c, &c.Steps[i])
	}
	p.hold(ctx, name, c)
	return p.expire(ctx, name, c)
}

// missing are the requests of paths that the containment does not have yet.
func (p *patrol) missing(c *Containment) (events []*eventv1.System) {
	next := uint32(len(c.Steps))
	for _, path := range p.engine.pathsOf(c) {
		if c.step(path) == nil {
			next++
			events = append(events, step(wholeOf(c), next, path, requested, byCustody, ""))
		}
	}
	return events
}

// overdue are the steps that a person has not been told of and should be.
func (p *patrol) overdue(c *Containment) (list []*Step) {
	if p.engine.cfg.Now().Before(time.Unix(0, c.InForceAt).Add(p.engine.cfg.UnprovenAfter)) {
		return nil
	}
	for i := range c.Steps {
		if s := &c.Steps[i]; s.State != verified && s.Doubt == "" {
			list = append(list, s)
		}
	}
	return list
}

func (p *patrol) escalate(ctx context.Context, name event.TenantID, c *Containment, s *Step) {
	p.engine.cfg.Log.ErrorContext(ctx, "containment is NOT PROVEN: a person must look",
		slog.String("target", c.Target.String()), slog.String("containment", string(c.ID)), slog.String("step", string(s.Path)),
		slog.String("next", "custody contained --tenant "+string(name)))
	p.engine.cfg.Escalate(name, c, s)
}

// call lets a connector work on a step, once at a time.
func (p *patrol) call(ctx context.Context, name event.TenantID, c *Containment, s *Step) {
	connectorName, isConnector := s.Path.Connector()
	if !isConnector {
		return
	}
	connector, j := p.engine.connector(connectorName), job{name, c.ID, s.Path}
	if connector == nil {
		return
	}
	w := &caller{engine: p.engine, job: j, connector: connector}
	p.once(j, func() (again bool) {
		w.run(ctx)
		return !w.crashed // what a test has ended does not begin again
	})
}

// once lets do run beside the rounds, unless it does already.
func (p *patrol) once(j job, do func() (again bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy[j] {
		return
	}
	p.busy[j] = true
	p.work.Go(func() {
		again := do()
		p.mu.Lock()
		defer p.mu.Unlock()
		if again {
			delete(p.busy, j)
		}
	})
}

// hold keeps the records of what is quarantined from erasure and expiry. It may have to wait for an erasure that is under way,
// so nothing waits for it; it stays when the containment is released.
func (p *patrol) hold(ctx context.Context, name event.TenantID, c *Containment) {
	scope := scopeOf(c.Target)
	if p.engine.cfg.Hold == nil || c.Level != Quarantine || c.Held || scope == "" {
		return
	}
	p.once(job{name, c.ID, "hold"}, func() bool {
		if err := p.engine.cfg.Hold(ctx, name, c.Actor, c.Reason, string(c.ID), scope); err != nil && ctx.Err() == nil {
			p.engine.cfg.Log.ErrorContext(ctx, "records of what is quarantined are not held yet", slog.String("containment", string(c.ID)), slog.Any("error", err))
			sleep(ctx, patrolRest, nil)
		}
		return true
	})
}

// scopeOf is what a hold on a target's records covers; empty where there is none.
func scopeOf(t event.Target) string {
	switch t.Kind {
	case event.TargetTenant:
		return "tenant"
	case event.TargetInstance:
		return "instance/" + string(t.Instance)
	case event.TargetRun:
		return "run/" + t.Name
	}
	return ""
}

// standingOf is what is known of the gate of a path now. An extension that another process has lent counts as lent.
func (e *Engine) standingOf(name event.TenantID, p Path) standing {
	key, ok := p.Gate()
	if !ok {
		return standing{}
	}
	s := e.leases.standing(key)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if t := e.tenants[name]; t != nil && s.until.Before(t.extended.earlier) {
		s.until = t.extended.earlier.Add(e.leases.held - e.leases.ttl)
		s.over = !e.cfg.Now().Before(s.until)
	}
	return s
}
