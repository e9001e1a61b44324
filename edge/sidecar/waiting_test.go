package sidecar_test

import (
	"testing"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestOtherLinesDoNotWaitForAnApprover: while a person thinks, the program records and asks for other calls. The end of the call that
// waits waits with it.
func TestOtherLinesDoNotWaitForAnApprover(t *testing.T) {
	server, e := emitter(t)
	answer := make(chan struct{})
	server.Answer(func(a *apiv1.AskApproval) *apiv1.ApprovalAnswer {
		<-answer
		return &apiv1.ApprovalAnswer{
			Request: a.GetRequest(), State: eventv1.ApprovalState_APPROVAL_STATE_APPROVED, Approver: "erin",
			ShownDigest: a.GetShownDigest(), ArgumentsDigest: a.GetArgumentsDigest(), Ttl: int64(1 << 40),
		}
	})
	contain(server, "restrict")
	p := newProgram(t, e)
	p.says(question("c1", "send", "high"))
	eventually(t, func() bool { return len(server.Asked()) == 1 })
	if l := p.asks(`{"run":"r","trust":"untrusted","data":{"action":"input_received","source":"e-mail"}}`); !l.OK || l.ID == "" || l.Call != "" {
		t.Errorf("recorded meanwhile: %+v", l)
	}
	if l := p.asks(question("c2", "look", "low")); l.Call != "c2" || l.Decision != "allow" {
		t.Errorf("asked meanwhile: %+v", l)
	}
	if l := p.asks(question("c1", "send", "high")); l.Field != "ask.call" {
		t.Errorf("asked again: %+v", l)
	}
	p.says(`{"done":{"call":"c1","outcome":"ok"},"sealed":{"result":"sent"}}`)
	close(answer)
	if l := p.hears(); l.Call != "c1" || l.Decision != "allow" {
		t.Errorf("decided: %+v", l)
	}
	if l := p.hears(); !l.OK || l.Call != "c1" || l.Decision != "" || l.ID == "" {
		t.Errorf("done: %+v", l)
	}
	p.leaves()
}
