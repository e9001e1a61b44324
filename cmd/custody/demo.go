package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/cmd/custody/demo"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// demoCommand runs the demonstration.
func (a *app) demoCommand() *cobra.Command {
	var traces string
	var live bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path: live agents, an attack traced, one stopped, the log checked, evidence verified",
		Long: "Start a server on an empty data folder, let twelve agents of three clients work through the SDK, follow one attack, stop\n" +
			"another while it happens, check the log, export a bundle and verify it. With --traces, import real agent traces too.\n" +
			"KEEP=1 leaves the server running.\n" +
			"Without --data it is in a folder of its own, beside the usual one; the folder of an earlier demonstration is emptied.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("data") {
				a.data += demoSuffix
			}
			if err := findTraces(traces); err != nil {
				return err
			}
			d, err := newDemonstration(a)
			if err != nil {
				return err
			}
			return d.run(cmd.Context(), live, traces)
		},
	}
	cmd.Flags().StringVar(&traces, "traces", "", "folder of real traces (see docs/DATA.md)")
	cmd.Flags().BoolVar(&live, "live", true, "run the live agents")
	cmd.AddCommand(&cobra.Command{
		Use: "agent TENANT/INSTANCE", Short: "One agent of the scenario", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return demo.Run(cmd.Context(), args[0]) },
	})
	return cmd
}

// demoSuffix keeps the demonstration out of the folder of a real server.
const demoSuffix = "-demo"

// marker is the file by which the demonstration knows a data folder that it may empty.
const marker = ".custody-demo"

// settleTimeout bounds the wait until everything that was sent is committed.
const settleTimeout = 10 * time.Minute

// demonstration runs commands as a person would, and shows them.
type demonstration struct {
	app      *app
	self     string // this program
	verifier string // custody-verify
	dir      string
	server   int         // process
	world    *demo.World // of the live agent
}

func (d *demonstration) path(name string) string { return filepath.Join(d.dir, name) }

// findVerifier finds custody-verify beside this program, or in the path.
func findVerifier(self string) (string, error) {
	const name = "custody-verify"
	if beside := filepath.Join(filepath.Dir(self), name); exists(beside) {
		return beside, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fail(exitNotFound, fmt.Errorf("%s is neither beside %s nor in the path", name, self), nothingChanged, "make build")
	}
	return path, nil
}

// newDemonstration empties the data folder, if it is one of the demonstration's own.
func newDemonstration(a *app) (*demonstration, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	verifier, err := findVerifier(self)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(a.data)
	if err != nil {
		return nil, fmt.Errorf("find data folder: %w", err)
	}
	if exists(dir) && !exists(filepath.Join(dir, marker)) {
		return nil, fail(exitConflict, fmt.Errorf("%s exists and is not of an earlier demonstration", dir), nothingChanged, "name another folder with --data")
	}
	if isLocked(filepath.Join(dir, servedFile)) {
		return nil, fail(exitConflict, fmt.Errorf("a server runs on %s", dir), "it goes on", "stop it (its process is in serve.lock there), or name another folder with --data")
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	return &demonstration{app: a, self: self, verifier: verifier, dir: dir}, os.WriteFile(filepath.Join(dir, marker), nil, 0o600)
}

func (d *demonstration) run(ctx context.Context, live bool, traces string) (err error) {
	began := time.Now()
	if live {
		if err := d.openWorld(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.world.Close()) }()
	}
	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	keep := os.Getenv("KEEP") == "1"
	if !keep {
		defer func() { err = errors.Join(err, stop()) }()
	}
	var tenants []string
	if live {
		tenants = append(tenants, demo.AttackTenant)
		if err := d.live(ctx); err != nil {
			return err
		}
	}
	if traces != "" {
		if err := d.traces(ctx, traces); err != nil {
			return err
		}
		tenant, err := d.largestImport(ctx)
		if err != nil {
			return err
		}
		tenants = append(tenants, tenant)
	}
	if err := d.verify(ctx, tenants); err != nil {
		return err
	}
	d.farewell(time.Since(began), keep, live)
	return nil
}

// serve starts the server as a process of its own and waits until it is ready.
func (d *demonstration) serve(ctx context.Context) (stop func() error, err error) {
	d.heading("a server, with everything made at first start")
	cmd := d.command(ctx, "serve", "--listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	log, err := os.OpenFile(filepath.Join(d.dir, "serve.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open server log: %w", err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the server did not start: see %s", log.Name())
	}
	d.server = cmd.Process.Pid
	fmt.Fprint(d.app.out, line)
	return func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return errors.Join(cmd.Wait(), log.Close())
	}, nil
}

