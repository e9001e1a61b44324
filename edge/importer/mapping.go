package importer

import (
	"crypto/sha256"
	"regexp"
	"strings"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// dialect is what differs between the benchmarks.
type dialect struct {
	decode    func([]byte) (*trace, error)
	tenant    string // begins the tenant's name
	user      string // the source of inputs
	principal func(t *trace, run string) string
	outcome   func(*trace) eventv1.Outcome
	writes    map[string]bool // tools of high consequence, which need the user's yes; nil if the traces know none
}

// mapper turns one trace into events, in order.
type mapper struct {
	*dialect
	t         *trace
	acts      *acts
	made      *clock
	at        int // message
	tenant    event.TenantID
	instance  event.InstanceID
	run       string
	principal string
	nodes     []*node
	input     *node   // the latest
	documents []*node // results so far
	count     Counts
}

// node is an event before it has its id.
type node struct {
	*edge.Event
	from   int // message
	causes []cause
	about  *act // what an approval is about
}

// cause is one cause of a node.
type cause struct {
	to       *node
	relation eventv1.Relation
	basis    eventv1.CauseBasis
}

// mapped is a run as it goes to its instance's sink.
type mapped struct {
	tenant   event.TenantID
	instance event.InstanceID
	pipeline string
	run      string
	named    bool // the record has an id of its own
	content  [sha256.Size]byte
	where    Problem // its file and line
	events   []*edge.Event
	from     []int // message of each event
	count    Counts
}

// mapRun is the events of t.
func (d *dialect) mapRun(t *trace) *mapped {
	content := t.content()
	run := t.run(content)
	m := &mapper{
		dialect: d, t: t, acts: linkCalls(t), run: run, made: newClock(run, t),
		tenant: tenantOf(d.tenant, t.suite), instance: instanceOf(t.pipeline), principal: d.principal(t, run),
	}
	if d.writes != nil {
		consents(t, m.acts, d.writes)
	}
	m.started()
	for i := range t.messages {
		m.message(i)
	}
	m.ended()
	out := &mapped{
		tenant: m.tenant, instance: m.instance, pipeline: t.pipeline, run: run, named: t.id != "", content: content, events: m.finish(),
	}
	for _, n := range m.nodes {
		out.from = append(out.from, n.from)
	}
	out.count = m.count
	return out
}

func (m *mapper) started() {
	x := &eventv1.Identity{
		Action:   eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED,
		Workflow: cut(m.t.suite, event.MaxID),
		Model:    cut(m.t.pipeline, event.MaxID),
	}
	n := m.add(eventv1.Trust_TRUST_TRUSTED, &eventv1.Event{Body: &eventv1.Event_Identity{Identity: x}})
	if system := m.first(roleSystem); system != nil {
		x.SystemPromptDigest = digest(system.text)
	}
	if user := m.first(roleUser); user != nil {
		m.seal(n, "goal", typeText, user.text)
	}
}

func (m *mapper) first(r role) *message {
	for i := range m.t.messages {
		if m.t.messages[i].role == r {
			return &m.t.messages[i]
		}
	}
	return nil
}

// message adds the events of one message.
func (m *mapper) message(i int) {
	m.made.enter(i)
	m.at = i
	m.count.Messages++
	switch x := &m.t.messages[i]; x.role {
	case roleUser:
		m.inputReceived(i, x.text)
	case roleAssistant:
		for _, a := range m.acts.asked[i] {
			m.ask(a)
		}
		m.request(i)
	case roleTool:
		m.result(m.acts.answered[i], x)
	}
}

func (m *mapper) inputReceived(i int, text string) {
	m.input = m.content(eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED, eventv1.Trust_TRUST_TRUSTED, m.user, text)
	m.approve(i)
}

// content adds an event about text that came in.
func (m *mapper) content(action eventv1.DataAction, trust eventv1.Trust, source, text string) *node {
	x := &eventv1.Data{
		Action:    action,
		Source:    cut(source, event.MaxText),
		Bytes:     uint64(len(text)),
		Direction: eventv1.Direction_DIRECTION_IN,
	}
	if len(text) >= minDigested {
		x.ContentDigest = digest(text)
	}
	n := m.add(trust, &eventv1.Event{Body: &eventv1.Event_Data{Data: x}})
	m.seal(n, "content", typeText, text)
	return n
}

// ask adds what the model asked for, and the start of the call if its result shows that there was one.
func (m *mapper) ask(a *act) {
	m.count.Calls++
	if !ordinary(a.tool) {
		m.count.OddNames++
	}
	if m.writes[a.tool] {
		m.count.Writes++
	}
	a.trust = m.trust()
	a.proposed = m.call(a, eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED)
	a.proposed.causes = m.context()
	m.seal(a.proposed, "arguments", a.args.mediaType, string(a.args.value))
	if a.answered == 0 {
		m.count.Unanswered++
		return
	}
	if refused(&m.t.messages[a.answered]) {
		return
	}
	a.started = m.call(a, eventv1.ExecutionAction_EXECUTION_ACTION_STARTED)
	a.started.after(a.proposed, eventv1.Relation_RELATION_DECISION, a.basis())
	a.started.after(a.approved, eventv1.Relation_RELATION_APPROVAL, eventv1.CauseBasis_CAUSE_BASIS_INFERRED)
}

// call adds one stage of a call.
func (m *mapper) call(a *act, action eventv1.ExecutionAction) *node {
	x := &eventv1.Execution{Action: action, Call: a.name, Tool: cut(a.tool, event.MaxText), Attempt: 1}
	if m.writes[a.tool] {
		x.Consequence = eventv1.Consequence_CONSEQUENCE_HIGH
	}
	return m.add(a.trust, &eventv1.Event{Body: &eventv1.Event_Execution{Execution: x}})
}

// trust of what the model does: untrusted as soon as anything that it has read is.
func (m *mapper) trust() eventv1.Trust {
	if len(m.documents) > 0 {
		return eventv1.Trust_TRUST_UNTRUSTED
	}
	return eventv1.Trust_TRUST_TRUSTED
}

// context is what a proposal may rest on: the latest input and the newest results.
func (m *mapper) context() []cause {
	var causes []cause
	if m.input != nil {
		causes = append(causes, cause{m.input, eventv1.Relation_RELATION_INPUT, eventv1.CauseBasis_CAUSE_BASIS_INFERRED})
	}
	newest := m.documents[max(0, len(m.documents)-(event.MaxCauses-len(causes))):]
	for _, d := range newest {
		causes = append(causes, cause{d, eventv1.Relation_RELATION_RETRIEVED, eventv1.CauseBasis_CAUSE_BASIS_INFERRED})
	}
	return causes
}

// result adds what became of a call and what the model got to see of it; a is nil for the result of no call.
func (m *mapper) result(a *act, x *message) {
	m.count.Results++
	source, last := x.result.tool, (*node)(nil)
	if a == nil {
		m.count.Unlinked++
	} else {
		source, last = a.tool, m.end(a, x)
	}
	d := m.content(eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, eventv1.Trust_TRUST_UNTRUSTED, source, x.seen())
	if a != nil {
		d.after(last, eventv1.Relation_RELATION_DECISION, a.basis())
	}
	m.documents = append(m.documents, d)
}

// end adds how the call ended, and returns the last of its stages.
func (m *mapper) end(a *act, x *message) *node {
	switch {
	case refused(x):
		return m.deny(a, a.proposed, "tool gate", class(x.result.err))
	case withheld(x):
		a.ended = m.finished(a, x)
		return m.deny(a, a.ended, "result filter", "result withheld: prompt injection detected")
	}
	a.ended = m.finished(a, x)
	return a.ended
}

func (m *mapper) finished(a *act, x *message) *node {
	action := eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED
	if x.result.failed {
		action = eventv1.ExecutionAction_EXECUTION_ACTION_FAILED
	}
	n := m.call(a, action)
	e := n.Plain.GetExecution()
	e.Outcome = eventv1.Outcome_OUTCOME_OK
	if x.result.failed {
		m.count.Failures++
		e.Outcome, e.Reason = eventv1.Outcome_OUTCOME_ERROR, class(x.result.err)
	}
	n.after(a.started, eventv1.Relation_RELATION_DECISION, a.basis())
	return n
}

func (m *mapper) deny(a *act, after *node, policy, reason string) *node {
	m.count.Denials++
	n := m.call(a, eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED)
	e := n.Plain.GetExecution()
	e.Decision, e.Policy, e.Reason = eventv1.Decision_DECISION_BLOCK, policy, reason
	n.after(after, eventv1.Relation_RELATION_DECISION, a.basis())
	return n
}

// omitted is the whole of a result that AgentDojo's injection detector withheld from the model.
const omitted = "<Data omitted because a prompt injection was detected>"

// withheld reports whether the result is the notice of a filter. Nothing but the notice counts: a text that quotes it is
// a text like any other.
func withheld(x *message) bool { return x.result.err == "" && strings.TrimSpace(x.text) == omitted }

var (
	// refusals are the errors of a gate in front of the tools: the call never ran.
	refusals = regexp.MustCompile(`^(PermissionError|ToolNotAllowed\w*|(Tool|Function|Call to) \S{0,128} (is|was) (not allowed|not permitted|blocked|denied))\b`)
	// errorClass begins an error's text, for example "ValueError". What follows it may be personal or hostile.
	errorClass = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]{0,63}(Error|Exception)\b`)
)

func refused(x *message) bool { return refusals.MatchString(x.result.err) }

// class is the plain part of an error's text.
func class(text string) string {
	if found := errorClass.FindString(text); found != "" {
		return found
	}
	return "error"
}

// request adds the question for each call that the user's answer to message i allows.
func (m *mapper) request(i int) {
	for _, a := range m.acts.all {
		if a.consent != nil && a.consent.shown == i {
			a.requested = m.approval(a, eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED)
			m.seal(a.requested, "shown", typeText, m.t.messages[i].text)
		}
	}
}

// approve adds the answers that message i gives.
func (m *mapper) approve(i int) {
	for _, a := range m.acts.all {
		if a.consent != nil && a.consent.answer == i {
			m.count.Approvals++
			a.approved = m.approval(a, eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED)
			a.approved.after(a.requested, eventv1.Relation_RELATION_DECISION, eventv1.CauseBasis_CAUSE_BASIS_INFERRED)
			a.approved.after(m.input, eventv1.Relation_RELATION_INPUT, eventv1.CauseBasis_CAUSE_BASIS_INFERRED)
		}
	}
}

func (m *mapper) approval(a *act, action eventv1.ApprovalAction) *node {
	x := &eventv1.Approval{
		Action:      action,
		Approver:    m.principal,
		ShownDigest: digest(m.t.messages[a.consent.shown].text),
		ShownAt:     m.made.start(a.consent.shown),
		Call:        a.name,
		Tool:        cut(a.tool, event.MaxText),
		Reason:      inferredYes,
	}
	n := m.add(eventv1.Trust_TRUST_UNSPECIFIED, &eventv1.Event{Body: &eventv1.Event_Approval{Approval: x}})
	n.about = a
	return n
}

// inferredYes is the reason of every approval: the trace holds words, and no act of consent.
const inferredYes = "inferred: the customer's answer reads as an explicit yes"

// ended adds the end of the run, with the model's last words.
func (m *mapper) ended() {
	x := &eventv1.Identity{Action: eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED, Outcome: m.outcome(m.t)}
	m.made.enter(max(1, len(m.t.messages)))
	n := m.add(m.trust(), &eventv1.Event{Body: &eventv1.Event_Identity{Identity: x}})
	if last := len(m.t.messages) - 1; last >= 0 && m.t.messages[last].role == roleAssistant {
		m.seal(n, "answer", typeText, m.t.messages[last].text)
	}
}

// basis of the causes between the stages of a call.
func (a *act) basis() eventv1.CauseBasis {
	if a.byID {
		return eventv1.CauseBasis_CAUSE_BASIS_RECORDED
	}
	return eventv1.CauseBasis_CAUSE_BASIS_INFERRED
}

// add makes e the run's next event.
func (m *mapper) add(trust eventv1.Trust, e *eventv1.Event) *node {
	e.Version = event.Version
	e.Tenant, e.Instance, e.Run = string(m.tenant), string(m.instance), m.run
	e.Principal, e.Trust = m.principal, trust
	e.OccurredAt, e.TimeBasis = m.made.tick(), eventv1.TimeBasis_TIME_BASIS_MADE
	n := &node{Event: &edge.Event{Plain: e}, from: m.at}
	m.nodes = append(m.nodes, n)
	return n
}

// after makes to one of n's causes, if there is one.
func (n *node) after(to *node, relation eventv1.Relation, basis eventv1.CauseBasis) {
	if to != nil {
		n.causes = append(n.causes, cause{to, relation, basis})
	}
}

// seal gives n a field whose value is kept apart. Of what is longer than an object may be the beginning is kept, and
// the media type says so.
func (m *mapper) seal(n *node, path, mediaType, value string) {
	if value == "" {
		return
	}
	if len(value) > event.MaxObject {
		m.count.Cut++
	}
	c := edge.Cut(edge.Content{Path: path, MediaType: mediaType, Subject: m.principal, Value: []byte(value)})
	m.count.Bytes += int64(len(c.Value))
	n.Sealed = append(n.Sealed, c)
}

// finish gives the events their ids, and then the causes to those that have them.
func (m *mapper) finish() []*edge.Event {
	ids := newIDs(m.tenant, m.instance, m.run)
	for _, n := range m.nodes {
		id := ids.next(n.Plain.OccurredAt)
		n.Plain.Id = id[:]
	}
	events := make([]*edge.Event, len(m.nodes))
	for i, n := range m.nodes {
		n.resolve()
		events[i] = n.Event
	}
	m.count.Events = int64(len(events))
	return events
}

func (n *node) resolve() {
	for _, c := range n.causes {
		n.Plain.Causes = append(n.Plain.Causes, &eventv1.Cause{Id: c.to.Plain.Id, Relation: c.relation, Basis: c.basis})
	}
	if n.about != nil {
		n.Plain.GetApproval().SubjectEvent = n.about.proposed.Plain.Id
	}
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}
