package edge_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// says makes an answer, as an approver of Custody's gives it.
func says(state eventv1.ApprovalState, change ...func(*apiv1.ApprovalAnswer)) func(*apiv1.AskApproval) *apiv1.ApprovalAnswer {
	return func(a *apiv1.AskApproval) *apiv1.ApprovalAnswer {
		record := event.NewID(time.Now(), nil)
		answer := &apiv1.ApprovalAnswer{
			Request: a.GetRequest(), State: state, Approver: "erin", ShownDigest: a.GetShownDigest(), ArgumentsDigest: a.GetArgumentsDigest(),
			Ttl: int64(time.Minute), Record: record[:],
		}
		for _, c := range change {
			c(answer)
		}
		return answer
	}
}

const (
	approved = eventv1.ApprovalState_APPROVAL_STATE_APPROVED
	rejected = eventv1.ApprovalState_APPROVAL_STATE_REJECTED
)

func TestHighConsequenceIsForAPersonToApprove(t *testing.T) {
	yes := func(context.Context, *edge.Proposal) (edge.Consent, error) {
		return edge.Consent{Approved: true, Approver: "policy", Shown: "?"}, nil
	}
	no := func(context.Context, *edge.Proposal) (edge.Consent, error) {
		return edge.Consent{Approver: "policy", Shown: "?"}, nil
	}
	tests := map[string]struct {
		local  edge.Approver
		answer func(*apiv1.AskApproval) *apiv1.ApprovalAnswer
		asked  int
		err    error
	}{
		"approved":              {nil, says(approved), 1, nil},
		"rejected":              {nil, says(rejected), 1, edge.ErrRejected},
		"the own yes is no yes": {yes, says(rejected), 1, edge.ErrRejected},
		"both say yes":          {yes, says(approved), 1, nil},
		"the own no is enough":  {no, says(approved), 0, edge.ErrRejected},
		"other text":            {nil, says(approved, func(a *apiv1.ApprovalAnswer) { a.ShownDigest = make([]byte, 32) }), 1, edge.ErrChanged},
		"other arguments":       {nil, says(approved, func(a *apiv1.ApprovalAnswer) { a.ArgumentsDigest = make([]byte, 32) }), 1, edge.ErrChanged},
		"too late":              {nil, says(approved, func(a *apiv1.ApprovalAnswer) { a.Ttl = 1 }), 1, edge.ErrRejected},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			server.Control(&apiv1.Control{HighNeedsApproval: true})
			server.Answer(test.answer)
			e, _ := emitter(t, server.Join(t, instance))
			ctx, _ := e.Run(t.Context(), edge.RunOptions{Approve: test.local})
			ran := false
			_, err := edge.Call(ctx, "any", 1, func(context.Context) (int, error) { ran = true; return 0, nil }, edge.CallOptions{Consequence: edge.High})
			if !errors.Is(err, test.err) || ran != (test.err == nil) || len(server.Asked()) != test.asked {
				t.Errorf("ran %v, asked %d, %v", ran, len(server.Asked()), err)
			}
			shut(t, e)
		})
	}
}

// TestWhatIsApprovedIsWhatRuns: arguments that change while a person thinks are not run.
func TestWhatIsApprovedIsWhatRuns(t *testing.T) {
	server := edgetest.New(t)
	server.Control(&apiv1.Control{HighNeedsApproval: true})
	arguments := map[string]int{"amount": 5}
	server.Answer(func(a *apiv1.AskApproval) *apiv1.ApprovalAnswer {
		arguments["amount"] = 5000
		return says(approved)(a)
	})
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	if _, err := edge.Call(ctx, "any", arguments, nothing, edge.CallOptions{Consequence: edge.High}); !errors.Is(err, edge.ErrChanged) {
		t.Error(err)
	}
	shut(t, e)
}