// live lets the twelve agents work.
func (d *demonstration) live(ctx context.Context) error {
	d.heading("three clients, twelve agents, each enrolled with a key of its own")
	for _, t := range demo.Tenants {
		if err := d.quiet(ctx, "tenant", "create", t[0], "--name", t[1]); err != nil {
			return err
		}
	}
	for _, agent := range demo.Agents {
		if err := d.enrol(ctx, agent); err != nil {
			return err
		}
	}
	if err := d.agents(ctx); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	if err := d.investigate(ctx); err != nil {
		return err
	}
	if err := d.incident(ctx); err != nil {
		return err
	}
	return d.settle(ctx)
}

// enrol creates an instance with its manifest and enrols its key.
func (d *demonstration) enrol(ctx context.Context, agent demo.Agent) error {
	args := []string{"instance", "create", agent.Name(), "--client", agent.Tenant, "--owner", agent.Owner, "--on-call", agent.Owner + "-oncall", "--environment", "demonstration"}
	for _, p := range agent.Allow {
		args = append(args, "--allow", p)
	}
	return errors.Join(d.quiet(ctx, args...), d.quiet(ctx, "enroll", agent.Name(), "--into", d.emitter(agent)))
}

func (d *demonstration) emitter(agent demo.Agent) string {
	return filepath.Join(d.dir, "emitters", agent.Tenant, agent.Instance)
}

