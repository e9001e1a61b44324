//go:build interop

package traces

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tenant is what the importer calls the suite.
const tenant = "agentdojo-workspace"

// verdict is what custody-verify says, as far as this test looks at it.
type verdict struct {
	Exit                                  int
	Integrity, Authenticity, Completeness string
	Selection                             *struct{ Basis string }
	Records                               struct{ Records, Clear, Outside uint64 }
	Vantage                               struct{ Imported uint64 }
}

// answers are what must be said of both bundles.
type answers struct {
	Exit                                  int
	Integrity, Authenticity, Completeness string
}

// TestRealTraces imports every run of one suite, exports the tenant and one run of it, and has both verifiers look at both.
func TestRealTraces(t *testing.T) {
	suite, python := traces(t), python(t)
	d := newDesk(t)
	var imported struct{ Runs, Events uint64 }
	d.json(&imported, "import", "agentdojo", suite)
	d.custody("policy", "export", "--tenant", tenant, "--out", d.policy)

	d.custody("evidence", "export", "--tenant", tenant, "--out", d.bundle("tenant"))
	whole := d.verify("tenant")
	if whole.Vantage.Imported < imported.Events || whole.Records.Outside != 0 {
		t.Errorf("%d events were imported, the bundle of the tenant shows %+v", imported.Events, whole)
	}
	second := d.secondVerifier(python, "tenant") // takes longest, so it begins before the rest

	run := d.firstRun()
	d.custody("evidence", "export", "--tenant", tenant, "--instance", run.Instance, "--run", run.Run, "--out", d.bundle("run"))
	part := d.verify("run")
	if part.Selection == nil || part.Selection.Basis != "contiguous" || part.Records.Clear == 0 || part.Records.Outside < whole.Records.Records-part.Records.Clear {
		t.Errorf("the bundle of %+v shows %+v", run, part)
	}
	if err := errors.Join(d.secondVerifier(python, "run")(), second()); err != nil {
		t.Error(err)
	}
	t.Logf("%d runs, %d records, %d of one run", imported.Runs, whole.Records.Records, part.Records.Clear)
}

// traces is the file of the suite.
func traces(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("CUSTODY_DATA")
	if dir == "" {
		t.Skip("CUSTODY_DATA names no folder of traces: see docs/DATA.md")
	}
	file := filepath.Join(dir, "agentdojo", "workspace.jsonl.zst")
	if _, err := os.Stat(file); err != nil {
		t.Skip("CUSTODY_DATA has no agentdojo/workspace.jsonl.zst: see docs/DATA.md")
	}
	return file
}

// python is an interpreter that has the library, which Debian installs for its own.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(t.Context(), name, "-c", "import cryptography").Run() == nil {
			return name
		}
	}
	t.Skip("the verifier in Python needs Debian's package python3-cryptography, which is not installed")
	return ""
}

// desk is a folder with the programs, a running server and what was exported from it.
type desk struct {
	t                           *testing.T
	program, data, policy, root string
}

// newDesk builds the programs and starts a server, which ends with the test.
func newDesk(t *testing.T) *desk {
	t.Helper()
	root := t.TempDir()
	d := &desk{t, filepath.Join(root, "custody"), filepath.Join(root, "data"), filepath.Join(root, "policy.json"), root}
	d.run(exec.CommandContext(t.Context(), "go", "build", "-o", root, "../../cmd/custody", "../../cmd/custody-verify"))
	serve := exec.Command(d.program, "serve", "--listen", "127.0.0.1:0", "--data", d.data) //nolint:noctx // it ends below, in order
	out, err := serve.StdoutPipe()
	if err == nil {
		err = serve.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(serve.Process.Signal(syscall.SIGTERM), serve.Wait()); err != nil {
			t.Error(err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the server is not ready: %q, %v", line, err)
	}
	return d
}

// run runs a program that must succeed, and returns what it prints.
func (d *desk) run(cmd *exec.Cmd) []byte {
	d.t.Helper()
	problems := &strings.Builder{}
	cmd.Stderr = problems
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, problems)
	}
	return out
}

func (d *desk) custody(args ...string) []byte {
	d.t.Helper()
	return d.run(exec.CommandContext(d.t.Context(), d.program, append(args, "--data", d.data)...))
}

// json runs a command and reads the first object that it prints.
func (d *desk) json(into any, args ...string) {
	d.t.Helper()
	line, _, _ := strings.Cut(string(d.custody(append(args, "-o", "jsonl")...)), "\n")
	if err := json.Unmarshal([]byte(line), into); err != nil {
		d.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, line)
	}
}

// place is one run of one instance.
type place struct{ Instance, Run string }

// firstRun is the run that the log began with.
func (d *desk) firstRun() place {
	d.t.Helper()
	var found struct{ Event place }
	d.json(&found, "search", "--tenant", tenant, "--kind", "identity", "--action", "run_started", "--limit", "1")
	return found.Event
}

// bundle is a bundle in a folder of its own, as the second verifier takes its vectors.
func (d *desk) bundle(name string) string {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Join(d.root, name), 0o700); err != nil {
		d.t.Fatal(err)
	}
	return filepath.Join(d.root, name, name+".evb")
}

// verify has custody-verify examine a bundle, which must be complete, and keeps its verdict for the second verifier.
func (d *desk) verify(name string) (v verdict) {
	d.t.Helper()
	out := d.run(exec.CommandContext(d.t.Context(), d.program+"-verify", d.bundle(name), "--policy", d.policy, "-o", "json"))
	policy, err := os.ReadFile(d.policy)
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	want := answers{0, "intact", "authentic", "complete"}
	if diff := cmp.Diff(want, answers{v.Exit, v.Integrity, v.Authenticity, v.Completeness}); diff != "" {
		d.t.Fatalf("bundle of the %s (-want +got):\n%s%s", name, diff, out)
	}
	vector := fmt.Appendf(nil, `{"policy": %s, "fails": [], "verdict": %s}`, policy, out)
	if err := os.WriteFile(filepath.Join(d.root, name, name+".json"), vector, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return v
}

// secondVerifier begins to hold the verifier in Python to the verdict of custody-verify, and returns how to wait for it.
func (d *desk) secondVerifier(python, name string) (wait func() error) {
	d.t.Helper()
	said := &strings.Builder{}
	cmd := exec.CommandContext(d.t.Context(), python, "-B", "../vectors.py", filepath.Join(d.root, name))
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return func() error {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("second verifier on the %s: %w\n%s", name, err, said)
		}
		return nil
	}
}
