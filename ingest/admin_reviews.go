package ingest

import (
	"context"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// RecordReview records a person's review. Its next date must lie ahead: a review that is over when it is made schedules nothing.
func (a *Admin) RecordReview(ctx context.Context, r *apiv1.RecordReviewRequest) (*apiv1.RecordReviewResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	if r.GetReview() == nil {
		return nil, badField("review", "is missing")
	}
	if next := r.GetReview().GetNextAt(); next != 0 && next <= a.cfg.Now().UnixNano() {
		return nil, badField("review.next_at", "is in the past")
	}
	return &apiv1.RecordReviewResponse{}, a.change(ctx, event.TenantID(r.GetTenant()), &eventv1.System{
		Actor: caller(ctx), Reason: r.GetReason(), Detail: &eventv1.System_Review{Review: r.GetReview()},
	})
}
