package cases

import (
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Kind is what sort of change of the system an event is.
type Kind string

// The kinds.
const (
	Rule       Kind = "rule"       // a rule went live
	Manifest   Kind = "manifest"   // a manifest came into force
	Connector  Kind = "connector"  // a connector has revoked, and a probe has found the credential dead
	Credential Kind = "credential" // an emitter key was revoked or rotated
)

// Change is one change of the system that can be cited as a fix.
type Change struct {
	ID       event.ID
	Kind     Kind
	Instance string // that it is about; empty if it is about the tenant
	At       int64  // ns, by the stream
}

// containment is what a case needs to know of one.
type containment struct {
	ID     string
	Target event.Target
	Stops  bool // pause or quarantine
	Event  event.ID
	Holds  bool
}

// observe takes in what the log says besides cases: changes, reviews, containments.
func (s *State) observe(at int64, id event.ID, x *eventv1.System) bool {
	before := len(s.changes)
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Manifest:
		s.change(Change{id, Manifest, d.Manifest.GetInstance(), at})
		s.show("scopes", d.Manifest.GetInstance(), at, id)
	case *eventv1.System_Rule:
		if d.Rule.GetMode() == "live" {
			s.change(Change{id, Rule, "", at})
		}
	case *eventv1.System_Key:
		s.key(at, id, d.Key)
	case *eventv1.System_Review:
		s.review(at, id, d.Review)
	case *eventv1.System_Containment:
		s.containment(at, id, d.Containment)
	}
	return len(s.changes) != before
}

func (s *State) change(c Change) {
	if s.changes = append(s.changes, c); len(s.changes) > maxChanges {
		s.changes = slices.Delete(s.changes, 0, 1)
	}
}

// key takes in the life of a key. A revocation names only its id.
func (s *State) key(at int64, id event.ID, k *eventv1.KeyChange) {
	key := [32]byte(k.GetKeyId())
	rotated := k.GetAction() == eventv1.KeyAction_KEY_ACTION_ENROLLED && len(k.GetReplaces()) > 0
	if k.GetAction() == eventv1.KeyAction_KEY_ACTION_ENROLLED {
		if s.keys == nil {
			s.keys = map[[32]byte]string{}
		}
		s.keys[key] = k.GetInstance()
	}
	if rotated || k.GetAction() == eventv1.KeyAction_KEY_ACTION_REVOKED {
		s.change(Change{id, Credential, s.keys[key], at})
		s.show("secrets", s.keys[key], at, id)
	}
}

func (s *State) review(at int64, id event.ID, r *eventv1.Review) {
	if r.GetTopic() == "sharing" {
		return
	}
	s.show("review", r.GetSubject(), at, id)
	if r.GetTopic() == "scope" && r.GetOutcome() != "rejected" {
		s.show("scopes", r.GetSubject(), at, id)
	}
}

// containment takes in a containment as a whole, and a connector's step that is verified.
func (s *State) containment(at int64, id event.ID, d *eventv1.Containment) {
	target, err := event.ParseTarget(d.GetTarget())
	switch {
	case err != nil:
	case d.GetPath() != "":
		if strings.HasPrefix(d.GetPath(), "connector/") && d.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED {
			s.change(Change{id, Connector, string(target.Instance), at})
			s.show("secrets", string(target.Instance), at, id)
		}
	case d.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED:
		s.begun(containment{d.GetPlan(), target, d.GetLevel() != "restrict", id, true})
	case d.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED:
		if i := slices.IndexFunc(s.containments, func(k containment) bool { return k.ID == d.GetPlan() }); i >= 0 {
			s.containments[i].Holds = false
		}
	}
}

// begun notes a containment that is in force, once, and gives it to the cases that it concerns.
func (s *State) begun(k containment) {
	if s.contained(k.ID) {
		return
	}
	if s.containments = append(s.containments, k); len(s.containments) > maxContainments {
		s.containments = slices.Delete(s.containments, 0, 1)
	}
	for _, c := range s.cases {
		if c.Open() {
			c.contained(k)
		}
	}
}

// contained reports whether there is a containment.
func (s *State) contained(id string) bool {
	return slices.ContainsFunc(s.containments, func(k containment) bool { return k.ID == id })
}

// contained takes a containment into a case that it concerns.
func (c *Case) contained(k containment) {
	if !related(c.Target, k.Target) {
		return
	}
	c.Containments, c.Firings = merge(c.Containments, []string{k.ID}), merge(c.Firings, asked(k.ID))
	if k.Stops {
		c.item("quarantine").shown(k.Event)
	}
}

// related reports whether a containment of one target is about the other.
func related(a, b event.Target) bool {
	return a == b || a.Kind == event.TargetTenant || b.Kind == event.TargetTenant || a.Instance != "" && a.Instance == b.Instance
}

// show settles an item of every open case that something of an instance shows. Of nobody in particular it is of all.
func (s *State) show(item, instance string, at int64, id event.ID) {
	for _, c := range s.cases {
		about := instance == "" || instance == string(c.Target.Instance)
		if c.Open() && about && at > c.OpenedAt {
			c.item(item).shown(id)
		}
	}
}

// shown settles an item that is open by an event of the log.
func (i *Item) shown(id event.ID) {
	if i.Open() {
		i.Done, i.Events = true, []event.ID{id}
	}
}

// Mends finds the change that an id cites as a fix of a case, or says why it is none.
func (s *State) Mends(c *Case, id event.ID) (change Change, why string) {
	i := slices.IndexFunc(s.changes, func(x Change) bool { return x.ID == id })
	switch {
	case i < 0:
		return change, "it is no change of the system: a rule that went live, a manifest, a credential that was revoked or rotated, or a connector's verified revocation"
	case s.changes[i].At <= c.TriggerAt:
		return change, "it came before the case's trigger"
	case c.Target.Instance != "" && s.changes[i].Instance != "" && s.changes[i].Instance != string(c.Target.Instance):
		return change, "it is about instance " + s.changes[i].Instance
	}
	return s.changes[i], ""
}
