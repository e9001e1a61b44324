package query

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store"
)

// ListInstances implements apiv1.QueryServiceServer. Tenants and instances come in ascending order.
func (s *Service) ListInstances(ctx context.Context, _ *apiv1.ListInstancesRequest) (*apiv1.ListInstancesResponse, error) {
	call, ok := access.From(ctx)
	if !ok {
		return nil, status.Error(codes.PermissionDenied, "the call was not authorised")
	}
	out := &apiv1.ListInstancesResponse{}
	for _, tenant := range call.Tenants {
		instances, err := s.instancesOf(ctx, tenant)
		if err != nil {
			return nil, err
		}
		out.Instances = append(out.Instances, instances...)
	}
	return out, nil
}

func (s *Service) instancesOf(ctx context.Context, tenant event.TenantID) (out []*apiv1.InstanceInfo, err error) {
	state, ok := s.logs.Registry(tenant)
	if !ok {
		return nil, nil
	}
	stats, err := s.store.InstanceStats(ctx, string(tenant))
	if err != nil {
		return nil, readError(err)
	}
	byName := make(map[string]store.InstanceStat, len(stats))
	for _, i := range stats {
		byName[i.Instance] = i
	}
	tails, emitters := s.logs.OpenTails(tenant), emittersOf(state)
	waiting := s.waiting(tenant)
	for _, i := range state.Instances() {
		if i.ID == string(event.InstanceCustody) {
			continue // Custody itself
		}
		seen := byName[i.ID]
		out = append(out, &apiv1.InstanceInfo{
			Tenant: string(tenant), Instance: i.ID, Labels: i.Labels, ManifestVersion: i.Version(), LastSeenAt: seen.LastSeen,
			Events: seen.Events, Gaps: seen.Gaps, Emitters: emitters[i.ID], OpenTails: tails[i.ID],
		})
		s.brakeOf(out[len(out)-1])
		waiting.of(out[len(out)-1])
	}
	return out, nil
}

// Standing is where the brake stands about one instance.
type Standing struct {
	Level  string // the strictest containment of all that it does; empty is none
	Proven bool   // every step of it is verified
	Part   bool   // a part of what it does is contained
	Lease  string // where its gates stand, the worst of them
}

// Brake knows where containment stands. It is safe for concurrent use.
type Brake interface {
	Standing(tenant event.TenantID, instance event.InstanceID) Standing
	// Waiting are the firings of a tenant that wait for a person, by instance; an error says that nobody watches.
	Waiting(tenant event.TenantID) (map[event.InstanceID]Waiting, error)
}

// Waiting is what has fired in one instance and waits for a person.
type Waiting struct {
	Firings  uint32
	Severity string // the gravest of theirs
}

// watched is what waits in one tenant.
type watched struct {
	waiting   map[event.InstanceID]Waiting
	unwatched bool
}

func (s *Service) waiting(tenant event.TenantID) watched {
	if s.Brake == nil {
		return watched{unwatched: true}
	}
	all, err := s.Brake.Waiting(tenant)
	return watched{all, err != nil}
}

// of adds what waits in an instance.
func (w watched) of(i *apiv1.InstanceInfo) {
	at := w.waiting[event.InstanceID(i.GetInstance())]
	i.Firings, i.Severity, i.Unwatched = at.Firings, at.Severity, w.unwatched
}

// brakeOf adds what the brake says of an instance.
func (s *Service) brakeOf(i *apiv1.InstanceInfo) {
	if s.Brake == nil {
		return
	}
	at := s.Brake.Standing(event.TenantID(i.GetTenant()), event.InstanceID(i.GetInstance()))
	i.Level, i.Proven, i.Part, i.Lease = at.Level, at.Proven, at.Part, at.Lease
}

// emittersOf counts the keys that may still sign, by instance.
func emittersOf(state *registry.State) map[string]uint32 {
	out := map[string]uint32{}
	for _, k := range state.Keys() {
		if k.To == registry.Forever {
			out[k.Instance]++
		}
	}
	return out
}
