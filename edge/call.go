package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Consequence is what harm an act can do.
type Consequence = eventv1.Consequence

// Consequences.
const (
	Low      = eventv1.Consequence_CONSEQUENCE_LOW
	Moderate = eventv1.Consequence_CONSEQUENCE_MODERATE
	High     = eventv1.Consequence_CONSEQUENCE_HIGH
)

// Paths of what a call seals.
const (
	argumentsPath = "arguments"
	resultPath    = "result"
	errorPath     = "error"
	shownPath     = "shown"
)

var (
	// ErrBlocked says that the gate has refused a call.
	ErrBlocked = errors.New("call is blocked")
	// ErrRejected says that no approver has allowed a call.
	ErrRejected = errors.New("call is not approved")
)

// CallOptions say more about one call. Empty fields are taken from the run's Tool of that name.
type CallOptions struct {
	ID          string      // empty: a new UUID; the same for every attempt of a call
	Operation   string      // of a tool that has several
	Connector   string      // the integration that serves the tool
	Consequence Consequence // what harm it can do
	Destination string      // the plain host or domain that it reaches
	Attempt     uint32      // from 1; 0 is not stated
	RetryOf     event.ID    // the started event of the attempt before
	Because     event.ID    // what another program has recorded of this call, and led to it
	Subject     string      // pseudonymous id of whom arguments and result are about
	// Result is what the result is as content: of the zero Trust, it is not recorded and does not enter the context.
	Result Trust
	// DataClass of the result.
	DataClass string
}

// Proposal is a call that a gate decides on.
type Proposal struct {
	Event     event.ID // of the proposal
	Run       *Run
	Call      string
	Tool      string
	Options   CallOptions
	Arguments []byte // JSON
	Trust     Trust  // of everything that led here
}

// Gate decides on calls. If it fails, the call does not run.
type Gate func(ctx context.Context, p *Proposal) (Ruling, error)

// Ruling is a gate's answer.
type Ruling struct {
	Decision Decision
	Policy   string // name and version of the policy that decided
	Reason   string // short, and not secret

	contained bool // by Custody
}

// Decision of a gate.
type Decision = eventv1.Decision

// Decisions.
const (
	Allow         = eventv1.Decision_DECISION_ALLOW
	Deny          = eventv1.Decision_DECISION_BLOCK
	NeedsApproval = eventv1.Decision_DECISION_NEEDS_APPROVAL
)

// Approver asks somebody. It returns when there is an answer, or with an error, which refuses the call.
type Approver func(ctx context.Context, p *Proposal) (Consent, error)

// Consent is an approver's answer.
type Consent struct {
	Approved   bool
	Approver   string    // pseudonymous id
	Shown      string    // the very text that the approver was shown; sealed, and its digest recorded
	ShownAt    time.Time // when
	ValidUntil time.Time // zero: once
	Reason     string    // short, and not secret

	record []byte // id of Custody's own event that says so
}

// Call records a tool call and runs do: proposed, the gate's decision and the approval if there are any, started, and
// finished or failed. A call of high consequence starts only when Custody holds the record of its start, unless
// Config.WithoutWriteAhead is set. do gets the context of the call. Errors are those of do, of recording (then do has not
// run, or its end could not be recorded), ErrBlocked, ErrRejected and ErrNoRun.
func Call[R any](ctx context.Context, tool string, arguments any, do func(context.Context) (R, error), options ...CallOptions) (R, error) {
	var none R
	c, err := begin(ctx, tool, arguments, only(options))
	if err != nil {
		return none, err
	}
	start := time.Now()
	inside, leave, failure := c.enter(ctx, arguments)
	if failure != nil {
		return none, errors.Join(failure, c.end(ctx, nil, failure, 0))
	}
	result, failure := do(inside)
	failure = becauseContained(inside, failure)
	leave()
	if err := c.end(ctx, result, failure, time.Since(start)); err != nil {
		return result, errors.Join(failure, err)
	}
	return result, failure
}

