package query

import (
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

// Limits of one answer about a blast radius.
const (
	// DefaultEffects is how many effects an answer has unless it says otherwise: a few screens.
	DefaultEffects = 200
	// MaxEffects bounds the effects of one answer: a page of them is a message of 1 MiB at most.
	MaxEffects = 1_000
	// maxGroups bounds each other list of an answer.
	maxGroups = 1_000
	// maxKeys bounds the memory keys and the credentials whose other users are looked up: each is a question to the store.
	maxKeys = 64
)

// Blasts implements apiv1.BlastServiceServer.
//
// Reach is what manifests, bound credentials, delegations and memory would have let an instance do; touch is what its events say
// that it did. Nothing here is proof that something else did not happen: what an agent does not record is not touched.
type Blasts struct {
	apiv1.UnimplementedBlastServiceServer
	*Service
}

// blast collects one answer.
type blast struct {
	service   *Service
	tenant    event.TenantID
	req       *apiv1.BlastRequest
	rows      []*store.Row // of the instance since the time
	events    []*eventv1.Event
	manifests []manifest // of the instance, oldest first
	out       *apiv1.BlastResponse
}

// Blast implements apiv1.BlastServiceServer.
func (b Blasts) Blast(ctx context.Context, req *apiv1.BlastRequest) (*apiv1.BlastResponse, error) {
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return nil, err
	}
	if err := b.checkBlast(tenant, req); err != nil {
		return nil, err
	}
	x := &blast{service: b.Service, tenant: tenant, req: req, out: &apiv1.BlastResponse{}}
	for _, step := range []func(context.Context) error{
		x.readManifests, x.readEvents, x.touched, x.readCredentials, x.readDelegates, x.readMemories, x.readDescendants,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	x.connectors()
	return x.out, nil
}

func (s *Service) checkBlast(tenant event.TenantID, req *apiv1.BlastRequest) error {
	if req.GetLimit() > MaxEffects {
		return invalid("limit", "at most %d", MaxEffects)
	}
	if req.GetFrom() < 0 {
		return invalid("from", "is before 1970")
	}
	state, ok := s.logs.Registry(tenant)
	if ok {
		_, ok = state.Instance(req.GetInstance())
	}
	if !ok {
		return status.Errorf(codes.NotFound, "no instance %q", event.Escape(req.GetInstance()))
	}
	return nil
}

// readEvents reads what the instance recorded since the time, up to MaxRows events.
func (b *blast) readEvents(ctx context.Context) error {
	f := store.Filter{Instance: b.req.GetInstance(), Run: b.req.GetRun(), ReceivedFrom: b.req.GetFrom(), Limit: MaxRows + 1}
	err := b.each(ctx, f, func(r *store.Row, e *eventv1.Event) { b.rows, b.events = append(b.rows, r), append(b.events, e) })
	if len(b.rows) > MaxRows {
		b.rows, b.events, b.out.Cut = b.rows[:MaxRows], b.events[:MaxRows], true
	}
	b.out.Events = uint32(len(b.rows))
	return err
}

// each reads committed events of the tenant. What is held, expired or no event is left out.
func (b *blast) each(ctx context.Context, f store.Filter, do func(*store.Row, *eventv1.Event)) error {
	f.Tenant = string(b.tenant)
	for r, err := range b.service.store.Search(ctx, f) {
		if err != nil {
			return readError(err)
		}
		if e, err := event.Parse(r.Bytes); err == nil {
			do(r, e)
		}
	}
	return nil
}

// touched fills in effects and data.
func (b *blast) touched(context.Context) error {
	effects := effectsOf(b.rows, b.events, b.manifests)
	b.out.EffectsTotal = uint32(len(effects))
	for _, e := range effects {
		if e.GetIrreversible() {
			b.out.IrreversibleTotal++
		}
	}
	b.countUse(effects)
	limit := cmp.Or(int(b.req.GetLimit()), DefaultEffects)
	from := min(int(b.req.GetAfter()), len(effects))
	to := min(from+limit, len(effects))
	b.out.Effects, b.out.More = effects[from:to], to < len(effects)
	b.data()
	return nil
}

// effectsOf are the calls that were started, those that cannot be undone first, then in index order.
func effectsOf(rows []*store.Row, events []*eventv1.Event, manifests []manifest) (effects []*apiv1.Effect) {
	open := map[callOf]*apiv1.Effect{}
	for i, e := range events {
		x, key := e.GetExecution(), callOf{e.GetRun(), e.GetExecution().GetCall()}
		switch x.GetAction() {
		case eventv1.ExecutionAction_EXECUTION_ACTION_STARTED:
			open[key] = effectOf(rows[i], e, manifests)
			effects = append(effects, open[key])
		case eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED, eventv1.ExecutionAction_EXECUTION_ACTION_FAILED:
			if begun := open[key]; begun != nil {
				begun.Ended, begun.Outcome = event.ExecutionActions.Name(x.GetAction()), x.GetOutcome()
			}
		}
	}
	slices.SortStableFunc(effects, func(a, b *apiv1.Effect) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	return effects
}

// callOf names a call in its tenant.
type callOf struct{ run, call string }

func rankOf(e *apiv1.Effect) int {
	if e.GetIrreversible() {
		return 0
	}
	return 1
}

func effectOf(r *store.Row, e *eventv1.Event, manifests []manifest) *apiv1.Effect {
	x := e.GetExecution()
	permit := event.Permitted(inForceAt(manifests, r.Index).GetPermissions(), event.CallOf(x))
	class, basis := permit.Class(x.GetConsequence())
	return &apiv1.Effect{
		Index: r.Index, Id: r.ID[:], ReceivedAt: r.Received, Run: e.GetRun(), Call: x.GetCall(), Tool: x.GetTool(),
		Connector: x.GetConnector(), Destination: x.GetDestination(), Consequence: class, ClassBasis: cmp.Or(basis, "none"),
		Irreversible: class == eventv1.Consequence_CONSEQUENCE_HIGH || class == 0, Ended: "open", Allowed: permit.Allowed,
	}
}

// data groups what was read, written and exported.
func (b *blast) data() {
	groups := map[string]*apiv1.TouchedData{}
	for i, e := range b.events {
		d := e.GetData()
		if d == nil {
			continue
		}
		action, resource := event.DataActions.Name(d.GetAction()), cmp.Or(d.GetResource(), d.GetMemoryKey(), d.GetSource())
		key := action + "\x00" + resource + "\x00" + d.GetDomain() + "\x00" + d.GetDataClass()
		g := groups[key]
		if g == nil && len(groups) == maxGroups {
			b.out.Cut = true
			continue
		}
		if g == nil {
			g = &apiv1.TouchedData{Action: action, Resource: resource, Domain: d.GetDomain(), DataClass: d.GetDataClass(), First: b.rows[i].Index}
			groups[key] = g
			b.out.Data = append(b.out.Data, g)
		}
		g.Count, g.Bytes, g.Last = g.Count+1, g.Bytes+d.GetBytes(), b.rows[i].Index
	}
}

// readDescendants walks from the instance's events to what they have led to, in other instances, or in other runs if the
// question is about one.
func (b *blast) readDescendants(ctx context.Context) error {
	g := b.service.graph(b.tenant, len(b.rows)+MaxRows)
	for _, r := range b.rows {
		g.rows[r.ID] = r
	}
	own := g.ids()
	if err := g.walk(ctx, own, store.Effects, maxDepth); err != nil {
		return err
	}
	b.out.Cut = b.out.Cut || g.cut
	seeds := map[event.ID]bool{}
	mark(seeds, own)
	by, err := g.relations(ctx, seeds)
	if err == nil {
		b.descendants(g, seeds, by)
	}
	return err
}

// relations are how events that are not seeds came of seeds directly.
func (g *graph) relations(ctx context.Context, seeds map[event.ID]bool) (map[event.ID]eventv1.Relation, error) {
	by := map[event.ID]eventv1.Relation{}
	others := slices.DeleteFunc(g.ids(), func(id event.ID) bool { return seeds[id] })
	err := g.edgesOf(ctx, others, store.Causes, func(e store.Edge) {
		if seeds[e.Cause] {
			by[e.Effect] = e.Relation
		}
	})
	return by, err
}

// descendants groups the events of the graph that are not the instance's own.
func (b *blast) descendants(g *graph, seeds map[event.ID]bool, by map[event.ID]eventv1.Relation) {
	groups := map[callOf]*apiv1.Descendant{}
	for _, id := range g.ids() {
		r := g.rows[id]
		e, err := event.Parse(r.Bytes)
		if err != nil || seeds[id] || b.own(r.Instance, e.GetRun()) {
			continue
		}
		key := callOf{r.Instance, e.GetRun()}
		d := groups[key]
		if d == nil {
			d = &apiv1.Descendant{Instance: r.Instance, Run: e.GetRun(), First: r.Index, By: "later"}
			groups[key] = d
			b.out.Descendants = append(b.out.Descendants, d)
		}
		addTo(d, r, e, by[id])
	}
	slices.SortFunc(b.out.Descendants, func(x, y *apiv1.Descendant) int { return cmp.Compare(x.GetFirst(), y.GetFirst()) })
	if len(b.out.Descendants) > maxGroups {
		b.out.Descendants, b.out.Cut = b.out.Descendants[:maxGroups], true
	}
}

// own reports whether a run is what the question is about.
func (b *blast) own(instance, run string) bool {
	return instance == b.req.GetInstance() && (b.req.GetRun() == "" || run == b.req.GetRun())
}

func addTo(d *apiv1.Descendant, r *store.Row, e *eventv1.Event, by eventv1.Relation) {
	d.Count, d.First = d.Count+1, min(d.First, r.Index)
	if by != 0 {
		d.By = event.Relations.Name(by)
	}
	if e.GetExecution().GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_STARTED {
		d.Acts++
	}
}
