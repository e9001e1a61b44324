package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/engine"
	"github.com/agentcustody/custody/stream"
)

// embedded is the engine of all tests: a process has one.
var embedded *engine.Engine

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ledger-test-*")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if embedded, err = engine.Open(engine.Config{Path: dir}); err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := embedded.Close(); err != nil {
		return complain(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		return complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "ledger tests:", err)
	return 1
}

// site is a stream and a store, and a world that makes messages for them.
type site struct {
	*world
	t         testing.TB
	stream    *stream.Stream
	store     *store.Store
	database  string
	published int
	last      map[string]uint64 // last sequence of each subject
}

var databases atomic.Int64

func newSite(t testing.TB, seed uint64) *site {
	s := &site{world: newWorld(t, seed), t: t, last: map[string]uint64{}}
	var err error
	s.stream, err = stream.Open(t.Context(), stream.Config{Dir: t.TempDir(), NoSync: true, DiskReserve: -1})
	s.check(err)
	t.Cleanup(func() { s.stream.Close() })
	s.openStore()
	return s
}

// openStore opens an empty database.
func (s *site) openStore() {
	s.database = fmt.Sprintf("ledger_%d", databases.Add(1))
	db, err := store.OpenEngine(s.t.Context(), embedded, s.database, store.Options{})
	s.check(err)
	s.store = db
	name := s.database
	s.t.Cleanup(func() {
		s.check(db.Conn().Exec(context.Background(), "DROP DATABASE IF EXISTS "+name))
		s.check(db.Close())
	})
}

// exec runs SQL behind the back of the store; ${db} is the database.
func (s *site) exec(query string) {
	s.t.Helper()
	query = strings.ReplaceAll(query, "${db}", s.database)
	if err := s.store.Conn().Exec(s.t.Context(), query); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
}

// publish puts what the world made into the stream.
func (s *site) publish() {
	s.t.Helper()
	for _, m := range s.messages[s.published:] {
		if _, err := stream.ParseSubject(m.Subject); err != nil {
			m.Subject = stream.TickSubject
		}
		seq, _, err := s.stream.Publish(context.Background(), stream.Msg{Subject: m.Subject, ExpectLast: s.last[m.Subject], Data: m.Data})
		s.check(err)
		s.last[m.Subject] = seq
		s.published++
	}
}

func (s *site) config() Config {
	return Config{
		Stream: s.stream, Store: NewStore(s.store), System: s.system.Public(), LogKey: s.log, BlockAge: 20 * time.Millisecond,
		checkpointEvery: 20 * time.Millisecond,
	}
}

// running is a ledger that runs.
type running struct {
	*Ledger
	cancel context.CancelFunc
	ended  chan error
}

func start0(cfg Config) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Ledger: New(cfg), cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- r.Run(ctx) }()
	return r
}

// run starts a ledger that ends with the test.
func (s *site) run(cfg Config) *running {
	r := start0(cfg)
	s.t.Cleanup(func() { _ = r.stop() })
	return r
}

// stop ends the ledger and returns what Run did.
func (r *running) stop() error {
	r.cancel()
	err := <-r.ended
	r.ended <- err
	return err
}

// catchUp waits until everything that was published is committed.
func (s *site) catchUp(r *running) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.WaitCommitted(ctx, uint64(s.published)); err != nil {
		s.t.Fatalf("%v; status %+v", err, r.Status())
	}
}

// invariant holds everything to everything: the stream folded anew against the ledger's heads, and the store
// against itself.
func (s *site) invariant(l *Ledger) {
	s.t.Helper()
	head, err := l.readHead(s.t.Context())
	s.check(err)
	if head.Intent != nil {
		s.t.Errorf("an intent is left: %+v", head.Intent)
	}
	_, f := foldAll(s.t, s.read(head.Done), s.system.Public())
	if f.Digest() != Digest(head.Digest) {
		s.t.Error("the recorded digest is not that of the stream")
	}
	got := l.Heads()
	slices.SortFunc(got, func(a, b store.Head) int { return strings.Compare(a.Tenant, b.Tenant) })
	if diff := cmp.Diff(f.Heads(), got); diff != "" {
		s.t.Errorf("heads (-stream +ledger):\n%s", diff)
	}
	s.expectClean(l)
}

