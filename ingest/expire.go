package ingest

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Expire implements apiv1.RetentionServiceServer. Who asked, and why, is in the log before anything is dropped. A crash between
// the two leaves the content; the same call drops it.
func (r *Retention) Expire(ctx context.Context, q *apiv1.ExpireRequest) (*apiv1.ExpireResponse, error) {
	r.admin.mu.Lock()
	defer r.admin.mu.Unlock()
	if err := r.begin(ctx, q.GetTenant(), q.GetReason(), q); err != nil {
		return nil, err
	}
	tenant, before := event.TenantID(q.GetTenant()), time.Unix(0, q.GetBefore())
	if err := r.mayExpire(tenant, before); err != nil {
		return nil, r.admin.failed(ctx, "expire", err)
	}
	expiry := &eventv1.System{Actor: caller(ctx), Reason: q.GetReason(), Detail: &eventv1.System_Expiry{
		Expiry: &eventv1.Expiry{Before: q.GetBefore()},
	}}
	if err := r.admin.change(ctx, tenant, expiry); err != nil {
		return nil, err
	}
	kept, err := r.drop(ctx, tenant, before)
	if err != nil {
		return nil, r.admin.failed(ctx, "expire", err)
	}
	return &apiv1.ExpireResponse{FirstKept: kept}, nil
}

// mayExpire refuses what is too young, and everything while a hold is in force: what belongs to a subject or a run is not known
// by age. The mutex of Admin is held, so that no hold is placed meanwhile.
func (r *Retention) mayExpire(tenant event.TenantID, before time.Time) error {
	floor := r.admin.cfg.Now().Add(-r.cfg.Floor)
	if before.After(floor) || before.UnixNano() <= 0 {
		return &event.FieldError{Field: "before", Reason: fmt.Sprintf("must be a time before %s: content is kept for %d days", floor.UTC().Format(time.RFC3339), r.cfg.Floor/(24*time.Hour))}
	}
	for _, h := range r.holds(tenant) {
		return &registry.HeldError{Hold: h}
	}
	return nil
}

// drop waits for the ledger first: what is on its way is younger, but the hold that another process placed may be.
func (r *Retention) drop(ctx context.Context, tenant event.TenantID, before time.Time) (uint64, error) {
	if err := r.cfg.Contents.Settle(ctx); err != nil {
		return 0, fmt.Errorf("wait for the ledger: %w", err)
	}
	return r.cfg.Contents.Expire(ctx, tenant, before)
}

// RotateFingerprintKey implements apiv1.RetentionServiceServer. The key is there before the log names it; emitters take it when they
// connect next.
func (r *Retention) RotateFingerprintKey(ctx context.Context, q *apiv1.RotateFingerprintKeyRequest) (*apiv1.RotateFingerprintKeyResponse, error) {
	r.admin.mu.Lock()
	defer r.admin.mu.Unlock()
	if err := r.begin(ctx, q.GetTenant(), q.GetReason(), q); err != nil {
		return nil, err
	}
	tenant := event.TenantID(q.GetTenant())
	if !r.admin.cfg.Admission.View(tenant, func(*registry.State) {}) {
		return nil, r.admin.failed(ctx, "rotate", ErrNoTenant)
	}
	number, err := r.cfg.Keys.RotateFingerprintKey(string(tenant))
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return &apiv1.RotateFingerprintKeyResponse{Number: number}, r.admin.change(ctx, tenant, &eventv1.System{
		Actor: caller(ctx), Reason: q.GetReason(), Detail: &eventv1.System_Fingerprint{Fingerprint: &eventv1.FingerprintKey{Number: number}},
	})
}
