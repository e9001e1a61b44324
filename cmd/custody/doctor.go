package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store/engine"
)

// What doctor says of a part.
const (
	partOK   = "ok"
	partWarn = "warn" // works, but somebody should look
	partFail = "fail" // does not work
)

// finding is what doctor says of one part.
type finding struct {
	Part   string `json:"part"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"` // the command to run
}

const (
	// lowDisk is the free space below which doctor warns, in bytes: twice what the server keeps free.
	lowDisk = 2 << 30
	// soon is how long before its end doctor warns of a certificate.
	soon = 30 * 24 * time.Hour
	// clockSlack is how far files may be ahead of the clock: as far as the ledger lets a message be.
	clockSlack = 5 * time.Minute
)

// restoreKeys is what helps when the server's keys are gone or damaged: new ones would be of no use.
const restoreKeys = "restore keys/ from its backup"

// earliestClock is a time that every sound clock has passed.
var earliestClock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// doctorCommand looks at everything that usually goes wrong.
func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look at disk, clock, keys, connectors, engine, stream, store and ports",
		Long: "Look at disk, clock, keys, connectors, engine, stream, store and ports, and say what to do. Changes nothing, and starts no\n" +
			"server. A connector is run dry, and its probe tries the live credential.\n" +
			"Each line begins with ok, warn or fail; the exit code is 6 if a part fails. With -o json: a list of findings, each with\n" +
			"\"part\", \"state\", \"detail\" and \"next\".",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.printFindings(a.examine(cmd.Context()))
		},
	}
}

// examine looks at the parts: those of this machine, and the server if one runs.
func (a *app) examine(ctx context.Context) []finding {
	if err := a.unreadable(); err != nil && a.server == "" {
		return []finding{a.checkDisk(), a.checkClock(), checkEngine(), {"data", partFail, err.Error(), "run doctor as the user whom the folder belongs to"}}
	}
	all := append([]finding{a.checkDisk(), a.checkClock(), a.checkKeys(), a.checkCertificate()}, a.checkConnectors(ctx)...)
	s, trouble := a.askServer(ctx)
	switch {
	case s != nil:
		return append(all, serverFindings(s)...)
	case a.server != "":
		return append(all, trouble)
	case trouble.State == partFail: // a server has the port
		return append(all, checkEngine(), a.checkStream(), a.checkStore(), trouble)
	}
	return append(all, checkEngine(), a.checkStream(), a.checkStore(), trouble, a.checkPort())
}

func (a *app) printFindings(all []finding) error {
	var failed []string
	for i := range all {
		all[i].Next = a.here(all[i].Next)
		if all[i].State == partFail {
			failed = append(failed, all[i].Part)
		}
	}
	if err := a.showFindings(all); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fail(exitProblems, errors.New("doctor: to be mended: "+strings.Join(failed, ", ")), "doctor changes nothing", "the line after each fail")
	}
	return nil
}

func (a *app) showFindings(all []finding) error {
	switch a.format {
	case formatJSON:
		return a.printJSON(all)
	case formatJSONL:
		for _, f := range all {
			if err := a.printJSON(f); err != nil {
				return err
			}
		}
		return nil
	}
	for _, f := range all {
		fmt.Fprintf(a.out, "%-5s %-12s %s\n", f.State, f.Part, plain(f.Detail, 0))
		if f.Next != "" {
			fmt.Fprintf(a.out, "%18s next: %s\n", "", plain(f.Next, 0))
		}
	}
	return nil
}

// checkDisk looks at the free space of the volume that holds the data folder, or would.
func (a *app) checkDisk() finding {
	dir := a.data
	for !exists(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return finding{"disk", partFail, err.Error(), "custody doctor --data ANOTHER"}
	}
	free := st.Bavail * uint64(st.Bsize)
	f := finding{"disk", partOK, fmt.Sprintf("%d MiB free at %s", free>>20, dir), ""}
	if free < lowDisk {
		f.State, f.Next = partWarn, "free some space: below its reserve the server pushes back, and loses nothing"
	}
	return f
}

// checkClock compares the clock with what the files say: a clock that was set back makes the ledger halt.
func (a *app) checkClock() finding {
	now := time.Now().UTC()
	f := finding{"clock", partOK, now.Format(time.RFC3339), ""}
	if now.Before(earliestClock) {
		f.State, f.Next = partFail, "set the clock, then: custody serve"
	}
	for _, name := range []string{"stream", "store", "serve.lock"} {
		info, err := os.Stat(a.path(name))
		if err == nil && info.ModTime().After(now.Add(clockSlack)) {
			f = finding{"clock", partFail, fmt.Sprintf("%s, but %s was written at %s", f.Detail, name, info.ModTime().UTC().Format(time.RFC3339)), "set the clock, then: custody serve"}
		}
	}
	return f
}

