package live

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/stream"
)

const (
	// snapshotEvery is the least time between two snapshots: what is folded since the last is what a restart folds again.
	snapshotEvery = 5 * time.Second
	// snapshotShare is how much longer no snapshot is written than one is: what that takes from the processors is no more than one part in so many.
	snapshotShare = 20
	// tickOf is how often time passes for tenants of which nothing comes: a deadline is passed by others' messages too.
	tickOf = int64(time.Second)
)

// Message is a message of the stream with the verdict of the ledger's fold.
type Message struct {
	Seq    uint64
	Time   int64          // ns UTC, of the message
	Tenant event.TenantID // empty where there are no leaves
	Leaves []rules.Leaf   // Event is nil where it may not be taken for the emitter's
}

// Source is every message of the stream in its order, judged as the ledger judges it. It is for one goroutine.
type Source interface {
	// Restore begins after the message of a saved state. It comes before Next, if at all.
	Restore(saved []byte) error
	// Next waits for the next message.
	Next(ctx context.Context) (*Message, error)
	// Save is the state after the last message that Next has returned. encode writes it, and may be called beside Next.
	Save() (encode func() []byte, err error)
	// Seq is the sequence of that message.
	Seq() uint64
	// Close ends reading.
	Close()
}

// Brake contains what rules ask for, and Recorder makes Custody's own events durable in a tenant's log.
type (
	Brake interface {
		Automatic(ctx context.Context, o Order) error
	}
	Recorder interface {
		Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (streamSeq uint64, err error)
	}
)

// Config is what an engine is made of. Every field must be set unless it says otherwise.
type Config struct {
	Off         bool // the rules do not run: nothing is read, and whoever asks is told so. Only Rules must be set then.
	Rules       *rules.Set
	Source      Source
	Incarnation string // of the stream
	End         uint64 // the stream's last message at the start: nothing is asked for before it is folded
	Dir         string // folder of the snapshot; empty keeps none
	Brake       Brake
	Recorder    Recorder
	Every       time.Duration     // between snapshots; 0 is snapshotEvery
	Hook        func(Point) error // called at each point of an action; an error stops the engine there, as a crash would; may be nil
	Now         func() time.Time  // nil is time.Now
	Log         *slog.Logger      // nil discards
}

func (c Config) withDefaults() Config {
	if c.Every == 0 {
		c.Every = snapshotEvery
	}
	if c.Hook == nil {
		c.Hook = func(Point) error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Engine runs the rules over the stream. It is safe for concurrent use.
type Engine struct {
	cfg Config

	progress *stream.Progress

	mu      sync.Mutex
	tenants map[event.TenantID]*tenant
	at      int64 // ns, of the last message
	ticked  int64 // ns of the last time that every tenant's time moved on

	saving sync.WaitGroup
	busy   atomic.Bool // a snapshot is being written
	saved  time.Time
	took   atomic.Int64 // ns, to write the last snapshot

	urge chan struct{} // something is pending
	stop context.CancelFunc
	work sync.WaitGroup
}

// tenant is one tenant's fold. It is guarded by the engine's mutex.
type tenant struct {
	rules *rules.Engine
	book  *Book
	acted map[event.ID]bool // firings whose containment is in force here, though the log has not come back with it
	brake uint64            // message that last said something of a containment
}

func newTenant(name event.TenantID, set *rules.Set) *tenant {
	return &tenant{rules: rules.New(set), book: NewBook(name), acted: map[event.ID]bool{}}
}

// Open goes on from the snapshot, if there is one that belongs here, and follows the stream.
func Open(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg: cfg, tenants: map[event.TenantID]*tenant{}, progress: stream.NewProgress(0),
		urge: make(chan struct{}, 1), saved: cfg.Now(),
	}
	if cfg.Off {
		e.stop = func() {}
		e.progress.Fail(ErrOff)
		return e
	}
	if cfg.Dir != "" {
		if err := e.load(); err != nil {
			cfg.Log.Warn("the rules fold the stream from its beginning", slog.Any("error", err))
		}
	}
	e.progress.Reach(cfg.Source.Seq())
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.work.Go(func() { e.follow(ctx) })
	e.work.Go(func() { e.act(ctx) })
	e.hurry()
	return e
}

// Set is the rules.
func (e *Engine) Set() *rules.Set { return e.cfg.Rules }

// Close ends following and acting, and keeps a last snapshot.
func (e *Engine) Close() {
	e.Abort()
	if _, _, failed := e.progress.At(); e.cfg.Dir == "" || failed != nil {
		return
	}
	f, err := e.freeze()
	if err == nil {
		err = keep(e.cfg.Dir, f)
	}
	if err != nil {
		e.cfg.Log.Warn("no snapshot of the rules", slog.Any("error", err))
	}
}

// Abort ends following and acting as a kill would.
func (e *Engine) Abort() {
	e.stop()
	e.work.Wait()
	e.saving.Wait()
	if !e.cfg.Off {
		e.cfg.Source.Close()
	}
}

// follow folds every message.
func (e *Engine) follow(ctx context.Context) {
	for {
		m, err := e.cfg.Source.Next(ctx)
		if err == nil {
			err = e.checkClock(m)
		}
		if err != nil {
			e.fail(ctx, err)
			return
		}
		e.take(m)
		e.snapshot()
	}
}

// fail makes every later wait fail: what is known here gets old.
func (e *Engine) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		e.progress.Fail(fmt.Errorf("rules: %w", err))
		e.cfg.Log.ErrorContext(ctx, "the rules do not follow the stream any more", slog.Any("error", err))
	}
}

