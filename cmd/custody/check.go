package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// checkCommand reads everything again.
func (a *app) checkCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything again and derive every column from the event bytes",
		Long: "Check re-reads the store: the chain, the root against every signed checkpoint, batch signatures with the key valid at\n" +
			"that index, the emitters' numbering, and every column of every table derived anew from the event bytes.\n\n" + exitHelp,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			stream, err := apiv1.NewLedgerServiceClient(conn).Check(ctx, &apiv1.CheckRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.follow("check", func() (verification, error) { return receive[*apiv1.CheckResponse](stream) }, a.checked)
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant")
	return cmd
}

// rebuildCommand folds the stream again.
func (a *app) rebuildCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Fold the stream again: write an empty store anew, or compare with --check",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			stream, err := apiv1.NewLedgerServiceClient(conn).Rebuild(ctx, &apiv1.RebuildRequest{Check: check})
			if err != nil {
				return err
			}
			return a.follow("rebuild", func() (verification, error) { return receive[*apiv1.RebuildResponse](stream) }, a.rebuilt)
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "compare with the store, write nothing")
	return cmd
}

// verification is one message of a long verification.
type verification interface {
	GetDone() bool
	GetProblem() *apiv1.Problem
	GetProblems() uint64
	GetEvents() uint64
}

// receive adapts a typed stream.
func receive[M verification](s interface{ Recv() (M, error) }) (verification, error) {
	m, err := s.Recv()
	if err != nil {
		return nil, err
	}
	return m, nil
}

// follow prints problems as they come and the summary at the end; problems make the command fail.
func (a *app) follow(what string, next func() (verification, error), summary func(verification)) error {
	bar := a.progress(what)
	defer bar.done()
	for {
		m, err := next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: the server ended the answer early", what)
		}
		if err != nil {
			return err
		}
		if p := m.GetProblem(); p != nil {
			bar.clear()
			a.printProblem(p)
			continue
		}
		if !m.GetDone() {
			bar.show("%d events", m.GetEvents())
			continue
		}
		bar.done()
		summary(m)
		return problemsError(what, m.GetProblems())
	}
}

func (a *app) printProblem(p *apiv1.Problem) {
	if a.format != formatTable {
		_ = a.printProto(p)
		return
	}
	fmt.Fprintf(a.out, "PROBLEM tenant %s, table %s, row %s, column %s: %s\n", dash(p.GetTenant()), dash(p.GetTable()), dash(p.GetRow()), dash(p.GetColumn()), plain(p.GetMessage(), 0))
}

func problemsError(what string, n uint64) error {
	if n == 0 {
		return nil
	}
	return fail(exitProblems, fmt.Errorf("%s: %d problems", what, n), "the stream and the agents' signatures are the record; the store can be rebuilt from them", "custody rebuild --check")
}

func (a *app) checked(v verification) {
	m := v.(*apiv1.CheckResponse)
	_ = a.result(m, func(w io.Writer) {
		fmt.Fprintf(w, "check: %d tenants, %d events, %d batch signatures, %d checkpoints: %d problems\n", m.GetTenants(), m.GetEvents(), m.GetBatches(), m.GetCheckpoints(), m.GetProblems())
	})
}

func (a *app) rebuilt(v verification) {
	m := v.(*apiv1.RebuildResponse)
	_ = a.result(m, func(w io.Writer) {
		fmt.Fprintf(w, "rebuild: %d stream messages, %d tenants, %d events: %d problems\n", m.GetMessages(), m.GetTenants(), m.GetEvents(), m.GetProblems())
	})
}
