package contain

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Readiness implements ArmedService.
type Readiness struct {
	apiv1.UnimplementedArmedServiceServer
	Engine *Engine
}

// ListArmed lists ways of stopping instances.
func (r *Readiness) ListArmed(ctx context.Context, req *apiv1.ListArmedRequest) (*apiv1.ListArmedResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ListArmedResponse)
	for _, tenant := range call.Tenants {
		if tenant == event.TenantOperator {
			continue
		}
		list, err := r.Engine.Armed(ctx, tenant, event.InstanceID(req.GetInstance()), req.GetNow())
		if err != nil {
			return nil, r.failed(ctx, err)
		}
		for _, t := range list {
			response.Paths = append(response.Paths, &apiv1.ArmedPath{
				Tenant: string(tenant), Instance: t.Instance, Path: string(t.Path), Proven: t.Proven, ProvenAt: t.ProvenAt, TriedAt: t.TriedAt,
				Observer: t.Observer, Evidence: t.Evidence,
			})
		}
	}
	return response, nil
}

// Drill stops a canary.
func (r *Readiness) Drill(ctx context.Context, req *apiv1.DrillRequest) (*apiv1.DrillResponse, error) {
	target := event.Target{Kind: event.TargetInstance, Tenant: event.TenantID(req.GetTenant()), Instance: event.InstanceID(req.GetInstance())}
	o, err := order(ctx, req.GetTenant(), target.String(), req.GetReason(), req.GetBreakGlass())
	if err != nil {
		return nil, err
	}
	if o.Level, err = ParseLevel(req.GetLevel()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "level: %v", err)
	}
	report, signed, err := r.Engine.Drill(ctx, o, waitOf(req.GetWait()))
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return &apiv1.DrillResponse{Report: signed, Proven: report.Proven}, nil
}

// ExtendLeases lets gates act over a restart.
func (r *Readiness) ExtendLeases(ctx context.Context, req *apiv1.ExtendLeasesRequest) (*apiv1.ExtendLeasesResponse, error) {
	whole := event.Target{Kind: event.TargetTenant, Tenant: event.TenantID(req.GetTenant())}
	o, err := order(ctx, req.GetTenant(), whole.String(), req.GetReason(), false)
	if err != nil {
		return nil, err
	}
	lasts := time.Duration(req.GetLasts())
	if lasts < 0 || lasts > event.MaxLeaseExtension {
		return nil, status.Errorf(codes.InvalidArgument, "lasts: at most %s", event.MaxLeaseExtension)
	}
	got, err := r.Engine.Extend(ctx, o.Target.Tenant, o.Actor, o.Reason, lasts, waitOf(req.GetWait()))
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return &apiv1.ExtendLeasesResponse{Until: got.Until.UnixNano(), Extended: uint32(got.Gates), Connected: uint32(got.Connected)}, nil
}

// waitOf is how long somebody is willing to wait.
func waitOf(ns int64) time.Duration { return min(time.Duration(max(ns, 0)), MaxWait) }

func (r *Readiness) failed(ctx context.Context, err error) error {
	return refusing.Status(ctx, r.Engine.cfg.Log, err)
}
