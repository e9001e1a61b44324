package query

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store"
)

// Search implements apiv1.QueryServiceServer.
func (s *Service) Search(req *apiv1.SearchRequest, stream grpc.ServerStreamingServer[apiv1.SearchResponse]) error {
	ctx := stream.Context()
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return err
	}
	f, err := filterOf(req)
	if err != nil {
		return err
	}
	v := s.view(tenant, req.GetOpen())
	if req.GetFollow() {
		return s.follow(ctx, v, f, stream)
	}
	_, err = s.page(ctx, v, f, stream)
	return err
}

// filterOf checks a request and turns it into a filter.
func filterOf(req *apiv1.SearchRequest) (store.Filter, error) {
	f := store.Filter{
		Tenant: req.GetTenant(), Instance: req.GetInstance(), Run: req.GetRun(), Tool: req.GetTool(), Action: req.GetAction(),
		Decision: req.GetDecision(), Outcome: req.GetOutcome(), Consequence: req.GetConsequence(), Principal: req.GetPrincipal(),
		Destination: req.GetDestination(), Trust: req.GetTrust(), ReceivedFrom: req.GetFrom(), ReceivedTo: req.GetTo(),
		Fingerprint: req.GetFingerprint(), Newest: req.GetNewest(),
	}
	if req.GetPage() {
		f.FromIndex = req.GetAfterIndex() + 1
	}
	if n := len(f.Fingerprint); n != 0 && n != event.FingerprintSize {
		return f, invalid("fingerprint", "%d bytes, want %d", n, event.FingerprintSize)
	}
	if f.ReceivedTo != 0 && f.ReceivedTo < f.ReceivedFrom {
		return f, invalid("to", "is before from")
	}
	if req.GetFollow() && req.GetNewest() {
		return f, invalid("newest", "cannot be followed")
	}
	var err error
	if f.Kind, err = kindOf(req.GetKind()); err != nil {
		return f, err
	}
	if err := checkAction(f.Action); err != nil {
		return f, err
	}
	f.Limit, err = bounded("limit", req.GetLimit(), DefaultRows)
	return f, err
}

func kindOf(name string) (chain.Kind, error) {
	if name == "" {
		return 0, nil
	}
	kind, ok := event.ParseKind(name)
	if !ok {
		return 0, invalid("kind", "%q is not identity, data, execution, approval or system", name)
	}
	return chain.Kind(kind), nil
}

// checkAction refuses an action that no event can have: a search for it would find nothing and look like an answer.
func checkAction(action string) error {
	if action == "" || slices.ContainsFunc(event.Actions(), func(a string) bool { return a == action || strings.HasSuffix(a, "."+action) }) {
		return nil
	}
	return invalid("action", "no event has the action %q", action)
}

// page sends up to f.Limit rows and returns the index to go on from: f.ToIndex unless the limit cut it.
func (s *Service) page(ctx context.Context, v *view, f store.Filter, stream grpc.ServerStreamingServer[apiv1.SearchResponse]) (next uint64, err error) {
	limit := f.Limit
	if !f.Newest {
		f.Limit++ // one more, to know whether there is more
	}
	next = f.ToIndex
	out := &apiv1.SearchResponse{Size: s.logs.Size(v.tenant)}
	sent := 0
	for row, err := range s.store.Search(ctx, f) {
		if err != nil {
			return 0, readError(err)
		}
		if sent == limit {
			next, out.More = row.Index, true
			break
		}
		sent++
		out.Rows = append(out.Rows, v.row(row))
		if len(out.Rows) == pageRows {
			if err := s.send(ctx, v, out, stream); err != nil {
				return 0, err
			}
			out = &apiv1.SearchResponse{Size: out.GetSize()}
		}
	}
	return next, s.send(ctx, v, out, stream)
}

func (s *Service) send(ctx context.Context, v *view, out *apiv1.SearchResponse, stream grpc.ServerStreamingServer[apiv1.SearchResponse]) error {
	if err := v.open(ctx, out.GetRows()); err != nil {
		return err
	}
	return stream.Send(out)
}

// follow sends what matches and goes on as events are committed.
func (s *Service) follow(ctx context.Context, v *view, f store.Filter, stream grpc.ServerStreamingServer[apiv1.SearchResponse]) error {
	f.Limit = MaxRows
	for {
		head := s.logs.Head()
		if f.ToIndex = s.logs.Size(v.tenant); f.ToIndex > f.FromIndex {
			next, err := s.page(ctx, v, f, stream)
			if err != nil {
				return err
			}
			f.FromIndex = next
		}
		if f.FromIndex < f.ToIndex {
			continue // the page was full
		}
		if _, err := s.logs.Wait(ctx, head); err != nil {
			return status.FromContextError(err).Err()
		}
	}
}
