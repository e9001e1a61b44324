package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// completePatience bounds how long the shell waits for a server after a tab.
const completePatience = time.Second

// offer completes a flag from a list.
func (a *app) offer(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeTenants completes the names of tenants from a server that runs. It never starts one, and it records nothing.
func (a *app) completeTenants(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	conn, stop, err := a.dial(ctx, a.server)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer stop()
	resp, err := apiv1.NewAdminServiceClient(conn).ListTenants(ctx, &apiv1.ListTenantsRequest{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, t := range resp.GetTenants() {
		names = append(names, t.GetTenant())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// firstTenant completes a tenant as the first argument.
func (a *app) firstTenant(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeTenants(cmd, args, begun)
}

// firstInstance completes TENANT/ as the first argument. The instances are not asked for: each such read is a leaf.
func (a *app) firstInstance(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	names, directive := a.firstTenant(cmd, args, begun)
	for i := range names {
		names[i] += "/"
	}
	return names, directive | cobra.ShellCompDirectiveNoSpace
}

// noFiles completes nothing.
func noFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// words are the texts of a list of words.
func words[S ~string](all []S) []string {
	out := make([]string, len(all))
	for i, w := range all {
		out[i] = string(w)
	}
	return out
}
