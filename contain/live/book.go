package live

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// MostContained is how many containments rules may ask for in a minute of a tenant's time: more than that is no attack on an
	// agent but a rule or a tenant that a person must look at.
	MostContained = 20
	// MostShare is the share of a tenant's instances, one in so many, that one rule may contain within an hour.
	MostShare = 5
	// LeastInstances is how many instances one rule may contain within an hour however few there are.
	LeastInstances = 2
	// maxFirings is how many firings of a tenant are remembered. The oldest goes; a backtest finds it again.
	maxFirings = 2048
	// maxInForce is how many containments of a tenant are remembered to be in force.
	maxInForce = 4096
	// repeatsFor is how long a rule stays with its first firing after the last repeat.
	repeatsFor = int64(time.Hour)
	// shareFor is the time in which the instances of a rule are counted.
	shareFor = int64(time.Hour)
	// budgetFor is the time in which containments are counted.
	budgetFor = int64(time.Minute)
	// planPrefix begins the id of a containment that a firing asked for.
	planPrefix = "f-"
)

// State is what people have made of a firing.
type State string

// The states.
const (
	StateOpen          State = "open"
	StateAcknowledged  State = "acknowledged"   // a person has it in hand
	StateFalsePositive State = "false_positive" // a person has called it false: repeats of it ask for nothing
	needsPerson        State = "needs_person"   // in events alone: what was asked for could not be done
)

// Firing is one firing of a rule in a tenant, and what became of it. Times are nanoseconds since the Unix epoch, by the stream.
type Firing struct {
	ID       event.ID
	Rule     string
	Version  uint32
	Severity rules.Severity
	Action   rules.Action
	Index    uint64
	Time     int64
	Instance string
	Run      string
	Event    string // the action of the event that completed it
	Evidence []event.ID
	Silent   string // why it asks for nothing: "shadow", "imported"

	Repeats  uint64
	LastTime int64

	Target      string // what it asks to contain; empty if nothing
	Asked       bool   // it asked for a containment, which is then pending until Done
	Done        bool   // the log has the containment, or says that a person is needed
	Containment string // id of the containment that came of it or stood already
	Released    bool   // that containment was released
	NeedsPerson string // why a person must act

	State     State
	Actor     string
	Reason    string
	ChangedAt int64
}

// group is what a firing's repeats have in common.
type group struct{ Rule, Instance, Run string }

func (f *Firing) group() group { return group{f.Rule, f.Instance, f.Run} }

// Plan is the id of the containment that the firing asks for.
func (f *Firing) Plan() string { return planPrefix + hex.EncodeToString(f.ID[:]) }

// pending reports whether a containment is asked for of which the log knows nothing.
func (f *Firing) pending() bool { return f.Asked && !f.Done }

// inForce is a containment that stops something, as far as the book needs to know.
type inForce struct {
	Plan   string
	Target string
	Level  contain.Level
}

// asked is one containment that a rule asked for.
type asked struct {
	Time     int64
	Rule     string
	Instance string
	Severity rules.Severity
}

// Book is the firings of one tenant. It is a fold, and not safe for concurrent use.
type Book struct {
	tenant    event.TenantID
	list      []*Firing // in the order of the log
	byID      map[event.ID]*Firing
	groups    map[group]*Firing
	inForce   []inForce // in the order of the log
	asked     []asked   // within shareFor, oldest first
	waiting   []*Firing // pending
	forgotten uint64
}

// NewBook is the book before the first leaf.
func NewBook(tenant event.TenantID) *Book {
	return &Book{tenant: tenant, byID: map[event.ID]*Firing{}, groups: map[group]*Firing{}}
}

// All are the firings, in the order of the log. They must not be changed.
func (b *Book) All() []*Firing { return b.list }

// Find finds a firing, nil if it is not remembered.
func (b *Book) Find(id event.ID) *Firing { return b.byID[id] }

// Forgotten is how many firings are not remembered any more.
func (b *Book) Forgotten() uint64 { return b.forgotten }

// Note takes in what a leaf has fired, the most severe first. instances is how many the tenant has.
func (b *Book) Note(firings []rules.Firing, instances int) {
	slices.SortStableFunc(firings, func(x, y rules.Firing) int { return -cmp.Compare(rank(x.Rule.Severity), rank(y.Rule.Severity)) })
	for i := range firings {
		b.note(&firings[i], instances)
	}
}

func rank(s rules.Severity) int { return slices.Index(rules.Severities, s) }

func (b *Book) note(x *rules.Firing, instances int) {
	if b.byID[x.ID] != nil {
		return
	}
	f := Firing{
		ID: x.ID, Rule: x.Rule.ID, Version: x.Rule.Version, Severity: x.Rule.Severity, Action: x.Rule.Action, Index: x.Index, Time: x.Time,
		Instance: x.Instance, Run: x.Run, Event: x.Action, Evidence: x.Evidence, Silent: x.Silent, LastTime: x.Time, State: StateOpen,
	}
	if first := b.groups[f.group()]; first.takes(&f) {
		first.Repeats, first.LastTime = first.Repeats+1, max(first.LastTime, f.Time)
		return
	}
	kept := f // a repeat, as most are, takes no memory
	b.add(&kept)
	b.decide(&kept, x.Rule, instances)
}

