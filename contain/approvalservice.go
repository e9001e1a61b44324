package contain

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain/refusal"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Approvals implements ApprovalService.
type Approvals struct {
	apiv1.UnimplementedApprovalServiceServer
	Engine *Engine
}

// ListApprovals lists questions.
func (s *Approvals) ListApprovals(ctx context.Context, r *apiv1.ListApprovalsRequest) (*apiv1.ListApprovalsResponse, error) {
	call, _ := access.From(ctx)
	now := s.Engine.cfg.Now().UnixNano()
	response := new(apiv1.ListApprovalsResponse)
	for _, tenant := range call.Tenants {
		s.Engine.lookQuestions(tenant, func(all *questions) {
			for _, q := range all.list {
				if r.GetAll() || q.IsOpen() && !q.IsExpired(now) {
					response.Approvals = append(response.Approvals, infoOf(tenant, q, now))
				}
			}
		})
	}
	slices.SortStableFunc(response.Approvals, func(a, b *apiv1.ApprovalInfo) int { return cmp.Compare(a.GetAskedAt(), b.GetAskedAt()) })
	return response, nil
}

func infoOf(tenant event.TenantID, q *Question, now int64) *apiv1.ApprovalInfo {
	info := &apiv1.ApprovalInfo{Id: string(q.ID), Tenant: string(tenant), State: stateOf(q, now), Asked: q.Asked, AskedAt: q.AskedAt}
	for _, a := range q.Acts {
		info.Steps = append(info.Steps, &apiv1.ApprovalAct{Actor: a.Actor, At: a.At, Reason: a.Reason, Step: a.Step})
	}
	return info
}

// stateOf is where a question stands, in one word.
func stateOf(q *Question, now int64) string {
	switch {
	case q.IsExpired(now):
		return "expired"
	case q.State == asked:
		return "open"
	}
	return event.ApprovalStates.Name(q.State)
}

// ShowApproval gives a question with its text. A text that is not true is an error, and is not shown.
func (s *Approvals) ShowApproval(ctx context.Context, r *apiv1.ShowApprovalRequest) (*apiv1.ShowApprovalResponse, error) {
	call, _ := access.From(ctx)
	tenant := event.TenantID(r.GetTenant())
	q, text, err := s.Engine.Show(ctx, tenant, r.GetId(), call.Principal.Name)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &apiv1.ShowApprovalResponse{Approval: infoOf(tenant, q, s.Engine.cfg.Now().UnixNano()), Text: text}, nil
}

// DecideApproval records a person's answer.
func (s *Approvals) DecideApproval(ctx context.Context, r *apiv1.DecideApprovalRequest) (*apiv1.DecideApprovalResponse, error) {
	call, _ := access.From(ctx)
	switch {
	case r.GetState() != approved && r.GetState() != rejected && r.GetState() != escalated:
		return nil, status.Error(codes.InvalidArgument, "state: must be approved, rejected or escalated")
	case r.GetEscalatedTo() != "" && r.GetState() != escalated:
		return nil, status.Error(codes.InvalidArgument, "escalated_to: only of an escalation")
	case r.GetEscalatedTo() == call.Principal.Name:
		return nil, status.Error(codes.InvalidArgument, "escalated_to: is yourself")
	}
	if detector, found := event.ScanSecrets([]byte(r.GetReason())); found {
		return nil, status.Errorf(codes.InvalidArgument, "reason: looks like a secret (%s), and the record is for ever", detector)
	}
	tenant := event.TenantID(r.GetTenant())
	q, err := s.Engine.Decide(ctx, tenant, r.GetId(), &Answer{
		Actor: call.Principal.Name, Certificate: call.Principal.Certificate, State: r.GetState(), Shown: r.GetShownDigest(),
		Reason: r.GetReason(), To: r.GetEscalatedTo(),
	})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &apiv1.DecideApprovalResponse{Approval: infoOf(tenant, q, s.Engine.cfg.Now().UnixNano())}, nil
}

// refusingAnswers is how approvers are told what is theirs to mend.
var refusingAnswers = refusal.Service{Name: "approval", Prefix: "system.", Answers: []refusal.Answer{
	{Err: ErrNotFound, Code: codes.NotFound},
	{Err: ErrAnswered, Code: codes.FailedPrecondition},
	{Err: ErrExpired, Code: codes.FailedPrecondition},
	{Err: ErrOtherText, Code: codes.FailedPrecondition},
	{Err: ErrUntrue, Code: codes.FailedPrecondition},
	{Err: ErrOwn, Code: codes.PermissionDenied},
	{Err: ErrNotYours, Code: codes.PermissionDenied},
}}

func (s *Approvals) failed(ctx context.Context, err error) error {
	return refusingAnswers.Status(ctx, s.Engine.cfg.Log, err)
}