// call is one tool call on its way.
type call struct {
	scope     *scope
	tool      string
	options   CallOptions
	arguments []byte
	digest    []byte           // of the sealed arguments
	why       []*eventv1.Cause // of the start: the proposal, decision and approval
	proposed  *eventv1.Event   // as it was recorded
	startedID event.ID
	endedID   event.ID

	consented bool          // an approver has said yes, until
	until     time.Duration // by bootClock
	byCustody bool          // one of Custody's approvers has
}

// begin brings a call to its start.
func begin(ctx context.Context, tool string, arguments any, o CallOptions) (*call, error) {
	if err := Err(ctx); err != nil {
		return nil, fmt.Errorf("call %s: %w", tool, err)
	}
	encoded, err := json.Marshal(arguments)
	if err != nil {
		return nil, fmt.Errorf("call %s: encode arguments: %w", tool, err)
	}
	c := &call{scope: scopeOf(ctx), tool: tool, options: o, arguments: encoded}
	c.complete()
	for _, step := range []func(context.Context) error{c.propose, c.decide, c.start} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("call %s: %w", tool, err)
		}
	}
	return c, nil
}

// because is what led to the call beside what its context knows.
func (o *CallOptions) because() []*eventv1.Cause {
	if o.Because == (event.ID{}) {
		return nil
	}
	return []*eventv1.Cause{recorded(o.Because, eventv1.Relation_RELATION_DECISION)}
}

// complete takes from the run's tool what the call does not say.
func (c *call) complete() {
	o := &c.options
	if o.ID == "" {
		o.ID = newCall()
	}
	if t := c.scope.run.tools[c.tool]; t != nil {
		orDefault(&o.Connector, t.Connector)
		orDefault(&o.Consequence, t.Consequence)
		orDefault(&o.Result, t.Result)
	}
}

// event is one stage of the call.
func (c *call) event(action eventv1.ExecutionAction, causes []*eventv1.Cause) (*Event, *eventv1.Execution) {
	o := &c.options
	x := &eventv1.Execution{
		Action: action, Call: o.ID, Tool: c.tool, Operation: o.Operation, Connector: o.Connector,
		Consequence: o.Consequence, ArgumentsDigest: c.digest, Destination: o.Destination, Attempt: o.Attempt,
	}
	return &Event{Plain: &eventv1.Event{
		Trust: c.scope.trust(), Causes: causes, Body: &eventv1.Event_Execution{Execution: x},
	}}, x
}

func (c *call) record(ctx context.Context, ev *Event) (event.ID, error) {
	return c.scope.run.emitter.Record(ctx, ev)
}

func (c *call) propose(ctx context.Context) error {
	ev, x := c.event(eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, c.scope.causes(c.options.because()...))
	ev.Sealed = []Content{Cut(Content{Path: argumentsPath, MediaType: jsonType, Subject: c.options.Subject, Value: c.arguments})}
	id, err := c.record(ctx, ev)
	c.digest, c.proposed = x.ArgumentsDigest, ev.Plain
	c.why = []*eventv1.Cause{recorded(id, eventv1.Relation_RELATION_DECISION)}
	return err
}

// decide asks Custody's gate and the caller's own, if there is one. The stricter answer counts.
func (c *call) decide(ctx context.Context) error {
	if c.control() == nil && c.scope.run.options.Gate == nil {
		return nil
	}
	p := c.proposal()
	ruling, err := c.rule(ctx, p)
	ev, x := c.event(eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED, c.scope.triggers(c.why...))
	x.Decision, x.Policy, x.Reason = ruling.Decision, ruling.Policy, ruling.Reason
	id, recordErr := c.record(ctx, ev)
	if err := errors.Join(err, recordErr); err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	c.why = append(c.why, recorded(id, eventv1.Relation_RELATION_DECISION))
	return c.obey(ctx, ruling, p, id)
}

// control is Custody's gate, nil if the emitter has none.
func (c *call) control() *control {
	if e := c.scope.run.emitter; e.isGated() {
		return e.control
	}
	return nil
}

