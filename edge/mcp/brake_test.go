package mcp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/mcp"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// counterFile makes the test program an MCP server that adds a line to that file with each call that it serves.
const counterFile = "TEST_MCP_COUNTER"

func TestMain(m *testing.M) {
	if path := os.Getenv(counterFile); path != "" {
		serveCounter(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func serveCounter(path string) {
	server := sdk.NewServer(&sdk.Implementation{Name: "counter", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "send"}, func(context.Context, *sdk.CallToolRequest, mail) (*sdk.CallToolResult, any, error) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		_, err = f.WriteString("served\n")
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: "sent"}}}, nil, err
	})
	if err := server.Run(context.Background(), &sdk.StdioTransport{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// counter is what the server itself says that it has done.
func counter(t *testing.T, path string) (n int) {
	t.Helper()
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		n++
	}
	return n
}

// TestARefusalVerifies: an instance is paused; its agent goes on calling; the gateway refuses, and that proves the path
// closed. The server is a real process with a counter of its own, which stands still. The agent's own word stays a claim.
func TestARefusalVerifies(t *testing.T) {
	env := testenv.New(t, func(c *node.Config) {
		c.TuneContainment = func(cfg *contain.Config) { cfg.UnprovenAfter = time.Second }
	})
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	dana := apiv1.NewContainmentServiceClient(env.Person("acme", "dana", eventv1.Role_ROLE_RESPONDER))
	session, path := throughGateway(t, env)

	agent := openEmitter(t, env.Enrol("acme", "support-1").Dir) // the SDK in the agent's own process
	agent.Run(t.Context(), edge.RunOptions{})

	if r, err := session.CallTool(t.Context(), send("alice")); err != nil || r.IsError || counter(t, path) != 1 {
		t.Fatalf("before: %q, %v, counter %d", said(r), err, counter(t, path))
	}
	contained, err := dana.Contain(t.Context(), &apiv1.ContainRequest{
		Tenant: "acme", Target: "instance/acme/support-1", Level: string(contain.Pause), Reason: "test", Wait: int64(5 * time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	if proofs := proofsOf(contained.GetContainment()); strings.Contains(proofs, "verified") {
		t.Errorf("verified before anything was refused: %s", proofs)
	}
	for range 20 { // the agent does not stop
		if r, err := session.CallTool(t.Context(), send("mallory")); err != nil || !strings.Contains(said(r), "Custody has blocked this call") {
			t.Fatalf("while paused: %q, %v", said(r), err)
		}
	}
	eventually(t, "the gateway's step is verified, and the agent's is not", func() bool {
		list, err := dana.ListContained(t.Context(), &apiv1.ListContainedRequest{Tenant: "acme"})
		if err != nil || len(list.GetContainments()) != 1 {
			t.Fatal(list, err)
		}
		proofs := proofsOf(list.GetContainments()[0])
		return strings.Contains(proofs, "verified: the gateway refused call") && strings.Contains(proofs, "of send") &&
			strings.Contains(proofs, "NOT PROVEN (agent's word only)") && !list.GetContainments()[0].GetProven()
	})
	if n := counter(t, path); n != 1 {
		t.Errorf("the server has served %d calls", n)
	}
	if _, err := dana.Release(t.Context(), &apiv1.ReleaseRequest{Tenant: "acme", Target: "instance/acme/support-1", Reason: "done"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it works again", func() bool {
		r, err := session.CallTool(t.Context(), send("alice"))
		return err == nil && !r.IsError
	})
	if n := counter(t, path); n != 2 {
		t.Errorf("after the release the server has served %d calls", n)
	}
}

func openEmitter(t *testing.T, dir string) *edge.Emitter {
	t.Helper()
	e, err := edge.Open(t.Context(), edge.Config{Dir: dir, CloseTimeout: time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(context.Background()) })
	return e
}

// throughGateway is an agent's session with a real server behind a gateway, and the server's counter.
func throughGateway(t *testing.T, env *testenv.Env) (session *sdk.ClientSession, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "counter")
	t.Setenv(counterFile, path)
	server, err := mcp.Start([]string{os.Args[0]}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	gateway := openEmitter(t, env.EnrolFor("acme", "support-1", eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY).Dir)
	c, ours := pipe()
	ended := make(chan error, 1)
	cfg := mcp.Config{Emitter: gateway, Connector: "mail", Pins: filepath.Join(t.TempDir(), "tools.json"), Pin: true, Log: slog.New(slog.DiscardHandler)}
	go func() { ended <- mcp.Serve(context.Background(), cfg, ours, server) }()
	client := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil)
	session, err = client.Connect(t.Context(), &sdk.IOTransport{Reader: io.NopCloser(c), Writer: c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return session, path
}

func proofsOf(c *apiv1.ContainmentInfo) string {
	var all []string
	for _, s := range c.GetSteps() {
		all = append(all, s.GetProof())
	}
	return strings.Join(all, "; ")
}

// TestAServerThatEnds: how it has ended is known, and one that does not end by itself is made to.
func TestAServerThatEnds(t *testing.T) {
	s := newSite(t)
	for command, want := range map[string]string{"exit 3": "exit status 3", "exit 0": "<nil>"} {
		server, err := mcp.Start([]string{"sh", "-c", command}, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		_, ours := pipe()
		err = mcp.Serve(t.Context(), mcp.Config{Emitter: s.emitter, Connector: "x", Pins: s.pins}, ours, server)
		if got := fmt.Sprint(server.Status()); got != want || err == nil || !strings.Contains(err.Error(), "the server has ended") {
			t.Errorf("%s: %v, %s", command, err, got)
		}
	}
	server, err := mcp.Start([]string{"sh", "-c", "trap 'exit 0' TERM; echo $CUSTODY_EMITTER >&2; sleep 100 & wait"}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	server.Hurry()
	if err := server.Close(); err != nil {
		t.Errorf("a server that does not mind its input: %v", err)
	}
	if _, err := mcp.Start([]string{"/does/not/exist"}, os.Stderr); err == nil {
		t.Error("a program that is not there was started")
	}
}
