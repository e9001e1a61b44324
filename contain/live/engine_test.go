package live_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// tape is a stream that was recorded: a source of it begins anywhere, and ends where the tape does.
type tape []*live.Message

// head reads a tape. It is a live.Source.
type head struct {
	tape tape
	seq  uint64
	ends chan struct{} // closed at the end of the tape
	once sync.Once
	rest func() // before each message; may be nil
}

func (h *head) Restore(saved []byte) error {
	if len(saved) != 8 {
		return errors.New("not a position")
	}
	h.seq = binary.BigEndian.Uint64(saved)
	return nil
}

func (h *head) Save() (func() []byte, error) {
	seq := h.seq
	return func() []byte { return binary.BigEndian.AppendUint64(nil, seq) }, nil
}

func (h *head) Seq() uint64 { return h.seq }
func (h *head) Close()      {}

func (h *head) Next(ctx context.Context) (*live.Message, error) {
	if h.rest != nil {
		h.rest()
	}
	if h.seq >= uint64(len(h.tape)) {
		h.once.Do(func() { close(h.ends) })
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	h.seq++
	return h.tape[h.seq-1], nil
}

// brake notes what it is asked for.
type brake struct {
	mu     sync.Mutex
	orders map[string]int // by id
	list   []live.Order
	fails  int // calls that fail before one succeeds
	handed int // records that were asked for
}

func (b *brake) Automatic(_ context.Context, o live.Order) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails > 0 {
		b.fails--
		return errors.New("the stream does not answer")
	}
	if b.orders == nil {
		b.orders = map[string]int{}
	}
	b.orders[string(o.ID)]++
	b.list = append(b.list, o)
	return nil
}

// Record notes that a person is needed, and fails: the tape goes on as it was.
func (b *brake) Record(context.Context, event.TenantID, ...*eventv1.Event) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handed++
	return 0, errors.New("nothing is recorded here")
}

// tapeRules fire on what the benchmark's agents do: often, in sequences, and by deadlines.
const tapeRules = `rules:
- {rule: any-mail, version: 1, description: d, severity: low, on: [execution.started], when: tool == "send_email", action: restrict}
- {rule: many, version: 1, description: d, severity: high, on: [execution.started], threshold: {by: instance, within: 1m, count: 5}, action: pause}
- {rule: never-ended, version: 1, description: d, severity: medium, on: [execution.started, execution.finished], deadline: {by: call, after: 'action == "execution.started"', until: 'action == "execution.finished"', within: 30s}}
`

func tapeSet(tb testing.TB) *rules.Set {
	tb.Helper()
	set, err := rules.Parse([]byte(tapeRules))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// record makes a tape of two tenants, a batch a message, and a person who promotes two rules at the beginning.
func record(tb testing.TB, set *rules.Set, messages int) (all tape) {
	tb.Helper()
	now, index := int64(1_700_000_000e9), map[event.TenantID]uint64{}
	add := func(tenant event.TenantID, producer eventv1.ProducerClass, events ...*eventv1.Event) {
		m := &live.Message{Seq: uint64(len(all)) + 1, Time: now, Tenant: tenant}
		for _, e := range events {
			m.Leaves = append(m.Leaves, rules.Leaf{Index: index[tenant], Time: now, Producer: producer, Event: e})
			index[tenant]++
		}
		all = append(all, m)
		now += int64(137 * time.Millisecond)
	}
	for _, tenant := range []event.TenantID{"acme", "zeta"} {
		for _, id := range []string{"any-mail", "many"} {
			add(tenant, eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, promotion(set.Rule(id)))
		}
	}
	emitters := []*workload.Emitter{workload.NewEmitter("acme", "support-1", 1), workload.NewEmitter("zeta", "support-2", 2), workload.NewEmitter("acme", "support-3", 3)}
	for i := range messages {
		b, err := emitters[i%3].Batch(8)
		if err != nil {
			tb.Fatal(err)
		}
		var events []*eventv1.Event
		for _, encoded := range b.GetEvents() {
			e, err := event.Parse(encoded)
			if err != nil {
				tb.Fatal(err)
			}
			events = append(events, e)
		}
		add(event.TenantID(events[0].GetTenant()), eventv1.ProducerClass_PRODUCER_CLASS_AGENT, events...)
		if i%50 == 0 {
			all = append(all, &live.Message{Seq: uint64(len(all)) + 1, Time: now}) // a tick
		}
	}
	return all
}

func promotion(r *rules.Rule) *eventv1.Event {
	digest := r.Digest()
	return &eventv1.Event{Id: make([]byte, event.IDSize), Instance: "custody", Body: &eventv1.Event_System{System: &eventv1.System{
		Actor: "ann", Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{Rule: r.ID, Version: r.Version, SourceDigest: digest[:], Mode: "live"}},
	}}}
}

