package edge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/class"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ErrContained says that Custody has stopped what the call belongs to. It is an ErrBlocked.
var ErrContained = fmt.Errorf("%w: contained", ErrBlocked)

const (
	// gatePatience is how long a call waits for the first word of Custody, or for a lease: waiting is not acting.
	gatePatience = 5 * time.Second
	// gatePolicy names the gate's own policy in the record.
	gatePolicy = "custody-gate/1"
	// maxReported is how many calls of each sort a renewal names.
	maxReported = 64
)

// wallClock is nanoseconds since the Unix epoch.
func wallClock() time.Duration { return time.Duration(time.Now().UnixNano()) }

// running is a call whose act has begun.
type running struct {
	act         event.Act
	call, tool  string
	consequence Consequence
	cancel      context.CancelCauseFunc
	stopped     bool // a containment has cancelled it
}

// rule is Custody's own answer to a proposal: by what is contained, by the manifest, and by the lease.
func (c *control) rule(ctx context.Context, p *Proposal) (Ruling, Consequence) {
	c.awaitFirst(ctx)
	v := c.view()
	act := c.actOf(p)
	permit := v.permit(p)
	class, assumed := classOf(permit, p)
	answer := func(d Decision, reason string) (Ruling, Consequence) {
		return Ruling{Decision: d, Policy: v.policy(assumed), Reason: reason}, class
	}
	level, by := v.level(act)
	switch {
	case stops(level):
		c.refuse(by, p)
		r, class := answer(Deny, "refused by "+by.reason())
		r.contained = true
		return r, class
	case v.hasManifest() && !permit.Allowed:
		return answer(Deny, fmt.Sprintf("refused by manifest %d: none of its permissions covers this call", v.manifest))
	case v.needsLease(class) && !c.awaitLease(ctx):
		return answer(Deny, c.noLease())
	case level == levelRestrict && class == High:
		c.refuse(by, p)
		return answer(NeedsApproval, "asked for by "+by.reason())
	case permit.Approver:
		return answer(NeedsApproval, "the manifest wants an approver")
	case v.approve && class == High:
		return answer(NeedsApproval, "high consequence needs an approver")
	}
	return answer(Allow, "")
}

func (c *control) noLease() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whyNoLease()
}

// enter begins the act of a call, after the rules have had their time with what led to it. It looks once more, because recording has
// taken time: what was contained meanwhile does not begin, unless Custody's approvers have allowed it and it is only restricted. leave
// must be called when the act has ended.
func (c *control) enter(ctx context.Context, p *Proposal, class Consequence, approved bool) (inside context.Context, leave func(), err error) {
	if err := c.awaitJudged(ctx, class); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	act := c.actOf(p)
	v := c.viewLocked()
	switch level, by := v.level(act); {
	case stops(level):
		c.refuseLocked(by, p)
		return nil, nil, fmt.Errorf("%w: %s", ErrContained, by.reason())
	case level == levelRestrict && class == High && !approved:
		c.refuseLocked(by, p)
		return nil, nil, fmt.Errorf("%w: %s, which came after the decision: propose it again, and an approver is asked", ErrContained, by.reason())
	case v.needsLease(class) && !c.hasLease():
		return nil, nil, fmt.Errorf("%w: %s", ErrBlocked, c.whyNoLease())
	}
	inside, cancel := context.WithCancelCause(ctx)
	r := &running{act: act, call: p.Call, tool: p.Tool, consequence: class, cancel: cancel}
	c.running[r] = struct{}{}
	return inside, func() { cancel(nil); c.left(r) }, nil
}

// left notes the end of an act; Custody hears of it at once if it was to be stopped.
func (c *control) left(r *running) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, r)
	if r.stopped {
		c.hurry()
	}
}

// stopRunning cancels what must not go on. The mutex is held.
func (c *control) stopRunning() {
	v := c.viewLocked()
	for r := range c.running {
		if level, by := v.level(r.act); !r.stopped && stops(level) {
			r.stopped = true
			r.cancel(fmt.Errorf("%w: %s", ErrContained, by.reason()))
		}
	}
}

