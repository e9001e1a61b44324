package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain/rules"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// backtestFlags are the flags of backtest.
type backtestFlags struct {
	ruleFiles
	tenant, from, to string
	against          []string
}

func (a *app) rulesBacktest() *cobra.Command {
	var f backtestFlags
	cmd := &cobra.Command{
		Use:   "backtest [RULE]",
		Short: "Run rules over a tenant's history with the engine that runs them live",
		Long: "Fold a tenant's log from its beginning through the rules, and list what fires in a time range. Beside each firing stands what a\n" +
			"stop there would have prevented: the acts of moderate or high consequence that the same run started afterwards. It supposes\n" +
			"that the agent would have done nothing else instead. With --against, the difference to other rules. The read is recorded.",
		Example: "  custody rules backtest --tenant acme --from 720h\n" +
			"  custody rules backtest --tenant acme --file draft.yaml --against live.yaml my-rule",
		Args: cobra.MaximumNArgs(1),
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			return a.backtest(ctx, conn, &f, strings.Join(args, ""))
		})),
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "tenant whose log is read (required)")
	cmd.Flags().StringVar(&f.from, "from", "", "list firings from this time on: 2026-01-31, RFC 3339, or a duration back from now (24h, 7d)")
	cmd.Flags().StringVar(&f.to, "to", "", "list firings before this time")
	cmd.Flags().StringArrayVar(&f.against, "against", nil, "rule file to compare with (repeatable)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func (a *app) backtest(ctx context.Context, conn *grpc.ClientConn, f *backtestFlags, rule string) error {
	var from, to int64
	if err := errors.Join(parse("from", f.from, parseTime, &from), parse("to", f.to, parseTime, &to)); err != nil {
		return usageError("%w", err)
	}
	set, err := f.set()
	if err != nil {
		return err
	}
	if rule != "" && set.Rule(rule) == nil {
		return fail(exitNotFound, fmt.Errorf("no rule is called %s", plain(rule, 0)), "nothing was run", "custody rules list")
	}
	tests := []*rules.Backtest{rules.NewBacktest(set, rule, from, to)}
	if len(f.against) > 0 {
		other, err := (&ruleFiles{f.against}).set()
		if err != nil {
			return err
		}
		tests = append(tests, rules.NewBacktest(other, rule, from, to))
	}
	last, err := a.history(ctx, conn, f.tenant, tests)
	if err != nil {
		return err
	}
	if len(tests) == 2 {
		gone, added := rules.Difference(tests[1].End(last), tests[0].End(last))
		return a.printDifference(gone, added)
	}
	return a.printResults(tests[0].End(last), tests[0].Stats())
}

// history folds a tenant's log through backtests, and returns the time of the last leaf.
func (a *app) history(ctx context.Context, conn *grpc.ClientConn, tenant string, tests []*rules.Backtest) (last int64, err error) {
	bar := a.progress("backtest")
	defer bar.done()
	req := &apiv1.SearchRequest{Tenant: tenant, Limit: historyPage}
	for more := true; more; {
		stream, err := apiv1.NewQueryServiceClient(conn).Search(ctx, req)
		if err != nil {
			return 0, err
		}
		more = false
		for {
			page, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, err
			}
			for _, r := range page.GetRows() {
				leaf := &rules.Leaf{Index: r.GetIndex(), Time: r.GetReceivedAt(), Producer: r.GetProducer(), Event: admitted(r)}
				for _, t := range tests {
					t.Observe(leaf)
				}
				req.AfterIndex, req.Page, last = r.GetIndex(), true, r.GetReceivedAt()
			}
			more = page.GetMore()
			bar.show("%d events", req.GetAfterIndex()+1)
		}
	}
	return last, nil
}

// admitted is the event of a row where the rules that run live take it for its emitter's: see ledger.Admits.
func admitted(r *apiv1.EventRow) *eventv1.Event {
	e := parsed(r)
	switch r.GetVerdict() {
	case "accepted":
		return e
	case "gap", "late":
		if e.GetSystem() == nil {
			return e
		}
	}
	return nil
}

// historyPage is how many rows are asked for at a time: the most that a page has.
const historyPage = 10_000

func (a *app) printResults(results []*rules.Result, stats rules.Stats) error {
	if a.format != formatTable {
		return printList(a, "firings", results, resultJSON)
	}
	for _, r := range results {
		a.printResult("", r)
	}
	fmt.Fprintf(a.out, "%d events, %d firings", stats.Events, len(results))
	if stats.Excepted > 0 {
		fmt.Fprintf(a.out, ", %d more under an exception", stats.Excepted)
	}
	if stats.Failed+stats.Dropped > 0 {
		fmt.Fprintf(a.out, "; %d conditions failed, %d entries of the state were forgotten because it was full", stats.Failed, stats.Dropped)
	}
	fmt.Fprintln(a.out)
	return nil
}

func (a *app) printDifference(gone, added []*rules.Result) error {
	if a.format != formatTable {
		return a.printJSON(object{{"gone", resultsJSON(gone)}, {"added", resultsJSON(added)}})
	}
	for _, r := range gone {
		a.printResult("- ", r)
	}
	for _, r := range added {
		a.printResult("+ ", r)
	}
	fmt.Fprintf(a.out, "%d firings less, %d more\n", len(gone), len(added))
	return nil
}

func (a *app) printResult(sign string, r *rules.Result) {
	fmt.Fprintf(a.out, "%s@%d  %s  %s  %s  %s %s\n", sign, r.Index, time.Unix(0, r.Time).UTC().Format(time.RFC3339), r.Rule.Severity, r.Rule.ID,
		plain(r.Instance, 0), dash(plain(r.Run, 0)))
	if r.Acts > 0 {
		fmt.Fprintf(a.out, "%s    a stop here would have prevented %d acts, %d of high consequence; the first: @%d %s %s\n", sign, r.Acts, r.High,
			r.Prevented[0].Index, plain(r.Prevented[0].Tool, 0), plain(r.Prevented[0].Destination, 0))
	}
}

func resultsJSON(results []*rules.Result) []any {
	out := make([]any, len(results))
	for i, r := range results {
		out[i] = resultJSON(r)
	}
	return out
}

func resultJSON(r *rules.Result) any {
	prevented := make([]any, len(r.Prevented))
	for i, p := range r.Prevented {
		prevented[i] = object{{"index", p.Index}, {"event", p.ID.String()}, {"tool", p.Tool}, {"destination", p.Destination}, {"consequence", p.Consequence}}
	}
	evidence := make([]string, len(r.Evidence))
	for i, id := range r.Evidence {
		evidence[i] = id.String()
	}
	return object{
		{"id", r.ID.String()},
		{"rule", r.Rule.ID},
		{"version", r.Rule.Version},
		{"severity", r.Rule.Severity},
		{"action", r.Rule.Action},
		{"index", r.Index},
		{"time", time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano)},
		{"instance", r.Instance},
		{"run", r.Run},
		{"evidence", evidence},
		{"silent", r.Silent},
		{"acts", r.Acts},
		{"high", r.High},
		{"prevented", prevented},
	}
}
