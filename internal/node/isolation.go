package node

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/query"
)

// Isolation implements apiv1.EvidenceServiceServer. The record of the asking is in the tenant's log before anything is read.
func (s *evidenceService) Isolation(ctx context.Context, req *apiv1.IsolationRequest) (*apiv1.IsolationResponse, error) {
	call, ok := access.From(ctx)
	if !ok || call.Recorded == 0 || !call.All {
		return nil, status.Error(codes.PermissionDenied, "the question was not recorded")
	}
	if req.GetTenant() == string(event.TenantOperator) {
		return nil, status.Error(codes.InvalidArgument, "tenant: is reserved for the operator's own log")
	}
	scope, reader, err := s.node.exportScope(ctx, &apiv1.ExportRequest{
		Tenant: req.GetTenant(), From: req.GetFrom(), To: req.GetTo(), Purpose: req.GetPurpose(),
	}, call)
	if err != nil {
		return nil, err
	}
	key, err := s.node.exporter(reader.registry)
	if err != nil {
		return nil, err
	}
	statement, err := evidence.StateIsolation(ctx, reader, scope, key, s.node.connections(ctx, event.TenantID(req.GetTenant())))
	if err != nil {
		if said, is := status.FromError(errors.Unwrap(err)); is {
			return nil, said.Err()
		}
		return nil, status.Errorf(codes.Internal, "isolation: %v", err)
	}
	return &apiv1.IsolationResponse{Statement: statement}, nil
}

// connections finds what a tenant's leaves share, with the other tenants' names blinded.
func (n *Node) connections(ctx context.Context, tenant event.TenantID) func(begin, end chain.Index) ([]evidence.Connection, uint64, error) {
	return func(begin, end chain.Index) ([]evidence.Connection, uint64, error) {
		found, err := query.Isolation(ctx, n.store, tenant, uint64(begin), uint64(end))
		if err != nil {
			return nil, 0, err
		}
		reviews, err := query.SharingReviews(ctx, n.store, tenant, uint64(end))
		if err != nil {
			return nil, 0, err
		}
		label := evidence.Labels()
		list := make([]evidence.Connection, len(found))
		for i, c := range found {
			list[i] = evidence.Connection{
				Kind: c.Kind, Value: c.Value, With: label(string(c.Other)), Records: c.Records, First: c.First, Last: c.Last,
				Review: reviewOf(reviews, c.Kind+"/"+c.Value),
			}
		}
		unseen, err := n.store.Unreadable(ctx, string(tenant), uint64(begin), uint64(end))
		return list, unseen, err
	}
}

func reviewOf(reviews map[string]query.Review, subject string) *evidence.Review {
	r, reviewed := reviews[subject]
	if !reviewed {
		return nil
	}
	return &evidence.Review{
		Record: r.Record, At: evidence.Instant(r.At), Reviewer: r.Reviewer, Outcome: r.Outcome, Until: evidence.Instant(r.Until), Reason: r.Reason,
	}
}
