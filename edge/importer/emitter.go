//go:build unix

package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
)

// OpenEmitter opens the emitter of a joined folder as a Sink that is a Holder: it looks into the spool before anything is
// delivered from it. Closing it waits for every receipt, or for the context.
func OpenEmitter(ctx context.Context, config edge.Config) (Sink, error) {
	held, err := heldIn(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("open emitter %s: %w", config.Dir, err)
	}
	e, err := edge.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	return &emitter{e, held}, nil
}

// emitter is an edge.Emitter that knows what its spool held.
type emitter struct {
	*edge.Emitter
	held map[event.ID]bool
}

func (e *emitter) Holds(id event.ID) bool { return e.held[id] }

// Close waits as long as delivery takes: an import may be hours ahead of Custody. What has no receipt when the context
// ends stays in the spool, and another import delivers it.
func (e *emitter) Close(ctx context.Context) error {
	return errors.Join(e.Flush(ctx), e.Emitter.Close(ctx))
}

// The parts of an emitter's folder, as package edge names them.
const (
	lockFile = "lock"
	spoolDir = "spool"
)

// heldIn are the events without a receipt in an emitter's folder. It holds the folder's lock meanwhile.
func heldIn(dir string) (held map[event.ID]bool, err error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close() //nolint:errcheck // opened for locking only
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	s, err := spool.Open(filepath.Join(dir, spoolDir), spool.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	held = map[event.ID]bool{}
	for _, q := range s.Queues() {
		if err := collect(q, held); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// collect adds the ids of a queue's events without a receipt. What damage has taken from the spool is passed over.
func collect(q *spool.Queue, held map[event.ID]bool) error {
	var b spool.Batch
	state := q.State()
	for next := state.Acked.Seq + 1; next <= state.LastSeq(); {
		err := q.Load(next, event.MaxBatchEvents, &b)
		if err != nil && !errors.Is(err, spool.ErrMissing) {
			return err
		}
		for _, entry := range b.Entries {
			e, err := event.Parse(entry.Event)
			if err != nil {
				return fmt.Errorf("event in the spool: %w", err)
			}
			held[event.ID(e.Id)] = true
		}
		next += spool.Seq(max(1, len(b.Entries)))
	}
	return nil
}