// checkKeys looks for private files that others can read, and for keys that cannot be read at all.
func (a *app) checkKeys() finding {
	if !a.isFolder() {
		return finding{"keys", partWarn, "none yet in " + a.data, "custody serve"}
	}
	n, open, err := a.privateFiles()
	switch {
	case err != nil:
		return finding{"keys", partFail, err.Error(), "run doctor as the user whom the files belong to"}
	case open != "":
		return finding{"keys", partFail, open + " can be read by others", "chmod go= " + shellWord(open)}
	}
	for _, name := range []string{"system.pem", "log.pem", "time.pem"} {
		if _, err := signer.Load(a.path("keys", name)); err != nil {
			return finding{"keys", partFail, err.Error(), restoreKeys}
		}
	}
	authority := a.path("keys", "ca", "ca.pem")
	if _, err := tls.LoadX509KeyPair(authority, authority); err != nil {
		return finding{"keys", partFail, "certificate authority " + authority + ": " + err.Error(), restoreKeys}
	}
	if err := vault.Check(a.path("keys", "vault")); err != nil {
		return finding{"keys", partFail, err.Error(), restoreKeys}
	}
	return finding{"keys", partOK, fmt.Sprintf("%d private files, readable by their owner alone", n), ""}
}

// privateFiles counts the private files, and names one that others can read.
func (a *app) privateFiles() (n int, open string, err error) {
	for _, sub := range []string{"keys", "people"} {
		err := filepath.WalkDir(a.path(sub), func(path string, d fs.DirEntry, err error) error {
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
			return n, open, err
		}
	}
	return n, open, nil
}

// checkCertificate looks at the end of the caller's own certificate.
func (a *app) checkCertificate() finding {
	if a.server == "" && !a.isFolder() {
		return finding{"certificate", partWarn, "none yet in " + a.data, "custody serve"}
	}
	path := a.path("people", a.as+".crt")
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return finding{"certificate", partWarn, "none of " + a.as + " in " + a.path("people"), "custody user add " + shellWord(a.as) + " --role ROLE"}
	}
	block, _ := pem.Decode(raw)
	if err != nil || block == nil {
		return finding{"certificate", partFail, path + " is not a certificate", "custody user add " + shellWord(a.as) + " --role ROLE"}
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return finding{"certificate", partFail, path + ": " + err.Error(), "custody user add " + shellWord(a.as) + " --role ROLE"}
	}
	if _, err := tls.LoadX509KeyPair(path, a.path("people", a.as+".key")); err != nil {
		return finding{"certificate", partFail, path + " and its key: " + err.Error(), "custody user add " + shellWord(a.as) + " --role ROLE"}
	}
	f := finding{"certificate", partOK, fmt.Sprintf("%s, until %s", a.as, c.NotAfter.UTC().Format(time.DateOnly)), ""}
	if time.Now().Add(soon).After(c.NotAfter) {
		f.State, f.Next = partWarn, "custody user add "+shellWord(a.as)+" --role ROLE"
	}
	return f
}

func checkEngine() finding {
	path, err := engine.Find()
	if err != nil {
		return finding{"engine", partFail, err.Error(), "make engine"}
	}
	return finding{"engine", partOK, path, ""}
}

// checkStream looks at the embedded stream's folder while no server runs.
func (a *app) checkStream() finding {
	if !a.isFolder() {
		return finding{"stream", partOK, "none yet", ""}
	}
	if last, err := a.loadSettings(); err == nil && last.Elsewhere {
		return finding{"stream", partOK, "not looked at: store or stream is elsewhere", ""}
	}
	if !exists(a.path("stream", "jetstream")) {
		return finding{"stream", partFail, a.path("stream", "jetstream") + " is missing; the store still holds what was committed", "restore stream/ from its backup"}
	}
	return finding{"stream", partOK, a.path("stream"), ""}
}

