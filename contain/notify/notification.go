package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Kind is what a notification is about.
type Kind string

// The kinds.
const (
	Unproven  Kind = "unproven"  // a step of a containment is not proven
	Proven    Kind = "proven"    // it is proven after all
	Glass     Kind = "glass"     // somebody acted without the second person who was needed
	Proposed  Kind = "proposed"  // a containment or a release waits for a second person
	Expiring  Kind = "expiring"  // a containment is about to end by itself
	Contained Kind = "contained" // something is contained
	Released  Kind = "released"  // and is not any more
	Fired     Kind = "firing"    // a rule has fired
	Flood     Kind = "flood"     // more rules have fired than anybody could read
	CaseAct   Kind = "case"      // a case was opened or closed
	Test      Kind = "test"
)

// Notification is what people are told. Its texts are escaped.
type Notification struct {
	ID       string // of the delivery: the same for each attempt
	Key      string // of what it is about: a later one with the same key is about the same
	Tenant   event.TenantID
	Kind     Kind
	Severity Severity
	Title    string
	Target   string
	Detail   string
	At       int64 // ns since the Unix epoch
	Resolved bool  // what the key is about is over
	Commands []string
}

// maxDetail bounds the detail, bytes: Slack and PagerDuty cut what is longer.
const maxDetail = 512

// complete sets the id, and escapes and cuts the texts.
func (n *Notification) complete(unique string) *Notification {
	sum := sha256.Sum256([]byte("custody/notification/v1\x00" + string(n.Tenant) + "\x00" + string(n.Kind) + "\x00" + n.Key + "\x00" + unique))
	n.ID = "n-" + hex.EncodeToString(sum[:12])
	n.Title, n.Target, n.Detail = clean(n.Title), clean(n.Target), clean(n.Detail)
	return n
}

func clean(text string) string {
	text = event.Escape(text)
	if len(text) > maxDetail {
		text = event.Cut(text, maxDetail) + "…"
	}
	if _, found := event.ScanSecrets([]byte(text)); found {
		return "(withheld: it looked like a secret)"
	}
	return text
}

// Wants reports whether people are told of an event.
func Wants(x *eventv1.System) bool { return x.GetContainment() != nil || x.GetCase() != nil }

// mostSteps is how many unproven steps of a containment are told one by one; the others of the same message are counted. A pause of a run
// has a step for every gate of its tenant, and nobody reads a thousand pages.
const mostSteps = 5

// ofMessage is what people are told of the events of one message, in their order.
func ofMessage(tenant event.TenantID, at int64, events []*eventv1.Event) (list []*Notification) {
	unproven, rest := map[string]int{}, map[string]*others{}
	for _, e := range events {
		n := of(tenant, at, e)
		if n == nil {
			continue
		}
		d := e.GetSystem().GetContainment()
		if plan := d.GetPlan(); n.Kind == Unproven {
			if unproven[plan]++; unproven[plan] > mostSteps {
				rest[plan] = rest[plan].add(&list, n, d)
				continue
			}
		}
		if list = append(list, n); d.GetBreakGlass() {
			list = append(list, ofGlass(n, e))
		}
	}
	for _, o := range rest {
		o.complete()
	}
	return list
}

// others are the unproven steps of a containment that are told as one.
type others struct {
	*Notification
	first string // what makes the notification this one
	what  string
	count int
}

// add counts one more; the first takes its place in the list. The key is that of a step, so it ends with the containment.
func (o *others) add(list *[]*Notification, n *Notification, d *eventv1.Containment) *others {
	if o == nil {
		o = &others{Notification: n, first: n.ID, what: fmt.Sprintf("%s of %s", d.GetLevel(), d.GetTarget())}
		n.Key = "step/" + string(n.Tenant) + "/" + d.GetPlan() + "/others"
		*list = append(*list, n)
	}
	o.count++
	return o
}

func (o *others) complete() {
	o.Title = fmt.Sprintf("NOT PROVEN: %s by %d more steps", o.what, o.count)
	o.Notification.complete(o.first)
}

