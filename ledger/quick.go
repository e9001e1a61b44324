package ledger

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/store"
)

// A check first runs through what is stored once, window by window: a window is whole blocks of the writer's, whose rows are all read
// at once, put together to messages, folded, derived, and compared with what was read. It proves everything that a check proves, but
// only that all is well. At the first thing that is not as it should be it gives up, and the check begins again with rows that are
// looked for one by one, and named.

// errDoubt ends the quick way.
var errDoubt = errors.New("something is not as it should be")

// Limits of a window, unless one block of the writer's is larger. What the engine needs for a query, however little it finds, is as
// much as for some 10,000 rows. Two windows are in memory: one is read while the other is folded.
const (
	windowEvents = store.MaxBlockEvents
	windowBytes  = store.MaxBlockBytes
)

// window is consecutive blocks of the writer's.
type window struct{ first, last uint64 }

// windows cuts what is committed.
func (c *checker) windows(ctx context.Context) (all []window, err error) {
	loads, err := c.snapshot.Loads(ctx)
	if err != nil {
		return nil, err
	}
	var events, bytes uint64
	next := window{first: 1}
	for _, load := range loads {
		if next.last > 0 && (events+load.Events > c.most || bytes+load.Bytes > windowBytes) {
			all, next, events, bytes = append(all, next), window{first: next.last + 1}, 0, 0
		}
		next.last, events, bytes = load.Last, events+load.Events, bytes+load.Bytes
	}
	if next.last > 0 {
		all = append(all, next)
	}
	return all, nil
}

// quick folds and compares everything window by window. The error is errDoubt if that does not do.
func (c *checker) quick(ctx context.Context, _ []store.CommittedHead) error {
	windows, err := c.windows(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	free, full := make(chan *store.Reading, 2), make(chan *store.Reading)
	free <- store.NewReading()
	free <- store.NewReading()
	group.Go(func() error {
		defer close(full)
		return c.readAhead(ctx, windows, free, full)
	})
	group.Go(func() error {
		for r := range full {
			if err := c.takeWindow(ctx, r); err != nil {
				return err
			}
			free <- r
		}
		return nil
	})
	return group.Wait()
}

func (c *checker) readAhead(ctx context.Context, windows []window, free <-chan *store.Reading, full chan<- *store.Reading) error {
	for _, w := range windows {
		var r *store.Reading
		select {
		case r = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if ok, err := c.snapshot.Read(ctx, r, w.first, w.last, c.wanted...); err != nil {
			return err
		} else if !ok {
			return errDoubt
		}
		select {
		case full <- r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// takeWindow folds and compares one window.
func (c *checker) takeWindow(ctx context.Context, r *store.Reading) error {
	messages, ok := r.Messages()
	if !ok {
		return errDoubt
	}
	c.reading = r
	if err := c.foldWindow(ctx, messages); err != nil {
		return err
	}
	if err := c.takeRows(); err != nil {
		return err
	}
	return c.closeBefore(ctx, r.Last+1)
}

func (c *checker) foldWindow(ctx context.Context, messages []*store.Stored) error {
	group, ctx := errgroup.WithContext(ctx)
	decoder := c.fold.Decoder()
	jobs := decodeInOrder(ctx, group, c.workers, decoder.part, c.parts(messages))
	group.Go(func() error {
		at := 0
		for j := range jobs {
			d, err := j.wait(ctx)
			if err == nil {
				err = c.takeQuick(ctx, messages[at], d)
			}
			if err != nil {
				return err
			}
			at++
		}
		return nil
	})
	return group.Wait()
}

// parts gives one message after the other to the workers, each with memory that one before had.
func (c *checker) parts(messages []*store.Stored) func(context.Context) (part, error) {
	at := 0
	return func(context.Context) (part, error) {
		if at == len(messages) {
			return part{}, io.EOF
		}
		at++
		return part{messages[at-1], c.rooms.take()}, nil
	}
}

// takeQuick folds one message.
func (c *checker) takeQuick(ctx context.Context, m *store.Stored, d *Decoded) error {
	if err := c.closeBefore(ctx, m.StreamSeq); err != nil {
		return err
	}
	if t := c.fold.tenants[m.Tenant]; t != nil && m.FirstIndex != t.size() {
		return errDoubt
	}
	c.seek(m)
	r, err := c.fold.judge(ctx, d)
	if err != nil {
		return err
	}
	c.fold.seq, c.fold.digest = m.StreamSeq, c.link(m, d)
	if r == nil || r.tenant.name != m.Tenant || d.digest != m.MessageDigest {
		return errDoubt
	}
	folded, err := r.execute(c.fold)
	if err != nil {
		return err
	}
	if !sameLeaves(folded, m) || m.Batch != nil && folded.Raw != nil {
		return errDoubt
	}
	for i, leaf := range m.Leaves {
		folded.Leaves[i].Bytes = leaf // where it stays; the fold uses the memory of its own again
	}
	if d.batch != nil && r.verdict != chain.Malformed {
		c.progress.Batches++
	}
	c.used = append(c.used, d.room)
	if err := c.add(ctx, folded); err != nil || c.block.Events() < takenEvents {
		return err
	}
	return c.takeRows()
}

// takenEvents are compared at a time: so many that it pays, and so few that they are in the processor's caches.
const takenEvents = 2048

// takeRows compares what was derived since the last time.
func (c *checker) takeRows() error {
	if !c.reading.Take(c.block) {
		return errDoubt
	}
	c.rooms.give(c.used)
	c.used = c.used[:0]
	return nil
}
