package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// Limits of the writer, each with its reason.
const (
	// MaxClockLeap is how far a message may be ahead of the writer's clock. Leaf times never go back, so one
	// message from the future would stamp everything after it.
	MaxClockLeap = 5 * time.Minute

	// DefaultBlockAge is how long a message waits for its block at most, if the store keeps up; and how often
	// a quiet stream is cut at most, since each block makes a part of every table.
	DefaultBlockAge = 200 * time.Millisecond

	// maxBlockAge bounds what a slow store makes of that: see writer.blockAge. With it a row is there within two seconds
	// while the store takes a second for a block.
	maxBlockAge = 700 * time.Millisecond

	// storeShare is how many times longer than the block before took to be made durable the next collects at least. A block costs
	// the store some hundred files whatever is in it; so that costs it a third of its time at most.
	storeShare = 2

	// busyShare is the same while messages keep coming: then a block costs the store a seventh of its time.
	busyShare = 6

	// blockIdle is the pause after which a block is cut before it is old: nothing more is coming.
	blockIdle = 20 * time.Millisecond

	// calmTime is how long a block takes at most to be made durable for the next to be inserted one table after the other, while messages keep
	// coming: that takes a fifth longer and leaves a processor to the door. The store is busy for a third of the time then.
	calmTime = 320 * time.Millisecond

	// blocksInWork bounds how many blocks take memory: one is inserted while the next is folded.
	blocksInWork = 2

	// confirmAfter is the time after which a writer makes sure that it is still the writer before it inserts:
	// much shorter than the store remembers the tokens of blocks.
	confirmAfter = 10 * time.Second

	// pruneEvery is how often replaced state is dropped from the store, so that a start reads little.
	pruneEvery = time.Hour

	// backlogEvery is how often the end of the stream is asked for.
	backlogEvery = 500 * time.Millisecond
)

// ErrClockLeap says that a message is too far ahead of the writer's clock: a person must see which of the two
// clocks is wrong.
var ErrClockLeap = errors.New("message is ahead of the clock")

// ErrStoreState says that the store does not hold what the head says: a person must rebuild it.
var ErrStoreState = errors.New("store does not hold what was committed: run custody rebuild")

// ErrOtherStream says that the stream is at its beginning and the store is not: the stream that the store was made from is
// gone, and the head with it.
var ErrOtherStream = errors.New("the stream that the store was made from is gone, or this is another one")

// ErrNoTenant says that a tenant has no log.
var ErrNoTenant = errors.New("no such tenant")

// Step names a point of the commit at which a test may stop a writer, in their order.
type Step string

// The steps.
const (
	StepClaimed   Step = "claimed"   // the head is ours
	StepIntended  Step = "intended"  // the block's range is recorded
	StepInserted  Step = "inserted"  // its rows are durable
	StepDone      Step = "done"      // the new position is recorded
	StepPublished Step = "published" // readers have been told
)

// Config is what a ledger is made of.
type Config struct {
	Stream    *stream.Stream
	Store     Store
	Partition string           // [a-z0-9-]+; empty is "0"
	System    signer.PublicKey // signs the genesis of every log
	LogKey    signer.Signer    // signs checkpoints, under the log's origin; nil signs none
	TimeKey   signer.Signer    // cosigns checkpoints with the time, under the origin and TimeKeySuffix; may be nil

	Confirm  *Confirm           // who confirms checkpoints; nil is nobody
	Way      *stream.RightOfWay // the writer gives it; nil: nobody has it
	Busy     func() bool        // whether emitters wait for a processor, see yieldMost; nil is never
	Workers  int                // goroutines that decode; 0 is one for each processor
	Feed     *Feed              // of Stream, with the follower of this process; nil is one of its own
	Verified *signer.Verified   // signatures that this process has found good; nil remembers none
	BlockAge time.Duration      // 0 is DefaultBlockAge
	Now      func() time.Time   // nil is time.Now
	Log      *slog.Logger       // nil discards
	Hook     func(Step) error   // called at each step; an error stops the writer there, as a crash would; may be nil

	checkpointEvery time.Duration       // while a log grows; 0 is the constant
	reread          func() streamReader // the stream from its first message on, for Rebuild; nil is Stream's
}

// streamReader is a stream.Reader.
type streamReader interface {
	Next(ctx context.Context) (stream.Message, error)
	Close()
}

