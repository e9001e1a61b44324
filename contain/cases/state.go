package cases

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Bounds of a tenant's state.
const (
	// maxClosed is how many closed cases are remembered: enough for a look back. The log has them all.
	maxClosed = 256
	// MaxOpen is how many cases can be open: more is not casework.
	MaxOpen = 256
	// maxChanges is how many changes of the system can be cited as a fix: the newest.
	maxChanges = 4096
	// maxContainments is how many containments can be added to a case: the newest.
	maxContainments = 1024
	// maxGathered bounds each list of one case.
	maxGathered = 1024
)

// Short names of the actions.
const (
	opened  = eventv1.CaseAction_CASE_ACTION_OPENED
	added   = eventv1.CaseAction_CASE_ACTION_ADDED
	trigger = eventv1.CaseAction_CASE_ACTION_TRIGGER
	failure = eventv1.CaseAction_CASE_ACTION_FAILURE
	settled = eventv1.CaseAction_CASE_ACTION_SETTLED
	fixed   = eventv1.CaseAction_CASE_ACTION_FIXED
	closed  = eventv1.CaseAction_CASE_ACTION_CLOSED
)

// ID names a case in its tenant.
type ID string

// Verdict is a class, and the events that bear it out.
type Verdict struct {
	Class  string
	Actor  string
	Reason string
	At     int64
	Events []event.ID
}

// Item is something that must be settled.
type Item struct {
	Name      string
	Done      bool
	NotNeeded bool
	Actor     string // empty if an event of the log settled it
	Reason    string
	Events    []event.ID
}

// Open reports whether the item is still to be settled.
func (i *Item) Open() bool { return !i.Done && !i.NotNeeded }

// Fix is one change of the system that mends it.
type Fix struct {
	Change
	Actor  string
	Reason string
}

// Case is one incident. Times are nanoseconds since the Unix epoch, by the stream.
type Case struct {
	ID           ID
	Target       event.Target
	Opener       string
	Reason       string
	OpenedAt     int64
	TriggerAt    int64 // a fix comes later
	Held         bool
	Opening      []event.ID // cited when it was opened
	Added        []event.ID
	Firings      [][16]byte
	Containments []string
	Trigger      Verdict // the newest
	Failure      Verdict
	Items        []Item
	Fixes        []Fix
	Closer       string
	ClosedAt     int64 // 0 while open
}

// Open reports whether the case is open.
func (c *Case) Open() bool { return c.ClosedAt == 0 }

// item finds an item.
func (c *Case) item(name string) *Item {
	return &c.Items[slices.IndexFunc(c.Items, func(i Item) bool { return i.Name == name })]
}

// Missing is what hinders closing: "trigger", "failure", the names of open items, "fix".
func (c *Case) Missing() (list []string) {
	if c.Trigger.Class == "" {
		list = append(list, "trigger")
	}
	if c.Failure.Class == "" {
		list = append(list, "failure")
	}
	for i := range c.Items {
		if c.Items[i].Open() {
			list = append(list, c.Items[i].Name)
		}
	}
	if len(c.Fixes) == 0 {
		list = append(list, "fix")
	}
	return list
}

// clone is a copy that shares nothing that changes.
func (c *Case) clone() *Case {
	other := *c
	other.Items, other.Fixes = slices.Clone(c.Items), slices.Clone(c.Fixes)
	other.Added, other.Firings, other.Containments = slices.Clone(c.Added), slices.Clone(c.Firings), slices.Clone(c.Containments)
	return &other
}

// State is the cases of one tenant, and what of its log they need. It is not safe for concurrent use.
type State struct {
	cases        []*Case // in the order of their opening
	count        uint64  // of cases ever
	changes      []Change
	containments []containment
	keys         map[[32]byte]string // instance, by key id
}

// All are the cases, in the order of their opening. They must not be changed.
func (s *State) All() []*Case { return s.cases }