// ofGlass says beside a containment or a release that nobody else was asked. It has no end: somebody has to look at it.
func ofGlass(n *Notification, e *eventv1.Event) *Notification {
	x := e.GetSystem()
	verb := "contained"
	if n.Resolved {
		verb = "released"
	}
	d := x.GetContainment()
	loud := &Notification{
		Key: "glass/" + string(n.Tenant) + "/" + d.GetPlan() + "/" + verb, Tenant: n.Tenant, Kind: Glass, Severity: Critical, At: n.At, Target: d.GetTarget(),
		Title:    fmt.Sprintf("GLASS BROKEN: %s %s (%s), and no second person was asked", actor(x), verb, d.GetTarget()+", "+d.GetLevel()),
		Detail:   x.GetReason(),
		Commands: []string{listContained(n.Tenant), "custody search --tenant " + string(n.Tenant) + " --action containment"},
	}
	return loud.complete(hex.EncodeToString(e.GetId()))
}

// of is what people are told of an event, nil if nothing.
func of(tenant event.TenantID, at int64, e *eventv1.Event) *Notification {
	x := e.GetSystem()
	var n *Notification
	switch {
	case x.GetContainment().GetPath() != "":
		n = ofStep(tenant, x.GetContainment())
	case x.GetContainment() != nil:
		n = ofContainment(tenant, x)
	case x.GetCase() != nil:
		n = ofCase(tenant, x)
	}
	if n == nil {
		return nil
	}
	n.Tenant, n.At = tenant, at
	return n.complete(hex.EncodeToString(e.GetId()))
}

// ofStep is about a step that is not proven, or proven after all.
func ofStep(tenant event.TenantID, d *eventv1.Containment) *Notification {
	n := &Notification{
		Key: "step/" + string(tenant) + "/" + d.GetPlan() + "/" + d.GetPath(), Target: d.GetTarget(), Detail: d.GetEvidence(),
		Commands: []string{listContained(tenant), releaseOf(d)},
	}
	switch d.GetState() {
	case eventv1.ContainmentState_CONTAINMENT_STATE_UNPROVEN:
		n.Kind, n.Severity, n.Title = Unproven, Critical, fmt.Sprintf("NOT PROVEN: %s of %s by %s", d.GetLevel(), d.GetTarget(), d.GetPath())
		if d.GetLevel() != "quarantine" {
			n.Commands = []string{n.Commands[0], fmt.Sprintf("custody contain %s --level quarantine --plan", quoted(d.GetTarget())), n.Commands[1]}
		}
	case eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED:
		n.Kind, n.Severity, n.Resolved, n.Title = Proven, Info, true, fmt.Sprintf("proven: %s of %s by %s", d.GetLevel(), d.GetTarget(), d.GetPath())
	default:
		return nil
	}
	return n
}

func listContained(tenant event.TenantID) string {
	return "custody contained --tenant " + string(tenant)
}

func releaseOf(d *eventv1.Containment) string {
	return "custody release " + quoted(d.GetTarget()) + " --reason 'WHY'"
}

// keepOf keeps in force what is about to end, as one person can: what a quarantine has revoked stays dead under a pause.
func keepOf(d *eventv1.Containment) string {
	level := d.GetLevel()
	if level == "quarantine" {
		level = "pause"
	}
	return fmt.Sprintf("custody contain %s --level %s --reason 'not over'", quoted(d.GetTarget()), level)
}

