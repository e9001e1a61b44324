package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// rulesModes lists the rules of a server.
func (a *app) rulesModes() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "modes",
		Short: "List the rules that the server runs, with the mode that each has in a tenant",
		Long: "List the rules that the server runs: those that come with Custody, and those of rules.yaml in its data folder.\n" +
			"A rule is in shadow until it is promoted: it fires, and stops nothing. A rule whose text has changed since is in shadow\n" +
			"again, and is marked STALE.",
		Example: "  custody rules modes --tenant acme",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewFiringServiceClient(conn).ListRules(ctx, &apiv1.ListRulesRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderModes(w, resp.GetRules()) })
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant whose modes are listed (required)")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func renderModes(w io.Writer, all []*apiv1.RuleInfo) {
	t := newGrid("rule", "version", "severity", "action", "mode")
	for _, r := range all {
		t.row(r.GetRule(), r.GetVersion(), r.GetSeverity(), r.GetAction(), modeText(r))
	}
	t.print(w)
}

func modeText(r *apiv1.RuleInfo) string {
	if r.GetStale() {
		return r.GetMode() + ", STALE: promote it again"
	}
	return r.GetMode()
}

func (a *app) rulesPromote() *cobra.Command {
	return a.ruleMode("promote", "live", "Let a rule act in a tenant: from now on its action is asked for",
		"Let a rule act in a tenant. It holds for this version and this text of the rule, from the next record on, and is a record of the\n"+
			"tenant's log. Try the rule on history first: custody rules backtest.")
}

func (a *app) rulesDemote() *cobra.Command {
	return a.ruleMode("demote", "shadow", "Put a rule back into shadow in a tenant: it fires, and stops nothing",
		"Put a rule back into shadow in a tenant: it goes on to fire, and stops nothing. With --off it is not looked at any more.\n"+
			"What it has stopped stays stopped: custody release lifts it.")
}

func (a *app) ruleMode(verb, mode, short, long string) *cobra.Command {
	r := apiv1.SetRuleModeRequest{Mode: mode}
	var off bool
	cmd := &cobra.Command{
		Use: verb + " RULE", Short: short, Long: long,
		Example:           "  custody rules " + verb + " retry-storm --tenant acme --reason 'backtest of 30 days looked at'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			if r.Rule = args[0]; off {
				r.Mode = "off"
			}
			resp, err := apiv1.NewFiringServiceClient(conn).SetRuleMode(ctx, &r)
			if err != nil {
				return err
			}
			return a.result(resp.GetRule(), func(w io.Writer) {
				fmt.Fprintf(w, "%s: %s version %d, %s\n", modeText(resp.GetRule()), word(r.GetRule()), resp.GetRule().GetVersion(), effect(resp.GetRule()))
			})
		}),
	}
	cmd.Flags().StringVar(&r.Tenant, "tenant", "", "tenant in which it holds (required)")
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the record (required)")
	if verb == "demote" {
		cmd.Flags().BoolVar(&off, "off", false, "do not look at it at all")
	}
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("reason")
	return cmd
}

// effect is what a rule does in its mode.
func effect(r *apiv1.RuleInfo) string {
	switch r.GetMode() {
	case "live":
		return "action " + r.GetAction()
	case "off":
		return "it is not looked at"
	}
	return "it stops nothing"
}
