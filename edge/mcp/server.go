package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// jsonType is the media type of what is sealed.
const jsonType = "application/json"

// fromServer takes a message of the server's.
func (g *gateway) fromServer(m *message, err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, fs.ErrClosed):
		return ErrServerEnded
	case err != nil:
		g.Log.WarnContext(g.session, "message of the server dropped", slog.Any("error", err))
		return nil
	case m.isAnswer():
		return g.serverAnswer(m)
	case m.isRequest():
		return g.serverRequest(m)
	case m.method == toolsChanged:
		g.tools.doubt()
	}
	return g.client.write(append(m.text, '\n'))
}

// serverTooLong ends what waits for an answer: which one was too long is not known.
func (g *gateway) serverTooLong() error {
	var all []*request
	g.mu.Lock()
	for id, r := range g.asked {
		if all = append(all, r); r.cancel == nil {
			delete(g.asked, id)
		} // the others end by themselves, and tell the server
	}
	g.mu.Unlock()
	for _, r := range all {
		g.fail(r, fmt.Errorf("an answer of the server: %w", errTooLong))
	}
	return nil
}

// serverAnswer gives an answer to whoever waits for it. One that nobody waits for goes nowhere.
func (g *gateway) serverAnswer(m *message) error {
	r := g.answered(string(m.id))
	switch {
	case r == nil:
		g.Log.DebugContext(g.session, "answer of the server that nobody waits for")
		return nil
	case r.answer != nil:
		r.answer <- m
		return nil
	case r.method == listTools && m.result != nil:
		result, err := g.tools.page(r.first, m.result)
		if err != nil {
			return g.client.write(failure(r.id, jsonrpc.CodeInternalError, err.Error()))
		}
		m.result = result
	}
	return g.client.write(wire{ID: r.id, Result: m.result, Error: m.err}.encode())
}

// serverRequest passes on what the server asks the client, unless nothing may run. What enters the model or is shown to a
// person is recorded before.
func (g *gateway) serverRequest(m *message) error {
	if why := g.contained(); why != nil && !harmless(m.method) {
		return g.tell(failure(m.id, codeBlocked, why.Error()))
	}
	ctx, started := g.onlyCall()
	if m.method == sample || m.method == elicit {
		err := edge.Take(ctx, edge.Taken{
			Action: eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, Source: g.Connector, Content: string(m.params), Trust: edge.Untrusted,
			Details: edge.Details{Resource: m.method, MediaType: jsonType}, Because: started,
		})
		if err != nil {
			return err
		}
	}
	if !g.note(string(m.id), served{m.method, ctx}) {
		return g.tell(failure(m.id, jsonrpc.CodeInternalError, errBusy.Error()))
	}
	return g.client.write(append(m.text, '\n'))
}

// note notes what the server has asked. An id is used once at a time.
func (g *gateway) note(id string, s served) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, used := g.served[id]; used || len(g.served) >= maxAsked {
		return false
	}
	g.served[id] = s
	return true
}

// onlyCall is the one call that runs, with its run: what the server asks belongs to it. Of several, which one is not known.
func (g *gateway) onlyCall() (ctx context.Context, started event.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, r := range g.asked {
		if r.ctx != nil {
			ctx, started = r.ctx, r.started
			n++
		}
	}
	if n != 1 {
		return g.session, event.ID{}
	}
	return ctx, started
}

// text is a member of an object that is text, empty if there is none.
func text(object json.RawMessage, key string) string {
	var members map[string]json.RawMessage
	var value string
	if json.Unmarshal(object, &members) != nil || json.Unmarshal(members[key], &value) != nil {
		return ""
	}
	return value
}

func cursorOf(params json.RawMessage) string { return text(params, "cursor") }
