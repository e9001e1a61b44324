package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Members of params._meta by which an agent says which of its own records a call belongs to. It is the agent's word.
const (
	metaRun   = "custody/run"   // the run
	metaCause = "custody/cause" // the event in which the agent recorded its side of the call
)

// target is what a request wants to be done.
type target struct {
	method    string
	tool      string
	arguments json.RawMessage
	uri       string // of a resource
	run       string
	options   edge.CallOptions
	params    params
}

// params are those of the requests that the gateway decides on, as far as it reads them.
type params struct {
	Meta           map[string]json.RawMessage `json:"_meta"`
	Name           string                     `json:"name"`
	Arguments      json.RawMessage            `json:"arguments"`
	URI            string                     `json:"uri"`
	InputResponses map[string]json.RawMessage `json:"inputResponses"`
	RequestState   string                     `json:"requestState"`
}

// targetOf reads a request.
func (g *gateway) targetOf(m *message) (t target, err error) {
	t = target{method: m.method, tool: m.method, arguments: m.params, options: edge.CallOptions{Connector: g.Connector, Operation: m.method}}
	if !decidedOn(m.method) {
		return t, nil // it is on the way to being refused
	}
	if err := json.Unmarshal(m.params, &t.params); err != nil {
		return t, fmt.Errorf("params: %w", err)
	}
	switch t.uri = t.params.URI; {
	case m.method == callTool && (t.params.Name == "" || decidedOn(t.params.Name)):
		return t, errors.New("params.name: missing, or the name of a method")
	case m.method == callTool:
		t.tool, t.arguments, t.options.Result, t.options.Operation = t.params.Name, t.params.Arguments, edge.Untrusted, ""
	default:
		t.options.Consequence = edge.Low // by the protocol, it only reads
	}
	if t.arguments == nil {
		t.arguments = json.RawMessage("{}")
	}
	return t, t.meta()
}

// meta reads what the agent says of its own records.
func (t *target) meta() error {
	run, cause := string(t.params.Meta[metaRun]), string(t.params.Meta[metaCause])
	if run != "" && (json.Unmarshal([]byte(run), &t.run) != nil || t.run == "" || len(t.run) > event.MaxID) {
		return fmt.Errorf("params._meta.%s: not a run", metaRun)
	}
	if cause == "" {
		return nil
	}
	var id string
	err := json.Unmarshal([]byte(cause), &id)
	if err == nil {
		t.options.Because, err = event.ParseID(id)
	}
	if err != nil {
		return fmt.Errorf("params._meta.%s: not an event id", metaCause)
	}
	return nil
}

// call decides on a request and makes it, while others go on.
func (g *gateway) call(m *message) error {
	t, err := g.targetOf(m)
	if err != nil {
		return g.client.write(failure(m.id, jsonrpc.CodeInvalidParams, err.Error()))
	}
	ctx, cancel := context.WithCancelCause(g.runOf(t.run))
	r := &request{id: m.id, method: m.method, answer: make(chan *message, 1), cancel: cancel}
	id, err := g.ask(r)
	if err != nil {
		cancel(err)
		return g.client.write(failure(m.id, jsonrpc.CodeInternalError, err.Error()))
	}
	g.calls.Go(func() {
		defer cancel(nil)
		line := g.perform(ctx, id, r, m, &t)
		g.answered(id)
		if line != nil {
			_ = g.client.write(line) // a client that has gone is noticed by its reader
		}
	})
	return nil
}

// perform makes a call and returns what the client is told, nil if nothing.
func (g *gateway) perform(ctx context.Context, id string, r *request, m *message, t *target) []byte {
	if m.method == callTool {
		g.tools.ensure(ctx, t.params.Meta)
	}
	g.waiting.resume(t)
	act, err := edge.Begin(ctx, t.tool, t.arguments, t.options)
	if err != nil {
		return refusal(r, err)
	}
	answer, err := g.exchange(ctx, act, id, r, m, t)
	if err != nil {
		return refusal(r, errors.Join(err, act.End(nil, err)))
	}
	if err := g.finish(ctx, act, t, answer); err != nil {
		return refusal(r, err)
	}
	return wire{ID: r.id, Result: answer.result, Error: answer.err}.encode()
}

// exchange sends a call and waits for its answer, or for its cancellation.
func (g *gateway) exchange(ctx context.Context, act *edge.Act, id string, r *request, m *message, t *target) (*message, error) {
	if len(t.params.InputResponses) > 0 {
		if _, err := edge.Export(ctx, "", string(encode(t.params.InputResponses)), edge.Details{Resource: "inputResponses", MediaType: jsonType}); err != nil {
			return nil, err
		}
	}
	g.mu.Lock()
	r.ctx, r.started = ctx, act.Started()
	g.mu.Unlock()
	sent := g.send(id, m)
	for {
		select {
		case err := <-sent:
			if err != nil {
				return nil, err
			}
			sent = nil
		case answer := <-r.answer:
			return answer, nil
		case <-act.Context().Done():
			return nil, g.abandon(id, context.Cause(act.Context()), sent)
		}
	}
}

