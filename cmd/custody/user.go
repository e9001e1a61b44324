package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
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
			"data folder or to --out, readable by you alone; the server keeps only the certificate's fingerprint. Hand NAME.crt,\n" +
			"NAME.key and ca.crt over by a safe way. A second role for the same name comes with a new certificate; each of a\n" +
			"person's certificates stands for all of their roles.",
		Example: "  custody user add dana --role auditor --tenant acme\n" +
			"  custody user add dana --role auditor --tenant acme --out ./for-dana/people\n" +
			"  custody --data ./for-dana --server HOST:7443 --as dana search --tenant acme",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			r, err := parseName(event.Roles, role)
			if err != nil {
				return usageError("--role: %w", err)
			}
			if out == "" {
				out = a.path("people")
			}
			return a.addUser(ctx, conn, &apiv1.AddUserRequest{Name: args[0], Role: r, Tenant: tenant}, out)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&role, "role", "", "auditor, analyst, responder, approver, operator or admin (required)")
	f.StringVar(&tenant, "tenant", "", "the tenant that the role is for; all tenants if absent")
	f.StringVar(&out, "out", "", "folder for the certificate and key; people/ of the data folder if absent")
	_ = cmd.MarkFlagRequired("role")
	_ = cmd.MarkFlagDirname("out")
	a.offer(cmd, "role", event.Roles.All())
	return cmd
}

// addUser makes sure that the certificate can be kept before it exists.
func (a *app) addUser(ctx context.Context, conn *grpc.ClientConn, req *apiv1.AddUserRequest, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder for certificates: %w", err)
	}
	if err := a.checkAuthority(dir); err != nil {
		return err
	}
	files, err := newPersonFiles(dir, req.GetName())
	if err != nil {
		return err
	}
	defer files.discard()
	resp, err := apiv1.NewAdminServiceClient(conn).AddUser(ctx, req)
	if err != nil {
		return advise(err, codes.AlreadyExists, "custody user list, or another name")
	}
	if err := files.keep(resp); err != nil {
		return fail(exitFailed, err, "the role is granted, and its certificate is lost", "custody user remove "+shellWord(req.GetName())+", and grant its roles again")
	}
	crt, key, ca := files[0].name, files[1].name, files[2].name
	return a.say(object{{"name", req.GetName()}, {"certificate", crt}, {"key", key}, {"authority", ca}}, "%s: certificate %s, key %s\n", req.GetName(), crt, key)
}

// checkAuthority refuses a folder with certificates of another server.
func (a *app) checkAuthority(dir string) error {
	there, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ours, err2 := os.ReadFile(a.path("people", "ca.crt"))
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("read authority: %w", err)
	}
	if !bytes.Equal(there, ours) {
		return fail(exitConflict, fmt.Errorf("%s holds certificates of another server", dir), nothingChanged, "choose another --out")
	}
	return nil
}

// personFiles are a person's certificate, its key and the authority's certificate, each beside its place until all is there.
type personFiles [3]struct {
	name string
	temp *os.File // 0600
}

// newPersonFiles makes the files, empty: what cannot be kept is not asked for. What stands in their place stays until keep.
func newPersonFiles(dir, name string) (files personFiles, err error) {
	for i, file := range []string{name + ".crt", name + ".key", "ca.crt"} {
		files[i].name = filepath.Join(dir, file)
		if info, stat := os.Stat(files[i].name); stat == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s: %w", files[i].name, fs.ErrExist)
		}
		if err == nil {
			files[i].temp, err = os.CreateTemp(dir, ".new-*")
		}
		if err != nil {
			files.discard()
			return files, fmt.Errorf("write certificate: %w", err)
		}
	}
	return files, nil
}

// keep puts everything in its place, with the mode of a new file: the key that stood there may have been open to others.
func (f *personFiles) keep(p *apiv1.AddUserResponse) error {
	for i, content := range [][]byte{p.GetCertificatePem(), p.GetKeyPem(), p.GetCaPem()} {
		_, err := f[i].temp.Write(content)
		if err = errors.Join(err, f[i].temp.Sync()); err != nil {
			return fmt.Errorf("write certificate: %w", err)
		}
	}
	for _, file := range f {
		if err := os.Rename(file.temp.Name(), file.name); err != nil {
			return fmt.Errorf("write certificate: %w", err)
		}
	}
	return nil
}

// discard removes what was not kept.
func (f *personFiles) discard() {
	for _, file := range f {
		if file.temp != nil {
			_ = file.temp.Close()
			_ = os.Remove(file.temp.Name())
		}
	}
}

func (a *app) userRemove() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Take a person's roles away",
		Long:              "Take a person's roles away: in one tenant, or those over all tenants. It counts from the next call on.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: noFiles,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			_, err := apiv1.NewAdminServiceClient(conn).RemoveUser(ctx, &apiv1.RemoveUserRequest{Name: args[0], Tenant: tenant})
			err = advise(advise(err, codes.NotFound, "custody user list"), codes.FailedPrecondition, "custody user list; an admin over all tenants: custody user add NAME --role admin")
			if err != nil {
				return err
			}
			return a.say(object{{"name", args[0]}, {"removed", true}}, "%s: roles taken away\n", args[0])
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only in this tenant; the roles over all tenants if absent")
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
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant; all that you may see if absent")
	return cmd
}

func renderGrants(w io.Writer, grants []*apiv1.GrantInfo) {
	t := newGrid("name", "role", "tenant", "certificate")
	for _, g := range grants {
		tenant := g.GetTenant()
		if tenant == "" {
			tenant = "(all)"
		}
		t.row(word(g.GetName()), event.Roles.Name(g.GetRole()), tenant, short(g.GetCertificate()))
	}
	t.print(w)
}
