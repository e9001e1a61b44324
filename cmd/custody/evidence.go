package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/evidence"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// evidenceCommand exports evidence.
func (a *app) evidenceCommand() *cobra.Command {
	return group("evidence", "Export evidence that verifies offline, draw samples, state isolation", a.evidenceExport(), a.evidenceSample(), a.evidenceIsolation())
}

// exportFlags are the flags of evidence export.
type exportFlags struct {
	tenant, instance, run, from, to, grace, purpose, out string
	withhold, disclose, checkpoints                      []string
	at                                                   uint64
	closed                                               bool
}

func (a *app) evidenceExport() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export a tenant's events of a time range as one bundle",
		Long: "Export a tenant's events, received within a time range, as one bundle. The export is itself recorded in the log. Sealed\n" +
			"content is disclosed unless it is redacted; a redacted bundle verifies all the same. The reader needs custody-verify\n" +
			"and the policy file of custody policy export, nothing else.",
		Example: "  custody evidence export --tenant acme --from 2026-01-01 --to 2026-04-01 --purpose 'Q1 review' --out q1.evb\n" +
			"  custody evidence export --tenant acme --redact content='personal data' --out q1.evb\n" +
			"  custody-verify q1.evb --policy acme.policy.json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := f.request()
			if err == nil {
				err = free(f.out)
			}
			if err != nil {
				return err
			}
			return a.call(func(ctx context.Context, conn *grpc.ClientConn, _ []string) error {
				return a.export(ctx, conn, req, f.out)
			})(cmd, args)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *exportFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.tenant, "tenant", "", "tenant to export (required)")
	fl.StringVar(&f.instance, "instance", "", "only this instance; what others recorded is linked, without name or content")
	fl.StringVar(&f.run, "run", "", "only this run of the instance")
	fl.StringVar(&f.from, "from", "", "received from this time on: 2026-01-31, RFC 3339, or a duration back from now (24h, 7d)")
	fl.StringVar(&f.to, "to", "", "received before this time; now if absent")
	fl.StringVar(&f.grace, "grace", "", "also what arrived this long after --to: 7d, 12h")
	fl.StringArrayVar(&f.checkpoints, "from-checkpoint", nil, "prove that the log continues this checkpoint, or that of this bundle, FILE (repeatable)")
	fl.Uint64Var(&f.at, "at", 0, "the log as it was at this size, for which there must be a checkpoint")
	fl.StringVar(&f.purpose, "purpose", "", "why, for the record")
	fl.StringVar(&f.out, "out", "", "bundle file, which must not exist (required)")
	fl.StringArrayVar(&f.withhold, "redact", nil, "withhold a sealed field that some record has, PATH=REASON (repeatable)")
	fl.StringArrayVar(&f.disclose, "disclose", nil, "disclose only this sealed field, PATH (repeatable)")
	fl.BoolVar(&f.closed, "disclose-nothing", false, "withhold every sealed field")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("out")
}

func (f *exportFlags) request() (*apiv1.ExportRequest, error) {
	req := &apiv1.ExportRequest{
		Tenant: f.tenant, Instance: f.instance, Run: f.run, Purpose: f.purpose, Withhold: f.withhold, Disclose: f.disclose, DiscloseNothing: f.closed,
		At: f.at,
	}
	err := errors.Join(parse("from", f.from, parseTime, &req.From), parse("to", f.to, parseTime, &req.To), parse("grace", f.grace, parseGrace, &req.Grace))
	if err != nil {
		return nil, usageError("%w", err)
	}
	for _, name := range f.checkpoints {
		note, err := readCheckpoint(name)
		if err != nil {
			return nil, err
		}
		req.Checkpoints = append(req.Checkpoints, note)
	}
	return req, nil
}

// readCheckpoint reads a signed checkpoint, or that of a bundle.
func readCheckpoint(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	note, err := evidence.ReadCheckpoint(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return note, nil
}

// parseTime reads a date, an RFC 3339 time or a duration back from now, as nanoseconds since the Unix epoch.
func parseTime(s string) (int64, error) {
	if d, err := parseSpan(s); err == nil && d > 0 {
		return sinceEpoch(s, time.Now().Add(-d))
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return sinceEpoch(s, t)
		}
	}
	return 0, fmt.Errorf("%q is not a date (2026-01-31), a time in UTC or with its zone (2026-01-31T12:00:00Z) or a duration back from now (24h, 7d)", s)
}

// sinceEpoch is a time in nanoseconds since the Unix epoch, of which 0 would mean that there is no bound and 64 bits reach until 2262.
func sinceEpoch(s string, t time.Time) (int64, error) {
	if t.Before(time.Unix(0, 1)) || t.After(time.Unix(0, math.MaxInt64)) {
		return 0, fmt.Errorf("%q is not between 1970-01-01 and 2262-04-11", s)
	}
	return t.UnixNano(), nil
}

// parseSpan reads a number of days (7d) or a duration (12h).
func parseSpan(s string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(s, "d")
	if n, err := strconv.ParseUint(days, 10, 15); isDays && err == nil {
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

// parseGrace reads a number of days (7d) or a duration, as seconds.
func parseGrace(s string) (uint32, error) {
	d, err := parseSpan(s)
	if err != nil || d < time.Second || d/time.Second > math.MaxUint32 {
		return 0, fmt.Errorf("%q is not a number of days (7d) or a duration (12h)", s)
	}
	return uint32(d / time.Second), nil
}

// free refuses to write over a file: what was handed over as evidence must not change.
func free(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fail(exitConflict, fmt.Errorf("%s exists already", path), nothingChanged, "name another file with --out")
	}
	return nil
}

// export writes the bundle beside its name first, so that a broken export never looks like a bundle.
func (a *app) export(ctx context.Context, conn *grpc.ClientConn, req *apiv1.ExportRequest, out string) error {
	stream, err := apiv1.NewEvidenceServiceClient(conn).Export(ctx, req)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(out), ".custody-export-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make bundle: %w", err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it has its final name by then, or is worth nothing
	defer tmp.Close()
	last, err := a.receiveBundle(stream, &longFile{File: tmp})
	if err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	if err := os.Link(tmp.Name(), out); err != nil { // unlike a rename, it never replaces a file
		return fmt.Errorf("name bundle: %w", err)
	}
	return a.say(object{{"tenant", req.GetTenant()}, {"events", last.GetEvents()}, {"bundle", out}},
		"exported %d events of %s to %s\n", last.GetEvents(), req.GetTenant(), out)
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
