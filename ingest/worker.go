package ingest

import (
	"context"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// worker is the memory that checking a batch takes. There are cfg.Workers of them, used in turn by all streams, so that a
// thousand streams need no more of it than one. It belongs to whoever has hired it.
type worker struct {
	checker event.Checker
	hashes  []chain.Hash // of the events of the batch
	wrapper wrapper
}

func newWorkers(n int) chan *worker {
	free := make(chan *worker, n)
	for range n {
		free <- new(worker)
	}
	return free
}

// hire waits for a worker. It returns nil if ctx ends before.
func (s *Service) hire(ctx context.Context) *worker {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.cfg.Way.Give(ctx)
	select {
	case w := <-s.workers:
		return w
	case <-ctx.Done():
		return nil
	}
}

// dismiss lets another batch have the worker, and lets go of this one's.
func (s *Service) dismiss(w *worker) {
	w.checker.Forget()
	w.wrapper.forget()
	s.workers <- w
}

// messages is room for stream messages that is used again once the stream has them. The garbage collector frees what is not.
type messages struct{ pool sync.Pool }

// take returns empty room.
func (m *messages) take() []byte {
	room, _ := m.pool.Get().(*[]byte)
	if room == nil {
		return nil
	}
	return (*room)[:0]
}

// give takes back the room of a message.
func (m *messages) give(message []byte) { m.pool.Put(&message) }
