package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/store/engine"
)

// readmeReady waits for the server that the README starts in the background; a person takes longer to type.
const readmeReady = `
for i in $(seq 600); do [ -S "$CUSTODY_HOME/custody.sock" ] && break; sleep 0.1; done
`

// TestReadme runs the commands of the README as they stand there, but for the port, which another test may hold.
func TestReadme(t *testing.T) {
	commands := readmeCommands(t)
	script := strings.Replace(commands, "bin/custody serve &", "bin/custody serve --listen 127.0.0.1:0 & trap 'kill $!; wait $!' EXIT", 1)
	first, rest, ok := strings.Cut(script, "\n")
	if !ok || script == commands {
		t.Fatalf("the README does not begin with the server:\n%s", commands)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", first+readmeReady+rest)
	cmd.Dir = readmeFolder(t)
	library, err := engine.Find()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "CUSTODY_LIBCHDB="+library, "CUSTODY_HOME="+filepath.Join(cmd.Dir, "home"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`"ok":true`, "execution.started", ": 0 problems"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the README's commands print no %q:\n%s", want, out)
		}
	}
}

// readmeCommands is the README's second block of commands, without the comments behind them.
func readmeCommands(t *testing.T) string {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```sh\n")
	if len(blocks) < 3 {
		t.Fatal("the README has no second block of commands")
	}
	block, _, _ := strings.Cut(blocks[2], "```")
	return block
}

// readmeFolder is a folder in which bin/custody is this program.
func readmeFolder(t *testing.T) string {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "custody")); err != nil {
		t.Fatal(err)
	}
	return dir
}
