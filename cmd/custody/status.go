package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// statusCommand shows where the parts stand.
func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the stream, the committed head and the backlog",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
			if err != nil {
				return err
			}
			if err := a.result(resp, func(w io.Writer) { renderStatus(w, resp) }); err != nil {
				return err
			}
			return haltedError(resp)
		}),
	}
}

func renderStatus(w io.Writer, s *apiv1.StatusResponse) {
	fmt.Fprintf(w, "version    %s\naddress    %s\nstore      %s\nstream     %s\n", s.GetVersion(), s.GetAddress(), plain(s.GetStore(), 0), plain(s.GetStream(), 0))
	fmt.Fprintf(w, "stream     %d messages, %d committed, backlog %d events\n", s.GetStreamLast(), s.GetCommitted(), s.GetBacklog())
	if s.GetLedgerError() != "" {
		fmt.Fprintf(w, "ledger     %s\n", plain(s.GetLedgerError(), 0))
	}
	for _, name := range slices.Sorted(maps.Keys(s.GetCounters())) {
		fmt.Fprintf(w, "%-40s %d\n", name, s.GetCounters()[name])
	}
}

// waits begins the error of a ledger that tries again by itself.
const waits = "waits: "

// haltedError makes a halted ledger a failure: it needs a person.
func haltedError(s *apiv1.StatusResponse) error {
	if s.GetLedgerError() == "" || strings.HasPrefix(s.GetLedgerError(), waits) {
		return nil
	}
	return fail(exitProblems, fmt.Errorf("the ledger has halted: %s", s.GetLedgerError()), "acknowledged events are safe in the stream; ingest goes on until its bound", "custody doctor")
}
