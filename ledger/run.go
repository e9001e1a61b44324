package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// errStopped ends the goroutines of a run that has done all it should.
var errStopped = errors.New("stopped")

// Run is the writer: it claims the partition and folds the stream into the store until ctx ends, which is no
// error, or until it must halt. The error then says why, as Status does. It must not be called twice at a time.
func (l *Ledger) Run(ctx context.Context) error {
	l.setRunning(true, nil)
	err := l.run(ctx, 0)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		err = nil
	}
	l.setRunning(false, err)
	if err != nil {
		return fmt.Errorf("run ledger: %w", err)
	}
	return nil
}

// run folds up to and including the message until, or for ever if it is 0.
func (l *Ledger) run(ctx context.Context, until uint64) error {
	w, err := l.start(ctx)
	if err != nil {
		return err
	}
	if w.until = until; until != 0 && w.fold.seq >= until {
		return nil
	}
	w.reader = l.cfg.Feed.join(w.fold.seq + 1)
	w.turn = turn{way: l.cfg.Way, busy: l.cfg.Busy, most: yieldMost, late: lateAge, backlog: backlogAge}
	group, ctx := errgroup.WithContext(ctx)
	cuts, slots := make(chan *cut), make(chan struct{}, 1)
	group.Go(func() error { return w.cutBlocks(ctx, group, cuts, slots) })
	group.Go(func() error { return w.commitBlocks(ctx, cuts, slots) })
	group.Go(func() error { return l.watchBacklog(ctx) })
	if l.cfg.LogKey != nil {
		group.Go(func() error { return l.signCheckpoints(ctx) })
	}
	if l.confirmer != nil {
		group.Go(func() error { return l.confirmer.run(ctx) })
	}
	err = group.Wait()
	w.reader.Close()
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// writer is one run: the lease, and the fold behind it.
type writer struct {
	*Ledger
	lease  *lease
	fold   *Fold
	until  uint64 // stop after this message; 0 never
	reader *member
	turn   turn
	age    time.Duration // of the last message, when it was read; negative if it is ahead
	rows   uint64        // last message of the newest block with rows that was cut: blocks in the store tile the stream

	free   chan *store.Block // blocks to use again
	took   atomic.Int64      // ns to make the last block durable
	pruned time.Time
}

// start claims the head, holds the stream to it and loads the state there.
func (l *Ledger) start(ctx context.Context) (*writer, error) {
	again := retry{report: l.report}
	incarnation := l.cfg.Stream.Incarnation()
	lease, err := claim(ctx, l.cfg.Stream.Head(l.cfg.Partition), again, incarnation)
	if err != nil {
		return nil, err
	}
	if err := l.cfg.Hook(StepClaimed); err != nil {
		return nil, err
	}
	w := &writer{Ledger: l, lease: lease, free: make(chan *store.Block, blocksInWork), pruned: l.cfg.Now()}
	if err := again.do(ctx, "hold stream to head", w.checkStream); err != nil {
		return nil, err
	}
	if err := again.do(ctx, "hold store to head", w.checkStore); err != nil {
		return nil, err
	}
	if err := again.do(ctx, "load state", w.load); err != nil {
		return nil, err
	}
	l.view.load(w.fold)
	l.committed.Store(w.fold.seq)
	l.backlog.readSeq.Store(w.fold.seq)
	l.cfg.Log.InfoContext(ctx, "ledger has taken over", slog.Uint64("fence", lease.head.Fence),
		slog.Uint64("committed", lease.head.Done), slog.Bool("finishes_intent", lease.head.Intent != nil))
	return w, nil
}

// checkStream makes sure that the stream still holds the message at the head, as it was recorded, and reaches as
// far as the intent.
func (w *writer) checkStream(ctx context.Context) error {
	state, err := w.cfg.Stream.State(ctx)
	if err != nil {
		return err
	}
	w.backlog.streamLast.Store(state.Last)
	h := &w.lease.head
	reach := h.Done
	if h.Intent != nil {
		reach = h.Intent.Last
	}
	if state.Last < reach {
		return fmt.Errorf("stream ends at %d, recorded is %d: %w", state.Last, reach, stream.ErrHole)
	}
	if h.Done == 0 {
		return nil
	}
	m, err := w.cfg.Stream.Get(ctx, h.Done)
	if err != nil {
		return err
	}
	if link(Digest(h.Before), &m, sha256.Sum256(m.Data)) != Digest(h.Digest) {
		return fmt.Errorf("message %d at the head: %w", h.Done, ErrDigest)
	}
	return nil
}

// checkStore makes sure that a head at the beginning has an empty store. The head lies with the stream and is lost with it:
// then everything would be recorded once more from 1 on, into what is there.
func (w *writer) checkStore(ctx context.Context) error {
	if h := &w.lease.head; h.Done > 0 || h.Intent != nil {
		return nil
	}
	heads, err := w.cfg.Store.At(math.MaxInt64).Heads(ctx)
	if err == nil && len(heads) > 0 {
		err = fmt.Errorf("%d logs are stored: %w", len(heads), ErrOtherStream)
	}
	return err
}

// load sets the fold to the state at the head.
func (w *writer) load(ctx context.Context) error {
	h := &w.lease.head
	entries, err := w.cfg.Store.LoadState(ctx, h.Done)
	if err != nil {
		return err
	}
	w.fold, w.rows = NewFold(w.cfg.System, w.cfg.Store), h.Boundary
	w.fold.keys.verified = w.cfg.Verified
	if err := w.fold.Load(h.Done, h.Digest, entries); err != nil {
		return err
	}
	if got := w.fold.leaves(); got != h.Leaves {
		return fmt.Errorf("state at %d has %d leaves, recorded are %d: %w", h.Done, got, h.Leaves, ErrStoreState)
	}
	return nil
}

// leaves is the number of leaves of all logs.
func (f *Fold) leaves() (n uint64) {
	for _, t := range f.tenants {
		n += t.size()
	}
	return n
}

// cut is a block that is ready to be committed.
type cut struct {
	block    *store.Block
	last     uint64
	before   Digest // running digest before the last message
	digest   Digest // and after it
	leaves   uint64 // of all logs
	events   uint64 // that the block's messages claim
	heads    []store.Head
	registry []registryChange
	emitters []emitterChange
}

// emitterChange is an emitter's new head.
type emitterChange struct {
	tenant string
	entry  store.StateEntry
}

type registryChange struct {
	tenant string
	entry  registry.Entry
}

// cutBlocks folds messages into blocks and hands these to the committer, which puts a token into slots whenever
// it waits.
func (w *writer) cutBlocks(ctx context.Context, group *errgroup.Group, cuts chan<- *cut, slots <-chan struct{}) error {
	defer close(cuts)
	decoder := w.fold.Decoder()
	decode := func(a *arrival) *Decoded { return a.decode(decoder) }
	jobs := decodeInOrder(ctx, group, w.cfg.Workers, decode, w.next)
	b := w.newBuilder()
	defer func() { b.cut.block.Discard() }()
	for {
		if err := w.step(ctx, b, jobs, cuts, slots); err != nil {
			return err
		}
	}
}

// next reads a message and holds it to the clock.
func (w *writer) next(ctx context.Context) (*arrival, error) {
	w.turn.yield(ctx, w.age)
	a, err := w.reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	w.age = w.cfg.Now().Sub(time.Unix(0, a.message.Time))
	if ahead := -w.age; ahead > MaxClockLeap {
		return nil, fmt.Errorf("message %d is %s ahead: %w", a.message.Seq, ahead.Round(time.Second), ErrClockLeap)
	}
	return a, nil
}

// touchedHeads are the heads of some logs, by tenant.
func touchedHeads(f *Fold, touched map[string]bool) (heads []store.Head) {
	for _, name := range slices.Sorted(maps.Keys(touched)) {
		heads = append(heads, f.tenants[name].head())
	}
	return heads
}

// step folds one message, or hands the block on when it is due and the committer waits.
func (w *writer) step(ctx context.Context, b *builder, jobs <-chan *job, cuts chan<- *cut, slots <-chan struct{}) error {
	if b.full() {
		return w.stepFull(ctx, b, cuts, slots)
	}
	due, timer := b.due()
	if !due {
		slots = nil
	}
	defer timer.Stop()
	select {
	case j, open := <-jobs:
		if !open {
			<-ctx.Done() // the reader's error ends the run
			return context.Cause(ctx)
		}
		return w.take(ctx, b, j)
	case <-slots:
		return w.hand(ctx, b, cuts)
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stepFull hands a block on that takes no more, and has its rows written if it must wait.
func (w *writer) stepFull(ctx context.Context, b *builder, cuts chan<- *cut, slots <-chan struct{}) error {
	select {
	case <-slots:
		return w.hand(ctx, b, cuts)
	default:
	}
	if err := w.prepare(b); err != nil {
		return err
	}
	select {
	case <-slots:
		return w.hand(ctx, b, cuts)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *writer) take(ctx context.Context, b *builder, j *job) error {
	d, err := j.wait(ctx)
	if err != nil {
		return err
	}
	w.backlog.decoded(d)
	before := w.fold.digest
	var folded *store.Folded
	err = retry{w.report}.do(ctx, "fold", func(ctx context.Context) (err error) {
		folded, err = w.fold.Message(ctx, d)
		return err
	})
	if err != nil {
		return err
	}
	if d.reason != nil {
		w.cfg.Log.WarnContext(ctx, "malformed message", slog.Uint64("stream_seq", d.Seq()),
			slog.String("subject", d.message.Subject), slog.Any("error", d.reason))
	}
	b.add(time.Now(), d, folded, before)
	return nil
}

// prepare ends a block and has its rows written while the one before it is inserted.
func (w *writer) prepare(b *builder) error {
	err := b.close(w.fold)
	if err == nil && b.cut.block.Events() > 0 {
		w.cfg.Store.Prepare(b.cut.block)
	}
	return err
}

// hand gives the block to the committer and begins the next.
func (w *writer) hand(ctx context.Context, b *builder, cuts chan<- *cut) error {
	full := b.full()
	if err := b.close(w.fold); err != nil {
		return err
	}
	c := b.cut
	if w.calm(b, full) {
		c.block.OneByOne()
	}
	if c.block.Events() > 0 {
		w.rows = c.last
	}
	select {
	case cuts <- c: // from here on it is the committer's
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.fold.Committed(w.Committed())
	b.age, b.apart = w.blockAge(busyShare), w.blockAge(storeShare)
	if full { // the end of a backlog is waited for, and a block as large as can be took long for its rows, not for its files
		b.apart = w.cfg.BlockAge
	}
	b.begin(w.block(w.rows+1), time.Now())
	return nil
}

// calm reports whether a block may take its time: messages keep coming, and the store is fast enough for more of them.
func (w *writer) calm(b *builder, full bool) bool {
	return !full && time.Since(b.last) < blockIdle && time.Duration(w.took.Load()) <= calmTime
}

// blockAge is how long the next block collects: as configured while the store is fast, so many times the last block's time when it is not.
func (w *writer) blockAge(share time.Duration) time.Duration {
	return max(w.cfg.BlockAge, min(share*time.Duration(w.took.Load()), maxBlockAge))
}

// block returns an empty block that begins at first, one that was used before if there is one.
func (w *writer) block(first uint64) *store.Block {
	select {
	case b := <-w.free:
		b.Reset(first)
		return b
	default:
		return store.NewBlock(first)
	}
}

// builder collects what becomes a block.
type builder struct {
	age   time.Duration // of a block when it is cut, while messages keep coming
	apart time.Duration // how long after the block before it is cut when they do not
	until uint64

	cut     *cut
	closed  bool    // the cut is as it is handed over
	exactly *intent // boundaries that a writer before us recorded; nil if they are ours to choose
	first   time.Time
	last    time.Time // of the newest message
	earlier time.Time // when the block before was cut
	touched map[string]bool
	seq     uint64 // of the newest message, 0 if none
	stream  Digest // running digest after the newest message with leaves
}

// newBuilder begins the first block: the recorded intent, if there is one.
func (w *writer) newBuilder() *builder {
	b := &builder{age: w.cfg.BlockAge, apart: w.cfg.BlockAge, until: w.until, exactly: w.lease.head.Intent}
	b.begin(w.block(w.rows+1), time.Time{})
	return b
}

func (b *builder) begin(block *store.Block, earlier time.Time) {
	b.cut, b.earlier, b.seq, b.closed = &cut{block: block}, earlier, 0, false
	b.touched = map[string]bool{}
}

// add takes in a message; before is the running digest before it.
func (b *builder) add(now time.Time, d *Decoded, folded *store.Folded, before Digest) {
	if b.seq == 0 {
		b.first = now
	}
	b.seq, b.last, b.cut.before = d.Seq(), now, before
	b.cut.events += uint64(d.Events())
	if folded == nil {
		return
	}
	b.cut.block.Add(folded)
	b.touched[folded.Tenant], b.stream = true, folded.StreamDigest
	for _, e := range folded.State {
		switch {
		case registry.Owns(e.Key):
			b.cut.registry = append(b.cut.registry, registryChange{folded.Tenant, registry.Entry{Key: e.Key, Value: e.Value}})
		case strings.HasPrefix(e.Key, emitterPrefix):
			b.cut.emitters = append(b.cut.emitters, emitterChange{folded.Tenant, e})
		}
	}
}

// full reports whether the block takes no more.
func (b *builder) full() bool {
	switch {
	case b.exactly != nil:
		return b.seq == b.exactly.Last
	case b.until != 0 && b.seq >= b.until:
		return true
	}
	return b.cut.block.Events() >= store.MaxBlockEvents || b.cut.block.Bytes() >= store.MaxBlockBytes
}

// due reports whether the block should be cut now; if not, the timer says when to ask again.
func (b *builder) due() (bool, *time.Timer) {
	switch {
	case b.seq == 0 || b.exactly != nil:
		return false, time.NewTimer(time.Hour)
	}
	old, quiet := b.first.Add(b.age), later(b.last.Add(blockIdle), b.earlier.Add(b.apart))
	wait := time.Until(earliest(old, quiet))
	return wait <= 0, time.NewTimer(max(wait, time.Millisecond))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// close ends the block, once. A recorded intent must come out as it was recorded.
func (b *builder) close(f *Fold) error {
	if b.closed {
		return nil
	}
	c := b.cut
	c.last, c.digest, c.leaves = b.seq, f.digest, f.leaves()
	if b.exactly != nil && Digest(b.exactly.Digest) != c.digest {
		return fmt.Errorf("messages %d to %d of the intent: %w", b.exactly.First, b.exactly.Last, ErrDigest)
	}
	b.exactly, b.closed = nil, true
	c.heads = touchedHeads(f, b.touched)
	c.block.Close(c.last, b.stream, c.heads)
	return nil
}
