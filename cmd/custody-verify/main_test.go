package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/agentcustody/custody/evidence"
)

const (
	bundle    = "../../evidence/testdata/bundle/exported.evb"
	policy    = "../../evidence/testdata/bundle/policy.json"
	house     = "../../evidence/testdata/isolation/house" // .isolation, .evb
	household = "../../evidence/testdata/isolation/policy.json"
	kept      = "../../evidence/testdata/vectors/receipts-kept"    // .evb, .receipts
	omitted   = "../../evidence/testdata/vectors/receipts-omitted" // .evb, .receipts
	forged    = "../../evidence/testdata/vectors/receipts-of-another-key"
	revoked   = "../../signer/timestamp/testdata/another-root.crl" // a list of revoked certificates
)

// maxProgram is how large the program may be: small enough to be sent along, and to be read in an afternoon.
const maxProgram = 8_000_000

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.evb")
	if err := os.WriteFile(broken, []byte("no bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args        string
		exit        int
		out, stderr string // what must be said
	}{
		"verified":                      {bundle + " --policy " + policy, evidence.ExitVerified, "COMPLETE", ""},
		"flags first":                   {"--policy=" + policy + " " + bundle, evidence.ExitVerified, "AUTHENTIC", ""},
		"as JSON":                       {bundle + " -o json --policy " + policy, evidence.ExitVerified, `"exit": 0`, ""},
		"without a policy":              {bundle, evidence.ExitNoPolicy, "NOT-CLAIMED", ""},
		"broken":                        {broken + " --policy " + policy, evidence.ExitContainer, "not a well-formed", ""},
		"no such bundle":                {dir + "/none", evidence.ExitError, "", "none"},
		"a folder":                      {dir, evidence.ExitError, "", "directory"},
		"no such policy":                {bundle + " --policy " + dir + "/none", evidence.ExitError, "", "none"},
		"not a policy":                  {bundle + " --policy " + broken, evidence.ExitError, "", "malformed policy"},
		"nothing":                       {"", evidence.ExitUsage, "", "name one bundle"},
		"two bundles":                   {bundle + " " + bundle, evidence.ExitUsage, "", "name one bundle"},
		"unknown flag":                  {bundle + " --quick", evidence.ExitUsage, "", "quick"},
		"not an event":                  {bundle + " --event 17", evidence.ExitUsage, "", "event"},
		"an event":                      {bundle + " --policy " + policy + " --event 00000000-0000-7000-8000-000000000000", evidence.ExitVerified, "nothing is said of its time", ""},
		"a list of the revoked":         {bundle + " --policy " + policy + " --crl " + revoked, evidence.ExitVerified, "COMPLETE", ""},
		"no list of the revoked":        {bundle + " --crl " + broken, evidence.ExitError, "", "malformed list"},
		"no such list":                  {bundle + " --crl " + dir + "/none", evidence.ExitError, "", "none"},
		"kept receipts":                 {kept + ".evb --receipts " + kept + ".receipts", evidence.ExitNoPolicy, "2 receipts kept", ""},
		"broken receipts":               {omitted + ".evb --receipts " + omitted + ".receipts", evidence.ExitOmission, "MISSING", ""},
		"receipts of another log":       {forged + ".evb --receipts " + forged + ".receipts", evidence.ExitReceipts, "not a receipt of this log", ""},
		"broken receipts, JSON":         {omitted + ".evb -o json --receipts " + omitted + ".receipts", evidence.ExitOmission, `"missing": 1`, ""},
		"no receipts":                   {bundle + " --receipts " + broken, evidence.ExitError, "", "line 1"},
		"no such receipts":              {bundle + " --receipts none", evidence.ExitError, "", "none"},
		"receipts of a statement":       {house + ".isolation --receipts " + kept + ".receipts", evidence.ExitError, "", "goes with a bundle"},
		"unknown format":                {bundle + " -o html", evidence.ExitUsage, "", "text or json"},
		"help":                          {"--help", evidence.ExitVerified, "Exit codes", ""},
		"version":                       {"--version", evidence.ExitVerified, "custody-verify ", ""},
		"a statement":                   {house + ".isolation --policy " + household, evidence.ExitVerified, "5 recorded connections of acme", ""},
		"with its bundle":               {house + ".isolation --policy " + household + " --bundle " + house + ".evb", evidence.ExitVerified, "passed       connections", ""},
		"with another bundle":           {house + ".isolation --policy " + household + " --bundle " + bundle, evidence.ExitReport, "does not verify", ""},
		"statement, JSON":               {house + ".isolation -o json", evidence.ExitNoPolicy, `"connections"`, ""},
		"bundle of a bundle":            {bundle + " --bundle " + bundle, evidence.ExitError, "", "statement of isolation"},
		"no such bundle of a statement": {house + ".isolation --bundle none", evidence.ExitError, "", "none"},
		"policy, no bundle":             {"--policy " + policy, evidence.ExitUsage, "", "name one bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems bytes.Buffer
			if exit := run(t.Context(), strings.Fields(test.args), &out, &problems); exit != test.exit {
				t.Errorf("exit %d, want %d\n%s%s", exit, test.exit, out.String(), problems.String())
			}
			if !strings.Contains(out.String(), test.out) || !strings.Contains(problems.String(), test.stderr) || (test.stderr == "") != (problems.Len() == 0) {
				t.Errorf("says %q and %q", out.String(), problems.String())
			}
		})
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	run(t.Context(), []string{bundle, "-o", "json"}, &out, io.Discard)
	var v evidence.Verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil || v.Exit != evidence.ExitNoPolicy {
		t.Errorf("exit %d, %v", v.Exit, err)
	}
}

// The help must name every exit code.
func TestHelpListsExitCodes(t *testing.T) {
	for code := range evidence.ExitReceipts + 1 {
		listed := strings.Contains(usage, fmt.Sprintf("\n%4d  ", code))
		if exists := code <= evidence.ExitNoPolicy || code >= evidence.ExitContainer; listed != exists {
			t.Errorf("exit code %d: listed %v", code, listed)
		}
	}
}

// It must build, and be small, where auditors work.
func TestProgramIsSmallEverywhere(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "windows"} {
		program := filepath.Join(t.TempDir(), "custody-verify")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, ".")
		cmd.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: go build: %v\n%s", system, err, out)
		}
		info, err := os.Stat(program)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= maxProgram {
			t.Errorf("%s: %d bytes, limit %d", system, info.Size(), maxProgram)
		}
		if system != runtime.GOOS {
			continue
		}
		if said, err := exec.CommandContext(t.Context(), program, "--version").Output(); err != nil || !strings.HasPrefix(string(said), "custody-verify ") {
			t.Errorf("--version says %q, %v", said, err)
		}
	}
}
