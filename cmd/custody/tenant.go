package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// tenantCommand manages tenants.
func (a *app) tenantCommand() *cobra.Command {
	return group("tenant", "Create and list tenants: each client has a log of its own", a.tenantCreate(), a.tenantList())
}

func (a *app) tenantCreate() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:               "create TENANT",
		Short:             "Open a tenant's log",
		Example:           "  custody tenant create acme --name 'Acme Corporation'",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.callAt(place{make: true}, func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			resp, err := apiv1.NewAdminServiceClient(conn).CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: args[0], DisplayName: name})
			if err != nil {
				return advise(err, codes.AlreadyExists, "custody tenant list")
			}
			return a.say(object{{"tenant", args[0]}, {"origin", resp.GetOrigin()}}, "tenant %s: log %s\n", args[0], resp.GetOrigin())
		}),
	}
	cmd.Flags().StringVar(&name, "name", "", "display name")
	return cmd
}

func (a *app) tenantList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the tenants that you may see",
		Args:  cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewAdminServiceClient(conn).ListTenants(ctx, &apiv1.ListTenantsRequest{})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderTenants(w, resp.GetTenants()) })
		})),
	}
}

func renderTenants(w io.Writer, tenants []*apiv1.TenantInfo) {
	t := newGrid("tenant", "name", "leaves", "instances", "log")
	for _, x := range tenants {
		t.row(x.GetTenant(), dash(x.GetDisplayName()), x.GetSize(), x.GetInstances(), x.GetOrigin())
	}
	t.print(w)
}
