package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// eventHelp says how trace and why name an event.
const eventHelp = "EVENT is @INDEX as search and trace print it, or an event id."

// traceCommand shows the causal tree of a run or an event.
func (a *app) traceCommand() *cobra.Command {
	req := &apiv1.TraceRequest{}
	var isRun bool
	cmd := &cobra.Command{
		Use:   "trace RUN|EVENT",
		Short: "Show the tool path: what came in, what was decided, what ran, what came of it",
		Long: "Show the causal tree of a run or around an event: input, retrieval, proposal, decision, approval, execution, outcome.\n" +
			eventHelp + "\n\n" + graphHelp + "\n" +
			"With -o json: \"rows\" as in search, all \"edges\", and \"cut\" if --limit was reached.",
		Example: "  custody trace --tenant acme ticket-4711\n  custody trace --tenant acme @33 --open",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := trace(ctx, conn, req, args[0], isRun)
			if err != nil {
				return err
			}
			if a.format != formatTable {
				return a.printJSON(graphJSON(resp.GetRows(), resp.GetEdges(), resp.GetCut()))
			}
			newGraph(resp.GetRows(), resp.GetEdges()).print(a.out)
			if resp.GetCut() {
				a.note("the graph is larger: add --limit")
			}
			return nil
		})),
		ValidArgsFunction: noFiles,
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&req.Instance, "instance", "", "instance, where several use the same run id")
	f.BoolVar(&isRun, "run", false, "the argument is a run, even if it looks like an event")
	f.BoolVar(&req.Open, "open", false, "disclose sealed content; the record says so")
	f.Uint32Var(&req.Limit, "limit", 0, "most events (2000 if absent, at most 10000)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

// trace asks about an event or a run. What looks like an event's id may also be a run's: the SDK makes both the same way.
func trace(ctx context.Context, conn *grpc.ClientConn, req *apiv1.TraceRequest, name string, isRun bool) (*apiv1.TraceResponse, error) {
	query := apiv1.NewQueryServiceClient(conn)
	if !isRun && looksLikeEvent(name) {
		id, err := eventID(ctx, conn, req.GetTenant(), name)
		if err != nil {
			return nil, err
		}
		req.Event = id[:]
		resp, err := query.Trace(ctx, req)
		if status.Code(err) != codes.NotFound || isIndex(name) {
			return resp, err
		}
	}
	req.Event, req.Run = nil, name
	return query.Trace(ctx, req)
}

// whyCommand goes back from an event to its triggers.
func (a *app) whyCommand() *cobra.Command {
	req := &apiv1.WhyRequest{}
	cmd := &cobra.Command{
		Use:   "why EVENT",
		Short: "Go back from an event to what triggered it, each with its trust",
		Long: "Go back from an event to what triggered it: the events without a cause of their own, each with its trust, and the path\n" +
			"from them, and what untrusted content came in on the way. A cause that no committed event has is named as NOT EVIDENCED.\n" + eventHelp + "\n\n" + graphHelp + "\n" +
			"With -o json: \"rows\" and \"edges\" as in trace, the ids of the \"triggers\", and those that are \"missing\".",
		Example: "  custody why --tenant acme @33",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			id, err := eventID(ctx, conn, req.GetTenant(), args[0])
			if err != nil {
				return err
			}
			req.Event = id[:]
			resp, err := apiv1.NewQueryServiceClient(conn).Why(ctx, req)
			if err != nil {
				return err
			}
			return a.printWhy(resp, id)
		})),
		ValidArgsFunction: noFiles,
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	cmd.Flags().BoolVar(&req.Open, "open", false, "disclose sealed content; the record says so")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func (a *app) printWhy(resp *apiv1.WhyResponse, asked event.ID) error {
	if a.format != formatTable {
		out := graphJSON(resp.GetRows(), resp.GetEdges(), resp.GetCut())
		return a.printJSON(append(out, member{"triggers", idsJSON(resp.GetTriggers())}, member{"missing", idsJSON(resp.GetMissing())}))
	}
	g := newGraph(resp.GetRows(), resp.GetEdges())
	g.list(a.out, "event:", asked)
	g.list(a.out, "triggers:", idsOf(resp.GetTriggers())...)
	for _, id := range resp.GetMissing() {
		fmt.Fprintf(a.out, "  %s  NOT EVIDENCED: named as a cause, but no committed event has this id\n", event.ID(id))
	}
	if others := g.untrusted(resp.GetTriggers()); len(others) > 0 {
		g.list(a.out, "untrusted content on the way:", others...)
	}
	fmt.Fprintln(a.out, "path:")
	g.print(a.out)
	if resp.GetCut() {
		a.note("the path is longer than one answer")
	}
	return nil
}

func isIndex(name string) bool { return strings.HasPrefix(name, "@") }

// indexOf is the index that a name of an event gives, if it gives one.
func indexOf(name string) *uint64 {
	digits, _ := strings.CutPrefix(name, "@")
	if index, err := strconv.ParseUint(digits, 10, 64); isIndex(name) && err == nil {
		return &index
	}
	return nil
}

func looksLikeEvent(name string) bool {
	if index, ok := strings.CutPrefix(name, "@"); ok {
		_, err := strconv.ParseUint(index, 10, 64)
		return err == nil
	}
	_, err := event.ParseID(name)
	return err == nil
}

// eventID is the id of an event that is named by @INDEX or by its id.
func eventID(ctx context.Context, conn *grpc.ClientConn, tenant, name string) (event.ID, error) {
	digits, ok := strings.CutPrefix(name, "@")
	if !ok {
		id, err := event.ParseID(name)
		if err != nil {
			return id, usageError("%q is not an event: want @INDEX as custody search prints it, or an event id", name)
		}
		return id, nil
	}
	index, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return event.ID{}, usageError("%q is not an event: want @INDEX as custody search prints it, or an event id", name)
	}
	return idAt(ctx, conn, tenant, index)
}

// idAt is the id of the event at an index.
func idAt(ctx context.Context, conn *grpc.ClientConn, tenant string, index uint64) (event.ID, error) {
	req := &apiv1.SearchRequest{Tenant: tenant, AfterIndex: index - 1, Page: index > 0, Limit: 1}
	stream, err := apiv1.NewQueryServiceClient(conn).Search(ctx, req)
	if err != nil {
		return event.ID{}, err
	}
	page, err := stream.Recv()
	if err != nil {
		return event.ID{}, err
	}
	if rows := page.GetRows(); len(rows) > 0 && rows[0].GetIndex() == index {
		if ev := parsed(rows[0]); ev != nil {
			return idOf(ev), nil
		}
		return event.ID{}, fail(exitNotFound, fmt.Errorf("@%d: the content of this leaf is not available (%s)", index, rows[0].GetVerdict()), nothingChanged, "custody search --tenant "+shellWord(tenant))
	}
	return event.ID{}, fail(exitNotFound, fmt.Errorf("@%d: the log of %s has no such leaf", index, tenant), nothingChanged, "custody search --newest --tenant "+shellWord(tenant))
}
