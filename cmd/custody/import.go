package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// importCommand brings in traces that agents left elsewhere.
func (a *app) importCommand() *cobra.Command {
	return group("import", "Bring in traces that were recorded elsewhere, marked as imported",
		a.importKind("agentdojo FILE|DIR…", "Import AgentDojo runs: a tenant a suite, an instance a pipeline", importer.Agentdojo),
		a.importKind("taubench FILE", "Import tau-bench trajectories", taubench))
}

// importFunc reads paths and records what they hold.
type importFunc func(ctx context.Context, paths []string, o importer.Options) (importer.Stats, error)

func taubench(ctx context.Context, paths []string, o importer.Options) (importer.Stats, error) {
	if len(paths) != 1 {
		return importer.Stats{}, usageError("import taubench: want one file, not %d", len(paths))
	}
	return importer.Taubench(ctx, paths[0], o)
}

func (a *app) importKind(use, short string, run importFunc) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: short + ".\n\nThe traces go through the SDK and the same door as live events, signed by keys of the class importer: nobody can take them\n" +
			"for the agents' own. An import that is interrupted goes on where it was when it is run again. docs/DATA.md says how\n" +
			"to obtain the public data sets.\n\n" + exitHelp,
		Args: cobra.MinimumNArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			if state == "" {
				state = filepath.Join(a.data, "import")
			}
			return a.runImport(ctx, conn, args, state, run)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "folder of the emitters and the journal (import/ in the data folder if absent)")
	return cmd
}

func (a *app) runImport(ctx context.Context, conn *grpc.ClientConn, paths []string, state string, run importFunc) error {
	bar := a.progress("import")
	defer bar.done()
	door := &importDoor{app: a, admin: apiv1.NewAdminServiceClient(conn), state: state}
	problems := 0
	stats, err := run(ctx, paths, importer.Options{
		Open:     door.open,
		State:    filepath.Join(state, "journal"),
		Progress: func(s importer.Stats) { bar.show("%d runs, %d events", s.Runs, s.Events) },
		Problem: func(p importer.Problem) {
			problems++
			bar.clear()
			fmt.Fprintln(a.err, plain(p.Error(), 0))
		},
	})
	bar.done()
	if err != nil {
		return fail(explain(err).code, fmt.Errorf("import: %w", err), "what was recorded before stays; nothing is recorded twice", "run the same command again: it goes on where it was")
	}
	if err := a.printImport(stats); err != nil {
		return err
	}
	if problems > 0 {
		return fail(exitInput, fmt.Errorf("import: %d runs were left out", problems), "all other runs are recorded", "see the lines above")
	}
	return nil
}

func (a *app) printImport(s importer.Stats) error {
	if a.format != formatTable {
		return a.printJSON(s)
	}
	fmt.Fprintf(a.out, "imported %d runs (%d were here already): %d events, %d calls, %d denials, %d approvals, %d odd tool names\n",
		s.Runs, s.Resumed, s.Events, s.Calls, s.Denials, s.Approvals, s.OddNames)
	return nil
}

// importDoor makes tenants, instances and emitters as an import needs them.
type importDoor struct {
	app   *app
	admin apiv1.AdminServiceClient
	state string
	mu    sync.Mutex // creating is done one at a time
}

// open is the emitter of an imported instance, enrolled at first use.
func (d *importDoor) open(ctx context.Context, tenant event.TenantID, instance event.InstanceID) (importer.Sink, error) {
	dir := filepath.Join(d.state, string(tenant), string(instance))
	if err := d.prepare(ctx, string(tenant), string(instance), dir); err != nil {
		return nil, fmt.Errorf("prepare %s/%s: %w", tenant, instance, err)
	}
	return importer.OpenEmitter(ctx, edge.Config{Dir: dir, Address: d.app.server, Software: "custody import", Log: discardLog()})
}

func (d *importDoor) prepare(ctx context.Context, tenant, instance, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if exists(filepath.Join(dir, "identity.json")) {
		return nil
	}
	if _, err := d.admin.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: tenant, DisplayName: "imported: " + strings.ReplaceAll(tenant, "-", " ")}); status.Code(err) != codes.AlreadyExists && err != nil {
		return err
	}
	if _, err := d.admin.CreateInstance(ctx, importedInstance(tenant, instance)); err != nil {
		return err
	}
	token, err := d.admin.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER, Ttl: defaultTokenTTL.Nanoseconds(),
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make emitter folder: %w", err)
	}
	_, err = edge.Join(ctx, dir, token.GetToken(), token.GetAddress(), token.GetCaPem())
	return err
}

// importedInstance has a manifest that says what is known of an imported agent: that it may do anything, by nobody's decision here.
func importedInstance(tenant, instance string) *apiv1.CreateInstanceRequest {
	all := func(v eventv1.PermissionVerb) *eventv1.Permission { return &eventv1.Permission{Verb: v, Tool: "*"} }
	return &apiv1.CreateInstanceRequest{
		Tenant: tenant, Instance: instance,
		Labels: &eventv1.Labels{Client: tenant, Owner: "import", Environment: "imported"},
		Permissions: []*eventv1.Permission{
			all(eventv1.PermissionVerb_PERMISSION_VERB_READ), all(eventv1.PermissionVerb_PERMISSION_VERB_WRITE),
			all(eventv1.PermissionVerb_PERMISSION_VERB_SEND), all(eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER),
		},
	}
}

// writePolicy writes a policy file and prints its fingerprints.
func (a *app) writePolicy(policy []byte, out string) error {
	if out == "" {
		_, err := a.out.Write(policy)
		return err
	}
	if err := os.WriteFile(out, policy, 0o600); err != nil {
		return fmt.Errorf("write policy: %w", err)
	}
	fmt.Fprintf(a.out, "policy written to %s; compare these by another way than the file came:\n", out)
	return printFingerprints(a.out, policy)
}

func printFingerprints(w io.Writer, policy []byte) error {
	p, err := evidence.ParsePolicy(policy)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	all, err := p.Fingerprints()
	for _, f := range all {
		fmt.Fprintf(w, "  %-12s%s\n", f.Of, f.Text)
	}
	return err
}
