package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// Why a rebuild is not possible.
var (
	// ErrTrimmed: the beginning of the stream is gone, and with it what a rebuild starts from.
	ErrTrimmed = errors.New("stream does not begin with its first message")
	// ErrNotEmpty: a rebuild writes only into an empty store.
	ErrNotEmpty = errors.New("store is not empty")
	// ErrRunning: a rebuild takes the place of the writer.
	ErrRunning = errors.New("the ledger is running")
)

// Rebuild folds the stream again from its first message. With check it compares every row with what comes out,
// and the running digest with the recorded one, and writes nothing; it stops at the first block that differs,
// since everything after it does. Without check it fills an empty store, as the writer would, up to the end of
// the stream; the ledger must not be running. Either way a message that was changed or is missing makes it
// fail. The last Progress is returned. Errors: ErrDigest, ErrTrimmed, ErrNotEmpty, ErrRunning, stream.ErrHole.
func (l *Ledger) Rebuild(ctx context.Context, check bool, progress func(Progress)) (Progress, error) {
	r := &rebuilder{Ledger: l, report: progress}
	err := r.run(ctx, check)
	if err != nil {
		err = fmt.Errorf("rebuild: %w", err)
	}
	return r.progress, err
}

type rebuilder struct {
	*Ledger
	report   func(Progress)
	progress Progress
	head     *head
}

func (r *rebuilder) run(ctx context.Context, check bool) (err error) {
	if r.head, err = r.readHead(ctx); err != nil {
		return err
	}
	state, err := r.cfg.Stream.State(ctx)
	switch {
	case err != nil:
		return err
	case state.First > 1:
		return fmt.Errorf("%w: it begins at %d; check compares what the store holds of the rest", ErrTrimmed, state.First)
	case state.Last < r.head.Done:
		return fmt.Errorf("stream ends at %d, recorded is %d: %w", state.Last, r.head.Done, stream.ErrHole)
	}
	if check {
		r.progress.TotalMessages = r.head.Done
		return r.compare(ctx)
	}
	r.progress.TotalMessages = state.Last
	return r.fill(ctx, state.Last)
}

func (r *rebuilder) tell(p *store.Problem) {
	if r.report != nil {
		now := r.progress
		now.Problem = p
		r.report(now)
	}
}