// TestTheOwnApproverIsHeldToItsWord: the caller's own approval, which is enough for what is not of high consequence, ends when it says,
// and is of the arguments that it was given for.
func TestTheOwnApproverIsHeldToItsWord(t *testing.T) {
	tests := map[string]struct {
		until  time.Duration // from now; 0 is not stated
		change bool
		err    error
	}{
		"for once":        {0, false, nil},
		"long enough":     {time.Minute, false, nil},
		"it has ended":    {-time.Second, false, edge.ErrRejected},
		"other arguments": {time.Minute, true, edge.ErrChanged},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := edgetest.New(t)
			e, _ := emitter(t, server.Join(t, instance))
			arguments := map[string]int{"amount": 5}
			needs := func(context.Context, *edge.Proposal) (edge.Ruling, error) {
				return edge.Ruling{Decision: edge.NeedsApproval}, nil
			}
			yes := func(context.Context, *edge.Proposal) (edge.Consent, error) {
				c := edge.Consent{Approved: true, Approver: "boss", Shown: "pay 5?"}
				if test.until != 0 {
					c.ValidUntil = time.Now().Add(test.until)
				}
				if test.change {
					arguments["amount"] = 5000
				}
				return c, nil
			}
			ctx, _ := e.Run(t.Context(), edge.RunOptions{Gate: needs, Approve: yes})
			ran := false
			_, err := edge.Call(ctx, "any", arguments, func(context.Context) (int, error) { ran = true; return 0, nil }, edge.CallOptions{Consequence: edge.Moderate})
			if !errors.Is(err, test.err) || ran != (test.err == nil) {
				t.Errorf("ran %v, %v", ran, err)
			}
			shut(t, e)
		})
	}
}

// TestTheRecordHasWhatWasShown: byte for byte, and it is what Custody's own rendering gives; the start names the approval, which names
// Custody's record.
func TestTheRecordHasWhatWasShown(t *testing.T) {
	server := edgetest.New(t)
	server.Control(&apiv1.Control{HighNeedsApproval: true})
	server.Answer(says(approved))
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{Principal: "user-7"})
	hostile := map[string]string{"to": "a@b.example\x1b[2J", "note": "ignore\nthis"}
	if _, err := edge.Call(ctx, "send_mail", hostile, nothing, edge.CallOptions{Destination: "b.example"}); err != nil {
		t.Fatal(err)
	}
	shut(t, e)
	events, ask := server.Events(instance), server.Asked()[0]
	at := slices.IndexFunc(events, func(x *eventv1.Event) bool {
		return x.GetApproval().GetAction() == eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED
	})
	proposal, request, answer, start := events[at-2], events[at], events[at+1], events[at+2]
	text := server.Opened(request, "shown")
	arguments := server.Opened(proposal, "arguments")
	again := (&event.Question{Proposal: proposal, Consequence: edge.High, Arguments: []byte(arguments), Size: uint64(len(arguments))}).Text()
	if diff := cmp.Diff(string(again), text); diff != "" {
		t.Errorf("text (-rendered again +sealed):\n%s", diff)
	}
	if digest := sha256.Sum256([]byte(text)); string(ask.GetShownDigest()) != string(digest[:]) || string(request.GetApproval().GetShownDigest()) != string(digest[:]) {
		t.Error("the digest is of another text")
	}
	named := slices.ContainsFunc(start.GetCauses(), func(c *eventv1.Cause) bool {
		return c.GetRelation() == eventv1.Relation_RELATION_APPROVAL && string(c.GetId()) == string(answer.GetId())
	})
	if !named || len(answer.GetCauses()) != 2 {
		t.Errorf("start %v after %v", start.GetCauses(), answer.GetCauses())
	}
}

// TestAQuestionIsWithdrawn: nobody decides on what nobody waits for.
func TestAQuestionIsWithdrawn(t *testing.T) {
	server := edgetest.New(t)
	server.Control(&apiv1.Control{HighNeedsApproval: true})
	server.Answer(nil)
	e, _ := emitter(t, server.Join(t, instance))
	ctx, _ := e.Run(t.Context(), edge.RunOptions{})
	short, cancel := context.WithCancel(ctx)
	server.Answer(func(*apiv1.AskApproval) *apiv1.ApprovalAnswer { cancel(); return nil })
	if _, err := edge.Call(short, "any", 1, nothing, edge.CallOptions{Consequence: edge.High}); !errors.Is(err, edge.ErrRejected) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for end := time.Now().Add(5 * time.Second); len(server.Asked()) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not withdrawn")
		}
	}
	if last := server.Asked()[1]; !last.GetWithdrawn() {
		t.Errorf("last %v", last)
	}
	shut(t, e)
}
