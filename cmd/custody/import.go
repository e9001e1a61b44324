package main

import (
	"context"
	"fmt"
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
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// importCommand brings in traces that agents left elsewhere.
func (a *app) importCommand() *cobra.Command {
	return group("import", "Bring in traces that were recorded elsewhere, marked as imported",
		a.importKind("agentdojo FILE|DIR…", "Import AgentDojo runs: a tenant a suite, an instance a pipeline", cobra.MinimumNArgs(1), importer.Agentdojo),
		a.importKind("taubench FILE", "Import tau-bench trajectories", cobra.ExactArgs(1), taubench))
}

// importFunc reads paths and records what they hold.
type importFunc func(ctx context.Context, paths []string, o importer.Options) (importer.Stats, error)

func taubench(ctx context.Context, paths []string, o importer.Options) (importer.Stats, error) {
	return importer.Taubench(ctx, paths[0], o)
}

func (a *app) importKind(use, short string, paths cobra.PositionalArgs, run importFunc) *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long: short + ".\n\nThe traces go through the SDK and the same door as live events, signed by keys of the class importer: nobody can take\n" +
			"them for the agents' own. An import that is interrupted goes on where it was when it is run again. A run that cannot be\n" +
			"read is left out, with a line on standard error, and the exit code is 7. docs/DATA.md says how to obtain the public\n" +
			"data sets.",
		Args: paths,
		RunE: a.callAt(place{make: true, door: true, anyPort: true}, func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			if state == "" {
				state = a.path("import")
			}
			return a.runImport(ctx, conn, args, state, run)
		}),
	}
	cmd.Flags().StringVar(&state, "state", "", "folder of the emitters and the journal; import/ in the data folder if absent")
	_ = cmd.MarkFlagDirname("state")
	return cmd
}

func (a *app) runImport(ctx context.Context, conn *grpc.ClientConn, paths []string, state string, run importFunc) error {
	where, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
	if err != nil {
		return err
	}
	bar := a.progress("import")
	defer bar.done()
	door := &importDoor{admin: apiv1.NewAdminServiceClient(conn), state: state, address: where.GetAddress()}
	if a.server != "" {
		door.address = a.server
	}
	stats, err := run(ctx, paths, importer.Options{
		Open:     door.open,
		State:    filepath.Join(state, "journal"),
		Progress: func(s importer.Stats) { bar.show("%d runs, %d events", s.Runs, s.Events) },
		Problem:  a.problems(bar),
	})
	bar.done()
	return a.imported(stats, err)
}

// maxProblems bounds how many runs that were left out are named: a file of another kind has a problem in each line.
const maxProblems = 100

// problems names the first runs that are left out; all are counted by the import.
func (a *app) problems(bar *progressLine) func(importer.Problem) {
	told := 0
	return func(p importer.Problem) {
		if told++; told > maxProblems+1 {
			return
		}
		bar.clear()
		if told > maxProblems {
			a.note("more than %d runs are left out; the others are counted and not named", maxProblems)
			return
		}
		fmt.Fprintln(a.err, plain(p.Error(), 0))
	}
}

// imported says how an import ended.
func (a *app) imported(s importer.Stats, err error) error {
	switch f := explain(err); {
	case err != nil && s.Files == 0:
		return f
	case err != nil:
		return fail(f.code, f.err, "what was recorded before stays; nothing is recorded twice", "run the same command again: it goes on where it was")
	}
	here := fmt.Sprintf("%d were here already", s.Resumed)
	if s.Duplicates > 0 {
		here += fmt.Sprintf(", %d were given twice", s.Duplicates)
	}
	err = a.say(statsJSON(s), "imported %d runs (%s): %d events, %d calls, %d denials, %d approvals, %d odd tool names\n",
		s.Runs, here, s.Events, s.Calls, s.Denials, s.Approvals, s.OddNames)
	if err != nil || s.Bad == 0 {
		return err
	}
	next := "correct the lines named above and run the same command again"
	if s.Runs+s.Resumed == 0 {
		next = "custody import --help: are these files of the benchmark that you named? If they are, " + next
	}
	return fail(exitInput, fmt.Errorf("import: %d runs were left out", s.Bad), "all other runs are recorded", next)
}

func statsJSON(s importer.Stats) object {
	return object{
		{"files", s.Files},
		{"instances", s.Instances},
		{"runs", s.Runs},
		{"resumed", s.Resumed},
		{"duplicates", s.Duplicates},
		{"bad", s.Bad},
		{"events", s.Events},
		{"messages", s.Messages},
		{"calls", s.Calls},
		{"results", s.Results},
		{"unanswered", s.Unanswered},
		{"unlinked", s.Unlinked},
		{"failures", s.Failures},
		{"denials", s.Denials},
		{"odd_names", s.OddNames},
		{"writes", s.Writes},
		{"approvals", s.Approvals},
		{"cut", s.Cut},
		{"bytes", s.Bytes},
	}
}

// importedName begins the display name of a tenant that an import has made.
const importedName = "imported: "

// importDoor makes tenants, instances and emitters as an import needs them.
type importDoor struct {
	admin   apiv1.AdminServiceClient
	state   string
	address string     // of the server now: the port may have changed since an emitter joined
	mu      sync.Mutex // creating is done one at a time
}

// open is the emitter of an imported instance, enrolled at first use.
func (d *importDoor) open(ctx context.Context, tenant event.TenantID, instance event.InstanceID) (importer.Sink, error) {
	dir := filepath.Join(d.state, string(tenant), string(instance))
	if err := d.prepare(ctx, string(tenant), string(instance), dir); err != nil {
		return nil, fmt.Errorf("prepare %s/%s: %w", tenant, instance, err)
	}
	return importer.OpenEmitter(ctx, edge.Config{Dir: dir, Address: d.address, Software: "custody import", Log: discardLog()})
}

func (d *importDoor) prepare(ctx context.Context, tenant, instance, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if exists(filepath.Join(dir, "identity.json")) {
		return nil
	}
	if _, err := d.admin.CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: tenant, DisplayName: importedName + strings.ReplaceAll(tenant, "-", " ")}); status.Code(err) != codes.AlreadyExists && err != nil {
		return err
	}
	if _, err := d.admin.CreateInstance(ctx, importedInstance(tenant, instance)); err != nil {
		return err
	}
	token, err := d.admin.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER, Ttl: defaultTicketTTL.Nanoseconds(),
	})
	if err != nil {
		return err
	}
	_, err = edge.Join(ctx, dir, token.GetToken(), d.address, token.GetCaPem())
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