// Find finds a case.
func (s *State) Find(id ID) *Case {
	i := slices.IndexFunc(s.cases, func(c *Case) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return s.cases[i]
}

// About finds the open case about a target.
func (s *State) About(target event.Target) *Case {
	i := slices.IndexFunc(s.cases, func(c *Case) bool { return c.Open() && c.Target == target })
	if i < 0 {
		return nil
	}
	return s.cases[i]
}

// NextID is the id of the next case. Two requests that know the same log choose the same id and collapse into one.
func (s *State) NextID(target event.Target) ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("custody/case/v1\x00"+target.String()+"\x00"), s.count))
	return ID("case-" + hex.EncodeToString(sum[:6]))
}

// Wants reports whether an event can change a state.
func Wants(x *eventv1.System) bool {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Case, *eventv1.System_Hold, *eventv1.System_Manifest, *eventv1.System_Review, *eventv1.System_Rule, *eventv1.System_Key:
		return true
	case *eventv1.System_Containment:
		return d.Containment.GetPath() == "" || d.Containment.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED
	}
	return false
}

// Apply folds in one system event that the stream has at a time. What makes no sense where a case stands changes nothing.
func (s *State) Apply(at int64, e *eventv1.Event) (changed bool) {
	x := e.GetSystem()
	if act := x.GetCase(); act != nil {
		return s.act(at, x, act)
	}
	if hold := x.GetHold(); hold != nil {
		return s.held(hold)
	}
	return s.observe(at, event.ID(e.GetId()), x)
}

func (s *State) held(hold *eventv1.Hold) bool {
	c := s.Find(ID(hold.GetHold()))
	if c == nil || c.Held == !hold.GetLifted() {
		return false
	}
	c.Held = !hold.GetLifted()
	return true
}

// act folds in one act of a case.
func (s *State) act(at int64, x *eventv1.System, act *eventv1.Case) bool {
	c := s.Find(ID(act.GetCase()))
	if act.GetAction() == opened {
		return c == nil && s.open(at, x, act)
	}
	if c == nil || !c.Open() {
		return false
	}
	switch act.GetAction() {
	case added:
		return s.add(c, act)
	case trigger:
		return c.judge(&c.Trigger, at, x, act)
	case failure:
		return c.judge(&c.Failure, at, x, act)
	case settled:
		return c.settle(x, act)
	case fixed:
		return s.fix(c, x, act)
	case closed:
		return s.close(c, at, x)
	}
	return false
}

func (s *State) open(at int64, x *eventv1.System, act *eventv1.Case) bool {
	target, err := event.ParseTarget(act.GetTarget())
	if err != nil || s.About(target) != nil {
		return false
	}
	c := &Case{
		ID: ID(act.GetCase()), Target: target, Opener: x.GetActor(), Reason: x.GetReason(), OpenedAt: at,
		TriggerAt: cmp.Or(act.GetTriggerAt(), at), Opening: ids(act.GetEvents()),
	}
	for _, name := range event.CaseItems {
		c.Items = append(c.Items, Item{Name: name})
	}
	s.cases, s.count = append(s.cases, c), s.count+1
	c.gather(act)
	for _, k := range s.containments {
		if k.Holds {
			c.contained(k)
		}
	}
	s.rotated(c)
	return true
}

// rotated settles the secrets of a case that is opened after its credentials were taken away: who stops first opens the case later.
func (s *State) rotated(c *Case) {
	for _, x := range s.changes {
		secret := x.Kind == Credential || x.Kind == Connector
		if secret && x.At > c.TriggerAt && x.Instance != "" && x.Instance == string(c.Target.Instance) {
			c.item("secrets").shown(x.ID)
		}
	}
}

// add gathers. Containments that nobody knows are left out.
func (s *State) add(c *Case, act *eventv1.Case) bool {
	before := len(c.Added) + len(c.Firings) + len(c.Containments)
	c.Added = merge(c.Added, ids(act.GetEvents()))
	c.gather(act)
	return len(c.Added)+len(c.Firings)+len(c.Containments) > before
}