// takes reports whether a firing is a repeat of this one. One that asks for something is never a repeat of one that did not: a rule that
// has gone live acts at once.
func (f *Firing) takes(next *Firing) bool {
	switch {
	case f == nil, f.Silent != next.Silent, f.Version != next.Version:
		return false
	case f.State == StateFalsePositive:
		return true
	}
	return !f.Released && next.Time-f.LastTime < repeatsFor
}

func (b *Book) add(f *Firing) {
	if len(b.list) >= maxFirings {
		b.forget()
	}
	b.list = append(b.list, f)
	b.byID[f.ID], b.groups[f.group()] = f, f
}

// forget drops the oldest of the firings that are worth the least: whoever floods the book with small things, or with what is in shadow,
// does not drive out what waits for a person.
func (b *Book) forget() {
	i, least := 0, b.list[0].worth()
	for k, f := range b.list {
		if least == 0 {
			break
		}
		if w := f.worth(); w < least {
			i, least = k, w
		}
	}
	old := b.list[i]
	if i == 0 { // the usual case: nothing is moved
		b.list[0], b.list = nil, b.list[1:]
	} else {
		b.list = slices.Delete(b.list, i, i+1)
	}
	delete(b.byID, old.ID)
	if b.groups[old.group()] == old {
		delete(b.groups, old.group())
	}
	b.forgotten++
}

// worth is how much is lost if a firing is forgotten: nothing if it waits for nobody, everything while its containment is asked for.
func (f *Firing) worth() int {
	switch {
	case f.pending():
		return len(rules.Severities) + 2
	case f.NeedsPerson != "" && f.Wants():
		return rank(f.Severity) + 2
	case f.Wants():
		return rank(f.Severity) + 1
	case f.State == StateFalsePositive:
		return len(rules.Severities) // a person's word, which keeps repeats quiet
	}
	return 0
}

// decide says what comes of a firing.
func (b *Book) decide(f *Firing, r *rules.Rule, instances int) {
	if f.Silent != "" || f.Action == "none" || f.Instance == "" {
		return
	}
	target := targetOf(b.tenant, f, r.Reach)
	f.Target = target.String()
	if c := b.covering(f, target); c != nil {
		f.Containment = c.Plan
		return
	}
	b.expire(f.Time)
	if f.NeedsPerson = b.tooMany(f, instances); f.NeedsPerson != "" {
		return
	}
	f.Asked, f.Containment = true, f.Plan()
	b.asked = append(b.asked, asked{f.Time, f.Rule, f.Instance, f.Severity})
	b.waiting = append(b.waiting, f)
	b.enforce(inForce{f.Plan(), f.Target, level(f.Action)})
}

func targetOf(tenant event.TenantID, f *Firing, reach rules.Reach) event.Target {
	if f.Run != "" && reach == rules.OfRun && f.Action != "quarantine" {
		return event.Target{Kind: event.TargetRun, Tenant: tenant, Name: f.Run}
	}
	return event.Target{Kind: event.TargetInstance, Tenant: tenant, Instance: event.InstanceID(f.Instance)}
}

// level is what an action puts in force at once. A quarantine is proposed beside its pause.
func level(a rules.Action) contain.Level {
	if a == "restrict" {
		return contain.Restrict
	}
	return contain.Pause
}

// covering finds a containment in force that stops all that a firing asks to stop.
func (b *Book) covering(f *Firing, t event.Target) *inForce {
	for i := range b.inForce {
		c := &b.inForce[i]
		x, err := event.ParseTarget(c.Target)
		wider := err == nil && (x == t || x.Kind == event.TargetTenant || x.Kind == event.TargetInstance && string(x.Instance) == f.Instance)
		if wider && c.Level.Covers(level(f.Action)) {
			return c
		}
	}
	return nil
}

// expire forgets what was asked for too long ago to count.
func (b *Book) expire(now int64) {
	i := 0
	for i < len(b.asked) && now-b.asked[i].Time >= shareFor {
		i++
	}
	b.asked = slices.Delete(b.asked, 0, i)
}

// tooMany says why a person must act instead of a rule, empty if none must.
func (b *Book) tooMany(f *Firing, instances int) string {
	minute, hit := 0, map[string]bool{f.Instance: true}
	for _, a := range b.asked {
		if f.Time-a.Time < budgetFor {
			minute++
		}
		if a.Rule == f.Rule {
			hit[a.Instance] = true
		}
	}
	if most := budget(f.Severity); minute >= most {
		return fmt.Sprintf("rules have asked for %d containments within a minute; of severity %s no more than %d may", minute, f.Severity, most)
	}
	if most := max(instances/MostShare, LeastInstances); len(hit) > most {
		return fmt.Sprintf("the rule has asked to contain more than %d of %d instances within an hour: it may be wrong", most, instances)
	}
	return ""
}

