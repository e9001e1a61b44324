package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// searchFlags are the flags of search.
type searchFlags struct {
	req                                             apiv1.SearchRequest
	decision, outcome, consequence, trust, from, to string
	fingerprint                                     string
	after                                           int64
}

// searchCommand finds events.
func (a *app) searchCommand() *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find events; all conditions must hold",
		Example: "  custody search --tenant acme --decision block\n" +
			"  custody search --tenant acme --kind execution --action started --consequence high --from 24h\n" +
			"  custody search --tenant acme --follow -o jsonl",
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			req, err := f.request()
			if err != nil {
				return err
			}
			return a.search(ctx, conn, req)
		}),
	}
	f.register(cmd)
	return cmd
}

func (f *searchFlags) register(cmd *cobra.Command) {
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
	fl.StringVar(&f.from, "from", "", "first received time, UTC, or a duration back from now")
	fl.StringVar(&f.to, "to", "", "received time past the end")
	fl.StringVar(&f.fingerprint, "fingerprint", "", "events whose sealed content holds the value with this fingerprint (hex)")
	fl.Int64Var(&f.after, "after", -1, "continue after this index")
	fl.Uint32Var(&f.req.Limit, "limit", 0, "most rows (100 if absent, at most 10000)")
	fl.BoolVar(&f.req.Follow, "follow", false, "go on as events are committed")
	fl.BoolVar(&f.req.Newest, "newest", false, "the last rows that match")
	fl.BoolVar(&f.req.Open, "open", false, "disclose sealed content; this is recorded")
	_ = cmd.MarkFlagRequired("tenant")
}

// request turns words into the call, and names the flag that is wrong.
func (f *searchFlags) request() (*apiv1.SearchRequest, error) {
	r := &f.req
	var err error
	if r.Fingerprint, err = hex.DecodeString(f.fingerprint); err != nil {
		return nil, usageError("--fingerprint: %s", err)
	}
	if err := errors.Join(
		word("decision", f.decision, named(event.Decisions), &r.Decision),
		word("outcome", f.outcome, named(event.Outcomes), &r.Outcome),
		word("consequence", f.consequence, named(event.Consequences), &r.Consequence),
		word("trust", f.trust, named(event.Trusts), &r.Trust),
		word("from", f.from, parseTime, &r.From),
		word("to", f.to, parseTime, &r.To),
	); err != nil {
		return nil, usageError("%s", err)
	}
	if f.after >= 0 {
		r.AfterIndex, r.Page = uint64(f.after), true
	}
	return r, nil
}

// word parses a flag's word, if there is one.
func word[T any](flag, s string, parse func(string) (T, error), to *T) error {
	if s == "" {
		return nil
	}
	v, err := parse(s)
	if err != nil {
		return fmt.Errorf("--%s: %w", flag, err)
	}
	*to = v
	return nil
}

// search prints the pages as they come.
func (a *app) search(ctx context.Context, conn *grpc.ClientConn, req *apiv1.SearchRequest) error {
	stream, err := apiv1.NewQueryServiceClient(conn).Search(ctx, req)
	if err != nil {
		return err
	}
	p := a.rowPrinter()
	for {
		page, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return p.end()
		}
		if err != nil {
			return err
		}
		if err := p.page(page); err != nil {
			return err
		}
	}
}