// send sends a call. A server that does not read holds up neither the brake nor the client.
func (g *gateway) send(id string, m *message) <-chan error {
	sent := make(chan error, 1)
	go func() { sent <- g.toServer(id, m.method, m.params) }()
	return sent
}

// abandon tells the server, once the call has left, that nobody waits for it any more.
func (g *gateway) abandon(id string, why error, sent <-chan error) error {
	if g.answered(id) != nil {
		go func() {
			if sent == nil || <-sent == nil {
				_ = g.tellCancelled(id, why) // a server that has gone does not work on it
			}
		}()
	}
	if errors.Is(why, edge.ErrContained) {
		return fmt.Errorf("%w: %w", why, context.Canceled) // it had begun
	}
	return why
}

// finish records how a call ended, before the agent sees it.
func (g *gateway) finish(ctx context.Context, act *edge.Act, t *target, answer *message) error {
	if answer.err != nil {
		taken := g.take(ctx, act, eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, t, answer.err)
		return errors.Join(taken, act.End(nil, fmt.Errorf("the server: %s", text(answer.err, "message"))))
	}
	result := readResult(answer.result)
	if result.isInputRequired() {
		g.waiting.add(act, t, &result)
	}
	switch {
	case result.IsError:
		taken := g.take(ctx, act, eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, t, answer.result)
		return errors.Join(taken, act.End(nil, errors.New("the tool says that it has failed")))
	case t.options.Result != 0:
		return act.End(answer.result, nil)
	case t.method == readResource:
		return errors.Join(g.take(ctx, act, eventv1.DataAction_DATA_ACTION_RESOURCE_READ, t, answer.result), act.End(nil, nil))
	}
	return errors.Join(g.take(ctx, act, eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, t, answer.result), act.End(nil, nil))
}

// take records what an answer brings, beside the result of a call.
func (g *gateway) take(ctx context.Context, act *edge.Act, action eventv1.DataAction, t *target, content json.RawMessage) error {
	taken := edge.Taken{
		Action: action, Source: g.Connector, Content: string(content), Trust: edge.Untrusted, Resource: t.uri, Because: act.Started(),
		Details: edge.Details{MediaType: jsonType, Domain: hostOf(t.uri)},
	}
	if t.uri == "" {
		taken.Details.Resource = t.method
	}
	return edge.Take(ctx, taken)
}

// hostOf is the host of a URI, empty if it has none or a strange one.
func hostOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || len(u.Hostname()) > event.MaxID {
		return ""
	}
	return u.Hostname()
}

// result is what the gateway reads of a result.
type result struct {
	IsError       bool                       `json:"isError"`
	ResultType    string                     `json:"resultType"`
	InputRequests map[string]json.RawMessage `json:"inputRequests"`
	RequestState  string                     `json:"requestState"`
}

// readResult reads what it can: what is no such object has none of it.
func readResult(raw json.RawMessage) (r result) {
	_ = json.Unmarshal(raw, &r)
	return r
}

func (r *result) isInputRequired() bool { return r.ResultType == "input_required" }

// runOf is the context of a run of the agent's, or of the session.
func (g *gateway) runOf(name string) context.Context {
	if name == "" {
		return g.session
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx := g.runs[name]; ctx != nil {
		return ctx
	}
	if len(g.order) >= maxRuns {
		delete(g.runs, g.order[0])
		g.order = g.order[1:]
	}
	o := g.Run
	o.ID = name
	ctx := g.Emitter.Adopt(g.session, o, 0)
	g.runs[name], g.order = ctx, append(g.order, name)
	return ctx
}

// refusal is what the client is told of a call that was not made, or not to its end. An agent understands a tool's error best
// as a result of that tool.
func refusal(r *request, err error) []byte {
	if errors.Is(err, errCancelled) {
		return nil // nobody waits
	}
	reason := event.Escape(explain(err))
	if r.method != callTool {
		return failure(r.id, codeBlocked, reason)
	}
	said := &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: reason}}, IsError: true}
	return wire{ID: r.id, Result: encode(said)}.encode()
}

// explain says what has become of a call.
func explain(err error) string {
	switch {
	case errors.Is(err, context.Canceled) && errors.Is(err, edge.ErrContained):
		return "Custody has cancelled this call: " + err.Error()
	case errors.Is(err, edge.ErrContained), errors.Is(err, edge.ErrBlocked):
		return "Custody has blocked this call, it was not made: " + err.Error()
	case errors.Is(err, edge.ErrRejected):
		return "Custody wants an approval of this call, it was not made: " + err.Error()
	}
	return "This call failed: " + err.Error()
}
