package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// userCommand manages people.
func (a *app) userCommand() *cobra.Command {
	return group("user", "Give people roles and client certificates", a.userAdd(), a.userRemove(), a.userList())
}

func (a *app) userAdd() *cobra.Command {
	var role, tenant, out string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Grant a role and issue a client certificate",
		Long: "Grant a role and issue a client certificate. The certificate and its key are written once, to people/ of the\n" +
			"data folder or to --out, readable by you alone; the server keeps only the certificate's fingerprint.",
		Example: "  custody user add dana --role auditor --tenant acme",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			r, err := parseName(event.Roles, role)
			if err != nil {
				return usageError("--role: %s", err)
			}
			resp, err := apiv1.NewAdminServiceClient(conn).AddUser(ctx, &apiv1.AddUserRequest{Name: args[0], Role: r, Tenant: tenant})
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Join(a.data, "people")
			}
			return a.savePerson(out, args[0], resp)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "auditor, analyst, responder, approver, operator or admin (required)")
	f.StringVar(&tenant, "tenant", "", "the tenant that the role is for; all tenants if absent")
	f.StringVar(&out, "out", "", "folder for the certificate and key")
	_ = cmd.MarkFlagRequired("role")
	return cmd
}

// savePerson writes a person's certificate and key, 0600, and never over another's.
func (a *app) savePerson(dir, name string, p *apiv1.AddUserResponse) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create folder for certificates: %w", err)
	}
	files := map[string][]byte{name + ".crt": p.GetCertificatePem(), name + ".key": p.GetKeyPem(), "ca.crt": p.GetCaPem()}
	for _, file := range []string{name + ".crt", name + ".key", "ca.crt"} {
		if err := os.WriteFile(filepath.Join(dir, file), files[file], 0o600); err != nil {
			return fmt.Errorf("write certificate: %w", err)
		}
	}
	fmt.Fprintf(a.out, "%s: certificate %s, key %s\n", name, filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	return nil
}

func (a *app) userRemove() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a person's roles away",
		Args:  cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			_, err := apiv1.NewAdminServiceClient(conn).RemoveUser(ctx, &apiv1.RemoveUserRequest{Name: args[0], Tenant: tenant})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s: roles taken away\n", args[0])
			return nil
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only in this tenant")
	return cmd
}

func (a *app) userList() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who may do what",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewAdminServiceClient(conn).ListUsers(ctx, &apiv1.ListUsersRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.result(resp, func(w io.Writer) { renderGrants(w, resp.GetGrants()) })
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant")
	return cmd
}

func renderGrants(w io.Writer, grants []*apiv1.GrantInfo) {
	t := newTable(w, "name", "role", "tenant", "certificate")
	for _, g := range grants {
		tenant := g.GetTenant()
		if tenant == "" {
			tenant = "(all)"
		}
		t.AppendRow(table.Row{plain(g.GetName(), 63), roleName(g.GetRole()), tenant, short(g.GetCertificate())})
	}
	t.Render()
}

func roleName(r eventv1.Role) string { return event.Roles.Name(r) }
