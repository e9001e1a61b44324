package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// notifyCommand shows and tries the receivers of notifications.
func (a *app) notifyCommand() *cobra.Command {
	return group("notify", "Show who is told when a person is needed, and try it", a.notifyTest(), a.notifyList())
}

func (a *app) notifyTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test [RECEIVER]",
		Short: "Send a test notification to one receiver or to all, and say what each answers",
		Long: "Send a test notification to one receiver of the server's notify.yaml, or to all. An alert that it raises is ended at once.\n" +
			"The exit code is 6 if one did not take it.",
		Example:           "  custody notify test\n  custody notify test on-call",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			req := new(apiv1.TestReceiversRequest)
			if len(args) == 1 {
				req.Receiver = args[0]
			}
			resp, err := apiv1.NewNotifyServiceClient(conn).TestReceivers(ctx, req)
			if isCode(err, exitNotFound) {
				return fail(exitNotFound, bare(err), "nobody was told", "write notify.yaml in the data folder, start the server again, then: custody notify list")
			}
			if err != nil {
				return err
			}
			if err := a.result(resp, func(w io.Writer) { renderTests(w, resp.GetResults()) }); err != nil {
				return err
			}
			return allTook(resp.GetResults())
		}),
	}
}

func renderTests(w io.Writer, results []*apiv1.TestResult) {
	t := newGrid("receiver", "kind", "took it", "answer")
	for _, r := range results {
		t.row(r.GetReceiver(), r.GetKind(), yesNo(r.GetOk()), plain(r.GetAnswer(), 0))
	}
	t.print(w)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "NO"
}

// allTook is an error if a receiver did not take the test.
func allTook(results []*apiv1.TestResult) error {
	for _, r := range results {
		if !r.GetOk() {
			return fail(exitProblems, errors.New("receiver "+r.GetReceiver()+" did not take the test"), "real notifications are tried again for a day",
				"correct its entry or its secret; the server reads secrets anew for each notification")
		}
	}
	return nil
}

func (a *app) notifyList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the receivers with what was delivered, and what is wrong",
		Example: "  custody notify list",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewNotifyServiceClient(conn).ListReceivers(ctx, &apiv1.ListReceiversRequest{})
			if err != nil {
				return err
			}
			if len(resp.GetReceivers()) == 0 {
				a.note("nobody is told: there is no notify.yaml in the data folder")
			}
			return a.result(resp, func(w io.Writer) { renderReceivers(w, resp.GetReceivers()) })
		}),
	}
}

func renderReceivers(w io.Writer, list []*apiv1.ReceiverInfo) {
	t := newGrid("receiver", "kind", "delivered", "given up", "last (UTC)", "trouble")
	for _, r := range list {
		t.row(r.GetReceiver(), r.GetKind(), r.GetDelivered(), r.GetGivenUp(), stamp(r.GetLastDeliveredAt()), dash(r.GetTrouble()))
	}
	t.print(w)
}
