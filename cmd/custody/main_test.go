// The command line is tested as a user types it: testdata/script holds the scripts. A new want file is written with
//
//	go test ./cmd/custody -run TestScripts -update
//
// Beside the commands of testscript there are these:
//
//	code N COMMAND…     run it, and expect this exit code
//	serve DIR [FLAG…]   start a server on a data folder and wait until it is ready; its address is in $ADDRESS
//	witness DIR NAME LOGS  run a witness on a folder; its line of a policy is in DIR.line
//	halt DIR            stop it in order
//	mask FILE OUT       write a file (or stdout, stderr) with ids, times and keys masked
//	take NAME PATTERN   set a variable to what the pattern's group finds in stdout
//	same BUNDLE BUNDLE  compare the files of two bundles, but those that an export signs anew
//	settle DIR          wait until everything is committed
//
// $ESC is the escape character. $SHARED is the data folder of a server that all scripts share; each has tenants of its own there. What lists all tenants is
// recorded in all of their logs, so scripts name their tenant.
package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agentcustody/custody/store/engine"
)

var update = flag.Bool("update", false, "write the want files of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"custody": main, "tamper": tamper})
}

func TestScripts(t *testing.T) {
	library, err := engine.Find()
	if err != nil {
		t.Fatal(err)
	}
	tools, shared := t.TempDir(), filepath.Join(t.TempDir(), "shared")
	build(t, tools, "../custody-verify", "../../examples/agent/recorded")
	server, err := startServer(append(os.Environ(), "CUSTODY_LIBCHDB="+library), shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after all scripts, which run in parallel
		if err := server.stop(); err != nil {
			t.Errorf("shared server: %v\n%s", err, server.log.String())
		}
	})
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("CUSTODY_LIBCHDB", library)
			e.Setenv("CUSTODY_HOME", filepath.Join(e.WorkDir, "data"))
			e.Setenv("ESC", "\x1b")
			e.Setenv("SHARED", shared)
			e.Setenv("SERVER", server.address)
			e.Setenv("REPOSITORY", repository)
			e.Setenv("PATH", e.Getenv("PATH")+string(filepath.ListSeparator)+tools)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "serve": cmdServe, "witness": cmdWitness, "halt": cmdHalt, "mask": cmdMask, "take": cmdTake, "settle": cmdSettle,
			"same": cmdSame,
		},
	})
}

// build makes the programs that are not this one.
func build(t *testing.T, dir string, packages ...string) {
	t.Helper()
	args := append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// server is `custody serve` as a process.
type server struct {
	cmd     *exec.Cmd
	address string
	about   string // its data folder, or a witness's key
	log     *lockedBuffer
}

// ready is the line that says that a server is ready.
var ready = regexp.MustCompile(`^custody(?: witness)?: ready on (\S+), (?:data in )?(\S+)`)

// startServer starts a server and waits until it is ready. Its port is one that the system chooses.
func startServer(env []string, dir string, flags ...string) (*server, error) {
	return startProcess(env, append([]string{"serve", "--listen", "127.0.0.1:0", "--disk-reserve", "1", "--data", dir}, flags...)...)
}

// startProcess runs custody and waits until it says that it is ready.
func startProcess(env []string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(context.Background(), "custody", args...), log: &lockedBuffer{}}
	s.cmd.Env, s.cmd.Stderr = env, s.log
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	found := ready.FindStringSubmatch(line)
	if err != nil || found == nil {
		return nil, fmt.Errorf("the server is not ready: %q, %w\n%s", line, s.cmd.Wait(), s.log.String())
	}
	s.address, s.about = found[1], found[2]
	return s, nil
}

func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	return s.cmd.Wait()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func cmdCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError) //nolint:errorlint // testscript passes it on as it is
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// servers are the servers of scripts, by data folder.
var servers sync.Map

func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: serve DIR [FLAG…]")
	}
	dir := ts.MkAbs(args[0])
	s, err := startServer([]string{"CUSTODY_LIBCHDB=" + ts.Getenv("CUSTODY_LIBCHDB"), "HOME=" + ts.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}, dir, args[1:]...)
	ts.Check(err)
	servers.Store(dir, s)
	ts.Setenv("ADDRESS", s.address)
	ts.Defer(func() { halt(ts, dir) })
}

func cmdWitness(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: witness DIR NAME LOGS")
	}
	dir := ts.MkAbs(args[0])
	s, err := startProcess(os.Environ(), "witness", "serve", "--dir", dir, "--name", args[1], "--logs", ts.MkAbs(args[2]), "--listen", "127.0.0.1:0")
	ts.Check(err)
	servers.Store(dir, s)
	ts.Check(os.WriteFile(dir+".line", fmt.Appendf(nil, "witness %s %s %s\n", filepath.Base(dir), s.about, s.address), 0o600))
	ts.Defer(func() { halt(ts, dir) })
}

