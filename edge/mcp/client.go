package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/agentcustody/custody/edge"
)

// Methods that the gateway decides on, and records like calls of a tool.
const (
	callTool     = "tools/call"
	readResource = "resources/read"
	getPrompt    = "prompts/get"
	taskResult   = "tasks/result"
)

func decidedOn(method string) bool {
	return slices.Contains([]string{callTool, readResource, getPrompt, taskResult}, method)
}

// Methods of which the gateway knows more than that they are there.
const (
	listTools    = "tools/list"
	sample       = "sampling/createMessage"
	elicit       = "elicitation/create"
	cancelled    = "notifications/cancelled"
	toolsChanged = "notifications/tools/list_changed"
)

// harmless methods only look at what there is. They go on while everything else is stopped.
func harmless(method string) bool {
	return strings.HasSuffix(method, "/list") || strings.HasPrefix(method, "notifications/") ||
		slices.Contains([]string{"initialize", "ping", "server/discover", "tasks/cancel", "tasks/get"}, method)
}

// codeBlocked is the error of a request that may not be made, in the range that JSON-RPC leaves to implementations.
const codeBlocked = -32050

// fromClient takes a message of the client's.
func (g *gateway) fromClient(m *message, err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		return errClientEnded
	case err != nil && m == nil:
		g.Log.WarnContext(g.session, "message of the client refused", slog.Any("error", err))
		return g.client.write(failure(nil, jsonrpc.CodeParseError, err.Error()))
	case err != nil:
		g.Log.WarnContext(g.session, "message of the client refused", slog.Any("error", err))
		return g.client.write(failure(nil, jsonrpc.CodeInvalidRequest, err.Error()))
	case m.isAnswer():
		return g.clientAnswer(m)
	case m.isRequest():
		return g.clientRequest(m)
	}
	return g.clientNotice(m)
}

func (g *gateway) clientTooLong() error {
	return g.client.write(failure(nil, jsonrpc.CodeInvalidRequest, errTooLong.Error()))
}

// clientRequest decides on a request, or passes it on. While nothing may run, what is not harmless is decided on like a call, so
// that the refusal is recorded.
func (g *gateway) clientRequest(m *message) error {
	if decidedOn(m.method) || !harmless(m.method) && g.contained() != nil {
		return g.call(m)
	}
	id, err := g.ask(&request{id: m.id, method: m.method, first: m.method == listTools && cursorOf(m.params) == ""})
	if err != nil {
		return g.client.write(failure(m.id, jsonrpc.CodeInternalError, err.Error()))
	}
	return g.toServer(id, m.method, m.params)
}

// clientNotice passes a notification on. A call needs an id: without one nobody could be told its end.
func (g *gateway) clientNotice(m *message) error {
	switch {
	case m.method == cancelled:
		return g.clientCancels(m)
	case decidedOn(m.method), !harmless(m.method) && g.contained() != nil:
		g.Log.WarnContext(g.session, "notification of the client refused", slog.String("method", m.method))
		return nil
	}
	return g.tell(append(m.text, '\n'))
}

// clientCancels cancels a request: the server knows it by another id.
func (g *gateway) clientCancels(m *message) error {
	var p struct {
		RequestID json.RawMessage `json:"requestId"`
	}
	if err := json.Unmarshal(m.params, &p); err != nil || p.RequestID == nil {
		return nil // it names nothing
	}
	g.mu.Lock()
	var ours []string
	for id, r := range g.asked {
		switch {
		case string(r.id) != string(p.RequestID):
		case r.cancel != nil:
			r.cancel(errCancelled)
		default:
			ours = append(ours, id)
			delete(g.asked, id)
		}
	}
	g.mu.Unlock()
	for _, id := range ours {
		if err := g.tellCancelled(id, errCancelled); err != nil {
			return err
		}
	}
	return nil
}

// tellCancelled tells the server that nobody waits any more.
func (g *gateway) tellCancelled(id string, why error) error {
	params := encode(map[string]any{"requestId": json.RawMessage(id), "reason": why.Error()})
	return g.tell(wire{Method: cancelled, Params: params}.encode())
}

// clientAnswer passes on what the client answers the server. What leaves the agent is recorded before.
func (g *gateway) clientAnswer(m *message) error {
	s, known := g.takeServed(string(m.id))
	switch why := g.contained(); {
	case !known:
		g.Log.WarnContext(g.session, "answer of the client to nothing that was asked")
		return nil
	case why != nil && !harmless(s.method):
		return g.tell(failure(m.id, codeBlocked, why.Error()))
	case m.result != nil && (s.method == sample || s.method == elicit):
		if _, err := edge.Export(context.WithoutCancel(s.ctx), "", string(m.result), edge.Details{Resource: s.method, MediaType: jsonType}); err != nil {
			return err
		}
	}
	return g.tell(append(m.text, '\n'))
}

func (g *gateway) takeServed(id string) (s served, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, known = g.served[id]
	delete(g.served, id)
	return s, known
}