// read returns the stream's messages up to last.
func (s *site) read(last uint64) []stream.Message {
	reader := s.stream.Read(1, "")
	defer reader.Close()
	messages := make([]stream.Message, last)
	for i := range messages {
		var err error
		messages[i], err = reader.Next(s.t.Context())
		s.check(err)
	}
	return messages
}

// expectClean checks the store and expects no problem.
func (s *site) expectClean(l *Ledger) Progress {
	s.t.Helper()
	problems, end := s.checkAll(l)
	for _, p := range problems {
		s.t.Errorf("%s", p)
	}
	if end.Events != end.TotalEvents {
		s.t.Errorf("checked %d of %d events", end.Events, end.TotalEvents)
	}
	return end
}

func (s *site) checkAll(l *Ledger, tenants ...string) ([]store.Problem, Progress) {
	s.t.Helper()
	var problems []store.Problem
	end, err := l.Check(context.Background(), tenants, func(p Progress) {
		if p.Problem != nil {
			problems = append(problems, *p.Problem)
		}
	})
	s.check(err)
	return problems, end
}

// fill replaces the world's messages by chaos with the same keys.
func (s *site) chaos(n int) {
	c := chaos(s.t, s.rnd.Uint64(), n)
	c.t = s.t
	s.world = c
}

func TestStreamBecomesRows(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(400)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.invariant(r.Ledger)
	if got := r.Status(); !got.Running || got.Halted != nil || got.Retrying != nil || got.Backlog != 0 {
		t.Errorf("status %+v", got)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestReadersSeeCommittedState(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	all, upTo, err := r.Registries(t.Context())
	s.check(err)
	if upTo != 2 || len(all) != 1 {
		t.Errorf("%d registries at %d", len(all), upTo)
	}
	if _, known := all["acme"].Key(a.key.ID()); !known {
		t.Error("the agent's key is not in the registry")
	}
	s.revoke(a)
	s.publish()
	at, err := r.Follow(t.Context(), 2)
	s.check(err)
	registry, err := r.Registry(t.Context(), "acme")
	s.check(err)
	if k, _ := registry.Key(a.key.ID()); at != 3 || !k.Revoked {
		t.Errorf("at %d the key is %+v", at, k)
	}
	if index, hash, ok := r.LastLeaf("acme"); index != 3 || !ok || hash == [32]byte{} {
		t.Errorf("last leaf %d %x %v", index, hash, ok)
	}
	if _, err := r.Registry(t.Context(), "globex"); !errors.Is(err, ErrNoTenant) {
		t.Errorf("got %v, want ErrNoTenant", err)
	}
}

// crash stops a writer when it comes to a step.
func crash(step Step) func(Step) error {
	return func(at Step) error {
		if at == step {
			return errCrash
		}
		return nil
	}
}

var errCrash = errors.New("crash")

func TestCrashAtEachStep(t *testing.T) {
	for _, step := range []Step{StepClaimed, StepIntended, StepInserted, StepDone, StepPublished} {
		t.Run(string(step), func(t *testing.T) {
			s := newSite(t, 1)
			s.chaos(100)
			s.publish()
			for range 2 {
				cfg := s.config()
				cfg.Hook = crash(step)
				s.await(s.run(cfg), errCrash)
				s.chaosMore(30)
			}
			r := s.run(s.config())
			s.catchUp(r)
			s.invariant(r.Ledger)
		})
	}
}

// chaosMore adds messages of agents that exist.
func (s *site) chaosMore(n int) {
	for range n {
		s.tick()
		s.repeat(s.messages[s.rnd.IntN(len(s.messages))])
	}
	s.publish()
}

// await expects the ledger to end with an error.
func (s *site) await(r *running, want error) {
	s.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		if !errors.Is(err, want) || !errors.Is(r.Status().Halted, want) {
			s.t.Fatalf("ended with %v, want %v", err, want)
		}
	case <-time.After(30 * time.Second):
		s.t.Fatalf("still running: %+v", r.Status())
	}
}

// TestRandomCrashes stops writers at random steps, with traffic in between.
func TestRandomCrashes(t *testing.T) {
	s := newSite(t, 9)
	s.chaos(100)
	steps := []Step{StepIntended, StepInserted, StepDone, StepPublished}
	rnd := rand.New(rand.NewPCG(4, 4))
	for range 15 {
		s.mischiefMore(3)
		cfg := s.config()
		cfg.BlockAge = time.Millisecond
		cfg.LogKey = nil
		cfg.Hook = crash(steps[rnd.IntN(len(steps))])
		r := start0(cfg)
		s.await(r, errCrash)
		_ = r.stop()
	}
	r := s.run(s.config())
	s.catchUp(r)
	s.invariant(r.Ledger)
}

// mischiefMore adds random messages of an agent made for it.
func (s *site) mischiefMore(n int) {
	a := s.agent("acme", fmt.Sprint("late-", len(s.messages)))
	for range n {
		s.mischief(a)
	}
	s.publish()
}

func TestSecondWriterTakesOver(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(100)
	s.publish()
	first := s.run(s.config())
	s.catchUp(first)
	second := s.run(s.config())
	s.mischiefMore(20)
	s.catchUp(second)
	s.await(first, ErrFenced)
	s.invariant(second.Ledger)
}

// held stops an insert until it is let go.
type held struct {
	Store
	reached, release chan struct{}
	once             sync.Once
}

func (h *held) Insert(ctx context.Context, b *store.Block) error {
	h.once.Do(func() {
		close(h.reached)
		<-h.release
	})
	return h.Store.Insert(ctx, b)
}

// TestStaleWritersLateInsert lets a writer insert its block after another has finished and gone on.
func TestStaleWritersLateInsert(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(120)
	s.publish()
	cfg := s.config()
	slow := &held{Store: cfg.Store, reached: make(chan struct{}), release: make(chan struct{})}
	cfg.Store = slow
	stale := s.run(cfg)
	<-slow.reached
	fresh := s.run(s.config())
	s.catchUp(fresh)
	s.mischiefMore(20)
	s.catchUp(fresh)
	close(slow.release)
	s.await(stale, ErrFenced)
	s.invariant(fresh.Ledger)
}

// broken fails inserts for a while.
type broken struct {
	Store
	left atomic.Int32
	err  error
}

func (b *broken) Insert(ctx context.Context, block *store.Block) error {
	if b.left.Add(-1) >= 0 {
		return b.err
	}
	return b.Store.Insert(ctx, block)
}

func TestStoreThatIsAwayIsWaitedFor(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(60)
	s.publish()
	cfg := s.config()
	away := &broken{Store: cfg.Store, err: store.ErrUnavailable}
	away.left.Store(4)
	cfg.Store = away
	r := s.run(cfg)
	s.eventually(func() bool { return errors.Is(r.Status().Retrying, store.ErrUnavailable) })
	s.catchUp(r)
	s.invariant(r.Ledger)
	if err := r.Status().Retrying; err != nil {
		t.Errorf("still waits for %v", err)
	}
}

func TestStoreThatDiffersHalts(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(60)
	s.publish()
	cfg := s.config()
	wrong := &broken{Store: cfg.Store, err: store.ErrMismatch}
	wrong.left.Store(1 << 20)
	cfg.Store = wrong
	r := s.run(cfg)
	s.await(r, store.ErrMismatch)
	if err := r.WaitCommitted(t.Context(), 1<<40); !errors.Is(err, store.ErrMismatch) {
		t.Errorf("waiting ends with %v", err)
	}
}

func (s *site) eventually(done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("not within 20 s")
		}
	}
}