// agents starts every agent as a process and waits for all of them.
func (d *demonstration) agents(ctx context.Context) error {
	d.heading("the agents at work, twelve processes at once")
	var wg sync.WaitGroup
	errs := make([]error, len(demo.Agents))
	for i, agent := range demo.Agents {
		wg.Go(func() {
			cmd := d.command(ctx, "demo", "agent", agent.Name())
			cmd.Env = append(cmd.Env, "CUSTODY_EMITTER="+d.emitter(agent))
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("agent %s: %w: %s", agent.Name(), err, bytes.TrimSpace(out))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// settle waits until everything in the stream is committed.
func (d *demonstration) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	conn, stop, err := d.app.dial(ctx, "")
	if err != nil {
		return err
	}
	defer stop()
	s, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
	if err == nil {
		_, err = d.app.awaitCommit(ctx, conn, s.GetStreamLast())
	}
	if err != nil {
		return fmt.Errorf("wait for the ledger: %w", err)
	}
	return nil
}

// investigate follows the attack as an analyst would.
func (d *demonstration) investigate(ctx context.Context) error {
	if err := d.show(ctx, "ps"); err != nil {
		return err
	}
	d.heading("something of high consequence went out: who did that, and why?")
	search := []string{"search", "--tenant", demo.AttackTenant, "--tool", demo.AttackTool, "--action", "started"}
	if err := d.show(ctx, search...); err != nil {
		return err
	}
	found, err := d.firstFound(ctx, search)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"why", "--tenant", demo.AttackTenant, found, "--open"},
		{"trace", "--tenant", demo.AttackTenant, "--instance", demo.AttackInstance, demo.AttackRun},
		{"trace", "--tenant", demo.AttackTenant, "--instance", "support-2", "ticket-4712"},
		{"search", "--tenant", demo.AttackTenant, "--kind", "approval"},
	} {
		if err := d.show(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// firstFound names the first event that a search finds.
func (d *demonstration) firstFound(ctx context.Context, search []string) (string, error) {
	out, err := d.command(ctx, append(search, "-o", "jsonl")...).Output()
	if err != nil {
		return "", fmt.Errorf("search: %w", err)
	}
	var row struct {
		Index uint64 `json:"index"`
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if err := json.Unmarshal(line, &row); err != nil {
		return "", fmt.Errorf("read search result: %w", err)
	}
	return fmt.Sprintf("@%d", row.Index), nil
}

// traces imports real traces.
func (d *demonstration) traces(ctx context.Context, dir string) error {
	d.heading("real traces, through the SDK and the same door")
	for _, kind := range traceKinds {
		files, err := traceFiles(filepath.Join(dir, kind))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		if err := d.show(ctx, append([]string{"import", kind}, files...)...); err != nil {
			return err
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	return d.show(ctx, "tenant", "list")
}

// traceKinds are the folders of traces, and the imports that read them.
var traceKinds = []string{"agentdojo", "taubench"}

// findTraces makes sure that there are traces before anything is started or emptied.
func findTraces(dir string) error {
	for _, kind := range traceKinds {
		files, err := traceFiles(filepath.Join(dir, kind))
		if err != nil || len(files) > 0 || dir == "" {
			return err
		}
	}
	return fail(exitNotFound, fmt.Errorf("no traces (agentdojo/*.zst, taubench/*.zst) in %s", dir), nothingChanged, "leave --traces out; docs/DATA.md says how to obtain them")
}

// traceFiles lists the trace files of one kind: everything that is packed but the labels, which are for scoring.
func traceFiles(dir string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.zst"))
	if err != nil {
		return nil, fmt.Errorf("list traces: %w", err)
	}
	var out []string
	for _, f := range all {
		if !strings.HasPrefix(filepath.Base(f), "labels") {
			out = append(out, f)
		}
	}
	return out, nil
}

// verify checks the log, rebuilds it, and verifies a bundle of each tenant with the auditor's own program.
func (d *demonstration) verify(ctx context.Context, tenants []string) error {
	d.heading("is the record whole? read everything again, and fold the stream again")
	if err := errors.Join(d.show(ctx, "check"), d.show(ctx, "rebuild", "--check")); err != nil {
		return err
	}
	for _, tenant := range tenants {
		d.heading("what an auditor does with the evidence of " + tenant + ": offline, with a program that knows nothing of the server")
		if err := d.audit(ctx, tenant); err != nil {
			return err
		}
	}
	return nil
}

// audit exports a tenant's bundle and policy and verifies the one with the other.
func (d *demonstration) audit(ctx context.Context, tenant string) error {
	bundle, policy := filepath.Join(d.dir, tenant+".evb"), filepath.Join(d.dir, tenant+".policy.json")
	if err := d.show(ctx, "evidence", "export", "--tenant", tenant, "--purpose", "demonstration", "--out", bundle); err != nil {
		return err
	}
	if err := d.show(ctx, "policy", "export", "--tenant", tenant, "--out", policy); err != nil {
		return err
	}
	fmt.Fprintf(d.app.out, "\n$ custody-verify --policy %s %s\n", policy, bundle)
	cmd := exec.CommandContext(ctx, d.verifier, "--policy", policy, bundle) //nolint:gosec // the verifier that was built beside this program
	cmd.Stdout, cmd.Stderr = d.app.out, d.app.err
	if err := cmd.Run(); err != nil {
		return fail(exitProblems, fmt.Errorf("custody-verify: %w", err), "the bundle, the policy and the data folder are kept", "custody-verify --help")
	}
	return nil
}

// largestImport is the tenant with the most imported leaves.
func (d *demonstration) largestImport(ctx context.Context) (string, error) {
	conn, stop, err := d.app.dial(ctx, "")
	if err != nil {
		return "", err
	}
	defer stop()
	list, err := apiv1.NewAdminServiceClient(conn).ListTenants(ctx, &apiv1.ListTenantsRequest{})
	if err != nil {
		return "", err
	}
	best := new(apiv1.TenantInfo)
	for _, t := range list.GetTenants() {
		if strings.HasPrefix(t.GetDisplayName(), importedName) && t.GetSize() > best.GetSize() {
			best = t
		}
	}
	if best.GetTenant() == "" {
		return "", errors.New("the folder of traces holds no traces")
	}
	return best.GetTenant(), nil
}

func (d *demonstration) farewell(took time.Duration, keep, live bool) {
	d.heading(fmt.Sprintf("done in %d s", int(took.Seconds())))
	w := d.app.out
	fmt.Fprintf(w, "data     %s (log of the server: serve.log)\n", d.dir)
	if keep {
		fmt.Fprintf(w, "server   still running, because KEEP=1; to stop it: kill %d\n", d.server)
	} else {
		fmt.Fprintln(w, "server   stopped; every command below starts one for itself")
	}
	fmt.Fprintf(w, "\ngo on with\n  %s --data %s ps\n  %s --data %s doctor\n", d.self, d.dir, d.self, d.dir)
	if live {
		fmt.Fprintf(w, "  %s --data %s trace --tenant acme --instance support-3 ticket-4711 --open\n", d.self, d.dir)
		fmt.Fprintf(w, "  %s --data %s search --tenant globex --consequence high -o jsonl\n", d.self, d.dir)
	}
}

// command is one custody command on the demonstration's data folder.
func (d *demonstration) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.self, append(args, "--data", d.dir)...) //nolint:gosec // this program itself
	cmd.Env = slices.DeleteFunc(os.Environ(), elsewhere)
	return cmd
}

// elsewhere is what would lead the demonstration to a store or stream that is not its own.
func elsewhere(variable string) bool {
	return strings.HasPrefix(variable, envStore+"=") || strings.HasPrefix(variable, envStream+"=")
}

// show runs a command and shows both it and what it prints.
func (d *demonstration) show(ctx context.Context, args ...string) error {
	fmt.Fprintf(d.app.out, "\n$ custody %s\n", shellWords(args))
	return d.exec(ctx, d.app.out, args)
}

// quiet runs a command and shows it, without its output.
func (d *demonstration) quiet(ctx context.Context, args ...string) error {
	fmt.Fprintf(d.app.out, "$ custody %s\n", shellWords(args))
	return d.exec(ctx, io.Discard, args)
}

func (d *demonstration) exec(ctx context.Context, out io.Writer, args []string) error {
	cmd := d.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = out, d.app.err
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("custody %s: %w", shellWords(args), err)
	}
	return nil
}

// shellWords shows a command line as a person would type it.
func shellWords(args []string) string {
	out := make([]string, len(args))
	for i, w := range args {
		out[i] = shellWord(w)
	}
	return strings.Join(out, " ")
}

func (d *demonstration) heading(text string) {
	fmt.Fprintf(d.app.out, "\n== %s\n", text)
}
