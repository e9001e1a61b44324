package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store/engine"
)

// finding is what doctor says of one part.
type finding struct {
	Part   string `json:"part"`
	State  string `json:"state"` // ok, warn or fail
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

// lowDisk is the free space below which doctor warns, in bytes: room for a day of a busy small installation.
const lowDisk = 2 << 30

// earliestClock is a time that every sound clock has passed.
var earliestClock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// doctorCommand looks at everything that usually goes wrong.
func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at disk, clock, keys, engine, stream, store and ports",
		Long:  "Look at disk, clock, keys, engine, stream, store and ports, and say what to do. Changes nothing.\n\n" + exitHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := []finding{a.checkDisk(), checkClock(), a.checkKeys(), checkEngine()}
			all = append(all, a.checkServer(cmd.Context())...)
			return a.printFindings(all)
		},
	}
}

func (a *app) printFindings(all []finding) error {
	failed := 0
	for _, f := range all {
		if f.State == "fail" {
			failed++
		}
	}
	if a.format != formatTable {
		if err := a.printJSON(all); err != nil {
			return err
		}
	} else {
		for _, f := range all {
			fmt.Fprintf(a.out, "%-5s %-8s %s\n", f.State, f.Part, plain(f.Detail, 0))
			if f.Next != "" {
				fmt.Fprintf(a.out, "               next: %s\n", f.Next)
			}
		}
	}
	if failed > 0 {
		return fail(exitProblems, fmt.Errorf("doctor: %d parts need attention", failed), "doctor changes nothing", "see the lines marked fail")
	}
	return nil
}

// checkDisk looks at the free space of the volume that holds the data folder.
func (a *app) checkDisk() finding {
	dir := a.data
	for !exists(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{"disk", "fail", err.Error(), "choose another --data"}
	}
	free := st.Bavail * uint64(st.Bsize)
	f := finding{"disk", "ok", fmt.Sprintf("%d MiB free at %s", free>>20, dir), ""}
	if free < lowDisk {
		f.State, f.Next = "warn", "free some space: below the reserve the server pushes back (it loses nothing)"
	}
	return f
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func checkClock() finding {
	now := time.Now().UTC()
	if now.Before(earliestClock) {
		return finding{"clock", "fail", "the clock says " + now.Format(time.RFC3339), "set the clock before you start the server"}
	}
	return finding{"clock", "ok", now.Format(time.RFC3339), ""}
}

// checkKeys looks for private files that others can read.
func (a *app) checkKeys() finding {
	n, open := 0, ""
	for _, sub := range []string{"keys", "people"} {
		err := filepath.WalkDir(filepath.Join(a.data, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			n++
			if info.Mode().Perm()&0o077 != 0 {
				open = path
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return finding{"keys", "fail", err.Error(), ""}
		}
	}
	if open != "" {
		return finding{"keys", "fail", open + " can be read by others", "chmod 600 " + open}
	}
	return finding{"keys", "ok", fmt.Sprintf("%d private files, readable by their owner alone", n), ""}
}

func checkEngine() finding {
	path, err := engine.Find()
	if err != nil {
		return finding{"engine", "fail", err.Error(), "make engine"}
	}
	return finding{"engine", "ok", path, ""}
}

// checkServer asks a running server, or looks whether its port is free.
func (a *app) checkServer(ctx context.Context) []finding {
	conn, stop, err := a.dial(ctx, a.server)
	if err != nil {
		return []finding{{"server", "warn", "no server runs on " + a.data, "custody serve --data " + a.data}, checkPort()}
	}
	defer stop()
	s, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
	if err != nil {
		return []finding{{"server", "fail", explain(err).Error(), "custody status"}}
	}
	return []finding{
		{"server", "ok", s.GetAddress() + ", version " + s.GetVersion(), ""},
		{"stream", "ok", fmt.Sprintf("%s, %d messages", s.GetStream(), s.GetStreamLast()), ""},
		{"store", "ok", s.GetStore(), ""},
		ledgerFinding(s),
	}
}

func ledgerFinding(s *apiv1.StatusResponse) finding {
	if s.GetLedgerError() != "" {
		return finding{"ledger", "fail", s.GetLedgerError(), "the ledger waits for a person: acknowledged events are safe in the stream"}
	}
	return finding{"ledger", "ok", fmt.Sprintf("committed %d of %d messages, backlog %d events", s.GetCommitted(), s.GetStreamLast(), s.GetBacklog()), ""}
}

func checkPort() finding {
	l, err := net.Listen("tcp", node.DefaultListen)
	if err != nil {
		return finding{"port", "warn", node.DefaultListen + " is taken: " + err.Error(), "custody serve --listen 127.0.0.1:0"}
	}
	_ = l.Close()
	return finding{"port", "ok", node.DefaultListen + " is free", ""}
}
