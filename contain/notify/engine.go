package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agentcustody/custody/contain/follow"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// client follows no redirect: a notification goes where the file says and nowhere else.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// cause is an error of a request without the URL, which may be a secret.
func cause(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// Source is what is followed. stream.Stream is one.
type Source interface {
	follow.Source
	// Last returns the last message of a subject, as the stream's leader has it.
	Last(ctx context.Context, subject string) (m stream.Message, found bool, err error)
}

// Config is what notifications are made of. Every field must be set unless it says otherwise.
type Config struct {
	Source    Source
	System    signer.PublicKey // signs Custody's own batches
	Receivers []Receiver
	Dir       string                                          // where positions are kept
	Firings   func() []Firing                                 // those that wait for a person; nil if nobody watches. It is safe for concurrent use.
	Now       func() time.Time                                // nil is time.Now
	Sleep     func(ctx context.Context, d time.Duration) bool // false if ctx ended; nil sleeps
	Log       *slog.Logger                                    // nil discards
}

// Engine tells receivers. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	workers []*worker
	stop    context.CancelFunc
	work    sync.WaitGroup
}

// Open goes on where each receiver was. A receiver that is new begins at the end of the stream: what is over is no news.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, stop: func() {}}
	if len(cfg.Receivers) == 0 {
		return e, nil
	}
	if err := e.load(ctx); err != nil {
		return nil, fmt.Errorf("open notifications: %w", err)
	}
	var following context.Context
	following, e.stop = context.WithCancel(context.Background())
	for _, w := range e.workers {
		e.work.Go(func() { w.run(following) })
	}
	return e, nil
}

// load reads where each receiver is. A position beyond the end belongs to another stream.
func (e *Engine) load(ctx context.Context) error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return err
	}
	last, _, err := e.cfg.Source.Last(ctx, stream.SystemFilter)
	if err != nil {
		return err
	}
	for _, r := range e.cfg.Receivers {
		w := &worker{engine: e, receiver: r}
		var found bool
		if w.state, found, err = readState(e.path(r.Name)); err != nil {
			return err
		}
		if !found || w.state.Position > last.Seq {
			w.state.Position = last.Seq
		}
		w.save(true)
		e.workers = append(e.workers, w)
	}
	return nil
}

func (e *Engine) path(receiver string) string { return filepath.Join(e.cfg.Dir, receiver+".json") }

// Close ends what is on its way; the next start goes on there.
func (e *Engine) Close() {
	e.stop()
	e.work.Wait()
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
