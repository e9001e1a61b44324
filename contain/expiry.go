package contain

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/agentcustody/custody/event"
)

const (
	// MaxLasts is how long a containment may be asked to last: what is contained for longer needs a decision, not a clock.
	MaxLasts = 30 * 24 * time.Hour
	// ExpiryNotice is how long before its end a person is told: long enough to wake up and say no. What lasts less than twice as
	// long has half of its time.
	ExpiryNotice = 15 * time.Minute
)

// outlasts reports whether c is to last at least as long as an order wants.
func (c *Containment) outlasts(o Order) bool {
	return c.Lasts == 0 || o.Lasts > 0 && c.Lasts >= int64(o.Lasts)
}

// notice is how long a person has between being told and the end.
func (c *Containment) notice() int64 { return min(int64(ExpiryNotice), c.Lasts/2) }

// EndsAt is when the containment ends by itself, in nanoseconds since the Unix epoch; 0 is never. Whoever is told late has the
// whole notice all the same.
func (c *Containment) EndsAt() int64 {
	if c.Lasts == 0 || !c.Phase.Holds() {
		return 0
	}
	end := c.InForceAt + c.Lasts
	if c.PagedAt != 0 {
		end = max(end, c.PagedAt+c.notice())
	}
	return end
}

// untilExpiry is the time until something is due about a containment's end, patrolRest if nothing is.
func (p *patrol) untilExpiry(c *Containment) time.Duration {
	end := c.EndsAt()
	if end == 0 {
		return patrolRest
	}
	if c.PagedAt == 0 {
		end -= c.notice()
	}
	return max(time.Unix(0, end).Sub(p.engine.cfg.Now()), 0)
}

// expire tells a person that a containment is about to end, and later ends it. That the person was told is in the log before; a
// crash in between leaves the containment in force.
func (p *patrol) expire(ctx context.Context, name event.TenantID, c *Containment) error {
	if c.EndsAt() == 0 || p.untilExpiry(c) > 0 {
		return nil
	}
	x := wholeOf(c)
	if c.PagedAt == 0 {
		x.State = expiring
		ends := p.engine.cfg.Now().Add(time.Duration(c.notice())).UTC().Format(time.DateTime)
		reason := fmt.Sprintf("it was asked to last %s, and ends at %s UTC or a little later", time.Duration(c.Lasts), ends)
		if err := p.engine.record(ctx, name, system(Order{Reason: reason}, x)); err != nil {
			return fmt.Errorf("say that it ends soon: %w", err)
		}
		p.page(ctx, name, c)
		return nil
	}
	x.State = released
	return p.engine.record(ctx, name, system(Order{Reason: "it has lasted " + time.Duration(c.Lasts).String() + ", and a person was told before"}, x))
}

// page tells a person that a containment is about to end.
func (p *patrol) page(ctx context.Context, name event.TenantID, c *Containment) {
	now := p.engine.snapshot(name, c.ID)
	if now == nil {
		return
	}
	p.engine.cfg.Log.ErrorContext(ctx, "containment ENDS SOON: a person must look",
		slog.String("target", now.Target.String()), slog.String("containment", string(now.ID)),
		slog.Time("ends", time.Unix(0, now.EndsAt()).UTC()),
		slog.String("next", keepCommand(now)))
	p.engine.cfg.Page(name, now)
}

// keepCommand is what keeps a containment in force that is about to end, and that one person can do. It names the containment, because
// an agent has a say in its target's name. What a quarantine has revoked stays dead under a pause.
func keepCommand(c *Containment) string {
	level := c.Level
	if level == Quarantine {
		level = Pause
	}
	return fmt.Sprintf("custody contain %s --level %s --reason 'not over'", c.ID, level)
}
