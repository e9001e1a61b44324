package contain

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/class"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// MaxPatience bounds how long a question can be answered: what was to be done an hour ago is to be asked again.
	MaxPatience = time.Hour
	// ConsentTTL is how long an approval waits for its call to begin: the gate is connected and begins at once, or never.
	ConsentTTL = time.Minute
)

// putQuestion is one question that this stream has put.
type putQuestion struct {
	at       time.Time // when it came
	answered bool
}

// plead takes a question for approvers, records it, and remembers to answer it.
func (w *watcher) plead(a *apiv1.AskApproval) error {
	request, err := event.IDFromBytes(a.GetRequest())
	if err != nil {
		return status.Error(codes.InvalidArgument, "ask: request is not an event id")
	}
	if a.GetWithdrawn() {
		w.withdraw(request)
		return nil
	}
	if len(w.put) > 2*maxOpenQuestions {
		return status.Error(codes.ResourceExhausted, "ask: too many questions on one stream")
	}
	w.put[request] = &putQuestion{at: w.engine.cfg.Now()}
	if refusal := w.engine.open(w.link.Context(), w.tenant, w.key.Instance, a); refusal != "" {
		delete(w.put, request)
		return w.tell(&apiv1.ApprovalAnswer{Request: a.GetRequest(), State: withdrawn, Reason: refusal})
	}
	return nil
}

// open puts a question before the approvers unless it is there already. It returns why not, in words for the agent's log.
func (e *Engine) open(ctx context.Context, name event.TenantID, instance string, a *apiv1.AskApproval) (refusal string) {
	e.deciding.Lock()
	defer e.deciding.Unlock()
	now := e.cfg.Now()
	if q := e.question(name, event.ID(a.GetRequest()).String()); q != nil {
		if q.Asked.GetInstance() != instance {
			return "the question is another instance's"
		}
		return ""
	}
	openNow := 0
	e.lookQuestions(name, func(s *questions) { openNow = s.openOf(instance, now.UnixNano()) })
	if openNow >= maxOpenQuestions {
		return "too many questions of this instance wait for an answer"
	}
	err := e.recordStep(ctx, name, "", "", &eventv1.ApprovalStep{
		State: asked, Request: a.GetRequest(), SubjectEvent: a.GetSubjectEvent(), Instance: instance, Run: a.GetRun(), Principal: a.GetPrincipal(),
		Call: a.GetCall(), Tool: a.GetTool(), Consequence: a.GetConsequence(), ShownDigest: a.GetShownDigest(), ArgumentsDigest: a.GetArgumentsDigest(),
		ValidUntil: now.Add(min(max(time.Duration(a.GetPatience()), 0), MaxPatience)).UnixNano(), StepUp: a.GetStepUp(),
	})
	if field, ok := errors.AsType[*event.FieldError](err); ok {
		return "ask: " + field.Field + ": " + field.Reason
	}
	if err != nil {
		e.cfg.Log.ErrorContext(ctx, "a question is not recorded", slog.String("tenant", string(name)), slog.Any("error", err))
		return "the server cannot record the question now"
	}
	return ""
}

// withdraw ends a question of this gate's instance that nobody has answered.
func (w *watcher) withdraw(request event.ID) {
	e := w.engine
	delete(w.put, request)
	e.deciding.Lock()
	defer e.deciding.Unlock()
	q := e.question(w.tenant, request.String())
	if q == nil || !q.IsOpen() || q.Asked.GetInstance() != w.key.Instance {
		return
	}
	if err := e.recordStep(w.link.Context(), w.tenant, "", "", e.nextStep(q, withdrawn)); err != nil {
		e.cfg.Log.ErrorContext(w.link.Context(), "a withdrawal is not recorded", slog.Any("error", err))
	}
}

// nextStep is a step of a question, made now.
func (e *Engine) nextStep(q *Question, state eventv1.ApprovalState) *eventv1.ApprovalStep {
	a := q.Asked
	return &eventv1.ApprovalStep{
		State: state, Request: a.GetRequest(), SubjectEvent: a.GetSubjectEvent(), Instance: a.GetInstance(), Run: a.GetRun(), Principal: a.GetPrincipal(),
		Call: a.GetCall(), Tool: a.GetTool(), Consequence: a.GetConsequence(), ShownDigest: a.GetShownDigest(), ArgumentsDigest: a.GetArgumentsDigest(),
		ValidUntil: a.GetValidUntil(), StepUp: a.GetStepUp(), Took: max(e.cfg.Now().UnixNano()-q.AskedAt, 0),
	}
}

// recordStep makes a step durable, with the event that asks as its cause, and returns when it is folded.
func (e *Engine) recordStep(ctx context.Context, name event.TenantID, actor, reason string, x *eventv1.ApprovalStep) error {
	return e.recordEvents(ctx, name, &eventv1.Event{
		Causes: []*eventv1.Cause{{Id: x.GetRequest(), Relation: eventv1.Relation_RELATION_DECISION, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}},
		Body: &eventv1.Event_System{System: &eventv1.System{
			Actor: actor, Reason: reason, Detail: &eventv1.System_Approval{Approval: x},
		}},
	})
}

// answers sends what has become of the questions that this stream has put.
func (w *watcher) answers() error {
	for request, put := range w.put {
		q := w.engine.question(w.tenant, request.String())
		if put.answered || q == nil || q.IsOpen() {
			continue
		}
		put.answered = true
		if err := w.tell(w.engine.answerTo(q, put.at)); err != nil {
			return err
		}
	}
	return nil
}

func (w *watcher) tell(a *apiv1.ApprovalAnswer) error {
	return w.link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Answer{Answer: a}})
}

// answerTo is the answer to a closed question. Its time to begin counts from when the question came on this stream, which is later
// than when the gate sent it: the gate stops first.
func (e *Engine) answerTo(q *Question, came time.Time) *apiv1.ApprovalAnswer {
	last := q.last()
	return &apiv1.ApprovalAnswer{
		Request: q.Asked.GetRequest(), State: q.State, Approver: last.Actor, ShownDigest: last.Step.GetShownDigest(),
		ArgumentsDigest: last.Step.GetArgumentsDigest(), Ttl: max(last.Step.GetValidUntil()-came.UnixNano(), 0), ShownAt: last.Step.GetShownAt(),
		ValidUntil: last.Step.GetValidUntil(), Reason: last.Reason, Record: last.Record[:],
	}
}

// question is a copy of one question, nil if there is none.
func (e *Engine) question(name event.TenantID, id string) (found *Question) {
	e.lookQuestions(name, func(s *questions) {
		if q := s.byName(id); q != nil {
			found = q.clone()
		}
	})
	return found
}

// lookQuestions gives a tenant's questions to a function that must not keep nor change them.
func (e *Engine) lookQuestions(name event.TenantID, f func(*questions)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if t := e.tenants[name]; t != nil {
		f(&t.questions)
		return
	}
	f(new(questions))
}

// needsTwoApprovers says whether a call is of a kind that takes two persons.
func needsTwoApprovers(x *eventv1.Execution) bool {
	return class.Of(x.GetTool(), x.GetOperation()).Kind != class.Ordinary
}
