// Package agent_test holds the example agents to what the documentation says of them: the recorded one is the plain one
// and at most fifteen lines more, does the same, and leaves the whole story behind.
package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/event"
)

// mostAddedLines is what it may take to record an agent.
const mostAddedLines = 15

func TestRecordingTakesFewLines(t *testing.T) {
	// git diff --no-index ends with 1 when the files differ
	out, err := exec.CommandContext(t.Context(), "git", "diff", "--no-index", "--numstat", "plain/main.go", "recorded/main.go").Output()
	if err == nil {
		t.Fatal("the two agents are the same")
	}
	var added, removed int
	if _, err := fmt.Sscan(string(out), &added, &removed); err != nil {
		t.Fatalf("git diff: %q, %v", out, err)
	}
	if added > mostAddedLines || removed > 2 {
		t.Errorf("recording adds %d lines and takes %d away, want at most %d and 2", added, removed, mostAddedLines)
	}
}

func TestBothAgentsDoTheSame(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, "support-1")
	plain, recorded := run(t, "plain", ""), run(t, "recorded", dir)
	if diff := cmp.Diff(plain, recorded); diff != "" || !strings.Contains(plain, "send_email: sent to alice@example.com") {
		t.Errorf("output (-plain +recorded):\n%s", diff)
	}
	var got []string
	for _, e := range server.Events("support-1") {
		got = append(got, strings.TrimSuffix(event.Action(e)+" "+e.GetExecution().GetTool(), " "))
	}
	want := []string{"identity.run_started", "data.input_received"}
	for _, tool := range []string{"search_help", "lookup_order", "send_email"} {
		want = append(want, "execution.proposed "+tool, "execution.decided "+tool, "execution.started "+tool, "execution.finished "+tool, "data.document_retrieved")
	}
	if diff := cmp.Diff(append(want, "identity.run_ended"), got); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}

// run builds and runs one of the agents.
func run(t *testing.T, agent, emitter string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), agent)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./"+agent).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", agent, err, out)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "CUSTODY_EMITTER="+emitter)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run %s: %v\n%s", agent, err, out)
	}
	return string(out)
}