// budget is how many containments may have been asked for within a minute when a firing asks for one more.
func budget(s rules.Severity) int {
	switch s {
	case "critical":
		return MostContained
	case "high":
		return MostContained * 3 / 4
	}
	return MostContained / 4
}

func (b *Book) enforce(c inForce) {
	if i := b.planned(c.Plan); i >= 0 {
		return
	}
	if len(b.inForce) >= maxInForce {
		b.inForce = slices.Delete(b.inForce, 0, 1)
	}
	b.inForce = append(b.inForce, c)
}

func (b *Book) planned(plan string) int {
	return slices.IndexFunc(b.inForce, func(c inForce) bool { return c.Plan == plan })
}

// Apply takes in an accepted event of Custody's own, of the leaf at a time.
func (b *Book) Apply(at int64, x *eventv1.System) {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Firing:
		b.change(at, x, d.Firing)
	case *eventv1.System_Containment:
		b.contained(d.Containment)
	}
}

// change takes what a person, or the brake, says of a firing. What is kept of it is copied: an event's texts keep its whole message.
func (b *Book) change(at int64, x *eventv1.System, d *eventv1.FiringChange) {
	f := b.byID[event.ID(d.GetFiring())]
	switch state := State(d.GetState()); {
	case f == nil:
	case state == needsPerson:
		f.NeedsPerson, f.Done = strings.Clone(x.GetReason()), true
		b.settle(f)
		b.lift(f.Plan())
	default:
		f.State, f.ChangedAt = State(strings.Clone(string(state))), at
		f.Actor, f.Reason = strings.Clone(x.GetActor()), strings.Clone(x.GetReason())
	}
}

// contained takes what the log says of a containment as a whole.
func (b *Book) contained(d *eventv1.Containment) {
	if d.GetPath() != "" {
		return
	}
	switch d.GetState() {
	case eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED:
		if f := b.planOf(d.GetPlan()); f != nil && f.pending() {
			f.Done = true
			b.settle(f)
		}
		b.enforce(inForce{strings.Clone(d.GetPlan()), strings.Clone(d.GetTarget()), contain.Level(d.GetLevel())})
	case eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED:
		b.lift(d.GetPlan())
		for _, f := range b.list {
			f.Released = f.Released || f.Containment == d.GetPlan()
		}
	}
}

func (b *Book) settle(f *Firing) {
	b.waiting = slices.DeleteFunc(b.waiting, func(x *Firing) bool { return x == f })
}

func (b *Book) lift(plan string) {
	if i := b.planned(plan); i >= 0 {
		b.inForce = slices.Delete(b.inForce, i, i+1)
	}
}

// planOf is the firing that a containment came of, nil if none.
func (b *Book) planOf(plan string) *Firing {
	text, ours := strings.CutPrefix(plan, planPrefix)
	id, err := hex.DecodeString(text)
	if !ours || err != nil || len(id) != event.IDSize {
		return nil
	}
	return b.byID[event.ID(id)]
}

// Pending are the firings whose containment the log does not have, the most severe first, then in the order of the log.
func (b *Book) Pending() []*Firing {
	list := slices.Clone(b.waiting)
	slices.SortStableFunc(list, func(x, y *Firing) int { return -cmp.Compare(rank(x.Severity), rank(y.Severity)) })
	return list
}

// saved is a book as JSON.
type saved struct {
	Tenant    event.TenantID
	List      []*Firing
	Groups    []event.ID // the firings that repeats are counted at
	InForce   []inForce
	Asked     []asked
	Forgotten uint64
}

// saved is a copy of the book.
func (b *Book) saved() *saved {
	s := &saved{Tenant: b.tenant, InForce: slices.Clone(b.inForce), Asked: slices.Clone(b.asked), Forgotten: b.forgotten}
	firings := make([]Firing, len(b.list))
	for i, f := range b.list {
		firings[i] = *f
		s.List = append(s.List, &firings[i])
		if b.groups[f.group()] == f {
			s.Groups = append(s.Groups, f.ID)
		}
	}
	return s
}

// MarshalJSON writes the book; the same book gives the same bytes.
func (b *Book) MarshalJSON() ([]byte, error) { return json.Marshal(b.saved()) }

// UnmarshalJSON reads it.
func (b *Book) UnmarshalJSON(text []byte) error {
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("read book of firings: %w", err)
	}
	*b = *NewBook(s.Tenant)
	b.list, b.inForce, b.asked, b.forgotten = s.List, s.InForce, s.Asked, s.Forgotten
	for _, f := range b.list {
		b.byID[f.ID] = f
		if f.pending() {
			b.waiting = append(b.waiting, f)
		}
	}
	for _, id := range s.Groups {
		if f := b.byID[id]; f != nil {
			b.groups[f.group()] = f
		}
	}
	return nil
}