func (c *Case) gather(act *eventv1.Case) {
	var firings [][16]byte
	for _, f := range act.GetFirings() {
		firings = append(firings, [16]byte(f))
	}
	c.Firings, c.Containments = merge(c.Firings, firings), merge(c.Containments, act.GetContainments())
}

// asked is the firing that asked for a containment, by the containment's id, as package live makes it: "f-" and the firing's in hex.
func asked(containment string) (firings [][16]byte) {
	text, ok := strings.CutPrefix(containment, "f-")
	b, err := hex.DecodeString(text)
	if !ok || err != nil || len(b) != event.IDSize {
		return nil
	}
	return [][16]byte{[16]byte(b)}
}

// merge adds what is new, up to maxGathered.
func merge[T comparable](list, more []T) []T {
	for _, x := range more {
		if !slices.Contains(list, x) && len(list) < maxGathered {
			list = append(list, x)
		}
	}
	return list
}

// judge takes a verdict; the newest counts, the log has them all.
func (c *Case) judge(v *Verdict, at int64, x *eventv1.System, act *eventv1.Case) bool {
	*v = Verdict{Class: act.GetClass(), Actor: x.GetActor(), Reason: x.GetReason(), At: at, Events: ids(act.GetEvents())}
	return true
}

// settle ends an item by a person's word.
func (c *Case) settle(x *eventv1.System, act *eventv1.Case) bool {
	*c.item(act.GetClass()) = Item{
		Name: act.GetClass(), Done: !act.GetNotNeeded(), NotNeeded: act.GetNotNeeded(), Actor: x.GetActor(), Reason: x.GetReason(),
		Events: ids(act.GetEvents()),
	}
	return true
}

// fix takes the changes that mend the system. An act that cites anything else changes nothing.
func (s *State) fix(c *Case, x *eventv1.System, act *eventv1.Case) bool {
	var fixes []Fix
	for _, id := range ids(act.GetEvents()) {
		change, why := s.Mends(c, id)
		if why != "" {
			return false
		}
		if !slices.ContainsFunc(c.Fixes, func(f Fix) bool { return f.ID == id }) {
			fixes = append(fixes, Fix{change, x.GetActor(), x.GetReason()})
		}
	}
	c.Fixes = append(c.Fixes, fixes...)
	return len(fixes) > 0
}

// close closes a case that nothing hinders, and forgets the oldest of too many.
func (s *State) close(c *Case, at int64, x *eventv1.System) bool {
	if len(c.Missing()) > 0 {
		return false
	}
	c.Closer, c.ClosedAt = x.GetActor(), at
	isClosed := func(c *Case) bool { return !c.Open() }
	n := 0
	for _, c := range s.cases {
		if isClosed(c) {
			n++
		}
	}
	if n > maxClosed {
		i := slices.IndexFunc(s.cases, isClosed)
		s.cases = slices.Delete(s.cases, i, i+1)
	}
	return true
}

func ids(all [][]byte) (list []event.ID) {
	for _, b := range all {
		list = append(list, event.ID(b))
	}
	return list
}

// Hash is SHA-256 over everything in the state.
func (s *State) Hash() [32]byte {
	type key struct{ ID, Instance string }
	var keys []key
	for id, instance := range s.keys {
		keys = append(keys, key{hex.EncodeToString(id[:]), instance})
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Compare(a.ID, b.ID) })
	b, err := json.Marshal(struct {
		Cases        []*Case
		Count        uint64
		Changes      []Change
		Containments []containment
		Keys         []key
	}{s.cases, s.count, s.changes, s.containments, keys})
	if err != nil {
		panic("cases: encode state: " + err.Error()) // text, numbers and booleans only
	}
	return sha256.Sum256(b)
}
