package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// maxReportFile bounds a report of a drill, in bytes: 128 steps with their evidence.
	maxReportFile = 1 << 20
	// drillWait is how long a drill waits for proof unless it says otherwise: three leases fit.
	drillWait = 20 * time.Second
)

// drillFlags are the flags of drill.
type drillFlags struct {
	req    apiv1.DrillRequest
	wait   time.Duration
	out    string
	verify string
	policy string
}

// drillCommand stops a canary for real.
func (a *app) drillCommand() *cobra.Command {
	f := new(drillFlags)
	cmd := &cobra.Command{
		Use:   "drill [CANARY]",
		Short: "Stop a canary for real, time each state, release it, and keep a signed report",
		Long: "Stop an instance that is there to be stopped (custody instance create --canary), wait until every step is verified or the\n" +
			"time is over, release it, and write a report that the system key has signed; it is in the log too. A quarantine revokes the\n" +
			"canary's credential for good, and needs --break-glass. With --verify, check a report against a policy file, without a\n" +
			"server. Exit code 6 if a step was not verified.",
		Example: "  custody instance create acme/canary-1 --canary --allow 'read:*:low'\n  custody drill acme/canary-1 --out drill.json\n" +
			"  custody drill --verify drill.json --policy acme.policy.json",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.firstInstance,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (len(args) == 1) == (f.verify != ""), (f.verify == "") != (f.policy == ""):
				return usageError("name a canary, or a report with --verify and --policy")
			case f.verify != "":
				return a.verifyDrill(f.verify, f.policy)
			}
			return a.call(f.run(a))(cmd, args)
		},
	}
	f.register(a, cmd)
	return cmd
}

func (f *drillFlags) register(a *app, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.req.Level, "level", "pause", "restrict, pause or quarantine")
	fl.StringVar(&f.req.Reason, "reason", "drill", "why, for the record")
	fl.BoolVar(&f.req.BreakGlass, "break-glass", false, "act without the second person who is needed; this stands in the log for ever")
	fl.DurationVar(&f.wait, "wait", drillWait, "how long to wait for every step to be verified, at most 30s")
	fl.StringVar(&f.out, "out", "", "file for the signed report, which must not exist")
	fl.StringVar(&f.verify, "verify", "", "check this report instead")
	fl.StringVar(&f.policy, "policy", "", "with --verify: the tenant's policy file")
	a.offer(cmd, "level", []string{"restrict", "pause", "quarantine"})
}

func (f *drillFlags) run(a *app) call {
	return func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
		target, err := resolve(ctx, conn, args[0])
		switch {
		case err != nil:
			return err
		case target.Kind != event.TargetInstance:
			return usageError("%q is no instance", args[0])
		}
		f.req.Tenant, f.req.Instance, f.req.Wait = string(target.Tenant), string(target.Instance), int64(f.wait)
		resp, err := apiv1.NewArmedServiceClient(conn).Drill(ctx, &f.req)
		if err != nil {
			return err
		}
		policy, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(ctx, &apiv1.ExportPolicyRequest{Tenant: f.req.GetTenant()})
		if err != nil {
			return f.keep(resp.GetReport(), err)
		}
		return f.keep(resp.GetReport(), a.sayDrill(resp.GetReport(), policy.GetPolicy()))
	}
}

// keep writes the report, whatever it says.
func (f *drillFlags) keep(report []byte, said error) error {
	if f.out == "" {
		return said
	}
	return errors.Join(writeNew(f.out, append(report, '\n')), said)
}

// verifyDrill checks a report file with a policy file.
func (a *app) verifyDrill(path, policyPath string) error {
	report, err := readBounded(path, maxReportFile)
	if err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	policy, err := readBounded(policyPath, maxReportFile)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	return a.sayDrill(report, policy)
}

func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

// sayDrill verifies a report, prints it, and says by the exit code whether everything was verified.
func (a *app) sayDrill(report, policy []byte) error {
	p, err := evidence.ParsePolicy(policy)
	if err != nil {
		return inputError(fmt.Errorf("read policy: %w", err), "custody policy export --tenant TENANT --out FILE")
	}
	r, err := contain.VerifyDrill(report, p.Tenant, p.SystemKey)
	if err != nil {
		return fail(exitProblems, err, nothingChanged, "custody search --tenant "+shellWord(p.Tenant)+" --action drill")
	}
	if a.format == formatTable {
		renderDrill(a.out, r)
	} else if err := a.printJSON(r); err != nil {
		return err
	}
	if r.Proven {
		return nil
	}
	return fail(exitProblems, errors.New("not every step was verified from outside"), "the canary was released",
		"custody armed --now; a gateway beside the agent, or a connector, is what can verify")
}

func renderDrill(w io.Writer, r *contain.DrillReport) {
	proven := "NOT PROVEN"
	if r.Proven {
		proven = "proven"
	}
	fmt.Fprintf(w, "drill of %s/%s, %s (%s), by %s: %s\n", word(r.Tenant), word(r.Instance), word(r.Level), word(r.Containment), word(r.Actor), proven)
	t := newGrid("path", "delivered", "acknowledged", "verified", "evidence")
	for _, s := range r.Steps {
		t.row(shortPath(s.Path), since(r, s.DeliveredAt), since(r, s.AcknowledgedAt), since(r, s.VerifiedAt), plain(s.Evidence, 0))
	}
	t.print(w)
	fmt.Fprintf(w, "requested %s, released after %s\n", stamp(r.RequestedAt), time.Duration(r.ReleasedAt-r.RequestedAt).Round(time.Millisecond))
}

// since is how long after the request something was.
func since(r *contain.DrillReport, at int64) string {
	if at == 0 {
		return "never"
	}
	return time.Duration(at - r.RequestedAt).Round(time.Millisecond).String()
}
