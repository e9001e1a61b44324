package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// expireCommand drops old content.
func (a *app) expireCommand() *cobra.Command {
	req := new(apiv1.ExpireRequest)
	var before string
	cmd := &cobra.Command{
		Use:   "expire",
		Short: "Drop the content of old records; that they were there, and every proof, stays",
		Long: "Drop the content of what a tenant's log received before a time: the events' text and columns, sealed content and held\n" +
			"events. Leaves, signatures and Custody's own records stay, so that the log and its bundles still verify and say how\n" +
			"much is not kept. Content is kept for 183 days at least. A hold refuses it. Messages of the stream are not removed.\n\n" +
			"This cannot be undone but by a rebuild from the stream.",
		Example:           "  custody expire --tenant acme --before 2026-01-01 --reason 'retention policy'",
		Args:              cobra.NoArgs,
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			if err := parse("before", before, parseTime, &req.Before); err != nil {
				return usageError("%w", err)
			}
			resp, err := apiv1.NewRetentionServiceClient(conn).Expire(ctx, req)
			if err != nil {
				return expireError(err, req)
			}
			return a.say(object{{"tenant", req.GetTenant()}, {"before", timeJSON(req.GetBefore())}, {"first_kept", resp.GetFirstKept()}}, "%s", expiredText(req, resp))
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&before, "before", "", "time of receipt, or how long ago: 2026-01-01, 4800h (required)")
	f.StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	require(cmd, "tenant", "before", "reason")
	return cmd
}

func expiredText(req *apiv1.ExpireRequest, resp *apiv1.ExpireResponse) string {
	if resp.GetFirstKept() == 0 {
		return fmt.Sprintf("nothing of %s is that old\n", req.GetTenant())
	}
	return fmt.Sprintf("expired: content of %s before @%d\n", req.GetTenant(), resp.GetFirstKept())
}

// expireError names what helps.
func expireError(err error, req *apiv1.ExpireRequest) error {
	if status.Code(err) == codes.FailedPrecondition {
		return fail(exitConflict, bare(err), nothingChanged, "custody hold list --tenant "+shellWord(req.GetTenant()))
	}
	return err
}

// keyFingerprints begins a new key for fingerprints.
func (a *app) keyFingerprints() *cobra.Command {
	req := new(apiv1.RotateFingerprintKeyRequest)
	cmd := &cobra.Command{
		Use:   "fingerprints TENANT",
		Short: "Begin a new key for fingerprints; values are not traced across the change",
		Long: "Begin a new key for a tenant's fingerprints. Emitters take it when they connect next. What was recorded under earlier keys\n" +
			"is still let in and verified, but a value that was fingerprinted before is not recognised after: rules and traces that follow\n" +
			"values begin anew. The server keeps all keys; whoever has an earlier one can test guesses only on what was recorded under it.",
		Example:           "  custody key fingerprints acme --reason 'an emitter folder was copied'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.firstTenant,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			req.Tenant = args[0]
			resp, err := apiv1.NewRetentionServiceClient(conn).RotateFingerprintKey(ctx, req)
			if err != nil {
				return err
			}
			return a.say(object{{"tenant", req.GetTenant()}, {"number", resp.GetNumber()}}, "fingerprint key %d of %s is in force\n", resp.GetNumber(), req.GetTenant())
		}),
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	require(cmd, "reason")
	return cmd
}
