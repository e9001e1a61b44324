package contain

import (
	"slices"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
)

// Standing is where the brake stands about one instance.
type Standing struct {
	Level  Level  // the strictest in force for all that it does; empty is none
	Proven bool   // every step of a containment that has this level is verified
	Part   bool   // a part of what it does is contained: a run, a connector, a principal
	Lease  string // where its gates stand, the worst of them
}

// Where a gate can stand. None of them says that anything is contained: only steps do.
const (
	leaseNone    = "no gate"
	leaseLent    = "lent"
	leaseStopped = "not lent"      // connected, and lent nothing because of a containment
	leaseBlocked = "lease-blocked" // connected, and lent nothing: its control is not the newest
	leaseRunsOut = "may act until "
	// leaseCutOff is a gate that has not asked for longer than a lease: it does nothing of high consequence, if it obeys.
	leaseCutOff = "blocked: server unreachable"
)

// Standing says where the brake stands about an instance.
func (e *Engine) Standing(name event.TenantID, instance event.InstanceID) (s Standing) {
	for _, c := range e.active(name) {
		switch {
		case !c.Phase.Holds():
		case c.whole(instance) && (s.Level == "" || !s.Level.Covers(c.Level)):
			s.Level, s.Proven = c.Level, c.Proven()
		case c.whole(instance) && c.Level == s.Level:
			s.Proven = s.Proven || c.Proven()
		case !c.whole(instance) && e.isPart(c, name, instance):
			s.Part = true
		}
	}
	s.Lease = e.leaseOf(name, instance, s.Level)
	return s
}

// isPart reports whether a containment stops a part of what an instance does. That a run or a principal is one of the instance's is not
// known; then it is whoever has taken the containment in.
func (e *Engine) isPart(c *Containment, name event.TenantID, instance event.InstanceID) bool {
	if c.Target.Kind == event.TargetConnector {
		return c.Target.Concerns(instance)
	}
	return slices.ContainsFunc(c.Steps, func(s Step) bool {
		return s.State > requested && e.instanceOf(name, s.Path) == string(instance)
	})
}

// leaseOf is where the worst of an instance's gates stands.
func (e *Engine) leaseOf(name event.TenantID, instance event.InstanceID, level Level) (worst string) {
	worst, most := leaseNone, 0
	for _, key := range e.gatesOf(event.Target{Kind: event.TargetInstance, Tenant: name, Instance: instance}) {
		if text, rank := e.gateStanding(name, key, level); rank > most {
			worst, most = text, rank
		}
	}
	return worst
}

// gateStanding is where one gate stands, and how bad that is.
func (e *Engine) gateStanding(name event.TenantID, key registry.Key, level Level) (text string, rank int) {
	at := e.standingOf(name, GatePath(key.ID))
	switch {
	case at.connected && level.Covers(Pause):
		return leaseStopped, 2
	case at.connected && at.lent && !at.over:
		return leaseLent, 1
	case at.connected:
		return leaseBlocked, 3
	case at.over && !at.lent:
		return leaseNone, 0 // nobody has asked since this process began
	case at.over:
		return leaseCutOff, 4
	}
	return leaseRunsOut + at.until.UTC().Format("15:04:05"), 5
}
