package query

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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
		return s.follow(ctx, v, f, stream.Send)
	}
	_, _, err = s.page(ctx, v, f, stream.Send)
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
		if req.GetAfterIndex() > event.MaxCounter {
			return f, invalid("after_index", "more than %d", event.MaxCounter)
		}
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
	if err := checkNames(req); err != nil {
		return f, err
	}
	var err error
	if f.Kind, err = kindOf(req.GetKind()); err != nil {
		return f, err
	}
	otherwise := DefaultRows
	if req.GetFollow() {
		otherwise = 0 // no limit
	}
	f.Limit, err = bounded("limit", req.GetLimit(), otherwise)
	return f, err
}

// checkNames refuses what no event can have: a search for it would find nothing and look like an answer.
func checkNames(req *apiv1.SearchRequest) error {
	return cmp.Or(
		known("decision", req.GetDecision(), event.Decisions), known("outcome", req.GetOutcome(), event.Outcomes),
		known("consequence", req.GetConsequence(), event.Consequences), known("trust", req.GetTrust(), event.Trusts),
		checkAction(req.GetAction()),
	)
}

func known[E ~int32](field string, value E, names event.Names[E]) error {
	if value != 0 && names.Name(value) == "" {
		return invalid(field, "%d has no name", value)
	}
	return nil
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

func checkAction(action string) error {
	if action == "" || slices.ContainsFunc(event.Actions(), func(a string) bool { return a == action || strings.HasSuffix(a, "."+action) }) {
		return nil
	}
	return invalid("action", "no event has the action %q", action)
}

// page sends up to f.Limit rows. It returns how many and the index to go on from: f.ToIndex unless the limit cut it.
func (s *Service) page(ctx context.Context, v *view, f store.Filter, send sender) (sent int, next uint64, err error) {
	size := s.logs.Size(v.tenant)
	limit := f.Limit
	if !f.Newest {
		f.Limit++ // one more, to know whether there is more
	}
	next = f.ToIndex
	out := &apiv1.SearchResponse{Size: size}
	for row, err := range s.store.Search(ctx, f) {
		if err != nil {
			return sent, 0, readError(err)
		}
		if sent == limit {
			next, out.More = row.Index, true
			break
		}
		if len(out.Rows) == pageRows {
			if err := v.send(ctx, out, send); err != nil {
				return sent, 0, err
			}
			out = &apiv1.SearchResponse{Size: size}
		}
		sent++
		out.Rows = append(out.Rows, v.row(row))
	}
	return sent, next, v.send(ctx, out, send)
}

// sender sends one message of an answer.
type sender func(*apiv1.SearchResponse) error

func (v *view) send(ctx context.Context, out *apiv1.SearchResponse, send sender) error {
	if err := v.open(ctx, out.GetRows()); err != nil {
		return err
	}
	return send(out)
}

// errStops says that a search that follows ends with the server.
var errStops = errors.New("the server stops")

// follow is advance until the server stops.
func (s *Service) follow(ctx context.Context, v *view, f store.Filter, send sender) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ending, func() { cancel(errStops) })()
	err := s.advance(ctx, v, f, send)
	if err != nil && errors.Is(context.Cause(ctx), errStops) {
		return status.Errorf(codes.Unavailable, "follow: %v", errStops)
	}
	return err
}

// advance sends what matches and goes on as events are committed, until as many as asked for have been sent.
func (s *Service) advance(ctx context.Context, v *view, f store.Filter, send sender) error {
	left := f.Limit // 0: no limit
	for {
		head := s.logs.Head()
		if f.ToIndex = s.logs.Size(v.tenant); f.ToIndex > f.FromIndex {
			if f.Limit = MaxRows; left > 0 {
				f.Limit = left
			}
			sent, next, err := s.page(ctx, s.view(v.tenant, v.opens), f, going(left, send))
			if err != nil || sent > 0 && sent == left {
				return err
			}
			f.FromIndex, left = next, max(left-sent, 0)
		}
		if f.FromIndex < f.ToIndex {
			continue // the page was full
		}
		if _, err := s.logs.Wait(ctx, head); err != nil {
			return waitError(ctx, err)
		}
	}
}

// going sends pages that are not the last: without a limit, nothing is cut.
func going(left int, send sender) sender {
	return func(out *apiv1.SearchResponse) error {
		out.More = out.More && left > 0
		return send(out)
	}
}

// waitError is why nothing new will come: the caller has left, or the ledger stands and a person must look, so that to ask
// again is of no use.
func waitError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	return status.Errorf(codes.FailedPrecondition, "follow: %v", err)
}
