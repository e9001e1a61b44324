package contain_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	approved  = eventv1.ApprovalState_APPROVAL_STATE_APPROVED
	rejected  = eventv1.ApprovalState_APPROVAL_STATE_REJECTED
	escalated = eventv1.ApprovalState_APPROVAL_STATE_ESCALATED
)

// approveHigh has every act of high consequence approved. Leases are as long as ever: people take their time.
func approveHigh(c *node.Config) { c.ApproveHigh, c.TuneContainment = true, nil }

// TestApprovals shares one system, because it takes time to start.
func TestApprovals(t *testing.T) {
	s, tool := newSite(t, approveHigh), newToolServer(t)
	people := map[string]*person{}
	for _, name := range []string{"erin", "frank", "gina", "user-1"} {
		people[name] = s.approver(name)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *scene)
	}{
		{"a person approves", testAPersonApproves},
		{"a rejected call does not run", testRejected},
		{"passed on", testPassedOn},
		{"money takes two", testMoneyTakesTwo},
		{"contained meanwhile", testContainedMeanwhile},
		{"nobody waits for it", testWithdrawn},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := s.agent("support-1", edge.RunOptions{Principal: "user-1", OnBehalfOf: []string{"hugo"}})
			test.run(t, &scene{s, tool, agent, people["erin"], people["frank"], people["gina"], people["user-1"], tool.served.Load()})
		})
	}
}

// scene is what a test of approvals has.
type scene struct {
	*site
	tool                         *toolServer
	agent                        *agent
	erin, frank, gina, principal *person
	before                       int64 // calls that the tool had served
}

// ran is how many calls the tool has served in this test.
func (s *scene) ran() int64 { return s.tool.served.Load() - s.before }

// person answers questions.
type person struct {
	t      *testing.T
	client apiv1.ApprovalServiceClient
}

func (s *site) approver(name string) *person {
	return s.asking(s.Person("acme", name, eventv1.Role_ROLE_APPROVER))
}

func (s *site) asking(conn *grpc.ClientConn) *person {
	return &person{s.t, apiv1.NewApprovalServiceClient(conn)}
}

func (p *person) list(all bool) []*apiv1.ApprovalInfo {
	p.t.Helper()
	r, err := p.client.ListApprovals(p.t.Context(), &apiv1.ListApprovalsRequest{Tenant: "acme", All: all})
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetApprovals()
}

// next waits for an open question and has it shown.
func (p *person) next() *apiv1.ShowApprovalResponse {
	p.t.Helper()
	eventually(p.t, "somebody asks", func() bool { return len(p.list(false)) > 0 })
	return p.show(p.list(false)[0].GetId())
}

func (p *person) show(id string) *apiv1.ShowApprovalResponse {
	p.t.Helper()
	r, err := p.client.ShowApproval(p.t.Context(), &apiv1.ShowApprovalRequest{Tenant: "acme", Id: id})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *person) answer(q *apiv1.ShowApprovalResponse, state eventv1.ApprovalState, change ...func(*apiv1.DecideApprovalRequest)) error {
	digest := sha256.Sum256(q.GetText())
	r := &apiv1.DecideApprovalRequest{Tenant: "acme", Id: q.GetApproval().GetId(), State: state, ShownDigest: digest[:], Reason: "test"}
	for _, c := range change {
		c(r)
	}
	_, err := p.client.DecideApproval(p.t.Context(), r)
	return err
}

func (p *person) decide(q *apiv1.ShowApprovalResponse, state eventv1.ApprovalState, change ...func(*apiv1.DecideApprovalRequest)) {
	p.t.Helper()
	if err := p.answer(q, state, change...); err != nil {
		p.t.Fatal(err)
	}
}

// begin is call, with its end in a channel.
func (a *agent) begin(do func(context.Context) (string, error), o edge.CallOptions) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- a.call(do, o) }()
	return ended
}

