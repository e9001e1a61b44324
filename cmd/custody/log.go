package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// logCommand reads logs as other people's tools do.
func (a *app) logCommand() *cobra.Command {
	return group("log", "Read a tenant's log as a C2SP tiled log: checkpoints, hashes, leaves",
		a.logCheckpoint(), a.logRead(), a.logKey())
}

func (a *app) logCheckpoint() *cobra.Command {
	var tenant, out string
	var confirmed bool
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Write the newest signed state of the log, to keep and to hold later bundles against",
		Long: "Write the newest checkpoint: a signed note of how many records the log has and the hash of them all. Whoever keeps one\n" +
			"notices if the log is changed before it. With --confirmed it is the newest that witnesses or a time-stamp authority confirm.",
		Example: "  custody log checkpoint --tenant acme --out acme-2026-01-31.checkpoint",
		Args:    cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			path := "checkpoint"
			if confirmed {
				path = "confirmed"
			}
			return a.writeLog(ctx, conn, tenant, path, out)
		})),
	}
	logFlags(cmd, &tenant, &out)
	cmd.Flags().BoolVar(&confirmed, "confirmed", false, "the newest that others have confirmed")
	return cmd
}

func logFlags(cmd *cobra.Command, tenant, out *string) {
	cmd.Flags().StringVar(tenant, "tenant", "", "tenant (required)")
	cmd.Flags().StringVar(out, "out", "", "file, which must not exist; standard output if absent")
	_ = cmd.MarkFlagRequired("tenant")
}

func (a *app) logRead() *cobra.Command {
	var tenant, out string
	cmd := &cobra.Command{
		Use:   "read PATH",
		Short: "Write one resource of the tiled log: tile/L/N, tile/entries/N",
		Long: "Write a tile of hashes or a bundle of leaves, as https://c2sp.org/tlog-tiles names them. Leaves hold no content and no\n" +
			"name. With custody serve --log-listen the same is served over HTTPS, for tools that know tiled logs.",
		Example: "  custody log read tile/entries/000.p/12 --tenant acme --out leaves",
		Args:    cobra.ExactArgs(1),
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
			return a.writeLog(ctx, conn, tenant, args[0], out)
		})),
	}
	logFlags(cmd, &tenant, &out)
	return cmd
}

func (a *app) writeLog(ctx context.Context, conn *grpc.ClientConn, tenant, path, out string) error {
	resource, err := apiv1.NewLogServiceClient(conn).ReadLog(ctx, &apiv1.ReadLogRequest{Tenant: tenant, Path: path})
	if err != nil {
		return err
	}
	return a.writeOut(resource.GetContent(), out)
}

// writeOut writes a file that does not exist, or standard output.
func (a *app) writeOut(content []byte, out string) error {
	if out == "" {
		_, err := a.out.Write(content)
		return err
	}
	if err := writeNew(out, content); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}

func (a *app) logKey() *cobra.Command {
	var tenant, out string
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Write the log's line of a C2SP tlog-policy, for a witness that is to know the log",
		Example: "  custody log key --tenant acme --out acme.log\n" +
			"  custody witness serve --dir witness --name witness.example/w1 --logs acme.log",
		Args: cobra.NoArgs,
		RunE: a.call(a.read(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(ctx, &apiv1.ExportPolicyRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			policy, err := evidence.ParsePolicy(resp.GetPolicy())
			if err != nil {
				return fmt.Errorf("read policy: %w", err)
			}
			return a.writeOut([]byte(strings.Join([]string{"log " + policy.LogKey, "quorum none", ""}, "\n")), out)
		})),
	}
	logFlags(cmd, &tenant, &out)
	return cmd
}
