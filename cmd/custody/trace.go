package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// traceCommand shows the causal tree of a run or an event.
func (a *app) traceCommand() *cobra.Command {
	req := &apiv1.TraceRequest{}
	cmd := &cobra.Command{
		Use:   "trace RUN|EVENT",
		Short: "Show the tool path: what came in, what was decided, what ran, what came of it",
		Long: "Show the causal tree of a run or around an event: input, retrieval, proposal, decision, approval, execution, outcome.\n" +
			"A cause that the program recorded is drawn ──▶, one that an importer inferred is drawn ╌╌▷.\n\n" + exitHelp,
		Example: "  custody trace --tenant acme ticket-4711\n  custody trace --tenant acme 0198c5b2-… --open",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			if id, err := event.ParseID(args[0]); err == nil {
				req.Event = id[:]
			} else {
				req.Run = args[0]
			}
			resp, err := apiv1.NewQueryServiceClient(conn).Trace(ctx, req)
			if err != nil {
				return err
			}
			return a.printGraph(resp, resp.GetRows(), resp.GetEdges(), resp.GetCut())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&req.Instance, "instance", "", "instance, where several use the same run id")
	f.BoolVar(&req.Open, "open", false, "disclose sealed content; this is recorded")
	f.Uint32Var(&req.Limit, "limit", 0, "most events (2000 if absent)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

// whyCommand goes back from an event to its triggers.
func (a *app) whyCommand() *cobra.Command {
	req := &apiv1.WhyRequest{}
	cmd := &cobra.Command{
		Use:   "why EVENT",
		Short: "Go back from an event to what triggered it, each with its trust",
		Args:  cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			id, err := event.ParseID(args[0])
			if err != nil {
				return usageError("%q is not an event id: custody search shows them with -o jsonl", args[0])
			}
			req.Event = id[:]
			resp, err := apiv1.NewQueryServiceClient(conn).Why(ctx, req)
			if err != nil {
				return err
			}
			if a.format != formatTable {
				return a.printGraphJSON(resp.GetRows(), resp.GetEdges(), resp.GetCut())
			}
			a.printWhy(resp)
			return nil
		}),
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	cmd.Flags().BoolVar(&req.Open, "open", false, "disclose sealed content; this is recorded")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func (a *app) printWhy(resp *apiv1.WhyResponse) {
	byID := rowsByID(resp.GetRows())
	fmt.Fprintln(a.out, "triggers:")
	for _, id := range resp.GetTriggers() {
		if r, ok := byID[event.ID(id)]; ok {
			fmt.Fprintf(a.out, "  #%d  %s\n", r.GetIndex(), describe(r))
		}
	}
	for _, id := range resp.GetMissing() {
		fmt.Fprintf(a.out, "  %s  NOT EVIDENCED: named as a cause, but no committed event has this id\n", event.ID(id))
	}
	fmt.Fprintln(a.out, "path:")
	newGraph(resp.GetRows(), resp.GetEdges()).print(a, resp.GetCut())
}

func (a *app) printGraph(_ any, rows []*apiv1.EventRow, edges []*apiv1.Edge, cut bool) error {
	if a.format != formatTable {
		return a.printGraphJSON(rows, edges, cut)
	}
	newGraph(rows, edges).print(a, cut)
	return nil
}

func (a *app) printGraphJSON(rows []*apiv1.EventRow, edges []*apiv1.Edge, cut bool) error {
	type edgeJSON struct {
		Cause, Effect, Relation, Basis string
	}
	out := struct {
		Rows  []any      `json:"rows"`
		Edges []edgeJSON `json:"edges"`
		Cut   bool       `json:"cut"`
	}{Cut: cut}
	for _, r := range rows {
		raw, err := rowJSON(r)
		if err != nil {
			return err
		}
		out.Rows = append(out.Rows, raw)
	}
	for _, e := range edges {
		out.Edges = append(out.Edges, edgeJSON{event.ID(e.GetCause()).String(), event.ID(e.GetEffect()).String(), event.Relations.Name(e.GetRelation()), event.CauseBases.Name(e.GetBasis())})
	}
	return a.printJSON(out)
}

func rowsByID(rows []*apiv1.EventRow) map[event.ID]*apiv1.EventRow {
	out := make(map[event.ID]*apiv1.EventRow, len(rows))
	for _, r := range rows {
		if ev := parsed(r); ev != nil {
			out[idOf(ev)] = r
		}
	}
	return out
}

// graph is a causal graph drawn as a tree: each event stands under the latest of its causes and names the others.
type graph struct {
	rows     map[event.ID]*apiv1.EventRow
	order    []event.ID
	causes   map[event.ID][]*apiv1.Edge
	children map[event.ID][]event.ID
}

func newGraph(rows []*apiv1.EventRow, edges []*apiv1.Edge) *graph {
	g := &graph{rows: rowsByID(rows), causes: map[event.ID][]*apiv1.Edge{}, children: map[event.ID][]event.ID{}}
	for _, r := range rows {
		if ev := parsed(r); ev != nil {
			g.order = append(g.order, idOf(ev))
		}
	}
	for _, e := range edges {
		g.causes[event.ID(e.GetEffect())] = append(g.causes[event.ID(e.GetEffect())], e)
	}
	for _, id := range g.order {
		if p := g.parent(id); p != nil {
			g.children[event.ID(p.GetCause())] = append(g.children[event.ID(p.GetCause())], id)
		}
	}
	return g
}

// parent is the edge to the latest cause that came before the event; nil for a root. A cause at or after its effect
// cannot be drawn above it and is only named, so that a forged circle still prints.
func (g *graph) parent(id event.ID) *apiv1.Edge {
	var best *apiv1.Edge
	for _, e := range g.causes[id] {
		c, ok := g.rows[event.ID(e.GetCause())]
		if !ok || c.GetIndex() >= g.rows[id].GetIndex() {
			continue
		}
		if best == nil || c.GetIndex() > g.rows[event.ID(best.GetCause())].GetIndex() {
			best = e
		}
	}
	return best
}

func (g *graph) print(a *app, cut bool) {
	for _, id := range g.order {
		if g.parent(id) == nil {
			g.node(a, id, "", "● ")
		}
	}
	if cut {
		fmt.Fprintln(a.out, "… cut: add --limit")
	}
}

// node prints an event and what it led to. An only child goes on in the same column, so that a long path stays readable.
func (g *graph) node(a *app, id event.ID, indent, arrow string) {
	for {
		r := g.rows[id]
		fmt.Fprintf(a.out, "%s%s#%-5d %s%s\n", indent, arrow, r.GetIndex(), describe(r), g.others(id))
		printOpened(a, r, indent+"         ")
		kids := g.children[id]
		if len(kids) != 1 {
			g.branches(a, kids, indent)
			return
		}
		id, arrow = kids[0], g.arrow(kids[0])
	}
}

func (g *graph) branches(a *app, kids []event.ID, indent string) {
	slices.SortFunc(kids, func(x, y event.ID) int { return int(g.rows[x].GetIndex()) - int(g.rows[y].GetIndex()) })
	for _, k := range kids {
		g.node(a, k, indent+"  │ ", g.arrow(k))
	}
}

// arrow shows the basis of the edge that an event hangs on.
func (g *graph) arrow(id event.ID) string {
	if g.parent(id).GetBasis() == eventv1.CauseBasis_CAUSE_BASIS_INFERRED {
		return "╌╌▷ "
	}
	return "──▶ "
}

// maxOthers is how many further causes a line names.
const maxOthers = 6

// others names the causes that an event does not hang on.
func (g *graph) others(id event.ID) string {
	parent := g.parent(id)
	var names []string
	for _, e := range g.causes[id] {
		if e == parent {
			continue
		}
		names = append(names, g.causeName(e))
	}
	if len(names) == 0 {
		return ""
	}
	if extra := len(names) - maxOthers; extra > 0 {
		names = append(names[:maxOthers], fmt.Sprintf("and %d more", extra))
	}
	return "  (also from " + strings.Join(names, ", ") + ")"
}

func (g *graph) causeName(e *apiv1.Edge) string {
	basis := ""
	if e.GetBasis() == eventv1.CauseBasis_CAUSE_BASIS_INFERRED {
		basis = " inferred"
	}
	r, ok := g.rows[event.ID(e.GetCause())]
	if !ok {
		return event.ID(e.GetCause()).String() + " not shown"
	}
	return fmt.Sprintf("#%d %s%s", r.GetIndex(), event.Relations.Name(e.GetRelation()), basis)
}

// psCommand lists instances.
func (a *app) psCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List instances: client, owner, last seen, open tail",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewQueryServiceClient(conn).ListInstances(ctx, &apiv1.ListInstancesRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderInstances(w, resp.GetInstances()) })
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant")
	return cmd
}

func renderInstances(w io.Writer, all []*apiv1.InstanceInfo) {
	t := newTable(w, "instance", "client", "owner", "environment", "manifest", "events", "last seen (UTC)", "tail", "gaps")
	for _, i := range all {
		tail := "closed"
		if i.GetOpenTails() > 0 {
			tail = fmt.Sprintf("%d open", i.GetOpenTails())
		}
		l := i.GetLabels()
		t.AppendRow([]any{i.GetTenant() + "/" + i.GetInstance(), dash(l.GetClient()), dash(l.GetOwner()), dash(l.GetEnvironment()), i.GetManifestVersion(), i.GetEvents(), stamp(i.GetLastSeenAt()), tail, i.GetGaps()})
	}
	t.Render()
}
