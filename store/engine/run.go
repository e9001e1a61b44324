package engine

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
	"unsafe"
)

// killRetry is the pause between attempts to kill a statement: it may not have
// been registered yet, or may be between two checks for being killed.
const killRetry = 20 * time.Millisecond

// run is one statement in progress. It holds a connection from its start until
// its result was read or given up, and is the response's body.
type run struct {
	engine *Engine
	conn   *conn
	caller context.Context // of the request
	ctx    context.Context // ends when the statement must
	cancel context.CancelCauseFunc

	unwatch func() bool   // false: the killer has begun
	ended   chan struct{} // closed to end the killer
	killed  chan struct{} // closed by the killer when it ends

	// mu is held during every call into the engine and guards what follows.
	mu     sync.Mutex
	stream unsafe.Pointer // the engine's stream while it is open
	chunk  unsafe.Pointer // the result, or the part of it last fetched
	rest   []byte         // what is unread of chunk, in the engine's memory
	err    error          // why Read ends; set when the connection was given back
}

// execute runs s on a connection of the pool. When ctx ends first, it returns at
// once; the statement is killed and its connection returns to the pool later.
// The statement is closed by the run, also on error.
func (e *Engine) execute(ctx context.Context, s *statement) (*run, error) {
	c, err := e.take(ctx)
	if err != nil {
		s.close()
		return nil, err
	}
	r, err := e.newRun(ctx, c)
	if err != nil {
		s.close()
		return nil, err
	}
	started := make(chan error, 1)
	go func() { started <- r.start(s) }()
	select {
	case err := <-started:
		return r, err
	case <-ctx.Done():
		go r.abort(ctx.Err())
		return nil, ctx.Err()
	}
}

func (e *Engine) take(ctx context.Context) (*conn, error) {
	select {
	case c := <-e.pool:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.closing:
		return nil, ErrClosed
	}
}

func (e *Engine) newRun(ctx context.Context, c *conn) (*run, error) {
	r := &run{engine: e, conn: c, caller: ctx, ended: make(chan struct{}), killed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.runs == nil {
		e.pool <- c
		return nil, ErrClosed
	}
	e.runs[r] = struct{}{}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.unwatch = context.AfterFunc(r.ctx, r.kill)
	return r, nil
}

// kill kills the statement until it has ended. A failing attempt is repeated
// like one that came too early.
func (r *run) kill() {
	defer close(r.killed)
	for {
		_ = r.engine.control.kill(r.conn.tag)
		select {
		case <-r.ended:
			return
		case <-time.After(killRetry):
		}
	}
}

// start runs the statement up to its first rows, so that most errors are known
// before a response begins.
func (r *run) start(s *statement) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer s.close()
	if r.err != nil {
		return r.err
	}
	if err := r.begin(s); err != nil {
		r.finish(err)
		return r.err
	}
	if len(r.rest) == 0 {
		r.finish(io.EOF)
	}
	return nil
}

func (r *run) begin(s *statement) error {
	if err := r.conn.ensure(); err != nil {
		return err
	}
	r.conn.dirty = s.shape == session
	text, err := r.conn.prepare(s)
	if err != nil {
		return err
	}
	if s.shape == streams {
		if err := r.openStream(text, s); !notStreamable(err) {
			return err
		}
	}
	r.chunk = r.conn.lib.call(false, *r.conn.handle, text, s.format, s.params)
	return r.look()
}

func (r *run) openStream(text string, s *statement) error {
	lib := r.conn.lib
	stream := lib.call(true, *r.conn.handle, text, s.format, s.params)
	if err := lib.failure(stream); err != nil {
		lib.free(stream)
		return err
	}
	r.stream = stream
	return r.fetch()
}

// fetch replaces the chunk by the next one; an empty one ends the stream.
func (r *run) fetch() error {
	r.drop()
	r.chunk = r.conn.lib.streamFetch(*r.conn.handle, r.stream)
	return r.look()
}

func (r *run) look() error {
	if err := r.conn.lib.failure(r.chunk); err != nil {
		return err
	}
	r.rest = r.conn.lib.view(r.chunk)
	return nil
}

func (r *run) drop() {
	r.rest = nil
	if r.chunk != nil {
		r.conn.lib.free(r.chunk)
		r.chunk = nil
	}
}

// size is the length of the response: -1 when it is streamed.
func (r *run) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream != nil {
		return -1
	}
	return int64(len(r.rest))
}

// Read copies out of the engine's memory, and fetches when that is used up.
func (r *run) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.advance()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *run) advance() {
	if r.stream == nil {
		r.finish(io.EOF)
		return
	}
	if err := r.fetch(); err != nil {
		r.finish(err)
		return
	}
	if len(r.rest) == 0 {
		r.finish(io.EOF)
	}
}

// Close gives up what is unread: a statement that still runs is killed.
func (r *run) Close() error {
	r.abort(io.ErrClosedPipe)
	return nil
}

// abort ends the run for the reason err. The kill comes first, for a call into
// the engine may hold the lock.
func (r *run) abort(err error) {
	r.cancel(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(err)
}

// finish gives the connection back, once. No kill is in flight when another
// statement may take the connection.
func (r *run) finish(err error) {
	if r.err != nil {
		return
	}
	r.err = r.reason(err)
	r.closeStream(err)
	r.drop()
	if !r.unwatch() {
		close(r.ended)
		<-r.killed
	}
	r.cancel(io.EOF)
	r.conn.renew()
	r.release()
}

// reason is what the reader is told: of a killed statement, why it was killed.
func (r *run) reason(err error) error {
	switch {
	case errors.Is(err, io.EOF) || r.ctx.Err() == nil:
		return err
	case r.caller.Err() != nil:
		return r.caller.Err()
	}
	return context.Cause(r.ctx)
}

func (r *run) closeStream(err error) {
	if r.stream == nil {
		return
	}
	if !errors.Is(err, io.EOF) {
		r.conn.lib.streamCancel(*r.conn.handle, r.stream)
	}
	r.conn.lib.free(r.stream)
	r.stream = nil
}

func (r *run) release() {
	r.engine.mu.Lock()
	delete(r.engine.runs, r)
	r.engine.mu.Unlock()
	r.engine.pool <- r.conn
}
