package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// reviewCommand records a review.
func (a *app) reviewCommand() *cobra.Command {
	var tenant, topic, subject, outcome, next, reason string
	cmd := &cobra.Command{
		Use:   "review",
		Short: "Record a review of memory, retrieval, access, a scope, or something that tenants share",
		Long: "Record that you have reviewed something, with what came of it and when the next review is due. Reviews are records of the\n" +
			"tenant's log; they stand in the evidence as a list and under the controls. A review of the topic sharing allows (or\n" +
			"refuses) that the tenant shares a credential, connector, memory or artefact with others, until the next date.",
		Example: "  custody review --tenant acme --topic memory --subject customer-notes --outcome approved --next 2160h\n" +
			"  custody review --tenant acme --topic sharing --subject connector/mail --outcome approved --next 2026-12-31 --reason 'one mailbox'",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			review := &eventv1.Review{Topic: topic, Subject: subject, Outcome: outcome}
			if err := parse("next", next, parseAhead, &review.NextAt); err != nil {
				return usageError("%w", err)
			}
			return a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
				return a.review(ctx, conn, &apiv1.RecordReviewRequest{Tenant: tenant, Review: review, Reason: reason})
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "tenant whose log records it (required)")
	f.StringVar(&topic, "topic", "", "memory, retrieval, access, scope or sharing (required)")
	f.StringVar(&subject, "subject", "", "what was reviewed; of sharing credential/HEX, connector/NAME, memory/KEY or artefact/HEX")
	f.StringVar(&outcome, "outcome", "", "approved, rejected or changes (required)")
	f.StringVar(&next, "next", "", "when the next review is due: 2026-01-31, RFC 3339, or a duration from now (2160h, 90d)")
	f.StringVar(&reason, "reason", "", "why, for the record")
	for _, name := range []string{"tenant", "topic", "outcome"} {
		_ = cmd.MarkFlagRequired(name)
	}
	a.offer(cmd, "topic", []string{"memory", "retrieval", "access", "scope", "sharing"})
	a.offer(cmd, "outcome", []string{"approved", "rejected", "changes"})
	return cmd
}

// parseAhead reads a date, an RFC 3339 time or a duration from now, as nanoseconds since the Unix epoch.
func parseAhead(s string) (int64, error) {
	if d, err := parseSpan(s); err == nil && d > 0 {
		return sinceEpoch(s, time.Now().Add(d))
	}
	at, err := parseTime(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date (2026-01-31), a time (2026-01-31T12:00:00Z) or a duration from now (2160h, 90d)", s)
	}
	return at, nil
}

func (a *app) review(ctx context.Context, conn *grpc.ClientConn, req *apiv1.RecordReviewRequest) error {
	if _, err := apiv1.NewAdminServiceClient(conn).RecordReview(ctx, req); err != nil {
		return err
	}
	r := req.GetReview()
	return a.say(object{{"tenant", req.GetTenant()}, {"topic", r.GetTopic()}, {"subject", r.GetSubject()}, {"outcome", r.GetOutcome()}},
		"recorded in the log of %s: %s %s, %s\n", req.GetTenant(), r.GetTopic(), word(r.GetSubject()), r.GetOutcome())
}