func TestClockLeapHalts(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	cfg := s.config()
	cfg.Now = func() time.Time { return time.Now().Add(-MaxClockLeap - time.Second) }
	s.await(s.run(cfg), ErrClockLeap)
	cfg.Now = func() time.Time { return time.Now().Add(-MaxClockLeap + time.Minute) }
	s.catchUp(s.run(cfg))
}

func TestHeadOfAnotherStreamHalts(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.check(r.stop())
	spoil := func(edit func(*head)) {
		t.Helper()
		register := s.stream.Head("0")
		value, revision, err := register.Load(t.Context())
		s.check(err)
		h, err := parseHead(value)
		s.check(err)
		edit(h)
		_, err = register.CompareAndSet(t.Context(), h.marshal(), revision)
		s.check(err)
	}
	tests := []struct {
		name string
		edit func(*head)
		want error
	}{
		{"digest at the head", func(h *head) { h.Digest[0] ^= 1 }, ErrDigest},
		{"leaves at the head", func(h *head) { h.Digest[0] ^= 1; h.Leaves++ }, ErrStoreState},
		{"stream ends before the head", func(h *head) { h.Leaves--; h.Done = 9 }, stream.ErrHole},
		{"intent beyond the end", func(h *head) { h.Done = 1; h.Intent = &intent{2, 5, h.Digest} }, stream.ErrHole},
		{"another incarnation", func(h *head) { h.Intent = nil; h.Incarnation = strings.Repeat("0", 32) }, stream.ErrIncarnation},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spoil(test.edit)
			s.await(s.run(s.config()), test.want)
		})
	}
}

