package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// searchFlags are the flags of search.
type searchFlags struct {
	req                                             apiv1.SearchRequest
	decision, outcome, consequence, trust, from, to string
	fingerprint                                     string
	after                                           uint64
	all                                             bool
}

// searchCommand finds events.
func (a *app) searchCommand() *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find events; all conditions must hold",
		Long: "Find events, in the order of the log; all conditions must hold. A page is 100 rows unless --limit says otherwise;\n" +
			"--after goes on where a page ended, --all reads every page, --follow goes on as events are committed,\n" +
			"also when the server was started again in between.\n\n" +
			"A line begins with @INDEX, by which trace and why find the event. What an agent wrote stands in quotes where it could\n" +
			"be taken for anything else; [marks] are Custody's own. With -o json, rows are in \"rows\", and \"more\" says whether there\n" +
			"are others; with -o jsonl each row is a line. Each search is recorded.",
		Example: "  custody search --tenant acme --decision block\n" +
			"  custody search --tenant acme --kind execution --action started --consequence high --from 24h\n" +
			"  custody search --tenant acme --follow -o jsonl",
		Args: cobra.NoArgs,
	}
	f.register(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req, err := f.request(cmd.Flags().Changed("after"))
		if err == nil && req.GetFollow() && a.format == formatJSON {
			err = usageError("--follow has no end: use -o jsonl")
		}
		if err != nil {
			return err
		}
		run := func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			return a.search(ctx, conn, req, f.all)
		}
		return a.call(a.read(run))(cmd, args)
	}
	return cmd
}

func (f *searchFlags) register(a *app, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.req.Tenant, "tenant", "", "tenant to search (required)")
	fl.StringVar(&f.req.Instance, "instance", "", "instance")
	fl.StringVar(&f.req.Run, "run", "", "run")
	fl.StringVar(&f.req.Tool, "tool", "", "tool")
	fl.StringVar(&f.req.Kind, "kind", "", "identity, data, execution, approval or system")
	fl.StringVar(&f.req.Action, "action", "", "action, for example started or document_retrieved")
	fl.StringVar(&f.decision, "decision", "", "allow, block or needs_approval")
	fl.StringVar(&f.outcome, "outcome", "", "ok, error, denied, cancelled or timeout")
	fl.StringVar(&f.consequence, "consequence", "", "low, moderate or high")
	fl.StringVar(&f.req.Principal, "principal", "", "who or what triggered it")
	fl.StringVar(&f.req.Destination, "destination", "", "host or domain that was reached")
	fl.StringVar(&f.trust, "trust", "", "trusted, untrusted or checked")
	fl.StringVar(&f.from, "from", "", "received from this time on: 2026-01-31, RFC 3339, or a duration back from now (24h, 7d)")
	fl.StringVar(&f.to, "to", "", "received before this time")
	fl.StringVar(&f.fingerprint, "fingerprint", "", "events whose sealed content holds the value with this fingerprint (16 hex digits)")
	fl.Uint64Var(&f.after, "after", 0, "go on after this index")
	fl.Uint32Var(&f.req.Limit, "limit", 0, "most rows of a page, or with --follow of all (100 if absent, at most 10000)")
	fl.BoolVar(&f.all, "all", false, "read every page")
	fl.BoolVar(&f.req.Follow, "follow", false, "go on as events are committed, until interrupted")
	fl.BoolVar(&f.req.Newest, "newest", false, "the last rows that match")
	fl.BoolVar(&f.req.Open, "open", false, "disclose sealed content; the record says so")
	_ = cmd.MarkFlagRequired("tenant")
	f.complete(a, cmd)
}

func (f *searchFlags) complete(a *app, cmd *cobra.Command) {
	for flag, all := range map[string][]string{
		"kind": {"identity", "data", "execution", "approval", "system"}, "action": event.Actions(), "decision": event.Decisions.All(),
		"outcome": event.Outcomes.All(), "consequence": event.Consequences.All(), "trust": event.Trusts.All(),
	} {
		a.offer(cmd, flag, all)
	}
}

// request turns words into the call, and names the flag that is wrong.
func (f *searchFlags) request(afterGiven bool) (*apiv1.SearchRequest, error) {
	r := &f.req
	if err := errors.Join(
		parse("decision", f.decision, named(event.Decisions), &r.Decision),
		parse("outcome", f.outcome, named(event.Outcomes), &r.Outcome),
		parse("consequence", f.consequence, named(event.Consequences), &r.Consequence),
		parse("trust", f.trust, named(event.Trusts), &r.Trust),
		parse("from", f.from, parseTime, &r.From),
		parse("to", f.to, parseTime, &r.To),
		parse("fingerprint", f.fingerprint, hex.DecodeString, &r.Fingerprint),
	); err != nil {
		return nil, usageError("%w", err)
	}
	if r.GetFollow() && f.all || r.GetFollow() && r.GetNewest() || f.all && r.GetNewest() {
		return nil, usageError("--follow, --newest and --all exclude each other")
	}
	r.AfterIndex, r.Page = f.after, afterGiven
	return r, nil
}

// parse reads a flag's word, if there is one.
func parse[T any](flag, s string, read func(string) (T, error), to *T) error {
	if s == "" {
		return nil
	}
	v, err := read(s)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	*to = v
	return nil
}

// followPause is the time between two attempts of a search that follows to go on.
const followPause = time.Second

// search prints the pages as they come. One that follows outlives the server, and goes on after the last row.
func (a *app) search(ctx context.Context, conn *grpc.ClientConn, req *apiv1.SearchRequest, all bool) error {
	p := &rowPrinter{a: a, follows: req.GetFollow(), limit: int(req.GetLimit())}
	for {
		err := p.answer(ctx, conn, req)
		switch {
		case p.lost(ctx, err):
			a.note("%s; waiting for the server, to go on%s", status.Convert(err).Message(), p.place())
			req.Limit = uint32(p.limit - min(p.count, p.limit))
			select {
			case <-ctx.Done():
			case <-time.After(followPause):
			}
		case err != nil:
			return p.ended(ctx, err)
		case !all || !p.more:
			return p.end()
		case p.last+1 >= p.size: // each page is a record of the log, too: one row a page would never end
			p.more = false
			return p.end()
		}
		if p.count > 0 {
			req.AfterIndex, req.Page = p.last, true
		}
	}
}

// lost reports whether a search that follows has lost its server.
func (p *rowPrinter) lost(ctx context.Context, err error) bool {
	return p.follows && ctx.Err() == nil && status.Code(err) == codes.Unavailable
}

// place is where the search goes on.
func (p *rowPrinter) place() string {
	if p.count == 0 {
		return ""
	}
	return fmt.Sprintf(" after @%d", p.last)
}

// answer prints the answer to one request.
func (p *rowPrinter) answer(ctx context.Context, conn *grpc.ClientConn, req *apiv1.SearchRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := apiv1.NewQueryServiceClient(conn).Search(ctx, req, grpc.WaitForReady(p.follows))
	if err != nil {
		return err
	}
	for {
		page, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := p.page(page); err != nil {
			return err
		}
	}
}