// read calls take for every message up to last, decoded on all workers.
func (r *rebuilder) read(ctx context.Context, decoder *Decoder, last uint64, take func(context.Context, *Decoded) error) error {
	if last == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	reader, at := r.cfg.reread(), uint64(0)
	jobs := decodeInOrder(ctx, group, r.cfg.Workers, decoder.Decode, func(ctx context.Context) (stream.Message, error) {
		if at == last {
			return stream.Message{}, io.EOF
		}
		m, err := reader.Next(ctx)
		at = m.Seq
		return m, err
	})
	group.Go(func() error {
		for j := range jobs {
			d, err := j.wait(ctx)
			if err == nil {
				err = take(ctx, d)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	reader.Close()
	return err
}

// compare folds the committed messages and compares blocks with the same boundaries as in the store.
func (r *rebuilder) compare(ctx context.Context) error {
	snapshot := r.cfg.Store.At(r.head.Done)
	boundaries, err := snapshot.Boundaries(ctx, 0)
	if err != nil {
		return err
	}
	f := NewFold(r.cfg.System, r.cfg.Store)
	c := &comparer{rebuilder: r, snapshot: snapshot, boundaries: boundaries, fold: f, block: store.NewBlock(1), touched: map[string]bool{}}
	if err := r.read(ctx, f.Decoder(), r.head.Done, c.take); err != nil {
		return err
	}
	r.progress.Tenants = uint32(len(f.tenants))
	r.tell(nil)
	if r.progress.Problems > 0 {
		return fmt.Errorf("%d differences: %w", r.progress.Problems, ErrDigest)
	}
	if f.digest != Digest(r.head.Digest) {
		return fmt.Errorf("running digest at %d: %w", r.head.Done, ErrDigest)
	}
	return nil
}

// comparer builds the store's blocks again.
type comparer struct {
	*rebuilder
	snapshot   Snapshot
	boundaries []uint64
	fold       *Fold
	block      *store.Block
	touched    map[string]bool
	digest     Digest
}

func (c *comparer) take(ctx context.Context, d *Decoded) error {
	if c.progress.Problems > 0 {
		return nil // everything after a difference differs
	}
	folded, err := c.fold.Message(ctx, d)
	if err != nil {
		return err
	}
	c.fold.Committed(d.Seq())
	c.progress.Messages++
	if folded != nil {
		c.block.Add(folded)
		c.touched[folded.Tenant], c.digest = true, folded.StreamDigest
		c.progress.Events += uint64(len(folded.Leaves))
		c.progress.Batches++
	}
	last := len(c.boundaries) > 0 && d.Seq() == c.boundaries[0]
	if !last && d.Seq() != c.head.Done {
		return nil
	}
	return c.close(ctx, d.Seq())
}

func (c *comparer) close(ctx context.Context, last uint64) error {
	c.block.Close(last, c.digest, touchedHeads(c.fold, c.touched))
	problems, err := c.snapshot.Compare(ctx, c.block, nil)
	if err != nil {
		return err
	}
	for _, p := range problems {
		c.progress.Problems++
		c.tell(&p)
	}
	c.tell(nil)
	c.boundaries = c.boundaries[min(len(c.boundaries), 1):]
	c.block.Reset(last + 1)
	c.touched = map[string]bool{}
	return nil
}

// fill writes an empty store anew.
func (r *rebuilder) fill(ctx context.Context, last uint64) error {
	if r.Status().Running {
		return ErrRunning
	}
	heads, err := r.cfg.Store.At(last).Heads(ctx)
	if err == nil && len(heads) > 0 {
		err = ErrNotEmpty
	}
	if err != nil {
		return err
	}
	if err := r.verifyStream(ctx); err != nil {
		return err
	}
	if err := r.forget(ctx); err != nil {
		return err
	}
	return r.write(ctx, last)
}

// verifyStream computes the running digest and compares it with the recorded one, before anything is written.
func (r *rebuilder) verifyStream(ctx context.Context) error {
	reader := r.cfg.reread()
	defer reader.Close()
	var digest Digest
	for range r.head.Done {
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		digest = link(digest, &m, sha256.Sum256(m.Data))
	}
	if digest != Digest(r.head.Digest) {
		return fmt.Errorf("running digest at %d: %w", r.head.Done, ErrDigest)
	}
	return nil
}

// forget sets the head back to the beginning, under a new fence.
func (r *rebuilder) forget(ctx context.Context) error {
	again := retry{r.Ledger.report}
	l, err := claim(ctx, r.cfg.Stream.Head(r.cfg.Partition), again, r.cfg.Stream.Incarnation())
	if err != nil {
		return err
	}
	return l.set(ctx, head{Version: headVersion, Fence: l.head.Fence, Incarnation: l.head.Incarnation})
}

// write runs the writer up to the end of the stream.
func (r *rebuilder) write(ctx context.Context, last uint64) error {
	r.setRunning(true, nil)
	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return r.Ledger.run(ctx, last)
	})
	group.Go(func() error { return r.watch(ctx, done) })
	err := group.Wait()
	r.setRunning(false, err)
	r.count()
	r.tell(nil)
	return err
}

// watch reports progress with every block.
func (r *rebuilder) watch(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-done:
		case <-ctx.Done():
		}
	}()
	for at := uint64(0); ; {
		var err error
		if at, err = r.Follow(ctx, at); err != nil {
			return nil // the writer has ended, well or not
		}
		r.count()
		r.tell(nil)
	}
}

// count takes the progress from what is committed.
func (r *rebuilder) count() {
	heads := r.view.snapshot()
	r.progress.Messages, r.progress.Tenants, r.progress.Events = r.Committed(), uint32(len(heads)), 0
	for _, h := range heads {
		r.progress.Events += h.Size
	}
}