func cmdHalt(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: halt DIR")
	}
	halt(ts, ts.MkAbs(args[0]))
}

func halt(ts *testscript.TestScript, dir string) {
	running, ok := servers.LoadAndDelete(dir)
	if !ok {
		return
	}
	if s := running.(*server); s.stop() != nil {
		ts.Logf("server on %s: %v\n%s", dir, s.cmd.ProcessState, s.log.String())
	}
}

func cmdSettle(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: settle DIR")
	}
	ts.Check(ts.Exec("custody", "--data", ts.MkAbs(args[0]), "status", "--wait", "1m"))
}

// masks hide what differs from run to run, mostly without changing its width.
var masks = []struct {
	pattern *regexp.Regexp
	with    func(string) string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`), constant("<event id>")},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), constant("<uuid>")},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}`), constant("YYYY-MM-DD hh:mm:ss.mmm")},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), constant("<time>")},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\b[0-9a-f]{12}\b`), sameWidth},
	{regexp.MustCompile(`\b([0-9a-f]{4} ){15}[0-9a-f]{4}\b`), constant("<fingerprint>")},
	{regexp.MustCompile(`"bytes": ?"[^"]*"`), constant(`"bytes": "<base64>"`)},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), constant("<address>")},
	{regexp.MustCompile(`\(process \d+\)`), constant("(process <pid>)")},
	{regexp.MustCompile(`\d+ checkpoints`), constant("<n> checkpoints")},
	{regexp.MustCompile(`"checkpoints": \d+`), constant(`"checkpoints": <n>`)},
	{regexp.MustCompile(`have seen \d+ of \d+ messages(, behind by \S+)?`), constant("have seen <n> messages")},
	{regexp.MustCompile(`\d+( of \d+)? messages`), constant("<n> messages")},
	{regexp.MustCompile(`\d+ MiB free`), constant("<n> MiB free")},
	{regexp.MustCompile(`(stream_bytes.*) \d+\n`), constant("stream_bytes <n>\n")},
	{regexp.MustCompile(`by process \d+`), constant("by process <pid>")},
	{regexp.MustCompile(`\d+ checkpoints`), constant("<n> checkpoints")}, // one a second
	{regexp.MustCompile(`"checkpoints": \d+`), constant(`"checkpoints": <n>`)},
	{regexp.MustCompile(`until \d{4}-\d\d-\d\d`), constant("until <date>")},
	{regexp.MustCompile(`p-[a-z2-7]{12}`), constant("p-xxxxxxxxxxxx")},
	{regexp.MustCompile(`NOT PROVEN \((may act until [0-9:]+|no gate has connected)\)`), constant("NOT PROVEN (<no gate>)")},
}

func constant(s string) func(string) string { return func(string) string { return s } }

func sameWidth(s string) string { return strings.Repeat("x", len(s)) }

func cmdMask(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: mask FILE OUT")
	}
	text := ts.ReadFile(args[0])
	for _, name := range []string{"WORK", "SHARED", "REPOSITORY"} {
		text = strings.ReplaceAll(text, ts.Getenv(name), "$"+name)
	}
	for _, m := range masks {
		text = m.pattern.ReplaceAllStringFunc(text, m.with)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

func cmdTake(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: take NAME PATTERN")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("stdout has no %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

var _ io.Writer = (*lockedBuffer)(nil)

// cmdSame compares every file of two bundles but those that an export signs anew.
func cmdSame(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same BUNDLE BUNDLE")
	}
	first, second := unzip(ts, args[0]), unzip(ts, args[1])
	for name, content := range first {
		switch name {
		case "manifest.json", "statement.dsse.json", "statement.sigstore.json", "custody.jsonl", "report.html":
		default:
			if !bytes.Equal(content, second[name]) {
				ts.Fatalf("%s differs:\n%.500s\n%.500s", name, content, second[name])
			}
		}
	}
	if len(first) != len(second) {
		ts.Fatalf("%d files, and %d", len(first), len(second))
	}
}

func unzip(ts *testscript.TestScript, name string) map[string][]byte {
	r, err := zip.OpenReader(ts.MkAbs(name))
	ts.Check(err)
	defer r.Close()
	files := map[string][]byte{}
	for _, f := range r.File {
		content, err := f.Open()
		ts.Check(err)
		files[f.Name], err = io.ReadAll(content)
		ts.Check(err)
	}
	return files
}
