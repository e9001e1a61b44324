package main

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// psCommand lists instances.
func (a *app) psCommand() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List instances: client, owner, containment, lease, open firings, last seen, open tail",
		Long: "List instances with their labels. KEYS are those that may sign. An open TAIL means that an emitter has neither said\n" +
			"goodbye nor started again: it runs, or it was cut off. GAPS are numbers that never came.\n\n" +
			"LEVEL is the strictest containment of the whole instance, and whether every step of it is verified; \"part\" is one of a run,\n" +
			"connector or principal. LEASE is where its worst gate stands, and never says that anything is contained: lent; not lent (because\n" +
			"of a containment); lease-blocked (its control is not the newest); may act until (it is silent, and a lease is out);\n" +
			"blocked: server unreachable (it is silent, and its lease is over); no gate. FIRINGS counts those of live rules that wait for a\n" +
			"person, with the gravest; ? means that the rules do not run, and nobody knows.",
		Args: cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewQueryServiceClient(conn).ListInstances(ctx, &apiv1.ListInstancesRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderInstances(w, resp.GetInstances()) })
		})),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant; all that you may see if absent")
	return cmd
}

func renderInstances(w io.Writer, all []*apiv1.InstanceInfo) {
	t := newGrid("instance", "client", "owner", "environment", "level", "lease", "firings", "manifest", "keys", "events", "last seen (UTC)", "tail", "gaps")
	for _, i := range all {
		tail := "closed"
		switch {
		case i.GetOpenTails() > 0:
			tail = fmt.Sprintf("%d open", i.GetOpenTails())
		case i.GetEvents() == 0:
			tail = "-"
		}
		l := i.GetLabels()
		t.row(i.GetTenant()+"/"+i.GetInstance(), dash(l.GetClient()), dash(l.GetOwner()), dash(l.GetEnvironment()), levelWord(i), plain(cmp.Or(i.GetLease(), "-"), 0), firingsWord(i), i.GetManifestVersion(),
			i.GetEmitters(), i.GetEvents(), stamp(i.GetLastSeenAt()), tail, i.GetGaps())
	}
	t.print(w)
}

// firingsWord is how much waits for a person.
func firingsWord(i *apiv1.InstanceInfo) string {
	switch {
	case i.GetUnwatched():
		return "?"
	case i.GetFirings() == 0:
		return "-"
	}
	return fmt.Sprintf("%d %s", i.GetFirings(), word(i.GetSeverity()))
}

// levelWord is how far an instance is contained. Only what is verified has no doubt beside it.
func levelWord(i *apiv1.InstanceInfo) string {
	switch {
	case i.GetLevel() != "" && i.GetProven():
		return i.GetLevel()
	case i.GetLevel() != "":
		return i.GetLevel() + " NOT PROVEN"
	case i.GetPart():
		return "part"
	}
	return "-"
}
