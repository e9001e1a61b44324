package contain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Why an answer is refused. Nothing is recorded then.
var (
	// ErrAnswered says that there is an answer already.
	ErrAnswered = errors.New("there is an answer already")
	// ErrExpired says that the question was not answered in time. The agent has to ask again.
	ErrExpired = errors.New("the question has expired")
	// ErrOwn says that nobody approves for themselves.
	ErrOwn = errors.New("nobody approves what is done for themselves")
	// ErrNotYours says that somebody else has to answer.
	ErrNotYours = errors.New("somebody else has to answer")
	// ErrOtherText says that the person saw another text than the one in question.
	ErrOtherText = errors.New("this is not the text that is asked about: show it again")
	// ErrUntrue says that the text is not what the records say about the call. It cannot be approved.
	ErrUntrue = errors.New("the text does not say what is to be called")
)

// Sealed is content that a committed event has sealed.
type Sealed struct {
	Event *eventv1.Event
	Value []byte // at least the first event.MaxSealedInline bytes
	Size  uint64 // of all
}

// Contents opens sealed content of committed events.
type Contents interface {
	// Open returns a sealed field of an event that was in the stream before a sequence, once that is committed. The error is
	// ErrNotFound if there is none, or it cannot be opened any more.
	Open(ctx context.Context, tenant event.TenantID, id event.ID, path string, before uint64) (Sealed, error)
}

// Paths of what is opened, as the SDK seals them.
const (
	shownPath     = "shown"
	argumentsPath = "arguments"
)

// Text is the text of a question as the log has it. It is checked: the gate's signed event commits to it, and it is exactly what
// event.Question makes of the proposal, its arguments, and the class that the gate has stated. Otherwise the error is ErrUntrue.
func (e *Engine) Text(ctx context.Context, name event.TenantID, q *Question) ([]byte, error) {
	shown, err := e.cfg.Contents.Open(ctx, name, q.request(), shownPath, q.Seq)
	if err != nil {
		return nil, fmt.Errorf("text of %s: %w", q.ID, err)
	}
	proposal, err := e.cfg.Contents.Open(ctx, name, event.ID(q.Asked.GetSubjectEvent()), argumentsPath, q.Seq)
	if err != nil {
		return nil, fmt.Errorf("arguments of %s: %w", q.ID, err)
	}
	if !isTrue(name, q.Asked, &shown, &proposal) {
		return shown.Value, fmt.Errorf("text of %s: %w", q.ID, ErrUntrue)
	}
	return shown.Value, nil
}

// isTrue holds a question against the gate's signed events.
func isTrue(name event.TenantID, a *eventv1.ApprovalStep, shown, proposal *Sealed) bool {
	x, p := shown.Event.GetApproval(), proposal.Event.GetExecution()
	digest := sha256.Sum256(shown.Value)
	text := (&event.Question{Proposal: proposal.Event, Consequence: a.GetConsequence(), Arguments: proposal.Value, Size: proposal.Size}).Text()
	for _, e := range []*eventv1.Event{shown.Event, proposal.Event} {
		if e.GetTenant() != string(name) || e.GetInstance() != a.GetInstance() || e.GetRun() != a.GetRun() || e.GetPrincipal() != a.GetPrincipal() {
			return false
		}
	}
	return x.GetAction() == eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED && p.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED &&
		bytes.Equal(x.GetSubjectEvent(), a.GetSubjectEvent()) && bytes.Equal(digest[:], x.GetShownDigest()) &&
		bytes.Equal(digest[:], a.GetShownDigest()) && bytes.Equal(p.GetArgumentsDigest(), a.GetArgumentsDigest()) &&
		p.GetCall() == a.GetCall() && p.GetTool() == a.GetTool() && needsTwoApprovers(p) == a.GetStepUp() && bytes.Equal(text, shown.Value)
}

// Answer is what a person says to a question.
type Answer struct {
	Actor       string
	Certificate [32]byte              // SHA-256 of the person's certificate
	State       eventv1.ApprovalState // approved, rejected or escalated
	Shown       []byte                // SHA-256 of the text that the person saw
	Reason      string
	To          string // who has to answer from here on; empty is anybody else: escalated
}

