package query

import (
	"bytes"
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// Trace implements apiv1.QueryServiceServer.
func (s *Service) Trace(ctx context.Context, req *apiv1.TraceRequest) (*apiv1.TraceResponse, error) {
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	limit, err := bounded("limit", req.GetLimit(), DefaultNodes)
	if err != nil {
		return nil, err
	}
	g := s.graph(tenant, limit)
	if err := s.seed(ctx, g, req); err != nil {
		return nil, err
	}
	// What led into the run, and what came of it elsewhere, one step in each direction; an event is followed all the way.
	whole := len(req.GetEvent()) > 0
	if err := g.grow(ctx, store.Causes, whole); err != nil {
		return nil, err
	}
	if err := g.grow(ctx, store.Effects, whole); err != nil {
		return nil, err
	}
	rows, edges, err := g.answer(ctx, s.view(tenant, req.GetOpen()))
	if err != nil {
		return nil, err
	}
	return &apiv1.TraceResponse{Rows: rows, Edges: edges, Cut: g.cut}, nil
}

// seed puts the run or the event into the graph.
func (s *Service) seed(ctx context.Context, g *graph, req *apiv1.TraceRequest) error {
	if (req.GetRun() == "") == (len(req.GetEvent()) == 0) {
		return invalid("run", "exactly one of run and event must be given")
	}
	if req.GetRun() == "" {
		return g.addEvent(ctx, req.GetEvent())
	}
	rows, err := s.store.EventsOfRun(ctx, string(g.tenant), req.GetInstance(), req.GetRun(), g.limit+1)
	if err != nil {
		return readError(err)
	}
	if len(rows) == 0 {
		return status.Errorf(codes.NotFound, "no committed event of run %q", event.Escape(req.GetRun()))
	}
	g.add(rows)
	return nil
}

// Why implements apiv1.QueryServiceServer.
func (s *Service) Why(ctx context.Context, req *apiv1.WhyRequest) (*apiv1.WhyResponse, error) {
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	g := s.graph(tenant, MaxRows)
	if err := g.addEvent(ctx, req.GetEvent()); err != nil {
		return nil, err
	}
	if err := g.grow(ctx, store.Causes, true); err != nil {
		return nil, err
	}
	rows, edges, err := g.answer(ctx, s.view(tenant, req.GetOpen()))
	if err != nil {
		return nil, err
	}
	return &apiv1.WhyResponse{Rows: rows, Edges: edges, Triggers: g.triggers(), Missing: g.missing(), Cut: g.cut}, nil
}

// graph is a part of the causal graph. It is walked breadth first, a level a query, so that its cost is its depth.
type graph struct {
	store    *store.Store
	tenant   event.TenantID
	limit    int
	rows     map[event.ID]*store.Row
	others   []*store.Row // events that share an id with one in rows
	frontier []event.ID   // added last
	edges    map[edgeKey]store.Edge
	cut      bool
}

type edgeKey struct {
	cause, effect event.ID
	relation      eventv1.Relation
}

func (s *Service) graph(tenant event.TenantID, limit int) *graph {
	return &graph{store: s.store, tenant: tenant, limit: limit, rows: map[event.ID]*store.Row{}, edges: map[edgeKey]store.Edge{}}
}

func (g *graph) addEvent(ctx context.Context, id []byte) error {
	if len(id) != event.IDSize {
		return invalid("event", "%d bytes, want %d", len(id), event.IDSize)
	}
	rows, err := g.store.EventsByIDs(ctx, string(g.tenant), []event.ID{event.ID(id)})
	if err != nil {
		return readError(err)
	}
	if len(rows) == 0 {
		return status.Errorf(codes.NotFound, "no committed event has the id %s", event.ID(id))
	}
	g.add(rows)
	return nil
}

// add takes rows in, up to the limit, and makes them the frontier.
func (g *graph) add(rows []*store.Row) {
	for _, r := range rows {
		if _, known := g.rows[r.ID]; known {
			g.others = append(g.others, r)
			continue
		}
		if len(g.rows) == g.limit {
			g.cut = true
			return
		}
		g.rows[r.ID] = r
		g.frontier = append(g.frontier, r.ID)
	}
}

// grow follows edges from everything that is in the graph: one step, or as far as they lead.
func (g *graph) grow(ctx context.Context, d store.Direction, whole bool) error {
	g.frontier = g.ids()
	for depth := 0; len(g.frontier) > 0 && !g.cut; depth++ {
		if depth == maxDepth {
			g.cut = true
			return nil
		}
		next, err := g.step(ctx, d)
		if err != nil {
			return err
		}
		g.frontier = nil
		rows, err := g.store.EventsByIDs(ctx, string(g.tenant), next)
		if err != nil {
			return readError(err)
		}
		g.add(rows)
		if !whole {
			return nil
		}
	}
	return nil
}

// step reads the frontier's edges and returns the ids at their other ends that are new.
func (g *graph) step(ctx context.Context, d store.Direction) ([]event.ID, error) {
	found, err := g.store.EdgesOf(ctx, string(g.tenant), g.frontier, d, 0)
	if err != nil {
		return nil, readError(err)
	}
	fresh := map[event.ID]bool{}
	for _, e := range found {
		g.edges[edgeKey{e.Cause, e.Effect, e.Relation}] = e
		other := e.Cause
		if d == store.Effects {
			other = e.Effect
		}
		if _, known := g.rows[other]; !known {
			fresh[other] = true
		}
	}
	return sortedIDs(fresh), nil
}

func (g *graph) ids() []event.ID {
	set := make(map[event.ID]bool, len(g.rows))
	for id := range g.rows {
		set[id] = true
	}
	return sortedIDs(set)
}

func sortedIDs(set map[event.ID]bool) []event.ID {
	out := make([]event.ID, 0, len(set))
	for id := range set {
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// answer is the graph in index order, with what the caller may see of it.
func (g *graph) answer(ctx context.Context, v *view) ([]*apiv1.EventRow, []*apiv1.Edge, error) {
	all := slices.Clone(g.others)
	for _, r := range g.rows {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *store.Row) int { return int(int64(a.Index) - int64(b.Index)) })
	rows := v.rows(slices.CompactFunc(all, func(a, b *store.Row) bool { return a.Index == b.Index }))
	if err := v.open(ctx, rows); err != nil {
		return nil, nil, err
	}
	return rows, g.sortedEdges(), nil
}

func (g *graph) sortedEdges() []*apiv1.Edge {
	all := make([]store.Edge, 0, len(g.edges))
	for _, e := range g.edges {
		all = append(all, e)
	}
	slices.SortFunc(all, compareEdges)
	out := make([]*apiv1.Edge, len(all))
	for i, e := range all {
		out[i] = &apiv1.Edge{Cause: e.Cause[:], Effect: e.Effect[:], Relation: e.Relation, Basis: e.Basis}
	}
	return out
}

func compareEdges(a, b store.Edge) int {
	if a.Index != b.Index {
		return int(int64(a.Index) - int64(b.Index))
	}
	if c := bytes.Compare(a.Cause[:], b.Cause[:]); c != 0 {
		return c
	}
	return int(a.Relation) - int(b.Relation)
}

// triggers are the events of the graph without causes of their own, by index.
func (g *graph) triggers() [][]byte {
	caused := map[event.ID]bool{}
	for k := range g.edges {
		caused[k.effect] = true
	}
	var roots []*store.Row
	for id, r := range g.rows {
		if !caused[id] {
			roots = append(roots, r)
		}
	}
	slices.SortFunc(roots, func(a, b *store.Row) int { return int(int64(a.Index) - int64(b.Index)) })
	out := make([][]byte, len(roots))
	for i, r := range roots {
		out[i] = bytes.Clone(r.ID[:])
	}
	return out
}

// missing are the causes that no committed event has.
func (g *graph) missing() [][]byte {
	set := map[event.ID]bool{}
	for k := range g.edges {
		if _, known := g.rows[k.cause]; !known {
			set[k.cause] = true
		}
	}
	var out [][]byte
	for _, id := range sortedIDs(set) {
		out = append(out, bytes.Clone(id[:]))
	}
	return out
}