// play runs an engine over a tape, from its snapshot if there is one, up to a message or to the end.
func play(tb testing.TB, set *rules.Set, t tape, dir string, b *brake, upTo int, kill bool) (hash [32]byte) {
	tb.Helper()
	h := &head{tape: t[:upTo], ends: make(chan struct{})}
	e := live.Open(live.Config{Rules: set, Source: h, Incarnation: "tape", End: uint64(upTo), Dir: dir, Every: time.Millisecond, Brake: b, Recorder: b, Now: func() time.Time { return time.Unix(0, t[len(t)-1].Time) }})
	<-h.ends
	hash, seq, err := e.Hash()
	if err != nil || seq != uint64(upTo) {
		tb.Fatalf("at %d of %d: %v", seq, upTo, err)
	}
	if kill {
		e.Abort()
	} else {
		e.Close()
	}
	return hash
}

// TestSameStateHoweverItIsRead: on one processor and on many, in one go and over a hundred restarts at random messages, ended in order or
// killed, with snapshots and without.
func TestSameStateHoweverItIsRead(t *testing.T) {
	set := tapeSet(t)
	recorded := record(t, set, 600)
	straight := new(brake)
	want := play(t, set, recorded, "", straight, len(recorded), false)
	if len(straight.orders) == 0 {
		t.Fatal("nothing is asked for: the test shows nothing")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, processors := range []int{1, 8} {
		runtime.GOMAXPROCS(processors)
		rnd, dir, b := rand.New(rand.NewPCG(7, uint64(processors))), t.TempDir(), new(brake)
		at := 0
		for range 100 {
			at = min(at+rnd.IntN(12), len(recorded)-1)
			play(t, set, recorded, dir, b, max(at, 1), rnd.IntN(3) == 0)
		}
		if got := play(t, set, recorded, dir, b, len(recorded), false); got != want {
			t.Errorf("%d processors: another state", processors)
		}
		for id := range straight.orders {
			if b.orders[id] == 0 {
				t.Errorf("%d processors: %s was lost", processors, id)
			}
		}
	}
}

// TestForeignSnapshots: whatever is wrong with a snapshot, the state is that of the stream.
func TestForeignSnapshots(t *testing.T) {
	set := tapeSet(t)
	recorded := record(t, set, 60)
	want := play(t, set, recorded, "", new(brake), len(recorded), false)
	other, err := rules.Parse([]byte(tapeRules + "- {rule: more, version: 1, description: d, severity: low, on: [execution.started]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(dir string) string { return filepath.Join(dir, "rules.snapshot") }
	for name, spoil := range map[string]func(dir string){
		"none":           func(dir string) { _ = os.Remove(file(dir)) },
		"of other rules": func(dir string) { play(t, other, recorded, dir, new(brake), 30, false) },
		"cut":            func(dir string) { _ = os.Truncate(file(dir), 100) },
		"empty":          func(dir string) { _ = os.Truncate(file(dir), 0) },
		"one bit":        func(dir string) { flip(t, file(dir)) },
		"of before":      func(dir string) { _ = os.WriteFile(file(dir), []byte("custody/live/v1\x00and so on"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			play(t, set, recorded, dir, new(brake), 40, false)
			spoil(dir)
			if play(t, set, recorded, dir, new(brake), len(recorded), false) != want {
				t.Error("another state")
			}
			info, err := os.Stat(file(dir))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("snapshot: %v, %v", info, err)
			}
		})
	}
}

func flip(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestJudgedNamesWhatTheBrakeMustHave: when the log has come back with what was asked for, that is the message to wait for.
func TestJudgedNamesWhatTheBrakeMustHave(t *testing.T) {
	set := tapeSet(t)
	recorded := record(t, set, 60)
	last := recorded[len(recorded)-1]
	came := &live.Message{Seq: last.Seq + 1, Time: last.Time, Tenant: "acme", Leaves: []rules.Leaf{{
		Index: 1 << 20, Time: last.Time, Producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, Event: contained("run/acme/run-1"),
	}}}
	b := new(brake)
	h := &head{tape: append(recorded, came), ends: make(chan struct{})}
	e := live.Open(live.Config{Rules: set, Source: h, End: came.Seq, Brake: b, Recorder: b, Now: func() time.Time { return time.Unix(0, last.Time) }})
	defer e.Close()
	for tenant, want := range map[event.TenantID]uint64{"acme": came.Seq, "zeta": 0, "nobody": 0} {
		if after, err := e.Judged(t.Context(), tenant, came.Seq); err != nil || after != want {
			t.Errorf("%s: after %d, %v; want %d", tenant, after, err, want)
		}
	}
}

func contained(target string) *eventv1.Event {
	return &eventv1.Event{Id: make([]byte, event.IDSize), Instance: "custody", Body: &eventv1.Event_System{System: &eventv1.System{
		Actor: "ann", Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
			Target: target, Level: "pause", Plan: "by-hand", State: eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED,
		}},
	}}}
}

// TestABrakeThatFailsIsAskedAgain: until it answers, in the order of severity.
func TestABrakeThatFailsIsAskedAgain(t *testing.T) {
	set := tapeSet(t)
	recorded := record(t, set, 60)
	b := &brake{fails: 2}
	h := &head{tape: recorded, ends: make(chan struct{})}
	e := live.Open(live.Config{Rules: set, Source: h, End: uint64(len(recorded)), Brake: b, Recorder: b, Now: func() time.Time { return time.Unix(0, recorded[0].Time) }})
	defer e.Close()
	pending := 0
	<-h.ends
	for _, tenant := range []event.TenantID{"acme", "zeta"} {
		pending += len(e.Firings(tenant, func(f *live.Firing) bool { return f.Asked }))
	}
	eventually(t, "everything is asked for", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.orders) == pending
	})
	if pending == 0 || b.list[0].Level != "pause" {
		t.Errorf("of %d the first is %+v", pending, b.list[0])
	}
}