// Decide records an answer and returns the question as it is then. Errors: ErrNotFound, ErrAnswered, ErrExpired, ErrOwn, ErrNotYours,
// ErrOtherText, ErrUntrue, *event.FieldError, those of the stream and of Contents.
func (e *Engine) Decide(ctx context.Context, name event.TenantID, id string, a *Answer) (*Question, error) {
	e.deciding.Lock()
	defer e.deciding.Unlock()
	if err := e.catchUp(ctx, name); err != nil {
		return nil, fmt.Errorf("decide %s: %w", event.Escape(id), err)
	}
	q := e.question(name, id)
	if q == nil {
		return nil, fmt.Errorf("decide %s: %w", event.Escape(id), ErrNotFound)
	}
	if err := e.mayAnswer(ctx, name, q, a); err != nil {
		return nil, fmt.Errorf("decide %s: %w", q.ID, err)
	}
	if err := e.recordStep(ctx, name, a.Actor, a.Reason, e.stepOf(name, q, a)); err != nil {
		return nil, fmt.Errorf("decide %s: %w", q.ID, err)
	}
	return e.question(name, id), nil
}

// mayAnswer says why this person cannot give this answer to the question as it is.
func (e *Engine) mayAnswer(ctx context.Context, name event.TenantID, q *Question, a *Answer) error {
	switch {
	case q.State == withdrawn:
		return fmt.Errorf("%w: the agent no longer asks", ErrExpired)
	case !q.IsOpen():
		return fmt.Errorf("%w: %s by %s", ErrAnswered, event.ApprovalStates.Name(q.State), q.last().Actor)
	case q.IsExpired(e.cfg.Now().UnixNano()):
		return ErrExpired
	case !bytes.Equal(a.Shown, q.Asked.GetShownDigest()):
		return ErrOtherText
	case q.Only != "" && q.Only != a.Actor:
		return fmt.Errorf("%w: %s", ErrNotYours, q.Only)
	case slices.Contains(q.passedOn, a.Actor):
		return fmt.Errorf("%w: you have passed it on", ErrNotYours)
	case a.State != approved: // a text that is untrue can be rejected
		return nil
	case q.first() == a.Actor:
		return fmt.Errorf("%w: it takes two persons", ErrAnswered)
	}
	return e.mayApprove(ctx, name, q, a)
}

// mayApprove wants a true text, and an approver for whom the call is not made.
func (e *Engine) mayApprove(ctx context.Context, name event.TenantID, q *Question, a *Answer) error {
	if _, err := e.Text(ctx, name, q); err != nil {
		return err
	}
	proposal, err := e.cfg.Contents.Open(ctx, name, event.ID(q.Asked.GetSubjectEvent()), argumentsPath, q.Seq)
	if err != nil {
		return err
	}
	if a.Actor == proposal.Event.GetPrincipal() || slices.Contains(proposal.Event.GetOnBehalfOf(), a.Actor) {
		return ErrOwn
	}
	return nil
}

// stepOf is the step that an answer is.
func (e *Engine) stepOf(name event.TenantID, q *Question, a *Answer) *eventv1.ApprovalStep {
	x := e.nextStep(q, a.State)
	x.Certificate, x.ShownAt = a.Certificate[:], e.shown[sight{name, q.request(), a.Actor}]
	switch {
	case a.State == escalated:
		x.EscalatedTo = a.To
	case a.State == approved && x.GetStepUp() && q.first() == "":
		x.State = halfApproved
	case a.State == approved:
		x.ValidUntil = e.cfg.Now().Add(ConsentTTL).UnixNano()
	}
	return x
}

// sights are when persons were first given a text. They are lost with the process: then the record does not say how long it took.
type sights map[sight]int64

type sight struct {
	tenant  event.TenantID
	request event.ID
	person  string
}

// Show is a question with its text, given to a person now. A text that is not true comes with ErrUntrue beside it.
func (e *Engine) Show(ctx context.Context, name event.TenantID, id, person string) (*Question, []byte, error) {
	if err := e.catchUp(ctx, name); err != nil {
		return nil, nil, fmt.Errorf("show %s: %w", event.Escape(id), err)
	}
	q := e.question(name, id)
	if q == nil {
		return nil, nil, fmt.Errorf("show %s: %w", event.Escape(id), ErrNotFound)
	}
	text, err := e.Text(ctx, name, q)
	e.noteSight(sight{name, q.request(), person}, e.cfg.Now())
	return q, text, err
}

// noteSight keeps the first time. What nobody can decide on any more goes.
func (e *Engine) noteSight(s sight, now time.Time) {
	e.deciding.Lock()
	defer e.deciding.Unlock()
	for old, at := range e.shown {
		if now.Sub(time.Unix(0, at)) > MaxPatience {
			delete(e.shown, old)
		}
	}
	if _, seen := e.shown[s]; !seen {
		e.shown[s] = now.UnixNano()
	}
}
