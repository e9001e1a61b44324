package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

func (a *app) evidenceIsolation() *cobra.Command {
	var tenant, from, to, purpose, out string
	cmd := &cobra.Command{
		Use:   "isolation",
		Short: "State what a tenant's records share with other tenants, signed",
		Long: "State what a tenant's records share with other tenants: every recorded credential, connector, memory key and artefact that\n" +
			"records of both name, and causes across. The first line says how many connections are recorded, or none. Other tenants\n" +
			"appear under labels made for the statement alone. Only people with a role over all tenants may ask, because the answer\n" +
			"would tell a tenant whether somebody else has a value that it names; hand the statement to the tenant.",
		Example: "  custody evidence isolation --tenant acme --from 2026-01-01 --to 2026-04-01 --out q1.isolation\n" +
			"  custody-verify q1.isolation --policy acme.policy.json --bundle q1.evb",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &apiv1.IsolationRequest{Tenant: tenant, Purpose: purpose}
			if err := errors.Join(parse("from", from, parseTime, &req.From), parse("to", to, parseTime, &req.To)); err != nil {
				return usageError("%w", err)
			}
			if out != "" {
				if err := free(out); err != nil {
					return err
				}
			}
			return a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
				return a.isolation(ctx, conn, req, out)
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "tenant that the statement is about (required)")
	f.StringVar(&from, "from", "", "received from this time on: 2026-01-31, RFC 3339, or a duration back from now (24h, 7d)")
	f.StringVar(&to, "to", "", "received before this time; now if absent")
	f.StringVar(&purpose, "purpose", "", "why, for the record")
	f.StringVar(&out, "out", "", "file of the statement, which must not exist; standard output if absent")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}

func (a *app) isolation(ctx context.Context, conn *grpc.ClientConn, req *apiv1.IsolationRequest, out string) error {
	resp, err := apiv1.NewEvidenceServiceClient(conn).Isolation(ctx, req)
	if err != nil {
		return err
	}
	if out == "" {
		_, err := a.out.Write(resp.GetStatement())
		return err
	}
	if err := writeNew(out, resp.GetStatement()); err != nil {
		return fmt.Errorf("write statement: %w", err)
	}
	says, _, _ := bytes.Cut(resp.GetStatement(), []byte("\n"))
	return a.say(object{{"tenant", req.GetTenant()}, {"says", string(says)}, {"statement", out}}, "%s\nstatement written to %s\n", says, out)
}
