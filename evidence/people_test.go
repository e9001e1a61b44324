package evidence

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// step is a step of the question about a call of support-1, as Custody records it.
func (s *sender) step(state eventv1.ApprovalState, call, actor string, thought int64) *eventv1.Event {
	return s.systemEvent(&eventv1.System{Actor: actor, Detail: &eventv1.System_Approval{Approval: &eventv1.ApprovalStep{
		State: state, Request: event7(s), SubjectEvent: event7(s), Instance: "support-1", Run: "run-1", Call: call, Tool: "mail",
		ShownDigest: bytes.Repeat([]byte{7}, 32), ArgumentsDigest: bytes.Repeat([]byte{8}, 32), ValidUntil: int64(s.w.now) + 60e9,
		ShownAt: int64(s.w.now) - thought,
	}}})
}

// event7 is some event's id.
func event7(s *sender) []byte { return s.envelope().Id }

// TestPeople: what Custody recorded of people answers who approved, how fast, how many, and which reviews came too late.
func TestPeople(t *testing.T) {
	const yes = eventv1.ApprovalState_APPROVAL_STATE_APPROVED
	w := newWorld(t, "acme")
	w.clock("09:00")
	a, c := w.agent("support-1"), w.custody
	review := func(next string) *eventv1.Event {
		return c.systemEvent(&eventv1.System{Actor: "dana", Detail: &eventv1.System_Review{Review: &eventv1.Review{
			Topic: "memory", Subject: "notes", Outcome: "approved", NextAt: int64(at(next)),
		}}})
	}
	vouched := c.step(yes, "c1", "bob", 20e9)
	other := c.step(yes, "c2", "eve", 20e9) // bob claims it
	c.say(review("09:10"), vouched, other, c.step(eventv1.ApprovalState_APPROVAL_STATE_REJECTED, "c3", "eve", 1e9))
	for call, by := range map[string]*eventv1.Event{"c1": vouched, "c2": other, "c3": nil} {
		answer := a.consents(approved, call, "mail")
		if by != nil {
			causedBy(by.Id, eventv1.Relation_RELATION_APPROVAL)(answer)
		}
		a.say(answer, a.execute(started, call, "mail", causedBy(answer.Id, eventv1.Relation_RELATION_APPROVAL)))
	}
	w.clock("09:20")
	c.say(review("10:00"))
	for _, call := range []string{"d1", "d2", "d3", "d4", "d5"} {
		c.say(c.step(yes, call, "frank", 20e9))
	}
	w.clock("11:00").access()
	m := controlsOf(t, w.bundle("00:00", "10:30", ownFramework))
	got := map[string][2]uint64{}
	for _, id := range []string{"high-approved", "high-vouched", "answers-considered", "approvals-steady", "reviews-in-time"} {
		got[id] = [2]uint64{m.test(id).Population, m.test(id).Exceptions}
	}
	want := map[string][2]uint64{
		"high-approved":      {3, 0},
		"high-vouched":       {3, 2}, // c2 was approved by somebody else, c3 by nobody whom Custody knows
		"answers-considered": {8, 1}, // the rejection of c3
		"approvals-steady":   {7, 1}, // frank's fifth
		"reviews-in-time":    {2, 1}, // ten minutes late
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("population and exceptions (-want +got):\n%s", diff)
	}
}