// ofContainment is about a containment as a whole.
func ofContainment(tenant event.TenantID, x *eventv1.System) *Notification {
	d := x.GetContainment()
	n := &Notification{
		Key: "containment/" + string(tenant) + "/" + d.GetPlan(), Target: d.GetTarget(), Detail: x.GetReason(),
		Commands: []string{listContained(tenant), releaseOf(d)},
	}
	what := fmt.Sprintf("%s of %s", d.GetLevel(), d.GetTarget())
	switch event.ContainmentStates.Name(d.GetState()) {
	case "requested":
		n.Kind, n.Severity, n.Title = Contained, Warning, fmt.Sprintf("%s by %s", what, actor(x))
		n.Commands = append(n.Commands, "custody case open "+quoted(d.GetTarget())+" --reason 'WHAT HAPPENED'")
	case "proposed":
		n.Kind, n.Severity, n.Title = Proposed, Error, fmt.Sprintf("%s, or its release, waits for a second person; %s asks", what, actor(x))
		n.Commands = []string{listContained(tenant), fmt.Sprintf("custody contain %s --level %s --reason 'WHY'", quoted(d.GetTarget()), d.GetLevel()), releaseOf(d)}
	case "expiring":
		n.Kind, n.Severity, n.Title = Expiring, Error, what+" is about to end by itself"
		n.Commands = []string{keepOf(d), listContained(tenant), releaseOf(d)}
	case "released":
		n.Kind, n.Severity, n.Resolved, n.Title = Released, Warning, true, fmt.Sprintf("released: %s by %s", what, actor(x))
		n.Commands = n.Commands[:1]
	default:
		return nil
	}
	return n
}

// actor is who acted; what Custody does on its own has nobody.
func actor(x *eventv1.System) string {
	if x.GetActor() == "" {
		return "custody"
	}
	return x.GetActor()
}

// ofCase is about the beginning and the end of a case.
func ofCase(tenant event.TenantID, x *eventv1.System) *Notification {
	d := x.GetCase()
	n := &Notification{
		Key: "case/" + string(tenant) + "/" + d.GetCase(), Kind: CaseAct, Severity: Info, Target: d.GetTarget(), Detail: x.GetReason(),
		Commands: []string{"custody case show " + quoted(d.GetCase()) + " --tenant " + string(tenant)},
	}
	switch d.GetAction() {
	case eventv1.CaseAction_CASE_ACTION_OPENED:
		n.Title = fmt.Sprintf("%s opened about %s by %s", d.GetCase(), d.GetTarget(), actor(x))
	case eventv1.CaseAction_CASE_ACTION_CLOSED:
		n.Title, n.Resolved = fmt.Sprintf("%s closed by %s", d.GetCase(), actor(x)), true
	default:
		return nil
	}
	return n
}

// quoted is a word for a shell that shows what stands there: anything unusual is escaped before it is quoted.
func quoted(s string) string {
	plain := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_-./:,@%+=", r)
	}
	if s != "" && strings.IndexFunc(s, plain) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(event.Escape(s), "'", `'\''`) + "'"
}

// Firing is one firing that waits for a person.
type Firing struct {
	ID          event.ID
	Tenant      event.TenantID
	Rule        string
	Severity    string // low, medium, high or critical
	Target      string
	Instance    string
	Run         string
	Index       uint64
	Time        int64  // ns since the Unix epoch
	NeedsPerson string // why a person must act, empty if nobody must
	Containment string // that came of it
}

// severityOf is how much a person is needed for a firing.
func (f *Firing) severityOf() Severity {
	if f.NeedsPerson != "" {
		return Critical
	}
	switch f.Severity {
	case "critical":
		return Critical
	case "high":
		return Error
	case "medium":
		return Warning
	}
	return Info
}

// notification is what people are told of a firing. That somebody is needed is told again.
func (f *Firing) notification() *Notification {
	n := &Notification{
		Key: "firing/" + f.ID.String(), Tenant: f.Tenant, Kind: Fired, Severity: f.severityOf(), Target: f.Target, At: f.Time,
		Title:  strings.TrimSpace(fmt.Sprintf("%s: rule %s in %s %s", f.Severity, f.Rule, f.Instance, f.Run)),
		Detail: f.NeedsPerson,
		Commands: []string{
			fmt.Sprintf("custody firings show %s --tenant %s", f.ID, f.Tenant),
			fmt.Sprintf("custody why --tenant %s @%d", f.Tenant, f.Index),
			fmt.Sprintf("custody blast %s/%s --since 24h", f.Tenant, f.Instance),
			fmt.Sprintf("custody pause instance/%s/%s --reason 'WHY'", f.Tenant, f.Instance),
		},
	}
	if f.Containment != "" {
		n.Commands = append(n.Commands, listContained(f.Tenant))
	}
	return n.complete(f.NeedsPerson)
}
