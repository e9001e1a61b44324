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

// eraseCommand erases what is recorded about a subject.
func (a *app) eraseCommand() *cobra.Command {
	req := new(apiv1.EraseRequest)
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Destroy the data keys of a subject, so that nobody can open what was recorded about it",
		Long: "Destroy the data keys of a subject. Sealed content about it that was received until now can never be opened again, here\n" +
			"or from a backup of stream or store; that it was there, and every proof, stays. A tombstone in the log says so first.\n" +
			"Content that occurred before and arrives later is dropped; what occurs later is kept under a new key.\n\n" +
			"This cannot be undone. A hold refuses it. Copies of keys/ still hold the keys: replace them.",
		Example:           "  custody erase --tenant acme --subject user-81 --reason 'request of 4 May'",
		Args:              cobra.NoArgs,
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewRetentionServiceClient(conn).Erase(ctx, req)
			if err != nil {
				return eraseError(err, req)
			}
			return a.say(erased(req, resp), "%s\n", erasedText(req, resp))
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.StringVar(&req.Subject, "subject", "", "pseudonymous id of whom the content is about (required)")
	f.StringVar(&req.Reason, "reason", "", "why, for the record, which is for ever (required)")
	require(cmd, "tenant", "subject", "reason")
	return cmd
}

// require marks flags without which a command cannot run.
func require(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		_ = cmd.MarkFlagRequired(name)
	}
}

func erased(req *apiv1.EraseRequest, resp *apiv1.EraseResponse) object {
	o := object{{"tenant", req.GetTenant()}, {"subject", req.GetSubject()}, {"generation", resp.GetGeneration()}}
	if resp.Index != nil {
		o = append(o, object{{"tombstone", resp.GetIndex()}}...)
	}
	return o
}

func erasedText(req *apiv1.EraseRequest, resp *apiv1.EraseResponse) string {
	text := fmt.Sprintf("erased: %s of %s, data keys up to generation %d", req.GetSubject(), req.GetTenant(), resp.GetGeneration())
	if resp.Index != nil {
		text += fmt.Sprintf("; tombstone @%d", resp.GetIndex())
	}
	return text + "\nreplace every copy of keys/ that you keep: it still opens what was erased"
}

// eraseError names what helps.
func eraseError(err error, req *apiv1.EraseRequest) error {
	switch status.Code(err) {
	case codes.FailedPrecondition:
		return fail(exitConflict, bare(err), nothingChanged, "custody hold list --tenant "+shellWord(req.GetTenant()))
	case codes.NotFound:
		return fail(exitNotFound, bare(err), nothingChanged, "custody search --tenant "+shellWord(req.GetTenant())+" --action erasure")
	}
	return err
}
