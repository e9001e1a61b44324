package contain

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// told is a question that is true, with the events behind it.
type told struct {
	asked           *eventv1.ApprovalStep
	shown, proposal Sealed
}

func tell() *told {
	e := event.Example("execution.proposed")
	e.Body = &eventv1.Event_Execution{Execution: &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, Call: "c", Tool: "send_mail", ArgumentsDigest: bytes.Repeat([]byte{7}, 32),
	}}
	arguments := []byte(`{"to":"bob"}`)
	text := (&event.Question{Proposal: e, Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Arguments: arguments, Size: uint64(len(arguments))}).Text()
	digest := sha256.Sum256(text)
	request := event.Example("approval.requested")
	request.Run, request.Principal, request.Instance, request.Tenant = e.Run, e.Principal, e.Instance, e.Tenant
	request.Body = &eventv1.Event_Approval{Approval: &eventv1.Approval{
		Action: eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED, SubjectEvent: e.Id, ShownDigest: digest[:], Call: "c", Tool: "send_mail",
	}}
	return &told{
		&eventv1.ApprovalStep{
			State: asked, Request: request.Id, SubjectEvent: e.Id, Instance: e.Instance, Run: e.Run, Principal: e.Principal, Call: "c", Tool: "send_mail",
			Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, ShownDigest: digest[:], ArgumentsDigest: e.GetExecution().GetArgumentsDigest(),
			ValidUntil: int64(time.Hour),
		},
		Sealed{request, text, uint64(len(text))},
		Sealed{e, arguments, uint64(len(arguments))},
	}
}

// TestALieIsNotShown: whatever a gate says differently from its signed records, nobody is asked to decide on it.
func TestALieIsNotShown(t *testing.T) {
	tests := map[string]func(*told){
		"":                  func(*told) {},
		"class":             func(x *told) { x.asked.Consequence = eventv1.Consequence_CONSEQUENCE_LOW },
		"tool":              func(x *told) { x.asked.Tool = "read_mail" },
		"call":              func(x *told) { x.asked.Call = "other" },
		"arguments' digest": func(x *told) { x.asked.ArgumentsDigest = bytes.Repeat([]byte{1}, 32) },
		"text's digest":     func(x *told) { x.asked.ShownDigest = bytes.Repeat([]byte{1}, 32) },
		"principal":         func(x *told) { x.asked.Principal = "somebody" },
		"run":               func(x *told) { x.asked.Run = "another" },
		"instance":          func(x *told) { x.asked.Instance = "another" },
		"two persons":       func(x *told) { x.asked.StepUp = true },
		"text":              func(x *told) { x.shown.Value = append(x.shown.Value, ' ') },
		"arguments":         func(x *told) { x.proposal.Value = []byte(`{"to":"eve"}`) },
		"length":            func(x *told) { x.proposal.Size++ },
		"proposal":          func(x *told) { x.asked.SubjectEvent = x.asked.GetRequest() },
		"the proposal's act": func(x *told) {
			x.proposal.Event.GetExecution().Action = eventv1.ExecutionAction_EXECUTION_ACTION_STARTED
		},
		"the request's act":  func(x *told) { x.shown.Event.GetApproval().Action = eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED },
		"the request's text": func(x *told) { x.shown.Event.GetApproval().ShownDigest = nil },
		"tenant":             func(x *told) { x.proposal.Event.Tenant = "zeta" },
	}
	for name, lie := range tests {
		x := tell()
		tenant := event.TenantID(x.proposal.Event.GetTenant())
		lie(x)
		if isTrue(tenant, x.asked, &x.shown, &x.proposal) != (name == "") {
			t.Errorf("another %s: taken for true", name)
		}
	}
}

// stepEvent is a step of the question n of an instance.
func stepEvent(n int, state eventv1.ApprovalState, actor, to string) *eventv1.Event {
	x := proto.CloneOf(tell().asked)
	x.State, x.EscalatedTo = state, to
	copy(x.Request[8:], fmt.Sprintf("%08d", n))
	return &eventv1.Event{Id: event.Example("system.approval").Id, Body: &eventv1.Event_System{System: &eventv1.System{
		Actor: actor, Detail: &eventv1.System_Approval{Approval: x},
	}}}
}

// TestAClosedQuestionStaysClosed, in whatever order and however often steps come.
func TestAClosedQuestionStaysClosed(t *testing.T) {
	var s questions
	for i, e := range []*eventv1.Event{
		stepEvent(1, approved, "erin", ""), // of a question that nobody has asked
		stepEvent(1, asked, "", ""), stepEvent(1, halfApproved, "erin", ""), stepEvent(1, escalated, "frank", "gina"), stepEvent(1, asked, "", ""),
		stepEvent(1, rejected, "gina", ""), stepEvent(1, approved, "erin", ""), stepEvent(1, withdrawn, "", ""),
	} {
		s.apply(int64(i), uint64(i), e)
	}
	q := s.list[0]
	if len(s.list) != 1 || q.State != rejected || len(q.Acts) != 3 || q.first() != "erin" || q.Only != "gina" || q.Seq != 1 {
		t.Errorf("folded to %+v", q)
	}
}

// TestQuestionsAreBounded: of those that are remembered, the ones that wait stay longest.
func TestQuestionsAreBounded(t *testing.T) {
	var s questions
	for n := range 2 * maxKeptQuestions {
		s.apply(1, uint64(n), stepEvent(n, asked, "", ""))
		if n > 0 {
			s.apply(1, uint64(n), stepEvent(n, rejected, "erin", ""))
		}
	}
	instance := tell().asked.GetInstance()
	if len(s.list) != maxKeptQuestions || s.list[0].Seq != 0 || s.openOf(instance, 1) != 1 || s.openOf(instance, int64(2*time.Hour)) != 0 {
		t.Errorf("%d kept, the oldest %d, %d open", len(s.list), s.list[0].Seq, s.openOf(instance, 1))
	}
}
