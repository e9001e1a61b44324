package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/agentcustody/custody/store/engine"
)

// maxRunbook is one page, in lines: what is longer is not read at 3 a.m.
const maxRunbook = 90

// runbookSetting is the world that the runbook speaks of: a tenant acme with a support-1, and a record 4 to ask about.
const runbookSetting = `
custody tenant create acme
custody instance create acme/support-1 --client 'Big Shop' --allow 'read:*:low' --allow 'send:*:high'
custody enroll acme/support-1 --into emitter
custody instance create acme/canary-1 --canary --allow 'read:*:low'
custody enroll acme/canary-1 --into canary
`

// expected are the exit codes of the runbook's commands that do not end with 0 here: nobody has seen from outside that the canary
// stopped, no process runs, and one person is alone.
var expected = map[string]int{
	"custody armed --now": exitProblems, "custody drill": exitProblems, "custody release support-1": exitDenied, "custody contain --apply": exitNotFound,
}

// TestRunbook runs every command of the runbook in its order, on a server of its own.
func TestRunbook(t *testing.T) {
	text, err := os.ReadFile("../../docs/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\n")); n > maxRunbook {
		t.Errorf("the runbook has %d lines, and is one page of %d", n, maxRunbook)
	}
	dir := readmeFolder(t)
	library, err := engine.Find()
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "CUSTODY_LIBCHDB="+library, "CUSTODY_HOME="+filepath.Join(dir, "home"), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	server, err := startProcess(env, "serve", "--listen", "127.0.0.1:0", "--disk-reserve", "1", "--data", filepath.Join(dir, "home"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.stop() })
	for line := range strings.Lines(runbookSetting) {
		runLine(t, dir, env, line, 0)
	}
	commands := runbookCommands(string(text))
	if len(commands) < 15 {
		t.Fatalf("only %d commands", len(commands))
	}
	for _, line := range commands {
		runLine(t, dir, env, line, expectedOf(line))
	}
}

func expectedOf(line string) int {
	for prefix, code := range expected {
		if strings.HasPrefix(line, prefix) {
			return code
		}
	}
	return 0
}

// inText finds commands in running text.
var inText = regexp.MustCompile("`(custody [^`]+)`")

// runbookCommands are the commands of the blocks and of the text, in their order, with what a person would fill in filled in.
func runbookCommands(text string) (commands []string) {
	inBlock := false
	fill := strings.NewReplacer("CANARY", "acme/canary-1", "FILE", "report.json", "PLAN", "p-aaaaaaaaaaaa --reason WHY", "@4711", "@4")
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock = !inBlock
		case inBlock:
			commands = append(commands, fill.Replace(strings.TrimSpace(line)))
		default:
			for _, m := range inText.FindAllStringSubmatch(line, -1) {
				commands = append(commands, fill.Replace(m[1]))
			}
		}
	}
	return commands
}

// runLine runs one command line and expects its exit code.
func runLine(t *testing.T, dir string, env []string, line string, want int) {
	t.Helper()
	if strings.TrimSpace(line) == "" {
		return
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", line)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
		t.Errorf("%s: %v, want exit code %d\n%s", line, err, want, out)
	}
}
