package stream

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// watchInterval is how often a stream that failed a publish is looked at.
const watchInterval = time.Second

// watchdog reopens the embedded server when its file store stays broken after the disk was full.
type watchdog struct {
	stream  *Stream
	suspect atomic.Bool // a publish failed in a way that a broken store explains
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func startWatchdog(s *Stream) *watchdog {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchdog{stream: s, cancel: cancel}
	if s.cfg.Dir != "" {
		w.done.Go(func() { w.run(ctx) })
	}
	return w
}

func (w *watchdog) stop() {
	w.cancel()
	w.done.Wait()
}

// saw notes the outcome of a publish.
func (w *watchdog) saw(err error) {
	if err != nil && isSuspicious(err) {
		w.suspect.Store(true)
	}
}

func (w *watchdog) run(ctx context.Context) {
	for sleep(ctx, watchInterval) {
		if w.suspect.Load() && w.stream.room.hasSpace() {
			w.heal(ctx)
		}
	}
}

// heal probes with a tick and reopens the server if that fails. The suspicion stays until a probe succeeds.
func (w *watchdog) heal(ctx context.Context) {
	w.stream.room.forget()
	if w.probe(ctx) {
		w.suspect.Store(false)
		return
	}
	log := w.stream.cfg.Log
	log.WarnContext(ctx, "the stream does not take messages though there is space: reopening it")
	if err := w.stream.Reopen(ctx); err != nil && ctx.Err() == nil {
		log.ErrorContext(ctx, "stream not reopened", slog.Any("error", err))
	}
}

func (w *watchdog) probe(ctx context.Context) bool {
	err := w.stream.Tick(ctx)
	return err == nil || ctx.Err() != nil || !isSuspicious(err)
}
