package contain

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
)

const (
	// PlanTTL is how long a plan can be applied.
	PlanTTL = time.Hour
	// maxPlans is how many plans are kept; the oldest goes.
	maxPlans = 256
	// reachPatience bounds the look into the records: a plan must not wait for a slow store.
	reachPatience = 3 * time.Second
)

// Reach is what the records say of a target. Lists are sorted.
type Reach struct {
	Credentials []string // fingerprints of the credentials that it has bound
	Descendants []string // other instances that it has delegated to, or whose acts name one of its acts as a cause
}

// Plan is what a containment would reach. Lists are sorted.
type Plan struct {
	ID           string
	Target       event.Target
	Level        Level
	Instances    []string
	Gates        []Path
	Connectors   []Path
	Clients      []string
	Credentials  []string // that the target has bound, and that connectors revoke
	Descendants  []string // not reached: each is a target of its own
	Irreversible []string // steps that a release does not undo
	InFlight     []string // calls of high consequence that are on their way, as their gates report them
	Unknown      []string // what could not be found out
	SecondPerson bool

	made time.Time
}

// plans are the plans of the last hour. They are lost with the process: a plan is made again, never trusted from outside.
type plans struct {
	now func() time.Time

	mu   sync.Mutex
	list []*Plan
}

func (p *plans) keep(plan *Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan.made = p.now()
	if p.list = append(p.list, plan); len(p.list) > maxPlans {
		p.list = p.list[1:]
	}
}

func (p *plans) find(id string) *Plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, plan := range p.list {
		if plan.ID == id && p.now().Sub(plan.made) < PlanTTL {
			return plan
		}
	}
	return nil
}

// Plan says what a containment would reach, and changes nothing.
func (e *Engine) Plan(ctx context.Context, t event.Target, l Level) (*Plan, error) {
	if err := e.catchUp(ctx, t.Tenant); err != nil {
		return nil, fmt.Errorf("plan for %s: %w", t, err)
	}
	if err := e.exists(t); err != nil {
		return nil, fmt.Errorf("plan for %s: %w", t, err)
	}
	plan := e.reach(ctx, t, l)
	plan.ID = "p-" + strings.ToLower(rand.Text()[:12])
	e.plans.keep(plan)
	return plan, nil
}

// reach is what a containment closes and stops now.
func (e *Engine) reach(ctx context.Context, t event.Target, l Level) *Plan {
	plan := &Plan{Target: t, Level: l, SecondPerson: needsTwo(t, l)}
	for _, key := range e.gatesOf(t) {
		plan.Gates = append(plan.Gates, GatePath(key.ID))
		for _, call := range e.leases.standing(key.ID).running {
			act := event.Act{Tenant: t.Tenant, Instance: event.InstanceID(key.Instance), Run: call.GetRun()}
			if t.Kind != event.TargetRun || t.Covers(act) {
				plan.InFlight = append(plan.InFlight, key.Instance+" "+event.Escape(call.GetTool())+" "+event.Escape(call.GetCall()))
			}
		}
	}
	for _, c := range e.connectorsFor(t, l) {
		plan.Connectors = append(plan.Connectors, ConnectorPath(c.Name))
		plan.Irreversible = append(plan.Irreversible, strings.TrimSpace(string(ConnectorPath(c.Name))+" revokes "+c.Credential))
		if c.Credential != "" {
			plan.Credentials = append(plan.Credentials, c.Credential)
		}
	}
	e.cfg.Roster.View(t.Tenant, func(s *registry.State) {
		for _, i := range s.Instances() {
			if t.Kind != event.TargetCredential && t.Concerns(event.InstanceID(i.ID)) && i.ID != string(event.InstanceCustody) {
				plan.Instances = append(plan.Instances, i.ID)
				if client := i.Labels.GetClient(); client != "" {
					plan.Clients = append(plan.Clients, client)
				}
			}
		}
	})
	e.recorded(ctx, plan)
	for _, list := range []*[]string{&plan.Clients, &plan.Credentials, &plan.Descendants, &plan.Irreversible, &plan.InFlight} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return plan
}

// recorded adds to a plan what the records say.
func (e *Engine) recorded(ctx context.Context, plan *Plan) {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	instances := make([]event.InstanceID, len(plan.Instances))
	for i, name := range plan.Instances {
		instances[i] = event.InstanceID(name)
	}
	found, err := e.cfg.Reach(ctx, plan.Target, instances)
	if err != nil {
		e.cfg.Log.WarnContext(ctx, "plan without the records", slog.Any("error", err))
		plan.Unknown = append(plan.Unknown, "credentials and descendants: the records cannot be read now")
		return
	}
	plan.Credentials = append(plan.Credentials, found.Credentials...)
	plan.Descendants = append(plan.Descendants, found.Descendants...)
}

// Apply contains what a plan says, unless it reaches more by now: ErrGrown names what was added. What has gone away does not
// hinder.
func (e *Engine) Apply(ctx context.Context, id string, o Order) (c *Containment, already bool, err error) {
	plan := e.plans.find(id)
	if plan == nil || plan.Target.Tenant != o.Target.Tenant {
		return nil, false, fmt.Errorf("apply plan %s: %w: make it again", event.Escape(id), ErrNotFound)
	}
	if err := e.catchUp(ctx, plan.Target.Tenant); err != nil {
		return nil, false, fmt.Errorf("apply plan %s: %w", id, err)
	}
	// Nobody's pause waits while the records are read: what is enrolled in between is a step of the containment all the same.
	if more := grown(plan, e.reach(ctx, plan.Target, plan.Level)); len(more) > 0 {
		return nil, false, fmt.Errorf("apply plan %s: %w: %s", id, ErrGrown, strings.Join(more, ", "))
	}
	o.Target, o.Level = plan.Target, plan.Level
	return e.Contain(ctx, o)
}

// grown is what now reaches and the plan does not: targets, credentials and steps that a release does not undo. The calls of an
// agent that goes on working do not count: at a thousand calls a second no plan would ever hold.
func grown(plan, now *Plan) (more []string) {
	for _, p := range slices.Concat(now.Gates, now.Connectors) {
		if !slices.Contains(plan.Gates, p) && !slices.Contains(plan.Connectors, p) {
			more = append(more, string(p))
		}
	}
	for _, i := range now.Instances {
		if !slices.Contains(plan.Instances, i) {
			more = append(more, "instance "+i)
		}
	}
	for _, c := range now.Credentials {
		if !slices.Contains(plan.Credentials, c) && len(plan.Unknown) == 0 {
			more = append(more, "credential "+event.Escape(c))
		}
	}
	for _, x := range now.Irreversible {
		if !slices.Contains(plan.Irreversible, x) {
			more = append(more, x)
		}
	}
	return more
}