// rule is the answer of both gates. A call that Custody's gate holds back is not shown to the other one.
func (c *call) rule(ctx context.Context, p *Proposal) (ruling Ruling, err error) {
	if control := c.control(); control != nil {
		ruling, c.options.Consequence = control.rule(ctx, p)
		p.Options.Consequence = c.options.Consequence
	}
	gate := c.scope.run.options.Gate
	if gate == nil || ruling.Decision == Deny {
		return ruling, nil
	}
	theirs, err := gate(ctx, p)
	if err != nil {
		theirs = Ruling{Decision: Deny, Reason: "gate failed"}
	}
	return stricter(theirs, ruling), err
}

// enter begins the act, which Custody's gate can cancel.
func (c *call) enter(ctx context.Context, arguments any) (inside context.Context, leave func(), err error) {
	if err := c.stillApproved(arguments); err != nil {
		return nil, nil, err
	}
	control := c.control()
	if control == nil {
		return ctx, func() {}, nil
	}
	return control.enter(ctx, c.proposal(), c.options.Consequence, c.byCustody)
}

func (c *call) proposal() *Proposal {
	return &Proposal{
		Event: event.ID(c.why[0].Id), Run: c.scope.run, Call: c.options.ID, Tool: c.tool,
		Options: c.options, Arguments: c.arguments, Trust: c.scope.trust(),
	}
}

func (c *call) obey(ctx context.Context, r Ruling, p *Proposal, decided event.ID) error {
	switch r.Decision {
	case Allow:
		return nil
	case NeedsApproval:
		return c.approve(ctx, p, decided)
	}
	if r.contained {
		return fmt.Errorf("%w: %s", ErrContained, r.Reason)
	}
	return fmt.Errorf("%w: %s", ErrBlocked, r.Reason)
}

// approve asks for consent and records question and answer. The caller's own approver can refuse anything; its consent is enough for
// what is not of high consequence. Otherwise, and where there is none, a person with the role of approver is asked by way of Custody.
func (c *call) approve(ctx context.Context, p *Proposal, decided event.ID) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	asked, err := c.request(ctx, text, decided)
	if err != nil {
		return fmt.Errorf("request approval: %w", err)
	}
	byCustody := c.control() != nil && (c.options.Consequence == High || c.scope.run.options.Approve == nil)
	if ask := c.scope.run.options.Approve; ask != nil {
		answer, err := ask(ctx, p)
		if err != nil {
			return c.unanswered(ctx, asked, err)
		}
		if !byCustody || !answer.Approved {
			c.consent(&answer)
			return c.answered(ctx, &answer, asked)
		}
	}
	if !byCustody {
		return fmt.Errorf("%w: nobody to ask", ErrRejected)
	}
	return c.askCustody(ctx, text, asked)
}

// consent keeps whether, and until when, the caller's own approver allows the call.
func (c *call) consent(a *Consent) {
	c.consented, c.until = a.Approved, math.MaxInt64
	if !a.ValidUntil.IsZero() {
		c.until = bootClock() + time.Until(a.ValidUntil)
	}
}

// request records the question with its text. Custody has it when request returns, if Custody is to be asked.
func (c *call) request(ctx context.Context, text []byte, decided event.ID) (event.ID, error) {
	ev := c.approval(&eventv1.Approval{Action: eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED, ShownDigest: digestOf(text)}, decided)
	ev.Sealed = []Content{{Path: shownPath, MediaType: textType, Subject: c.options.Subject, Value: text}}
	if c.control() != nil {
		return c.scope.run.emitter.WriteAhead(ctx, ev)
	}
	return c.record(ctx, ev)
}