// testAPersonApproves is the whole path, from the proposal to the record, with everybody who may not answer.
func testAPersonApproves(t *testing.T, s *scene) {
	erin, hugo := s.erin, s.approver("hugo")
	ended := s.agent.begin(s.tool.use, high)
	q := erin.next()
	if text := string(q.GetText()); !strings.Contains(text, "tool          tool\n") || !strings.Contains(text, "\narguments\n  \"x\"\n") {
		t.Errorf("text:\n%s", text)
	}
	tests := map[string]struct {
		who    *person
		state  eventv1.ApprovalState
		change func(*apiv1.DecideApprovalRequest)
		code   codes.Code
	}{
		"a responder":            {s.asking(s.dana), approved, nil, codes.PermissionDenied},
		"the admin":              {s.asking(s.Admin()), approved, nil, codes.PermissionDenied},
		"the principal":          {s.principal, approved, nil, codes.PermissionDenied},
		"on whose behalf":        {hugo, approved, nil, codes.PermissionDenied},
		"who saw something else": {erin, approved, func(r *apiv1.DecideApprovalRequest) { r.ShownDigest = make([]byte, 32) }, codes.FailedPrecondition},
		"of no such question":    {erin, approved, func(r *apiv1.DecideApprovalRequest) { r.Id = "a-none" }, codes.NotFound},
		"with no state":          {erin, 0, nil, codes.InvalidArgument},
		"to itself":              {erin, escalated, func(r *apiv1.DecideApprovalRequest) { r.EscalatedTo = "erin" }, codes.InvalidArgument},
		"with a secret":          {erin, rejected, func(r *apiv1.DecideApprovalRequest) { r.Reason = "AKIA" + "IOSFODNN7EXAMPLE" }, codes.InvalidArgument},
	}
	for name, test := range tests {
		change := test.change
		if change == nil {
			change = func(*apiv1.DecideApprovalRequest) {}
		}
		if err := test.who.answer(q, test.state, change); status.Code(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.ran() != 0 {
		t.Fatal("it ran before anybody had approved")
	}
	erin.decide(q, approved)
	if err := <-ended; err != nil || s.ran() != 1 {
		t.Errorf("approved: %v", err)
	}
	for _, again := range []eventv1.ApprovalState{approved, rejected, escalated} {
		if err := erin.answer(q, again); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("answered twice: %v", err)
		}
	}
	all := erin.list(true)
	if len(all) != 1 || all[0].GetState() != "approved" || len(erin.list(false)) != 0 {
		t.Errorf("listed %v", all)
	}
	step := all[0].GetSteps()[0]
	if step.GetActor() != "erin" || step.GetStep().GetShownAt() == 0 || step.GetStep().GetTook() <= 0 || step.GetReason() != "test" {
		t.Errorf("recorded %v", step)
	}
	if again := erin.show(q.GetApproval().GetId()); string(again.GetText()) != string(q.GetText()) {
		t.Errorf("shown again:\n%s", again.GetText())
	}
}

func testRejected(t *testing.T, s *scene) {
	ended := s.agent.begin(s.tool.use, high)
	s.erin.decide(s.erin.next(), rejected)
	if err := <-ended; !errors.Is(err, edge.ErrRejected) || s.ran() != 0 {
		t.Errorf("%v", err)
	}
}

// testPassedOn: who passes a question on no longer answers it, and a person who is named has to.
func testPassedOn(t *testing.T, s *scene) {
	erin, frank, gina := s.erin, s.frank, s.gina
	ended := s.agent.begin(s.tool.use, high)
	q := erin.next()
	erin.decide(q, escalated, func(r *apiv1.DecideApprovalRequest) { r.EscalatedTo = "frank" })
	if err := gina.answer(q, approved); status.Code(err) != codes.PermissionDenied {
		t.Errorf("somebody else: %v", err)
	}
	frank.decide(q, escalated)
	for name, who := range map[string]*person{"erin": erin, "frank": frank} {
		if err := who.answer(q, approved); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s, who has passed it on: %v", name, err)
		}
	}
	gina.decide(q, approved)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// testMoneyTakesTwo: an act that is financial or provisions something needs two approvers.
func testMoneyTakesTwo(t *testing.T, s *scene) {
	erin, frank, ended := s.erin, s.frank, make(chan error, 1)
	go func() {
		_, err := edge.Call(s.agent.ctx, "transfer_funds", map[string]int{"amount": 5}, func(context.Context) (int, error) { return 0, nil }, high)
		ended <- err
	}()
	q := erin.next()
	if !strings.Contains(string(q.GetText()), "two persons, because it is financial") {
		t.Errorf("text:\n%s", q.GetText())
	}
	erin.decide(q, approved)
	if err := erin.answer(q, approved); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the same person twice: %v", err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ran with one approval: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if got := frank.list(false); len(got) != 1 || got[0].GetState() != "half" {
		t.Errorf("listed %v", got)
	}
	frank.decide(q, approved)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// testContainedMeanwhile: what is contained does not run, approved or not.
func testContainedMeanwhile(t *testing.T, s *scene) {
	ended := s.agent.begin(s.tool.use, high)
	erin := s.erin
	q := erin.next()
	defer s.release(s.dana, "instance/acme/support-1")
	s.contain(s.dana, "instance/acme/support-1", contain.Pause)
	erin.decide(q, approved)
	if err := <-ended; !errors.Is(err, edge.ErrContained) || s.ran() != 0 {
		t.Errorf("%v", err)
	}
}

// testWithdrawn: nobody decides on what has been given up.
func testWithdrawn(t *testing.T, s *scene) {
	erin := s.erin
	ctx, cancel := context.WithCancel(s.agent.ctx)
	ended := (&agent{ctx: ctx}).begin(s.tool.use, high)
	q := erin.next()
	cancel()
	if err := <-ended; !errors.Is(err, edge.ErrRejected) {
		t.Errorf("given up: %v", err)
	}
	eventually(t, "it is withdrawn", func() bool { return len(erin.list(false)) == 0 })
	if err := erin.answer(q, approved); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("withdrawn: %v", err)
	}
	if all := erin.list(true); all[len(all)-1].GetState() != "withdrawn" {
		t.Errorf("listed %v", all)
	}
}

// TestAQuestionOutlivesTheServer: the gate asks again, and what was answered stays answered.
func TestAQuestionOutlivesTheServer(t *testing.T) {
	s, tool := newSite(t, approveHigh), newToolServer(t)
	erin := s.approver("erin")
	ended := s.agent("support-1", edge.RunOptions{}).begin(tool.use, high)
	first := erin.next()
	s.Kill()
	s.Start()
	erin = s.asking(s.Dial("erin"))
	q := erin.next()
	if q.GetApproval().GetId() != first.GetApproval().GetId() || string(q.GetText()) != string(first.GetText()) {
		t.Errorf("asked again as %v", q)
	}
	erin.decide(q, approved)
	if err := <-ended; err != nil || tool.served.Load() != 1 {
		t.Errorf("%v", err)
	}
}
