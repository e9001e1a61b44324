package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/class"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ErrChanged says that what would run is not what was approved. It is an ErrRejected.
var ErrChanged = fmt.Errorf("%w: it is not what was approved", ErrRejected)

// MaxApprovalWait is the longest that a call can wait for a person.
const MaxApprovalWait = time.Hour

// plea is one question that waits for an approver of Custody's.
type plea struct {
	ask    *apiv1.AskApproval
	answer chan reply // gets at most one
}

// reply is what became of a question.
type reply struct {
	*apiv1.ApprovalAnswer
	until time.Duration // by bootClock, when an approval ends
}

// put asks Custody's approvers and waits for the answer, for patience at most, over any number of connections.
func (c *control) put(ctx context.Context, ask *apiv1.AskApproval, patience time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q := &plea{ask: ask, answer: make(chan reply, 1)}
	id := event.ID(ask.Request)
	c.mu.Lock()
	c.pleading[id] = q
	c.mu.Unlock()
	defer c.drop(id)
	c.hurryPleas()
	select {
	case a := <-q.answer:
		return a, nil
	case <-ctx.Done():
		c.withdraw(id)
		return reply{}, context.Cause(ctx)
	}
}

func (c *control) drop(id event.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pleading, id)
}

// withdraw tells Custody that nobody waits any more.
func (c *control) withdraw(id event.ID) {
	c.mu.Lock()
	if len(c.withdrawn) < maxReported {
		c.withdrawn = append(c.withdrawn, id)
	}
	c.mu.Unlock()
	c.hurryPleas()
}

// hurryPleas has the session look for what is to be asked.
func (c *control) hurryPleas() {
	select {
	case c.pleas <- struct{}{}:
	default:
	}
}

// plead puts every question that this stream has not put yet.
func (s *controlSession) plead() error {
	for _, ask := range s.control.unasked(s.pleaded) {
		s.pleaded[event.ID(ask.Request)] = bootClock()
		err := s.stream.Send(&apiv1.WatchRequest{Message: &apiv1.WatchRequest_Ask{Ask: ask}})
		if err != nil && !errors.Is(err, io.EOF) { // receiving says why
			return err
		}
	}
	return nil
}

// unasked are the questions that wait and have not been put, and the withdrawals.
func (c *control) unasked(put map[event.ID]time.Duration) (list []*apiv1.AskApproval) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, q := range c.pleading {
		if _, done := put[id]; !done {
			list = append(list, q.ask)
		}
	}
	for _, id := range c.withdrawn {
		list = append(list, &apiv1.AskApproval{Request: id[:], Withdrawn: true})
	}
	c.withdrawn = nil
	return list
}

// answered passes an answer on. Its time counts from when the question left.
func (s *controlSession) answered(a *apiv1.ApprovalAnswer) {
	id, err := event.IDFromBytes(a.GetRequest())
	began, put := s.pleaded[id]
	if err != nil || !put {
		return
	}
	delete(s.pleaded, id)
	c := s.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.pleading[id]; q != nil {
		select {
		case q.answer <- reply{a, began + time.Duration(a.GetTtl())}:
		default:
		}
	}
}

// askCustody asks a person by way of Custody: the text is sealed in the record first, and Custody has it before it asks.
func (c *call) askCustody(ctx context.Context, text []byte, asked event.ID) error {
	patience := c.scope.run.emitter.config.ApprovalWait
	a, err := c.control().put(ctx, &apiv1.AskApproval{
		Request: asked[:], SubjectEvent: c.why[0].Id, Run: c.scope.run.id, Principal: c.scope.run.options.Principal, Call: c.options.ID, Tool: c.tool,
		Consequence: c.options.Consequence, ShownDigest: digestOf(text), ArgumentsDigest: c.digest, Patience: int64(patience), StepUp: c.needsTwo(),
	}, patience)
	if err != nil {
		return c.unanswered(ctx, asked, err)
	}
	switch {
	case a.GetState() == eventv1.ApprovalState_APPROVAL_STATE_WITHDRAWN:
		return c.unanswered(ctx, asked, errors.New(event.Escape(a.GetReason())))
	case !bytes.Equal(a.GetShownDigest(), digestOf(text)) || !bytes.Equal(a.GetArgumentsDigest(), c.digest):
		return c.unanswered(ctx, asked, ErrChanged)
	}
	c.consented, c.until, c.byCustody = true, a.until, true
	if control := c.control(); control.view().needsLease(c.options.Consequence) {
		control.awaitLease(ctx) // it may have lapsed while a person was thinking; what begins looks again
	}
	return c.answered(ctx, &Consent{
		Approved: a.GetState() == eventv1.ApprovalState_APPROVAL_STATE_APPROVED, Approver: a.GetApprover(), Shown: string(text),
		ShownAt: moment(a.GetShownAt()), Reason: a.GetReason(), record: a.GetRecord(),
	}, asked)
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// unanswered records that a question got no answer that counts. What is recorded outlives the context.
func (c *call) unanswered(ctx context.Context, asked event.ID, why error) error {
	ev := c.approval(&eventv1.Approval{Action: eventv1.ApprovalAction_APPROVAL_ACTION_EXPIRED, Reason: "no answer"}, asked)
	_, err := c.record(context.WithoutCancel(ctx), ev)
	return fmt.Errorf("%w: %w", ErrRejected, errors.Join(why, err))
}

func (c *call) needsTwo() bool { return class.Of(c.tool, c.options.Operation).Kind != class.Ordinary }

// text is what Custody's approvers are shown. Custody makes it again from the record, and shows no other.
func (c *call) text() ([]byte, error) {
	arguments := scrubbed(Cut(Content{Value: c.arguments}).Value)
	text := (&event.Question{
		Proposal: c.proposed, Consequence: c.options.Consequence, Arguments: arguments, Size: uint64(len(arguments)),
	}).Text()
	if len(text) > event.MaxSealedInline {
		return nil, fmt.Errorf("%w: the call is too long to be shown to anybody", ErrRejected)
	}
	return text, nil
}

// stillApproved holds what is about to run against what was approved.
func (c *call) stillApproved(arguments any) error {
	if !c.consented {
		return nil
	}
	if bootClock() >= c.until {
		return fmt.Errorf("%w: the approval has ended", ErrRejected)
	}
	if now, err := json.Marshal(arguments); err != nil || !bytes.Equal(now, c.arguments) {
		return ErrChanged
	}
	return nil
}
