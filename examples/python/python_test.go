// Package python_test runs the Python agent against a sidecar.
package python_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/edgetest"
	"github.com/agentcustody/custody/edge/sidecar"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// The environment in which the test program is the sidecar that the agent starts.
const asSidecar = "CUSTODY_TEST_AS_SIDECAR"

func TestMain(m *testing.M) {
	if os.Getenv(asSidecar) == "" {
		os.Exit(m.Run())
	}
	if err := serve(context.Background()); err != nil {
		slog.Error("sidecar", slog.Any("err", err))
		os.Exit(1)
	}
}

// serve is what `custody edge` does.
func serve(ctx context.Context) error {
	e, err := edge.FromEnv(ctx)
	if err != nil {
		return err
	}
	if err := sidecar.Serve(ctx, e, os.Stdin, os.Stdout); err != nil {
		return err
	}
	return e.Close(ctx)
}

var want = []string{
	"identity.run_started", "data.input_received untrusted",
	"execution.proposed lookup_order untrusted", "execution.decided lookup_order untrusted", "execution.started lookup_order untrusted",
	"execution.finished lookup_order untrusted", "data.document_retrieved untrusted",
	"execution.proposed send_email untrusted", "execution.decided send_email untrusted", "execution.started send_email untrusted",
	"execution.finished send_email untrusted", "data.document_retrieved untrusted",
	"identity.run_ended",
}

func TestTheAgentStartsItsSidecar(t *testing.T) {
	server := edgetest.New(t)
	dir := server.Join(t, "support-py")
	agent(t, asSidecar+"=1", "CUSTODY_EDGE="+os.Args[0], edge.EnvEmitter+"="+dir)
	checkStory(t, server)
}

func TestTheAgentUsesASocket(t *testing.T) {
	server := edgetest.New(t)
	e, err := edge.Open(t.Context(), edge.Config{Dir: server.Join(t, "support-py"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- sidecar.Listen(ctx, e, path) }()
	for _, err := os.Stat(path); err != nil; _, err = os.Stat(path) {
		time.Sleep(time.Millisecond)
	}
	agent(t, "CUSTODY_SOCKET="+path)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	checkStory(t, server)
}

// TestAPausedAgentDoesNothing: what the gate holds back is not done.
func TestAPausedAgentDoesNothing(t *testing.T) {
	server := edgetest.New(t)
	server.Control(&apiv1.Control{Contained: []*apiv1.Contained{{Id: "c-1", Target: "tenant/acme", Level: "pause"}}})
	out, err := runAgent(t, asSidecar+"=1", "CUSTODY_EDGE="+os.Args[0], edge.EnvEmitter+"="+server.Join(t, "support-py"))
	if err == nil || !strings.Contains(out, "blocked: ") || !strings.Contains(out, "pause of tenant/acme (c-1)") || strings.Contains(out, "shipped") {
		t.Errorf("%v\n%s", err, out)
	}
}

func agent(t *testing.T, environment ...string) {
	t.Helper()
	if out, err := runAgent(t, environment...); err != nil || !strings.Contains(out, "send_email: sent to alice@example.com") {
		t.Fatalf("agent.py: %v\n%s", err, out)
	}
}

func runAgent(t *testing.T, environment ...string) (string, error) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the Python agent is not run")
	}
	cmd := exec.CommandContext(t.Context(), python, "agent.py")
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func checkStory(t *testing.T, server *edgetest.Server) {
	t.Helper()
	var got []string
	for _, e := range server.Events("support-py") {
		line := strings.Join([]string{event.Action(e), e.GetExecution().GetTool(), event.Trusts.Name(e.GetTrust())}, " ")
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
}
