package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// problemHelp says what a check's answer looks like.
const problemHelp = "Each difference is a line that names tenant, table, row and column; the exit code is 6 if there is one. With -o json, the\n" +
	"differences are in \"problems\"; with -o jsonl each is a line, and the last line is the summary."

// checkCommand reads everything again.
func (a *app) checkCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything again and derive every column from the event bytes",
		Long: "Check re-reads the store: the chain, the root against every signed checkpoint, batch signatures with the key valid at\n" +
			"that index, the emitters' numbering, and every column of every table derived anew from the event bytes.\n\n" +
			"With --tenant it reads that tenant's log alone, and proves the same of it: nothing stored was changed, left out, added or\n" +
			"put elsewhere. What rests on all logs together is left to a check of all: how many leaves there are in sum, and that the\n" +
			"digest of the stream beside each head is right. Neither reads the stream itself: custody rebuild --check does.\n\n" + problemHelp,
		Example: "  custody check\n  custody check --tenant acme -o jsonl",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			stream, err := apiv1.NewLedgerServiceClient(conn).Check(ctx, &apiv1.CheckRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			v := &verification{app: a, name: "check", next: "custody rebuild --check"}
			return v.follow(func() (verdict, error) { return receive(stream) }, checked)
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "read the log of this tenant alone; all that you may see if absent")
	return cmd
}

// whenNotEmpty is the way on from a rebuild that would write over something, or cannot begin.
const whenNotEmpty = "custody rebuild --check compares; to write anew: stop the server, move store/ of the data folder aside, start it, rebuild"

// rebuildCommand folds the stream again.
func (a *app) rebuildCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Fold the stream again: write an empty store anew, or compare with --check",
		Long: "Rebuild folds the stream from its first message. With --check it compares the result with the store and changes nothing.\n" +
			"Without, it writes the store anew, which must be empty: move store/ of the data folder aside, start the server, rebuild.\n" +
			"Either way it proves that no message of the stream was changed, left out or put elsewhere since it was recorded, of\n" +
			"whatever kind and whichever tenant.\n\n" + problemHelp,
		Example: "  custody rebuild --check",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			stream, err := apiv1.NewLedgerServiceClient(conn).Rebuild(ctx, &apiv1.RebuildRequest{Check: check})
			if err != nil {
				return err
			}
			v := &verification{app: a, name: "rebuild", next: "custody check"}
			err = v.follow(func() (verdict, error) { return receive(stream) }, rebuilt)
			if status.Code(err) == codes.FailedPrecondition {
				return fail(exitConflict, bare(err), nothingChanged, whenNotEmpty)
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "compare with the store, write nothing")
	return cmd
}

// verdict is one message of a long verification.
type verdict interface {
	GetDone() bool
	GetProblem() *apiv1.Problem
	GetProblems() uint64
	GetEvents() uint64
}

// receive adapts a typed stream.
func receive[M verdict](s interface{ Recv() (M, error) }) (verdict, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	return m, nil
}

// verification prints what a long verification finds.
type verification struct {
	app  *app
	name string
	next string // the command to run when there are problems
	all  []any  // problems, for one JSON document at the end
}

// follow prints problems as they come and the summary at the end; problems make the command fail.
func (v *verification) follow(next func() (verdict, error), summary func(verdict) (object, string)) error {
	bar := v.app.progress(v.name)
	defer bar.done()
	for {
		m, err := next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: the server ended the answer early", v.name)
		case err != nil:
			return err
		case m.GetProblem() != nil:
			bar.clear()
			err = v.problem(m.GetProblem())
		case m.GetDone():
			bar.done()
			return v.sum(m, summary)
		default:
			bar.show("%d events", m.GetEvents())
		}
		if err != nil {
			return err
		}
	}
}

func (v *verification) problem(p *apiv1.Problem) error {
	switch v.app.format {
	case formatJSON:
		v.all = append(v.all, messageJSON(p.ProtoReflect()))
	case formatJSONL:
		return v.app.printJSON(object{{"problem", messageJSON(p.ProtoReflect())}})
	case formatTable:
		fmt.Fprintf(v.app.out, "PROBLEM tenant %s, table %s, row %s, column %s: %s\n",
			dash(p.GetTenant()), dash(p.GetTable()), plain(p.GetRow(), 0), dash(p.GetColumn()), plain(p.GetMessage(), 0))
	}
	return nil
}

func (v *verification) sum(m verdict, summary func(verdict) (object, string)) error {
	fields, text := summary(m)
	switch v.app.format {
	case formatJSON:
		fields = append(fields, member{"problems", append([]any{}, v.all...)})
	case formatJSONL:
		fields = append(fields, member{"problems", m.GetProblems()})
	}
	if err := v.app.say(fields, "%s: %s: %d problems\n", v.name, text, m.GetProblems()); err != nil {
		return err
	}
	if n := m.GetProblems(); n > 0 {
		return fail(exitProblems, fmt.Errorf("%s: %d problems", v.name, n),
			"the stream and the agents' signatures are the record; the store can be made again from them", v.next)
	}
	return nil
}

func checked(v verdict) (object, string) {
	m, ok := v.(*apiv1.CheckResponse)
	if !ok {
		return nil, ""
	}
	text := fmt.Sprintf("%d tenants, %d events, %d batch signatures, %d checkpoints", m.GetTenants(), m.GetEvents(), m.GetBatches(), m.GetCheckpoints())
	if n := m.GetObjects(); n > 0 {
		text += fmt.Sprintf(", %d objects", n)
	}
	return object{
		{"tenants", m.GetTenants()},
		{"events", m.GetEvents()},
		{"batches", m.GetBatches()},
		{"checkpoints", m.GetCheckpoints()},
		{"objects", m.GetObjects()},
	}, text
}

func rebuilt(v verdict) (object, string) {
	m, ok := v.(*apiv1.RebuildResponse)
	if !ok {
		return nil, ""
	}
	return object{{"messages", m.GetMessages()}, {"tenants", m.GetTenants()}, {"events", m.GetEvents()}},
		fmt.Sprintf("%d stream messages, %d tenants, %d events", m.GetMessages(), m.GetTenants(), m.GetEvents())
}
