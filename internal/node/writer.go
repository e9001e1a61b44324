package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/agentcustody/custody/ledger"
)

// writer runs a ledger, and stops it for a rebuild. When the ledger halts, the node goes on: the stream
// takes events until the backlog is full, and the status says why.
type writer struct {
	ledger *ledger.Ledger
	log    *slog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc // of the run, nil if there is none
	done   chan struct{}
}

func (w *writer) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.cancel, w.done = cancel, done
	go func() {
		defer close(done)
		if err := w.ledger.Run(ctx); err != nil {
			w.log.ErrorContext(ctx, "ledger halted", slog.Any("error", err))
		}
	}()
}

// stop returns when the run has ended.
func (w *writer) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cancel()
	<-w.done
}