// TestIntentWithOtherMessagesHalts restarts after an intent whose digest is not that of the stream.
func TestIntentWithOtherMessagesHalts(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	register := s.stream.Head("0")
	h := head{Version: headVersion, Fence: 1, Incarnation: s.stream.Incarnation(), Intent: &intent{First: 1, Last: 1, Digest: chain.Hash{1}}}
	_, err := register.CompareAndSet(t.Context(), h.marshal(), 0)
	s.check(err)
	s.await(s.run(s.config()), ErrDigest)
}

func TestLostStoreIsNoticed(t *testing.T) {
	s := newSite(t, 1)
	s.chaos(60)
	s.publish()
	r := s.run(s.config())
	s.catchUp(r)
	s.check(r.stop())
	s.openStore()
	s.await(s.run(s.config()), ErrStoreState)
}

func TestCheckpoints(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	a := s.agent("acme", "support-1")
	a.send(5)
	s.publish()
	cfg := s.config()
	cfg.TimeKey = s.key()
	r := s.run(cfg)
	s.catchUp(r)
	var note store.Checkpoint
	s.eventually(func() bool {
		var err error
		note, err = r.LatestCheckpoint(t.Context(), "acme")
		return err == nil
	})
	origin := "example.com/custody/acme"
	signed, err := signer.OpenCheckpoint(note.Note, origin, s.log.Public(),
		signer.Cosigner{Name: origin + TimeKeySuffix, Key: cfg.TimeKey.Public()})
	s.check(err)
	h, _ := r.Head("acme")
	if uint64(signed.Size) != h.Size || signed.Root != h.Root || len(signed.Cosignatures) != 1 {
		t.Errorf("checkpoint %+v of head %+v", signed, h)
	}
	if end := s.expectClean(r.Ledger); end.Checkpoints != 1 {
		t.Errorf("%d checkpoints checked", end.Checkpoints)
	}
	s.check(r.stop())
	again := New(s.config())
	if got, err := again.LatestCheckpoint(t.Context(), "acme"); err != nil || string(got.Note) != string(note.Note) {
		t.Errorf("after a restart: %q, %v", got.Note, err)
	}
	if _, err := again.LatestCheckpoint(t.Context(), "globex"); !errors.Is(err, ErrNoTenant) {
		t.Errorf("got %v, want ErrNoTenant", err)
	}
}

func TestWantedCheckpointIsSignedAtOnce(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.agent("acme", "support-1").send(5)
	s.publish()
	cfg := s.config()
	cfg.checkpointEvery = time.Hour
	r := s.run(cfg)
	s.catchUp(r)
	if _, err := r.LatestCheckpoint(t.Context(), "acme"); !errors.Is(err, ErrNoTenant) {
		t.Fatalf("before its time: %v, want ErrNoTenant", err)
	}
	r.WantCheckpoint()
	r.WantCheckpoint() // nobody waits for two
	h, _ := r.Head("acme")
	s.eventually(func() bool {
		c, err := r.LatestCheckpoint(t.Context(), "acme")
		return err == nil && c.Size == h.Size
	})
}

func TestForeignLogKeySignsNothing(t *testing.T) {
	s := newSite(t, 1)
	s.tenant("acme")
	s.publish()
	cfg := s.config()
	cfg.LogKey = s.key()
	r := s.run(cfg)
	s.catchUp(r)
	h, _ := r.Head("acme")
	if err := r.checkpoint(t.Context(), h); !errors.Is(err, errLogKey) {
		t.Errorf("got %v, want errLogKey", err)
	}
}

func FuzzParseHead(f *testing.F) {
	h := head{Version: 1, Fence: 3, Incarnation: "x", Done: 5, Intent: &intent{First: 6, Last: 9}}
	f.Add(h.marshal())
	f.Add(bytes.Replace(h.marshal(), []byte(`"digest":"`), []byte(`"digest":"00`), 1)) // a hash too long
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHead(b); err == nil && string(h.marshal()) != string(b) {
			t.Errorf("%s is read as %+v", b, h)
		}
	})
}
