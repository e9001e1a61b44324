package contain_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// record records one event of an agent.
func (a *agent) record(t *testing.T, causes []*eventv1.Cause, body *eventv1.Identity) event.ID {
	t.Helper()
	id, err := a.Record(t.Context(), &edge.Event{Plain: &eventv1.Event{Run: a.run.ID(), Causes: causes, Body: &eventv1.Event_Identity{Identity: body}}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// bind records that an agent has bound a credential.
func (a *agent) bind(t *testing.T, fingerprint byte) event.ID {
	return a.record(t, nil, &eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_BOUND, Credential: &eventv1.Credential{Fingerprint: []byte{fingerprint}},
	})
}

func (s *site) plan(target, level string) *apiv1.PlanContainmentResponse {
	s.t.Helper()
	plan, err := apiv1.NewContainmentServiceClient(s.dana).PlanContainment(s.t.Context(), &apiv1.PlanContainmentRequest{Tenant: "acme", Target: target, Level: level})
	if err != nil {
		s.t.Fatal(err)
	}
	return plan
}

// TestAPlanNamesWhatItReaches: credentials that the agent has bound and that a connector revokes, who has acted because of it, and
// what a release does not undo. A credential that comes later refuses the plan.
func TestAPlanNamesWhatItReaches(t *testing.T) {
	token := newCredential(t, false)
	s := newSite(t, quick(func(c *contain.Config) { c.Connectors = token.connectors(t, true) }))
	s.CreateInstance("acme", "helper-1")
	parent, child := s.agent("support-1", edge.RunOptions{}), s.agent("helper-1", edge.RunOptions{})
	cause := parent.bind(t, 0xaa)
	if err := parent.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	child.record(t, []*eventv1.Cause{{Id: cause[:], Relation: eventv1.Relation_RELATION_DELEGATION, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}},
		&eventv1.Identity{Action: eventv1.IdentityAction_IDENTITY_ACTION_ROLE_ASSUMED, Role: "helper"})
	if err := child.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.WaitCommitted()
	plan := s.plan("instance/acme/support-1", "quarantine")
	got := [][]string{plan.GetInstances(), plan.GetCredentials(), plan.GetDescendants(), plan.GetIrreversible(), plan.GetUnknown()}
	want := [][]string{{"support-1"}, {"3f2a", "aa"}, {"helper-1"}, {"connector/mail revokes 3f2a"}, nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if run := s.plan("run/acme/"+parent.run.ID(), "pause"); !cmp.Equal(run.GetCredentials(), []string{"aa"}) {
		t.Errorf("of the run: %v", run)
	}
	parent.bind(t, 0xbb)
	if err := parent.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.WaitCommitted()
	_, err := apiv1.NewContainmentServiceClient(s.dana).Contain(t.Context(), &apiv1.ContainRequest{Tenant: "acme", Plan: plan.GetPlan(), Reason: "x", BreakGlass: true})
	if err == nil || !strings.Contains(err.Error(), "the reach has grown since the plan was made: credential bb") {
		t.Errorf("applied: %v", err)
	}
}
