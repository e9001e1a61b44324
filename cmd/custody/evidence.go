package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// evidenceCommand exports evidence.
func (a *app) evidenceCommand() *cobra.Command {
	return group("evidence", "Export evidence that verifies offline", a.evidenceExport())
}

// exportFlags are the flags of evidence export.
type exportFlags struct {
	tenant, from, to, purpose, out string
	withhold                       []string
	closed                         bool
}

func (a *app) evidenceExport() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:     "export",
		Short:   "Export a tenant's events of a time range as one bundle",
		Long:    "Export a tenant's events, received within a time range, as one bundle. The export is itself recorded in the log.\n\n" + exitHelp,
		Example: "  custody evidence export --tenant acme --from 2026-01-01 --to 2026-04-01 --purpose 'Q1 review' --out q1.evb\n  custody-verify q1.evb --policy acme.policy.json",
		Args:    cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			req, err := f.request()
			if err != nil {
				return err
			}
			return a.export(ctx, conn, req, f.out)
		}),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.tenant, "tenant", "", "tenant to export (required)")
	fl.StringVar(&f.from, "from", "", "first received time, UTC (2026-01-31 or RFC 3339); the beginning if absent")
	fl.StringVar(&f.to, "to", "", "received time past the end; now if absent")
	fl.StringVar(&f.purpose, "purpose", "", "why, for the record")
	fl.StringVar(&f.out, "out", "", "bundle file (required)")
	fl.StringArrayVar(&f.withhold, "redact", nil, "withhold a sealed field, PATH=REASON (repeatable)")
	fl.BoolVar(&f.closed, "disclose-nothing", false, "withhold every sealed field")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

func (f *exportFlags) request() (*apiv1.ExportRequest, error) {
	from, err := parseTime(f.from)
	if err != nil {
		return nil, usageError("--from: %s", err)
	}
	to, err := parseTime(f.to)
	if err != nil {
		return nil, usageError("--to: %s", err)
	}
	return &apiv1.ExportRequest{Tenant: f.tenant, From: from, To: to, Purpose: f.purpose, Withhold: f.withhold, DiscloseNothing: f.closed}, nil
}

// parseTime reads a date, an RFC 3339 time or a duration back from now, as nanoseconds since the Unix epoch; empty is 0.
func parseTime(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return time.Now().Add(-d).UnixNano(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, fmt.Errorf("%q is not a date (2026-01-31), a time (2026-01-31T12:00:00Z) or a duration back from now (24h)", s)
}

// export writes the bundle beside its name first, so that a broken export never looks like a bundle.
func (a *app) export(ctx context.Context, conn *grpc.ClientConn, req *apiv1.ExportRequest, out string) error {
	stream, err := apiv1.NewEvidenceServiceClient(conn).Export(ctx, req)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".custody-export-*")
	if err != nil {
		return fmt.Errorf("create bundle: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	last, err := a.receiveBundle(stream, tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.Rename(tmp.Name(), out); err != nil {
		return fmt.Errorf("name bundle: %w", err)
	}
	fmt.Fprintf(a.out, "exported %d events of %s to %s\n", last.GetEvents(), req.GetTenant(), out)
	return nil
}

// receiveBundle copies the chunks and returns the last message.
func (a *app) receiveBundle(stream grpc.ServerStreamingClient[apiv1.ExportResponse], w io.Writer) (*apiv1.ExportResponse, error) {
	bar := a.progress("export")
	defer bar.done()
	last := &apiv1.ExportResponse{}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(m.GetChunk()); err != nil {
			return nil, fmt.Errorf("write bundle: %w", err)
		}
		last = m
		bar.show("%d of %d events", m.GetEvents(), m.GetTotal())
	}
}

// policyCommand exports what a verifier must trust.
func (a *app) policyCommand() *cobra.Command {
	return group("policy", "Export what a verifier must be told to trust", a.policyExport())
}

func (a *app) policyExport() *cobra.Command {
	var tenant, out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write a tenant's policy file and print its fingerprints, to compare by telephone",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
			resp, err := apiv1.NewEvidenceServiceClient(conn).ExportPolicy(ctx, &apiv1.ExportPolicyRequest{Tenant: tenant})
			if err != nil {
				return err
			}
			return a.writePolicy(resp.GetPolicy(), out)
		}),
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "tenant (required)")
	cmd.Flags().StringVar(&out, "out", "", "policy file; standard output if absent")
	_ = cmd.MarkFlagRequired("tenant")
	return cmd
}
