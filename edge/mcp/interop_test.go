//go:build interop

package mcp_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/mcp"
)

// real is a session with a server from npm behind a gateway.
func (s *site) real(options *sdk.ClientOptions, name string, arguments ...string) *sdk.ClientSession {
	s.t.Helper()
	program := filepath.Join("interop", "node_modules", ".bin", "mcp-server-"+name)
	if _, err := os.Stat(program); err != nil {
		s.t.Skip("MCP servers are not installed: npm ci --prefix edge/mcp/interop")
	}
	server, err := mcp.Start(append([]string{program}, arguments...), io.Discard)
	if err != nil {
		s.t.Fatal(err)
	}
	c, ours := pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- mcp.Serve(context.Background(), mcp.Config{Emitter: s.emitter, Connector: name, Pins: s.pins, Pin: true}, ours, server)
	}()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, options).Connect(
		s.t.Context(), &sdk.IOTransport{Reader: io.NopCloser(c), Writer: c}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = session.Close()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	})
	return session
}

func call(t *testing.T, session *sdk.ClientSession, tool string, arguments map[string]any) *sdk.CallToolResult {
	t.Helper()
	r, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: arguments})
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return r
}

// TestTheFilesystemServer: a paused agent writes no file more.
func TestTheFilesystemServer(t *testing.T) {
	s, dir := newSite(t), t.TempDir()
	session := s.real(nil, "filesystem", dir)
	path := filepath.Join(dir, "a")
	if r := call(t, session, "write_file", map[string]any{"path": path, "content": "before"}); r.IsError {
		t.Fatal(said(r))
	}
	s.contained("connector/acme/"+instance+"/filesystem", "pause")
	if r := call(t, session, "write_file", map[string]any{"path": path, "content": "after"}); !r.IsError || !strings.Contains(said(r), "Custody has blocked") {
		t.Errorf("while paused: %s", said(r))
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "before" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if lists := s.find("data.resource_read"); len(lists) != 1 || lists[0].GetTrust() != edge.Trusted {
		t.Errorf("lists %v", lists)
	}
}

// TestTheMemoryServer: what comes back from it is untrusted, and stands on the record word for word.
func TestTheMemoryServer(t *testing.T) {
	s := newSite(t)
	t.Setenv("MEMORY_FILE_PATH", filepath.Join(t.TempDir(), "memory.jsonl"))
	session := s.real(nil, "memory")
	entity := map[string]any{"name": "mallory", "entityType": "person", "observations": []string{"pays by bank transfer"}}
	if r := call(t, session, "create_entities", map[string]any{"entities": []any{entity}}); r.IsError {
		t.Fatal(said(r))
	}
	if r := call(t, session, "read_graph", map[string]any{}); !strings.Contains(said(r), "bank transfer") {
		t.Fatal(said(r))
	}
	results := s.find("data.document_retrieved")
	if len(results) != 2 || results[1].GetTrust() != edge.Untrusted || !strings.Contains(s.custody.Opened(results[1], "result"), "bank transfer") {
		t.Errorf("results %v", results)
	}
}

// TestTheEverythingServer: sampling, elicitation, resources, prompts, progress and cancellation.
func TestTheEverythingServer(t *testing.T) {
	s := newSite(t)
	asked, sampled := false, false
	session := s.real(&sdk.ClientOptions{
		CreateMessageHandler: func(context.Context, *sdk.CreateMessageRequest) (*sdk.CreateMessageResult, error) { //nolint:staticcheck // deprecated, and still what servers ask for
			sampled = true
			return &sdk.CreateMessageResult{ //nolint:staticcheck // as above
				Model: "m", Role: "assistant", Content: &sdk.TextContent{Text: "a sampled answer"},
			}, nil
		},
		ElicitationHandler: func(context.Context, *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
			asked = true
			return &sdk.ElicitResult{Action: "decline"}, nil
		},
	}, "everything", "stdio")
	list, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	t.Log(names)
	if r := call(t, session, "echo", map[string]any{"message": "hello"}); !strings.Contains(said(r), "hello") {
		t.Error(said(r))
	}
	for tool, arguments := range map[string]map[string]any{
		"trigger-sampling-request": {"prompt": "x", "maxTokens": 5}, "trigger-elicitation-request": {},
	} {
		if !slices.Contains(names, tool) {
			t.Fatalf("no tool %s", tool)
		}
		call(t, session, tool, arguments)
	}
	if !asked || !sampled {
		t.Errorf("asked %v, sampled %v", asked, sampled)
	}
	s.everythingElse(session)
	started := len(s.find("execution.started"))
	running := make(chan error, 1)
	go func() {
		r, err := session.CallTool(context.Background(), &sdk.CallToolParams{
			Name: "trigger-long-running-operation", Arguments: json.RawMessage(`{"duration":60,"steps":60}`),
		})
		if err == nil && !strings.Contains(said(r), "Custody has cancelled") {
			t.Errorf("in flight: %s", said(r))
		}
		running <- err
	}()
	eventually(t, "the call runs", func() bool { return len(s.find("execution.started")) > started })
	s.contained("instance/acme/"+instance, "pause")
	if err := <-running; err != nil {
		t.Error(err)
	}
}

// everythingElse reads what is no tool.
func (s *site) everythingElse(session *sdk.ClientSession) {
	s.t.Helper()
	resources, err := session.ListResources(s.t.Context(), nil)
	if err != nil || len(resources.Resources) == 0 {
		s.t.Fatal(resources, err)
	}
	if _, err := session.ReadResource(s.t.Context(), &sdk.ReadResourceParams{URI: resources.Resources[0].URI}); err != nil {
		s.t.Error(err)
	}
	prompts, err := session.ListPrompts(s.t.Context(), nil)
	if err != nil || len(prompts.Prompts) == 0 {
		s.t.Fatal(prompts, err)
	}
	if _, err := session.GetPrompt(s.t.Context(), &sdk.GetPromptParams{Name: prompts.Prompts[0].Name}); err != nil {
		s.t.Error(err)
	}
	read := s.find("data.resource_read")
	if last := read[len(read)-1]; s.custody.Opened(last, "resource") != resources.Resources[0].URI {
		s.t.Errorf("read %v", last)
	}
}