// TestLateFiringsAreAPersons: what is found more than an hour late is not acted on.
func TestLateFiringsAreAPersons(t *testing.T) {
	set := tapeSet(t)
	recorded := record(t, set, 60)
	b := new(brake)
	h := &head{tape: recorded, ends: make(chan struct{})}
	e := live.Open(live.Config{Rules: set, Source: h, End: uint64(len(recorded)), Brake: b, Recorder: b, Now: func() time.Time { return time.Unix(0, recorded[0].Time).Add(3 * time.Hour) }})
	eventually(t, "a person is told", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.handed > 0
	})
	e.Close()
	if len(b.orders) != 0 {
		t.Errorf("asked for %v", b.orders)
	}
}

// FuzzSnapshot: a file that is no snapshot is refused, and the engine goes on from the beginning.
func FuzzSnapshot(f *testing.F) {
	set := tapeSet(f)
	recorded := record(f, set, 12)
	dir := f.TempDir()
	want := play(f, set, recorded, dir, new(brake), len(recorded), false)
	good, err := os.ReadFile(filepath.Join(dir, "rules.snapshot"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), byte(0), []byte(nil))
	f.Add(uint32(len(good)/2), byte(1), []byte(nil))
	f.Add(uint32(0), byte(0), []byte("more"))
	f.Fuzz(func(t *testing.T, at uint32, flip byte, tail []byte) { // of what is good here: each process of a fuzz run records its own
		snapshot := append(slices.Clone(good), tail...)
		snapshot[int(at)%len(snapshot)] ^= flip
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "rules.snapshot"), snapshot, 0o600); err != nil {
			t.Fatal(err)
		}
		if play(t, set, recorded, folder, new(brake), len(recorded), true) != want {
			t.Fatal(fmt.Errorf("another state"))
		}
	})
}