func (c *call) answered(ctx context.Context, a *Consent, asked event.ID) error {
	x := &eventv1.Approval{
		Action: eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED, Approver: a.Approver, Reason: a.Reason,
		ShownDigest: digestOf([]byte(a.Shown)), ShownAt: nanoseconds(a.ShownAt), ValidUntil: nanoseconds(a.ValidUntil),
	}
	if a.Approved {
		x.Action = eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED
	}
	ev := c.approval(x, asked)
	if len(a.record) > 0 {
		ev.Plain.Causes = append(ev.Plain.Causes, recorded(event.ID(a.record), eventv1.Relation_RELATION_APPROVAL))
	}
	if a.Shown != "" {
		ev.Sealed = []Content{Cut(Content{Path: shownPath, MediaType: textType, Subject: c.options.Subject, Value: []byte(a.Shown)})}
	}
	id, err := c.record(ctx, ev)
	switch {
	case err != nil:
		return fmt.Errorf("record approval: %w", err)
	case !a.Approved:
		return fmt.Errorf("%w: %s", ErrRejected, a.Reason)
	}
	c.why = append(c.why, recorded(id, eventv1.Relation_RELATION_APPROVAL))
	return nil
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func (c *call) approval(x *eventv1.Approval, cause event.ID) *Event {
	x.Call, x.Tool, x.SubjectEvent = c.options.ID, c.tool, c.why[0].Id
	return &Event{Plain: &eventv1.Event{
		Causes: []*eventv1.Cause{recorded(cause, eventv1.Relation_RELATION_DECISION)},
		Trust:  c.scope.trust(), Body: &eventv1.Event_Approval{Approval: x},
	}}
}

// start is the last record before the act.
func (c *call) start(ctx context.Context) (err error) {
	causes := c.scope.triggers(c.why...)
	if c.options.RetryOf != (event.ID{}) {
		causes = append(causes, recorded(c.options.RetryOf, eventv1.Relation_RELATION_RETRY))
	}
	ev, _ := c.event(eventv1.ExecutionAction_EXECUTION_ACTION_STARTED, causes)
	e := c.scope.run.emitter
	if c.options.Consequence == High && !e.config.WithoutWriteAhead {
		c.startedID, err = e.WriteAhead(ctx, ev)
	} else {
		c.startedID, err = e.Record(ctx, ev)
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// end records the outcome, even if the context is done.
func (c *call) end(ctx context.Context, result any, failure error, took time.Duration) error {
	ctx = context.WithoutCancel(ctx)
	started := recorded(c.startedID, eventv1.Relation_RELATION_DECISION)
	ev, x := c.event(eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED, []*eventv1.Cause{started})
	x.Outcome, x.Duration = OutcomeOf(failure), int64(took)
	if failure != nil {
		x.Action = eventv1.ExecutionAction_EXECUTION_ACTION_FAILED
		ev.Sealed = []Content{Cut(Content{Path: errorPath, MediaType: textType, Subject: c.options.Subject, Value: []byte(failure.Error())})}
	}
	id, err := c.record(ctx, ev)
	if err != nil {
		return fmt.Errorf("call %s: record its end: %w", c.tool, err)
	}
	c.endedID = id
	if failure != nil || c.options.Result == 0 {
		return nil
	}
	return c.recordResult(ctx, result, id)
}

// OutcomeOf is the outcome that an error means.
func OutcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, ErrBlocked), errors.Is(err, ErrRejected):
		return Denied
	}
	return Failed
}

// recordResult makes the result a data event, which everything after in this context has as a cause.
func (c *call) recordResult(ctx context.Context, result any, finished event.ID) error {
	content, err := encodeResult(result)
	if err != nil {
		return fmt.Errorf("call %s: encode result: %w", c.tool, err)
	}
	content.Subject = c.options.Subject
	x := &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, Source: c.tool, Domain: c.options.Destination,
		DataClass: c.options.DataClass, Bytes: uint64(len(content.Value)), Direction: eventv1.Direction_DIRECTION_IN,
	}
	brought := item{relation: eventv1.Relation_RELATION_RETRIEVED, trust: c.options.Result}
	c.scope.bring(ctx, brought, func(causes []*eventv1.Cause) *Event {
		return &Event{Plain: dataEvent(x, c.options.Result, causes), Sealed: []Content{Cut(content)}}
	}, recorded(finished, eventv1.Relation_RELATION_DECISION))
	return c.scope.failed()
}

// encodeResult takes text and bytes as they are, and anything else as JSON.
func encodeResult(result any) (Content, error) {
	switch v := result.(type) {
	case string:
		return Content{Path: resultPath, MediaType: textType, Value: []byte(v)}, nil
	case []byte:
		return Content{Path: resultPath, Value: v}, nil
	}
	b, err := json.Marshal(result)
	return Content{Path: resultPath, MediaType: jsonType, Value: b}, err
}
