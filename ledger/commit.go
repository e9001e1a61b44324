package ledger

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// commitBlocks makes blocks durable, one after the other.
func (w *writer) commitBlocks(ctx context.Context, cuts <-chan *cut, slots chan<- struct{}) error {
	for {
		slots <- struct{}{}
		select {
		case c, open := <-cuts:
			if !open {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			if err := w.commit(ctx, c); err != nil {
				return err
			}
			if w.until != 0 && c.last >= w.until {
				return errStopped
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// commit takes a block through the steps of the package comment.
func (w *writer) commit(ctx context.Context, c *cut) error {
	began := time.Now()
	if err := w.intend(ctx, c); err != nil {
		return err
	}
	// A crash here: the next writer folds the same range again and inserts it.
	if err := w.insert(ctx, c); err != nil {
		return err
	}
	// A crash here: the next writer inserts the same rows again, which count once.
	if err := w.done(ctx, c); err != nil {
		return err
	}
	// A crash here: the next writer goes on after the block.
	if err := w.publish(c); err != nil {
		return err
	}
	w.took.Store(int64(time.Since(began)))
	w.recycle(ctx, c)
	return nil
}

// intend records the block's range, unless a writer before us has done so.
func (w *writer) intend(ctx context.Context, c *cut) error {
	next := w.lease.head
	next.Intent = &intent{First: next.Done + 1, Last: c.last, Digest: c.digest}
	if recorded := w.lease.head.Intent; recorded == nil || *recorded != *next.Intent {
		if err := w.lease.set(ctx, next); err != nil {
			return err
		}
	}
	return w.cfg.Hook(StepIntended)
}

// insert tries until the rows are durable. A writer that was held up makes sure that it is still the writer, so
// that rows never come so late that their tokens are forgotten.
func (w *writer) insert(ctx context.Context, c *cut) error {
	if c.block.Events() > 0 {
		began := time.Now()
		err := retry{w.report}.do(ctx, "insert", func(ctx context.Context) error {
			if time.Since(began) > confirmAfter {
				if err := w.lease.confirm(ctx); err != nil {
					return err
				}
				began = time.Now()
			}
			return w.cfg.Store.Insert(ctx, c.block)
		})
		if err != nil {
			return err
		}
	}
	return w.cfg.Hook(StepInserted)
}

// done records the new position.
func (w *writer) done(ctx context.Context, c *cut) error {
	next := w.lease.head
	next.Done, next.Before, next.Digest, next.Leaves, next.Intent = c.last, c.before, c.digest, c.leaves, nil
	if c.block.Events() > 0 {
		next.Boundary = c.last
	}
	if err := w.lease.set(ctx, next); err != nil {
		return err
	}
	return w.cfg.Hook(StepDone)
}

// publish lets readers see the block.
func (w *writer) publish(c *cut) error {
	w.committed.Store(c.last)
	w.backlog.committed.Add(c.events)
	if err := w.view.advance(c); err != nil {
		return errors.Join(errState, err)
	}
	return w.cfg.Hook(StepPublished)
}

// recycle gives the block's memory back, and drops replaced state now and then.
func (w *writer) recycle(ctx context.Context, c *cut) {
	select {
	case w.free <- c.block:
	default:
	}
	if now := w.cfg.Now(); now.Sub(w.pruned) > pruneEvery {
		w.pruned = now
		if err := w.cfg.Store.PruneState(ctx, c.last); err != nil {
			w.cfg.Log.WarnContext(ctx, "replaced state not dropped: tried again later", slog.Any("error", err))
		}
	}
}

// watchBacklog asks for the end of the stream.
func (l *Ledger) watchBacklog(ctx context.Context) error {
	for sleep(ctx, backlogEvery) {
		if state, err := l.cfg.Stream.State(ctx); err == nil {
			l.backlog.streamLast.Store(state.Last)
		}
	}
	return context.Cause(ctx)
}
