package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// holdCommand manages holds.
func (a *app) holdCommand() *cobra.Command {
	return group("hold", "Keep records from erasure and expiry, and let them go", a.holdPlace(), a.holdLift(), a.holdList())
}

func (a *app) holdPlace() *cobra.Command {
	req := new(apiv1.PlaceHoldRequest)
	var scope holdScope
	cmd := &cobra.Command{
		Use:   "place",
		Short: "Hold a tenant's records, or those of an instance, a run or a subject",
		Long: "Hold a tenant's records, or those of an instance, a run or a subject. Until it is lifted, no subject with content in\n" +
			"what is held is erased, and nothing of the tenant expires. Placing and lifting are records of the log.",
		Example: "  custody hold place --tenant acme --reason 'case 12'\n" +
			"  custody hold place --tenant acme --subject user-81 --reason 'case 12' --name case-12",
		Args:              cobra.NoArgs,
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			req.Scope = scope.String()
			resp, err := apiv1.NewRetentionServiceClient(conn).PlaceHold(ctx, req)
			if err != nil {
				return err
			}
			return a.say(object{{"hold", resp.GetHold()}, {"scope", req.GetScope()}}, "hold %s: %s\n", resp.GetHold(), req.GetScope())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&scope.instance, "instance", "", "only this instance")
	f.StringVar(&scope.run, "run", "", "only this run")
	f.StringVar(&scope.subject, "subject", "", "only content about this subject")
	f.StringVar(&req.Hold, "name", "", "what to call the hold; a name is made up if absent")
	f.StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	cmd.MarkFlagsMutuallyExclusive("instance", "run", "subject")
	require(cmd, "tenant", "reason")
	return cmd
}

// holdScope is what the flags select.
type holdScope struct{ instance, run, subject string }

func (s holdScope) String() string {
	switch {
	case s.instance != "":
		return "instance/" + s.instance
	case s.run != "":
		return "run/" + s.run
	case s.subject != "":
		return "subject/" + s.subject
	}
	return "tenant"
}

func (a *app) holdLift() *cobra.Command {
	req := new(apiv1.LiftHoldRequest)
	cmd := &cobra.Command{
		Use:               "lift HOLD",
		Short:             "End a hold",
		Long:              "End a hold. Only an auditor may: whoever can erase cannot lift what keeps from it.",
		Example:           "  custody hold lift case-12 --tenant acme --reason 'case closed'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			req.Hold = args[0]
			resp, err := apiv1.NewRetentionServiceClient(conn).LiftHold(ctx, req)
			if err != nil {
				return err
			}
			return a.say(object{{"hold", req.GetHold()}, {"lifted", true}, {"scope", resp.GetScope()}},
				"hold %s: lifted from %s\n", req.GetHold(), resp.GetScope())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	require(cmd, "tenant", "reason")
	return cmd
}

func (a *app) holdList() *cobra.Command {
	req := new(apiv1.ListHoldsRequest)
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List the holds in force",
		Example:           "  custody hold list --tenant acme",
		Args:              cobra.NoArgs,
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewRetentionServiceClient(conn).ListHolds(ctx, req)
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderHolds(w, resp.GetHolds()) })
		}),
	}
	cmd.Flags().StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	require(cmd, "tenant")
	return cmd
}

func renderHolds(w io.Writer, holds []*apiv1.HoldInfo) {
	t := newGrid("hold", "scope", "since")
	for _, h := range holds {
		t.row(h.GetHold(), h.GetScope(), h.GetSince())
	}
	t.print(w)
}