func (c *control) actOf(p *Proposal) event.Act {
	id := c.emitter.identity
	return event.Act{
		Tenant: id.Tenant, Instance: id.Instance, Run: p.Run.id, Principal: p.Run.options.Principal, Connector: p.Options.Connector,
	}
}

// refuse keeps for the next renewal that a containment has held a call back.
func (c *control) refuse(by *contained, p *Proposal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuseLocked(by, p)
}

// refuseLocked is refuse for whoever holds the mutex.
func (c *control) refuseLocked(by *contained, p *Proposal) {
	if len(c.refused) < maxReported {
		c.refused = append(c.refused, &apiv1.RefusedCall{Containment: by.ID, Call: p.Call, Tool: event.Cut(p.Tool, event.MaxID)})
	}
	if c.refusals++; c.refusals == 1 {
		c.hurry() // the first refusal may be what proves that the path is closed
	}
}

// Levels of containment, as Custody names them.
const (
	levelRestrict   = "restrict"
	levelPause      = "pause"
	levelQuarantine = "quarantine"
)

var levelRanks = []string{"", levelRestrict, levelPause, levelQuarantine}

func stops(level string) bool { return level == levelPause || level == levelQuarantine }

// contained is one containment in force.
type contained struct {
	ID     string `json:"id"`
	Target string `json:"target"`
	Level  string `json:"level"`

	target event.Target
}

func (c *contained) reason() string { return c.Level + " of " + c.Target + " (" + c.ID + ")" }

// view is what is in force, as a gate decides by it.
type view struct {
	contained   []contained
	manifest    uint32 // its version, 0 if it is not known
	permissions []*eventv1.Permission
	moderate    bool // moderate acts need a lease too

	judgeWait     time.Duration // an act of high consequence waits so long for the rules; 0 is not at all
	judgeRequired bool          // and does not begin without them
	approve       bool          // high consequence needs a person's approval
}

// level is the strictest level that an act falls under, and the containment that has it.
func (v *view) level(a event.Act) (level string, by *contained) {
	for i := range v.contained {
		c := &v.contained[i]
		if c.target.Covers(a) && slices.Index(levelRanks, c.Level) > slices.Index(levelRanks, level) {
			level, by = c.Level, c
		}
	}
	return level, by
}

// policy names what has decided. Where the class is only guessed, it says so.
func (v *view) policy(assumed bool) string {
	name := fmt.Sprintf("%s manifest %d", gatePolicy, v.manifest)
	if assumed {
		name += " class by name"
	}
	return name
}

func (v *view) hasManifest() bool { return v.manifest > 0 }

// permit is what the manifest says of a call.
func (v *view) permit(p *Proposal) event.Permit {
	return event.Permitted(v.permissions, event.ToolCall{Tool: p.Tool, Connector: p.Options.Connector, Destination: p.Options.Destination})
}

// classOf is the class of a call: the agent's word or the manifest's, whichever is graver. Where both are silent it is assumed from the
// names of tool and operation.
func classOf(permit event.Permit, p *Proposal) (of Consequence, assumed bool) {
	of, basis := permit.Class(p.Options.Consequence)
	if basis == "" {
		return class.Of(p.Tool, p.Options.Operation).Consequence, true
	}
	return of, false
}

func (v *view) needsLease(class Consequence) bool {
	return class == High || class == Moderate && v.moderate
}

// stricter is the answer of two gates: the stricter one, and both policies.
func stricter(a, b Ruling) Ruling {
	if rankOf(b.Decision) > rankOf(a.Decision) {
		a, b = b, a
	}
	switch {
	case a.Policy == "":
		a.Policy = b.Policy
	case b.Policy != "":
		a.Policy += "; " + b.Policy
	}
	return a
}

func rankOf(d Decision) int { return slices.Index([]Decision{Allow, NeedsApproval, Deny}, d) }

// becauseContained joins the reason for which a call was stopped to the error that it ended with.
func becauseContained(ctx context.Context, failure error) error {
	if cause := context.Cause(ctx); failure != nil && errors.Is(cause, ErrContained) && !errors.Is(failure, ErrContained) {
		return fmt.Errorf("%w: %w", cause, failure)
	}
	return failure
}
