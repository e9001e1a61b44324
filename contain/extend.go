package contain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ErrNoKey says that leases cannot be extended: there is no key to sign them with.
var ErrNoKey = errors.New("no key signs extended leases here")

// extension lets the gates of a tenant act without a renewal for a while. What an earlier process has extended counts against
// what it says of gates, and is lent no further.
type extension struct {
	until   time.Time // of the newest of this process; not after its request if it was ended
	earlier time.Time // no gate has a longer lease because of what earlier processes have extended
}

// extend folds one extension in. since is when this process began to lend.
func (x *extension) extend(at time.Time, lasts time.Duration, since time.Time) {
	switch end := at.Add(lasts); {
	case !at.Before(since):
		x.until = end
	case x.earlier.Before(end):
		x.earlier = end
	}
}

// extension is how long the leases of a tenant may be because a restart is planned.
func (e *Engine) extension(name event.TenantID) time.Duration {
	e.mu.RLock()
	defer e.mu.RUnlock()
	t := e.tenants[name]
	if t == nil || e.cfg.Key == nil {
		return 0
	}
	return min(t.extended.until.Sub(e.cfg.Now()), event.MaxLeaseExtension)
}

// Extended is what came of an extension.
type Extended struct {
	Until     time.Time // when it ends on both sides
	Gates     int       // that have it
	Connected int       // of the tenant
}

// Extend lets the gates of a tenant act for so long without a renewal, because the server is about to restart; 0 ends that. It waits
// until the gates that are connected have it. Contained gates get none. Errors: ErrNotFound, ErrNoKey, those of the stream.
func (e *Engine) Extend(ctx context.Context, name event.TenantID, actor, reason string, lasts, wait time.Duration) (Extended, error) {
	if e.cfg.Key == nil {
		return Extended{}, fmt.Errorf("extend leases: %w", ErrNoKey)
	}
	whole := event.Target{Kind: event.TargetTenant, Tenant: name}
	if err := e.exists(whole); err != nil {
		return Extended{}, fmt.Errorf("extend leases: %w", err)
	}
	x := &eventv1.System{Actor: actor, Reason: reason, Detail: &eventv1.System_Lease{Lease: &eventv1.LeaseExtension{Lasts: int64(lasts)}}}
	if err := e.record(ctx, name, x); err != nil {
		return Extended{}, fmt.Errorf("extend leases: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		if got := e.extended(whole); got.Gates == got.Connected || ctx.Err() != nil {
			return got, nil
		}
		sleep(ctx, patrolPause, nil)
	}
}

// extended counts the gates of a tenant that have its extension. A contained gate needs none.
func (e *Engine) extended(whole event.Target) (got Extended) {
	e.mu.RLock()
	x := e.tenants[whole.Tenant].extended
	e.mu.RUnlock()
	got.Until = x.until.Add(e.leases.held - e.leases.ttl)
	for _, key := range e.gatesOf(whole) {
		at := e.leases.standing(key.ID)
		if !at.connected || e.levelOf(whole.Tenant, event.InstanceID(key.Instance)).Covers(Pause) {
			continue
		}
		got.Connected++
		if !at.until.Before(x.until) {
			got.Gates++
		}
	}
	return got
}

// levelOf is the strictest level in force for all that an instance does, empty if there is none.
func (e *Engine) levelOf(name event.TenantID, instance event.InstanceID) (strictest Level) {
	for _, c := range e.active(name) {
		if c.Phase.Holds() && c.whole(instance) && c.Level.Covers(strictest) {
			strictest = c.Level
		}
	}
	return strictest
}

// whole reports whether a containment is of all that an instance does.
func (c *Containment) whole(instance event.InstanceID) bool {
	return c.Target.Kind == event.TargetTenant || c.Target.Kind == event.TargetInstance && c.Target.Instance == instance
}
