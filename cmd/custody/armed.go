package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// armedCommand shows whether the brake would work.
func (a *app) armedCommand() *cobra.Command {
	req := new(apiv1.ListArmedRequest)
	cmd := &cobra.Command{
		Use:   "armed",
		Short: "Show whether each way of stopping each instance works, before it is needed",
		Long: "List every way of stopping every instance, with when it was last proven without stopping anything: a gate is asked what it\n" +
			"would do under a pause and under a lease that ends; a connector's probe is tried on the live credential. Everything is tried\n" +
			"every five minutes; what was not proven within ten is UNPROVEN. SEEN BY agent is the target's own word: only a gateway\n" +
			"and a probe see from outside. Exit code 6 if anything is unproven.",
		Example: "  custody armed --tenant acme\n  custody armed --now -o json",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewArmedServiceClient(conn).ListArmed(ctx, req)
			if err != nil {
				return err
			}
			if err := a.result(resp, func(w io.Writer) { renderArmed(w, resp.GetPaths()) }); err != nil {
				return err
			}
			return unprovenPaths(resp.GetPaths())
		}),
	}
	f := cmd.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "only this tenant; all that you may see if absent")
	f.StringVar(&req.Instance, "instance", "", "only this instance")
	f.BoolVar(&req.Now, "now", false, "try everything now, instead of showing the last try")
	return cmd
}

func renderArmed(w io.Writer, paths []*apiv1.ArmedPath) {
	t := newGrid("instance", "path", "armed", "last proven (UTC)", "seen by", "evidence")
	for _, p := range paths {
		armed := "UNPROVEN"
		if p.GetProven() {
			armed = "proven"
		}
		t.row(p.GetTenant()+"/"+p.GetInstance(), dash(pathWord(p.GetPath())), armed, stamp(p.GetProvenAt()), dash(p.GetObserver()), plain(p.GetEvidence(), 0))
	}
	t.print(w)
}

// pathWord is a short path, empty if there is none.
func pathWord(path string) string {
	if path == "" {
		return ""
	}
	return shortPath(path)
}

// unprovenPaths is an error if anything could not be stopped as far as is known.
func unprovenPaths(paths []*apiv1.ArmedPath) error {
	n := 0
	for _, p := range paths {
		if !p.GetProven() {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fail(exitProblems, fmt.Errorf("%d of %d ways of stopping something are UNPROVEN", n, len(paths)), "nothing was stopped",
		"start the agent or its gateway; correct the connector; then: custody armed --now")
}

// leaseCommand manages leases over a restart.
func (a *app) leaseCommand() *cobra.Command {
	req := new(apiv1.ExtendLeasesRequest)
	var lasts time.Duration
	extend := &cobra.Command{
		Use:   "extend",
		Short: "Let the gates of a tenant act without a renewal, for a restart of the server",
		Long: "Let the gates of a tenant act for at most five minutes without a renewal, because the server is about to restart. Each gate\n" +
			"checks the signature of the extension. What is contained gets none. While it lasts, a pause that a gate cannot hear of does not\n" +
			"stop it: keep it short. --for 0 ends it for every gate that hears of it. Leases are as usual again once the server is back.",
		Example: "  custody lease extend --tenant acme --for 2m --reason 'upgrade to 1.4'",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			req.Lasts, req.Wait = int64(lasts), int64(settleTime)
			resp, err := apiv1.NewArmedServiceClient(conn).ExtendLeases(ctx, req)
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) {
				fmt.Fprintf(w, "extended: %d of %d connected gates, until %s\n", resp.GetExtended(), resp.GetConnected(), stamp(resp.GetUntil()))
			})
		}),
	}
	f := extend.Flags()
	f.StringVar(&req.Tenant, "tenant", "", "tenant (required)")
	f.DurationVar(&lasts, "for", 0, "how long, at most 5m (required)")
	f.StringVar(&req.Reason, "reason", "", "why, for the record (required)")
	for _, name := range []string{"tenant", "for", "reason"} {
		_ = extend.MarkFlagRequired(name)
	}
	return group("lease", "Let gates act while the server restarts", extend)
}
