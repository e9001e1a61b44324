package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// firingsCommand is about what the rules have recognised while it happened.
func (a *app) firingsCommand() *cobra.Command {
	return group("firings", "See what the rules have recognised, and say what became of it",
		a.firingsList(), a.firingsShow(), a.firingsChange("ack", "acknowledged", "Say that you have a firing in hand"),
		a.firingsChange("false-positive", "false_positive", "Say that a firing is none: its repeats stop nothing any more"))
}

func (a *app) firingsList() *cobra.Command {
	var r apiv1.ListFiringsRequest
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List firings of live rules that nobody has in hand, the newest first",
		Long: "List firings, the newest first. A rule that fires again in the same run counts as a repeat. DOES is the containment that came of\n" +
			"it, or NEEDS A PERSON where the rule may not act by itself any more. The server remembers 2048 of a tenant, those that wait for a\n" +
			"person and are grave before others; custody rules backtest finds the rest.\n" +
			"A list that is cut keeps the gravest. The read is recorded.",
		Example: "  custody firings list\n  custody firings list --tenant acme --all -o jsonl",
		Args:    cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewFiringServiceClient(conn).ListFirings(ctx, &r)
			if err != nil {
				return err
			}
			if len(resp.GetFirings()) == 0 {
				a.note("no firings")
			}
			return a.result(resp, func(w io.Writer) { renderFirings(w, resp.GetFirings()) })
		})),
	}
	cmd.Flags().StringVar(&r.Tenant, "tenant", "", "only this tenant; all that you may see if absent")
	cmd.Flags().BoolVar(&r.All, "all", false, "those of rules in shadow too, and those that somebody has in hand or has called false")
	cmd.Flags().StringVar(&r.Rule, "rule", "", "only this rule")
	cmd.Flags().StringVar(&r.Instance, "instance", "", "only this instance")
	cmd.Flags().Uint32Var(&r.Limit, "limit", 0, "at most so many (0: 1000)")
	return cmd
}

func renderFirings(w io.Writer, all []*apiv1.FiringInfo) {
	t := newGrid("firing", "time (UTC)", "severity", "rule", "instance", "run", "repeats", "state", "does")
	for _, f := range all {
		t.row(f.GetId(), stamp(f.GetFiredAt()), f.GetSeverity(), word(f.GetRule()), f.GetTenant()+"/"+word(f.GetInstance()), dash(f.GetRun()),
			f.GetRepeats(), f.GetState(), does(f))
	}
	t.print(w)
}

// does is what came of a firing, in a few words.
func does(f *apiv1.FiringInfo) string {
	switch {
	case f.GetSilent() != "":
		return "nothing: " + f.GetSilent()
	case f.GetNeedsPerson() != "":
		return "NEEDS A PERSON"
	case f.GetContainment() != "":
		return f.GetAction() + " of " + word(f.GetTarget())
	}
	return f.GetAction()
}

func (a *app) firingsShow() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:               "show FIRING",
		Short:             "Show one firing: what led to it, what came of it, and what to run next",
		Example:           "  custody firings show --tenant acme 3f2a9c1e-0b7d-8e64-9a51-c04d2f8b7e10",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := apiv1.NewFiringServiceClient(conn).GetFiring(ctx, &apiv1.GetFiringRequest{Tenant: tenant, Firing: args[0]})
			if err != nil {
				return err
			}
			return a.result(resp.GetFiring(), func(w io.Writer) { renderFiring(w, resp.GetFiring()) })
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant of the firing (required)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func renderFiring(w io.Writer, f *apiv1.FiringInfo) {
	fmt.Fprintf(w, "%s  %s  %s version %d\n%s\n\n", f.GetId(), f.GetSeverity(), word(f.GetRule()), f.GetVersion(), plain(f.GetDescription(), 0))
	line := func(name, text string) { fmt.Fprintf(w, "%-11s %s\n", name, text) }
	line("record", fmt.Sprintf("%d, %s, %s", f.GetIndex(), f.GetEvent(), stamp(f.GetFiredAt())))
	line("instance", f.GetTenant()+"/"+word(f.GetInstance()))
	line("run", dash(f.GetRun()))
	if f.GetRepeats() > 0 {
		line("repeats", fmt.Sprintf("%d, the last %s", f.GetRepeats(), stamp(f.GetLastAt())))
	}
	line("state", f.GetState())
	if f.GetActor() != "" {
		line("", fmt.Sprintf("by %s, %s: %s", word(f.GetActor()), stamp(f.GetChangedAt()), dash(f.GetReason())))
	}
	line("does", does(f))
	if f.GetNeedsPerson() != "" {
		line("", plain(f.GetNeedsPerson(), 0))
	}
	line("evidence", dash(first(f.GetEvidence())))
	for _, id := range f.GetEvidence()[min(1, len(f.GetEvidence())):] {
		line("", word(id))
	}
	fmt.Fprintln(w)
	for _, next := range nextFor(f) {
		fmt.Fprintf(w, "next: %s\n", next)
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// nextFor are the commands that a person runs next.
func nextFor(f *apiv1.FiringInfo) (list []string) {
	if n := len(f.GetEvidence()); n > 0 {
		list = append(list, fmt.Sprintf("custody why --tenant %s %s", shellWord(f.GetTenant()), shellWord(f.GetEvidence()[n-1])))
	}
	switch {
	case f.GetContainment() != "":
		list = append(list, "custody contained --tenant "+shellWord(f.GetTenant()), fmt.Sprintf("custody release %s --reason 'WHY'", shellWord(f.GetTarget())))
	case f.GetInstance() != "":
		list = append(list, fmt.Sprintf("custody pause instance/%s/%s --reason 'WHY'", shellWord(f.GetTenant()), shellWord(f.GetInstance())))
	}
	if f.GetState() == "open" {
		list = append(list, fmt.Sprintf("custody firings ack --tenant %s %s --reason 'WHAT YOU DO'", shellWord(f.GetTenant()), f.GetId()))
	}
	return list
}

// firingsChange is one word of a person on a firing.
func (a *app) firingsChange(verb, state, short string) *cobra.Command {
	r := apiv1.ChangeFiringRequest{State: state}
	cmd := &cobra.Command{
		Use:   verb + " FIRING",
		Short: short,
		Long:  short + ".\n\nYour word is a record of the tenant's log. It releases nothing: custody release does.",
		Example: "  custody firings " + verb + " --tenant acme 3f2a9c1e-0b7d-8e64-9a51-c04d2f8b7e10 --reason " +
			map[string]string{"ack": "'looking at it'", "false-positive": "'newsletter, sent on purpose'"}[verb],
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			r.Firing = args[0]
			resp, err := apiv1.NewFiringServiceClient(conn).ChangeFiring(ctx, &r)
			if err != nil {
				return err
			}
			f := resp.GetFiring()
			return a.result(f, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %s %s\n", strings.ReplaceAll(f.GetState(), "_", " "), word(f.GetRule()), f.GetId())
			})
		}),
	}
	cmd.Flags().StringVar(&r.Tenant, "tenant", "", "tenant of the firing (required)")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the record (required)")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}
