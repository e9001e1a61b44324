package main

import (
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
		Short: "List instances: client, owner, last seen, open tail",
		Long: "List instances with their labels. KEYS are those that may sign. An open TAIL means that an emitter has neither said\n" +
			"goodbye nor started again: it runs, or it was cut off. GAPS are numbers that never came.",
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
	t := newGrid("instance", "client", "owner", "environment", "manifest", "keys", "events", "last seen (UTC)", "tail", "gaps")
	for _, i := range all {
		tail := "closed"
		switch {
		case i.GetOpenTails() > 0:
			tail = fmt.Sprintf("%d open", i.GetOpenTails())
		case i.GetEvents() == 0:
			tail = "-"
		}
		l := i.GetLabels()
		t.row(i.GetTenant()+"/"+i.GetInstance(), dash(l.GetClient()), dash(l.GetOwner()), dash(l.GetEnvironment()), i.GetManifestVersion(),
			i.GetEmitters(), i.GetEvents(), stamp(i.GetLastSeenAt()), tail, i.GetGaps())
	}
	t.print(w)
}