func (e *Engine) hurry() {
	select {
	case e.urge <- struct{}{}:
	default:
	}
}

// take folds one message.
func (e *Engine) take(m *Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pass(m.Time)
	pending := false
	if m.Tenant != "" {
		t := e.of(m.Tenant)
		for i := range m.Leaves {
			t.observe(m.Seq, &m.Leaves[i])
		}
		pending = len(t.book.waiting) > 0
	}
	e.at = m.Time
	if pending || m.Seq == e.cfg.End {
		e.hurry()
	}
	e.progress.Reach(m.Seq)
}

func (e *Engine) of(name event.TenantID) *tenant {
	t := e.tenants[name]
	if t == nil {
		t = newTenant(name, e.cfg.Rules)
		e.tenants[name] = t
	}
	return t
}

// pass moves every tenant's time on, so that a deadline fires though nothing comes of its tenant.
func (e *Engine) pass(now int64) {
	if now/tickOf == e.ticked/tickOf {
		return
	}
	e.ticked = now
	for _, name := range e.names() {
		t := e.tenants[name]
		t.book.Note(t.rules.Advance(now), t.rules.Instances())
		if len(t.book.waiting) > 0 {
			e.hurry()
		}
	}
}

// names are the tenants, in order.
func (e *Engine) names() []event.TenantID { return slices.Sorted(maps.Keys(e.tenants)) }

func (t *tenant) observe(seq uint64, l *rules.Leaf) {
	t.book.Note(t.rules.Observe(l), t.rules.Instances())
	s := l.Event.GetSystem()
	if s == nil {
		return
	}
	t.book.Apply(l.Time, s)
	if s.GetContainment() != nil {
		t.brake = seq
	}
}

// snapshot has what is known written beside the fold, if it is time. The fold stands still only until the state is frozen.
func (e *Engine) snapshot() {
	now := e.cfg.Now()
	if e.cfg.Dir == "" || now.Sub(e.saved) < max(e.cfg.Every, snapshotShare*time.Duration(e.took.Load())) {
		return
	}
	if !e.busy.CompareAndSwap(false, true) {
		return
	}
	e.mu.Lock()
	f, err := e.freeze()
	e.mu.Unlock()
	e.saved = now
	e.saving.Go(func() {
		defer e.busy.Store(false)
		if err == nil {
			err = keep(e.cfg.Dir, f)
		}
		if err != nil {
			e.cfg.Log.Warn("no snapshot of the rules", slog.Any("error", err))
		}
		e.took.Store(int64(e.cfg.Now().Sub(now)))
	})
}

// Hash is SHA-256 of all that is known after the last message, and the sequence of that.
func (e *Engine) Hash() (sum [sha256.Size]byte, seq uint64, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := sha256.New()
	for _, name := range e.names() {
		t := e.tenants[name]
		book, err := t.book.MarshalJSON()
		if err != nil {
			return sum, 0, err
		}
		for _, part := range [][]byte{[]byte(name), t.rules.Snapshot(), book} {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
	}
	seq, _, _ = e.progress.At()
	return [sha256.Size]byte(h.Sum(nil)), seq, nil
}

// Await returns when the message at a stream sequence is folded.
func (e *Engine) Await(ctx context.Context, seq uint64) error {
	return e.progress.Await(ctx, seq)
}

// Judged returns when the rules have seen the message at a stream sequence, and what they asked for in a tenant by then is in force for
// whoever has folded the message after, 0 if there is none: the rules may have read of a containment before the brake has.
func (e *Engine) Judged(ctx context.Context, name event.TenantID, seq uint64) (after uint64, err error) {
	if err := e.Await(ctx, seq); err != nil {
		return 0, err
	}
	asked := e.asked(name)
	err = e.progress.Until(ctx, func() (settled bool) {
		after, settled = e.settled(name, asked)
		return settled
	}, "what the rules asked for")
	return after, err
}

// asked are the firings of a tenant whose containment the log does not have.
func (e *Engine) asked(name event.TenantID) (ids []event.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tenants[name]; t != nil {
		for _, f := range t.book.waiting {
			ids = append(ids, f.ID)
		}
	}
	return ids
}

// settled reports whether the brake or the log has what firings asked for, and which message the brake must have folded for it.
func (e *Engine) settled(name event.TenantID, asked []event.ID) (after uint64, is bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[name]
	if t == nil {
		return 0, true
	}
	return t.brake, !slices.ContainsFunc(t.book.waiting, func(f *Firing) bool { return slices.Contains(asked, f.ID) && !t.acted[f.ID] })
}

// errStopped ends acting at a point where a test ends it.
var errStopped = errors.New("stopped by a test")
