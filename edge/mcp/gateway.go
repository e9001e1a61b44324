package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
)

// Config of a gateway. Emitter, Connector and Pins are needed.
type Config struct {
	Emitter   *edge.Emitter   // with a key of class gateway, which the agent does not have
	Connector string          // names the server: targets of the brake and permissions name it too
	Run       edge.RunOptions // of the session; a run of the agent takes its principal, gate and approver from here
	Pins      string          // the file of the tools as they were first seen
	Pin       bool            // refuse tools that are not as they were first seen
	Repin     bool            // take the tools as they are now for what was first seen
	Log       *slog.Logger    // nil: slog.Default
}

// ErrServerEnded says that the server ended before its client did.
var ErrServerEnded = errors.New("the server has ended")

// Serve stands between a client and a server until one of them ends. It returns nil when the client has ended, and
// ErrServerEnded when the server has. What is in flight then is recorded as it ended.
func Serve(ctx context.Context, cfg Config, client, server io.ReadWriteCloser) error {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	g := &gateway{
		Config: cfg, client: &writer{w: client}, server: &writer{w: server},
		asked: map[string]*request{}, served: map[string]served{}, runs: map[string]context.Context{},
	}
	g.tools.gateway = g
	if err := g.tools.open(); err != nil {
		return fmt.Errorf("mcp: %w", err)
	}
	if cfg.Pin {
		g.Run.Gate = g.tools.gate
	}
	return g.serve(ctx, client, server)
}

// gateway is one session.
type gateway struct {
	Config
	client, server *writer
	tools          tools
	waiting        waiting
	calls          sync.WaitGroup
	session        context.Context // the run of what names none of the agent's

	mu     sync.Mutex
	last   uint64                     // of our own ids
	asked  map[string]*request        // by the id that the server knows: what waits for its answer
	served map[string]served          // by the server's id: what waits for the client's answer
	runs   map[string]context.Context // of the agent, by its names
	order  []string                   // of runs, oldest first
	ended  error                      // why nothing more is asked
}

// request is what the client, or the gateway itself, has asked the server.
type request struct {
	id      json.RawMessage // the client's
	method  string
	ctx     context.Context         // of the run that it is of, once it has started
	first   bool                    // of a list: not a later page
	answer  chan *message           // nil: the answer goes to the client as it is. It holds one
	cancel  context.CancelCauseFunc // of what waits for the answer; nil if nothing does
	started event.ID                // the record of the call's start, once it has started
}

// served is what the server has asked the client.
type served struct {
	method string
	ctx    context.Context // of the run that it is of
}

var (
	errClientEnded = fmt.Errorf("%w: the client has ended", context.Canceled)
	errCancelled   = fmt.Errorf("%w by the client", context.Canceled)
	errBusy        = fmt.Errorf("more than %d requests wait for an answer", maxAsked)
)

func (g *gateway) serve(ctx context.Context, client, server io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var run *edge.Run
	g.session, run = g.Emitter.Run(ctx, g.Run)
	ended := make(chan error, 2)
	go func() { ended <- g.read(client, g.fromClient, g.clientTooLong) }()
	go func() { ended <- g.read(server, g.fromServer, g.serverTooLong) }()
	var why error
	select {
	case why = <-ended:
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	g.end(why)
	g.calls.Wait()
	if errors.Is(why, errClientEnded) {
		why = nil
	}
	return errors.Join(why, run.End(edge.OutcomeOf(why)), server.Close(), client.Close())
}

// read takes what one side says, message by message, until it ends.
func (g *gateway) read(from io.Reader, take func(*message, error) error, tooLong func() error) error {
	for in := newLines(from); ; {
		line, err := in.next()
		switch {
		case errors.Is(err, errTooLong):
			err = tooLong()
		case err != nil:
			return take(nil, err)
		default:
			err = take(parse(line))
		}
		if err != nil {
			return err
		}
	}
}

// end refuses what is asked from now on, and cancels what waits.
func (g *gateway) end(why error) {
	g.mu.Lock()
	g.ended = why
	all := g.asked
	g.asked = map[string]*request{}
	g.mu.Unlock()
	for _, r := range all {
		g.fail(r, why)
	}
}

// fail ends a request without an answer of the server's.
func (g *gateway) fail(r *request, why error) {
	if r.cancel != nil {
		r.cancel(why)
		return
	}
	_ = g.client.write(failure(r.id, jsonrpc.CodeInternalError, why.Error())) // it may be the client that has ended
}

// ask makes an id of our own for a request.
func (g *gateway) ask(r *request) (id string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ended != nil:
		return "", g.ended
	case len(g.asked) >= maxAsked:
		return "", errBusy
	}
	g.last++
	id = strconv.Quote("custody-" + strconv.FormatUint(g.last, 10))
	g.asked[id] = r
	return id, nil
}

// answered takes a request out of those that wait, nil if there is none of that id.
func (g *gateway) answered(id string) *request {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.asked[id]
	delete(g.asked, id)
	return r
}

// toServer sends a request under our id.
func (g *gateway) toServer(id, method string, params json.RawMessage) error {
	return g.tell(wire{ID: json.RawMessage(id), Method: method, Params: params}.encode())
}

// tell sends a line to the server.
func (g *gateway) tell(line []byte) error {
	if err := g.server.write(line); err != nil {
		return fmt.Errorf("%w: %w", ErrServerEnded, err)
	}
	return nil
}

// contained is ErrContained while nothing may run.
func (g *gateway) contained() error {
	if err := edge.Standing(g.session, g.Connector); errors.Is(err, edge.ErrContained) {
		return err
	}
	return nil
}
