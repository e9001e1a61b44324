package query

import (
	"bytes"
	"cmp"
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
	depth := 1
	if len(req.GetEvent()) > 0 {
		depth = maxDepth
	}
	asked := g.ids()
	for _, d := range []store.Direction{store.Causes, store.Effects} {
		if err := g.walk(ctx, asked, d, depth); err != nil {
			return nil, err
		}
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
	if err := g.walk(ctx, g.ids(), store.Causes, maxDepth); err != nil {
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
	limit    int // of events
	rows     map[event.ID]*store.Row
	others   []*store.Row           // events that share an id with one in rows
	bytes    int                    // of all events
	absent   map[event.ID]bool      // ids that no committed event has
	edges    map[edgeKey]store.Edge // from every cause that an event in rows names
	derived  map[edgeKey]store.Edge // that no event names: see remember
	memories int                    // that were followed
	cut      bool
}

type edgeKey struct {
	cause, effect event.ID
	relation      eventv1.Relation
}

func (s *Service) graph(tenant event.TenantID, limit int) *graph {
	return &graph{
		store: s.store, tenant: tenant, limit: limit,
		rows: map[event.ID]*store.Row{}, absent: map[event.ID]bool{}, edges: map[edgeKey]store.Edge{}, derived: map[edgeKey]store.Edge{},
	}
}

func (g *graph) addEvent(ctx context.Context, given []byte) error {
	if len(given) != event.IDSize {
		return invalid("event", "%d bytes, want %d", len(given), event.IDSize)
	}
	id := event.ID(given)
	if id != (event.ID{}) { // which stands for leaves that are no event
		if err := g.fetch(ctx, []event.ID{id}); err != nil {
			return err
		}
	}
	if len(g.rows) == 0 {
		return status.Errorf(codes.NotFound, "no committed event has the id %s", id)
	}
	return nil
}

// add takes rows in, up to the limits.
func (g *graph) add(rows []*store.Row) {
	for _, r := range rows {
		if len(g.rows)+len(g.others) == g.limit || g.bytes+len(r.Bytes) > maxGraphBytes {
			g.cut = true
			return
		}
		g.bytes += len(r.Bytes)
		if _, known := g.rows[r.ID]; known {
			g.others = append(g.others, r)
			continue
		}
		g.rows[r.ID] = r
	}
}

// fetch reads the events with these ids, which are not in the graph, and notes those that there are not.
func (g *graph) fetch(ctx context.Context, ids []event.ID) error {
	if len(ids) > MaxRows {
		ids, g.cut = ids[:MaxRows], true
	}
	room := g.limit - len(g.rows) - len(g.others) + 1 // one more than fits says that there are more
	rows, err := g.store.EventsByIDs(ctx, string(g.tenant), ids, room)
	if err != nil {
		return readError(err)
	}
	if len(rows) < room { // otherwise what was not read may be there
		mark(g.absent, ids)
	}
	for _, r := range rows {
		delete(g.absent, r.ID)
	}
	g.add(rows)
	return nil
}

// walk follows edges from events of the graph, at most depth steps. It comes to each event once, so circles end.
func (g *graph) walk(ctx context.Context, from []event.ID, d store.Direction, depth int) error {
	seen := map[event.ID]bool{}
	mark(seen, from)
	for ; len(from) > 0 && !g.cut; depth-- {
		if depth == 0 {
			return nil
		}
		next, err := g.step(ctx, from, d, seen)
		if err != nil {
			return err
		}
		mark(seen, next)
		if err := g.fetch(ctx, slices.DeleteFunc(slices.Clone(next), g.has)); err != nil {
			return err
		}
		remembered, err := g.remember(ctx, from, d, seen)
		if err != nil {
			return err
		}
		mark(seen, remembered)
		next = append(next, remembered...)
		from = slices.DeleteFunc(next, func(id event.ID) bool { return !g.has(id) })
	}
	return nil
}

func (g *graph) has(id event.ID) bool {
	_, known := g.rows[id]
	return known
}

func mark(set map[event.ID]bool, ids []event.ID) {
	for _, id := range ids {
		set[id] = true
	}
}

// step returns where the edges of events lead, without what has been seen.
func (g *graph) step(ctx context.Context, from []event.ID, d store.Direction, seen map[event.ID]bool) ([]event.ID, error) {
	fresh := map[event.ID]bool{}
	err := g.edgesOf(ctx, from, d, func(e store.Edge) {
		other := e.Cause
		if d == store.Effects {
			other = e.Effect
		}
		if !seen[other] {
			fresh[other] = true
		}
	})
	return sortedIDs(fresh), err
}

// edgesOf reads edges, so many at a time that what nobody could draw does not fill the memory.
func (g *graph) edgesOf(ctx context.Context, ids []event.ID, d store.Direction, each func(store.Edge)) error {
	for chunk := range slices.Chunk(ids, edgeChunk) {
		found, err := g.store.EdgesOf(ctx, string(g.tenant), chunk, d, maxEdges)
		if err != nil {
			return readError(err)
		}
		g.cut = g.cut || len(found) == maxEdges
		for _, e := range found {
			each(e)
		}
	}
	return nil
}

// connect reads the causes of every event of the graph.
func (g *graph) connect(ctx context.Context) error {
	return g.edgesOf(ctx, g.ids(), store.Causes, func(e store.Edge) { g.edges[edgeKey{e.Cause, e.Effect, e.Relation}] = e })
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
	if err := g.connect(ctx); err != nil {
		return nil, nil, err
	}
	all := slices.Clone(g.others)
	for _, r := range g.rows {
		all = append(all, r)
	}
	slices.SortFunc(all, byIndex)
	rows := v.rows(all)
	if err := v.openAll(ctx, rows); err != nil {
		return nil, nil, err
	}
	return rows, g.sortedEdges(), nil
}

func byIndex(a, b *store.Row) int { return cmp.Compare(a.Index, b.Index) }

// sortedEdges are the edges between events of the graph, and those from causes that no committed event has.
func (g *graph) sortedEdges() []*apiv1.Edge {
	all := make([]store.Edge, 0, len(g.edges))
	for _, e := range g.edges {
		if g.has(e.Cause) || g.absent[e.Cause] {
			all = append(all, e)
		}
	}
	for k, e := range g.derived {
		if !g.claimed(k) && g.has(k.cause) && g.has(k.effect) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, compareEdges)
	out := make([]*apiv1.Edge, len(all))
	for i, e := range all {
		unspecified := eventv1.CauseBasis_CAUSE_BASIS_UNSPECIFIED
		out[i] = &apiv1.Edge{Cause: e.Cause[:], Effect: e.Effect[:], Relation: e.Relation, Basis: e.Basis, Derived: e.Basis == unspecified}
	}
	return out
}

// claimed reports whether an event itself names what a memory connects.
func (g *graph) claimed(k edgeKey) bool {
	for r := range event.Relations.All() {
		if _, is := g.edges[edgeKey{k.cause, k.effect, eventv1.Relation(r + 1)}]; is {
			return true
		}
	}
	return false
}

func compareEdges(a, b store.Edge) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), bytes.Compare(a.Cause[:], b.Cause[:]), cmp.Compare(a.Relation, b.Relation))
}

// triggers are the events of the graph without causes of their own, by index.
func (g *graph) triggers() [][]byte {
	caused := map[event.ID]bool{}
	for _, edges := range []map[edgeKey]store.Edge{g.edges, g.derived} {
		for k := range edges {
			caused[k.effect] = true
		}
	}
	var roots []*store.Row
	for id, r := range g.rows {
		if !caused[id] {
			roots = append(roots, r)
		}
	}
	slices.SortFunc(roots, byIndex)
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
		if g.absent[k.cause] {
			set[k.cause] = true
		}
	}
	var out [][]byte
	for _, id := range sortedIDs(set) {
		out = append(out, bytes.Clone(id[:]))
	}
	return out
}