// checkStore looks at the embedded store's folder while no server runs.
func (a *app) checkStore() finding {
	if !a.isFolder() {
		return finding{"store", partOK, "none yet", ""}
	}
	if last, err := a.loadSettings(); err == nil && last.Elsewhere {
		return finding{"store", partOK, "not looked at: store or stream is elsewhere", ""}
	}
	if entries, err := os.ReadDir(a.path("store")); err != nil || len(entries) == 0 {
		return finding{"store", partFail, a.path("store") + " is missing or empty; the stream still holds every event", "custody serve, and beside it: custody rebuild"}
	}
	return finding{"store", partOK, a.path("store"), ""}
}

// askServer asks a server that runs. Without one, trouble says what that means.
func (a *app) askServer(ctx context.Context) (s *apiv1.StatusResponse, trouble finding) {
	conn, stop, err := a.dial(ctx, a.server)
	if err != nil {
		if a.server != "" {
			return nil, finding{"server", partFail, oneLine(err), "custody status where the server runs"}
		}
		if a.isServed() {
			return nil, finding{"server", partFail, "custody serve has been run on " + a.data + " and does not answer: " + oneLine(err), "wait, or look at its log; if it hangs, stop it and run custody serve: what was acknowledged is safe"}
		}
		return nil, finding{"server", partWarn, "none runs on " + a.data, "custody serve"}
	}
	defer stop()
	if s, err = apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{}); err != nil {
		return nil, finding{"server", partFail, oneLine(explain(err)), "custody status"}
	}
	return s, finding{}
}

func serverFindings(s *apiv1.StatusResponse) []finding {
	return []finding{
		{"engine", partOK, s.GetStore(), ""},
		streamFinding(s),
		ledgerFinding(s),
		rulesFinding(s.GetRules()),
		{"server", partOK, "version " + s.GetVersion(), ""},
		checkReach(s.GetAddress()),
	}
}

func streamFinding(s *apiv1.StatusResponse) finding {
	f := finding{"stream", partOK, fmt.Sprintf("%s, %d messages", s.GetStream(), s.GetStreamLast()), ""}
	if s.GetPushback() != "" {
		f = finding{
			"stream", partFail, "emitters are pushed back, and keep what they have: " + s.GetPushback(),
			"free some space, or custody serve with another --disk-reserve or --stream-max; a ledger that is behind catches up: custody status",
		}
	}
	return f
}

func ledgerFinding(s *apiv1.StatusResponse) finding {
	switch {
	case strings.HasPrefix(s.GetLedgerError(), waits):
		return finding{"ledger", partWarn, s.GetLedgerError(), "custody status --wait 1m"}
	case s.GetLedgerError() != "":
		return finding{"ledger", partFail, s.GetLedgerError(), "docs/OPERATIONS.md, When it says no; acknowledged events are safe in the stream"}
	}
	return finding{"ledger", partOK, fmt.Sprintf("committed %d of %d messages, backlog %d events", s.GetCommitted(), s.GetStreamLast(), s.GetBacklog()), ""}
}

func rulesFinding(r *apiv1.RulesStatus) finding {
	f := finding{"rules", partOK, rulesWord(r), ""}
	switch {
	case r.GetState() == rulesOff:
		f.State, f.Next = partFail, "custody serve, without --rules=off"
	case r.GetState() == rulesStopped:
		f.State, f.Next = partFail, "mend what it says, then start the server again: custody serve"
	case time.Duration(r.GetBehindFor()) > behindLong:
		f.State, f.Next = partWarn, "custody status again: they catch up, or the machine is too small"
	}
	return f
}

// reachPatience bounds the attempt to reach the server's port.
const reachPatience = 3 * time.Second

// checkReach connects to where emitters are told to connect.
func checkReach(address string) finding {
	conn, err := net.DialTimeout("tcp", address, reachPatience)
	if err != nil {
		return finding{"port", partWarn, "emitters are told " + address + ", which cannot be reached from here: " + err.Error(), "custody serve --listen ADDRESS --advertise ADDRESS"}
	}
	_ = conn.Close()
	return finding{"port", partOK, address + " can be reached", ""}
}

// checkPort looks whether the port is free that the server would take.
func (a *app) checkPort() finding {
	last, err := a.loadSettings()
	if err != nil {
		return finding{"port", partFail, err.Error(), "remove the file"}
	}
	l, err := net.Listen("tcp", last.Listen)
	if err != nil {
		return finding{"port", partWarn, err.Error(), "custody serve --listen 127.0.0.1:0"}
	}
	_ = l.Close()
	return finding{"port", partOK, last.Listen + " is free", ""}
}