func (c Config) withDefaults() Config {
	if c.Partition == "" {
		c.Partition = "0"
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.BlockAge == 0 {
		c.BlockAge = DefaultBlockAge
	}
	if c.checkpointEvery == 0 {
		c.checkpointEvery = checkpointEvery
	}
	if c.Feed == nil {
		c.Feed = NewFeed(c.Stream)
	}
	if c.reread == nil {
		c.reread = func() streamReader { return c.Stream.Read(1, "") }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Hook == nil {
		c.Hook = func(Step) error { return nil }
	}
	return c
}

// Ledger is one partition's log. All methods but Run may be called at any time from any goroutine.
type Ledger struct {
	cfg Config

	view      view
	backlog   backlog
	committed atomic.Uint64 // view's, without its lock

	mu       sync.Mutex
	running  bool
	halted   error // why Run ended
	retrying error // what is tried again

	notesMu sync.Mutex
	notes   map[string]store.Checkpoint // newest of each tenant
	wanted  chan struct{}               // somebody waits for a checkpoint

	confirmer *confirmer // nil if nobody is asked
}

// New returns a ledger that knows nothing yet; see [Ledger.Run].
func New(cfg Config) *Ledger {
	l := &Ledger{cfg: cfg.withDefaults(), notes: map[string]store.Checkpoint{}, wanted: make(chan struct{}, 1)}
	if cfg.Confirm.asks() {
		l.confirmer = newConfirmer(l, *cfg.Confirm)
	}
	l.view.init()
	return l
}

// Status says how the writer is.
type Status struct {
	Running   bool
	Committed uint64 // stream sequence
	Backlog   uint64 // events
	Halted    error  // why it stopped for a person; nil if it runs or was never started
	Retrying  error  // what does not work at the moment and is tried again
}

// Status returns how the writer is.
func (l *Ledger) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{
		Running: l.running, Committed: l.Committed(), Backlog: l.Backlog(), Halted: l.halted, Retrying: l.retrying,
	}
}

func (l *Ledger) setRunning(running bool, halted error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running, l.halted, l.retrying = running, halted, nil
	if halted != nil {
		l.view.halt(halted)
	}
}

// report is told of every failure that is tried again, and of nil when it worked.
func (l *Ledger) report(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.retrying == nil {
		l.cfg.Log.Warn("ledger waits", slog.Any("error", err))
	}
	if err == nil && l.retrying != nil {
		l.cfg.Log.Info("ledger goes on")
	}
	l.retrying = err
}

// Committed is the stream sequence up to which everything is durable and readers may see it.
func (l *Ledger) Committed() uint64 { return l.committed.Load() }

// WaitCommitted returns when the message at a stream sequence is committed. The error is that of ctx, or why the
// writer halted.
func (l *Ledger) WaitCommitted(ctx context.Context, streamSeq uint64) error {
	_, err := l.view.wait(ctx, streamSeq)
	return err
}

// Follow waits until more than after is committed and returns up to where.
func (l *Ledger) Follow(ctx context.Context, after uint64) (committed uint64, err error) {
	return l.view.wait(ctx, after+1)
}

// Head returns the committed head of a tenant's log.
func (l *Ledger) Head(tenant event.TenantID) (store.Head, bool) {
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	h, found := l.view.heads[string(tenant)]
	return h, found
}

// Heads returns the committed heads of all logs, in no order.
func (l *Ledger) Heads() []store.Head {
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	heads := make([]store.Head, 0, len(l.view.heads))
	for _, h := range l.view.heads {
		heads = append(heads, h)
	}
	return heads
}

// LastLeaf returns the newest committed leaf of a tenant's log.
func (l *Ledger) LastLeaf(tenant event.TenantID) (index uint64, hash [32]byte, ok bool) {
	h, ok := l.Head(tenant)
	if !ok || h.Size == 0 {
		return 0, [32]byte{}, false
	}
	return h.Size - 1, h.LeafHash, true
}

// OpenTails counts, by instance, a tenant's emitters whose last committed epoch is not closed.
func (l *Ledger) OpenTails(tenant event.TenantID) map[string]uint32 {
	return l.view.openTails(string(tenant))
}

// Registry returns a copy of a tenant's registry at the committed head. The error is ErrNoTenant.
func (l *Ledger) Registry(_ context.Context, tenant event.TenantID) (*registry.State, error) {
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	r, found := l.view.registries[string(tenant)]
	if !found {
		return nil, fmt.Errorf("registry of %s: %w", tenant, ErrNoTenant)
	}
	return r.Clone(), nil
}

// Registries returns copies of all registries, and the stream sequence up to which they are complete. It waits
// until Run has read what is committed.
func (l *Ledger) Registries(ctx context.Context) (all map[event.TenantID]*registry.State, upTo uint64, err error) {
	if err := l.view.waitLoaded(ctx); err != nil {
		return nil, 0, err
	}
	l.view.mu.Lock()
	defer l.view.mu.Unlock()
	all = make(map[event.TenantID]*registry.State, len(l.view.registries))
	for name, r := range l.view.registries {
		all[event.TenantID(name)] = r.Clone()
	}
	return all, l.view.seq, nil
}

// Backlog is the number of events in the stream that are not committed yet; those of messages that were not
// read yet are estimated.
func (l *Ledger) Backlog() uint64 { return l.backlog.events() }
