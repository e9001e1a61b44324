package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// TestVerdicts tells a story in each row, in a world where acme has a log and support-1 a key, and expects what
// became of its messages.
func TestVerdicts(t *testing.T) {
	tests := map[string]struct {
		story func(w *world, a *sender)
		want  []string
	}{
		"batches in order": {func(_ *world, a *sender) {
			a.send(3)
			a.send(1)
		}, []string{"accepted×3", "accepted"}},
		"tick": {func(w *world, _ *sender) { w.tick() }, []string{"-"}},
		"tick that is not empty, without an operator's log": {func(w *world, _ *sender) {
			w.add(stream.TickSubject, []byte("x"))
		}, []string{"-"}},
		"the head again": {func(w *world, a *sender) {
			w.repeat(a.send(2))
			a.send(1)
		}, []string{"accepted×2", "-", "accepted"}},
		"an old batch again": {func(w *world, a *sender) {
			first := a.send(2)
			a.send(2)
			w.late(first)
			a.send(1)
		}, []string{"accepted×2", "accepted×2", "-", "accepted"}},
		"an old batch of an earlier epoch again": {func(w *world, a *sender) {
			first := a.send(2)
			a.newEpoch()
			a.send(1)
			w.late(first)
		}, []string{"accepted×2", "accepted", "-"}},
		"numbers left out": {func(_ *world, a *sender) {
			a.send(1)
			a.last += 5
			a.send(3)
			a.send(1)
		}, []string{"accepted", "gap accepted×2", "accepted"}},
		"first batch does not begin with 1": {func(_ *world, a *sender) {
			a.last = 7
			a.send(2)
		}, []string{"gap accepted"}},
		"first epoch is not 1": {func(_ *world, a *sender) {
			a.epochNo = 2
			a.send(2)
		}, []string{"gap accepted"}},
		"a gap is filled": {func(w *world, a *sender) {
			a.send(1)
			missing := w.aside(func() stream.Message { return a.send(4) })
			a.send(1)
			w.late(missing)
			w.late(missing)
			a.send(1)
		}, []string{"accepted", "gap", "late×4", "-", "accepted"}},
		"a gap is filled with two stories": {func(w *world, a *sender) {
			a.send(1)
			fork := *a
			missing := w.aside(func() stream.Message { return a.send(4) })
			other := w.aside(func() stream.Message { return fork.send(3) })
			a.send(1)
			w.late(missing)
			w.late(other)
		}, []string{"accepted", "gap", "late×4", "equivocation"}},
		"a batch that covers one inside a gap": {func(w *world, a *sender) {
			a.send(1)
			fork := *a
			a.last += 4
			inside := w.aside(func() stream.Message { return a.send(2) })
			a.last += 4
			around := w.aside(func() stream.Message { return fork.send(9) })
			a.send(1)
			w.late(inside)
			w.late(around)
		}, []string{"accepted", "gap", "late×2", "equivocation"}},
		"a number used twice": {func(_ *world, a *sender) {
			fork := *a
			a.send(2)
			fork.send(2)
			a.send(1)
		}, []string{"accepted×2", "equivocation", "accepted"}},
		"an equivocation again": {func(w *world, a *sender) {
			fork := *a
			a.send(2)
			w.repeat(fork.send(2))
		}, []string{"accepted×2", "equivocation", "equivocation"}},
		"a longer batch over the same numbers": {func(_ *world, a *sender) {
			fork := *a
			a.send(2)
			fork.send(5)
		}, []string{"accepted×2", "equivocation"}},
		"another batch before": {func(_ *world, a *sender) {
			a.send(1)
			a.digest = sum("never sent")
			a.send(1)
		}, []string{"accepted", "equivocation"}},
		"another epoch under the same number": {func(w *world, a *sender) {
			a.send(1)
			a.epoch = [16]byte(w.bytes(16))
			a.send(1)
		}, []string{"accepted", "equivocation"}},
		"a new epoch": {func(_ *world, a *sender) {
			a.send(2)
			a.newEpoch()
			a.send(1)
		}, []string{"accepted×2", "accepted"}},
		"a new epoch that does not name the end": {func(_ *world, a *sender) {
			a.send(2)
			a.newEpoch()
			a.previous = nil
			a.send(2)
		}, []string{"accepted×2", "gap accepted"}},
		"a new epoch that names another end": {func(_ *world, a *sender) {
			a.send(2)
			a.newEpoch()
			a.previous.LastSeq = 9
			a.send(1)
		}, []string{"accepted×2", "gap"}},
		"an epoch is missing": {func(_ *world, a *sender) {
			a.send(2)
			a.newEpoch()
			a.epochNo++
			a.send(1)
		}, []string{"accepted×2", "gap"}},
		"a batch of an earlier epoch, never seen": {func(w *world, a *sender) {
			a.send(1)
			tail := w.aside(func() stream.Message { return a.send(2) })
			a.newEpoch()
			a.send(1)
			w.late(tail)
		}, []string{"accepted", "gap", "late×2"}},
		"revoked key": {func(w *world, a *sender) {
			a.send(1)
			w.revoke(a)
			a.send(2)
			a.last += 3
			a.send(2)
		}, []string{"accepted", "accepted", "key-invalid×2", "key-invalid×2"}},
		"a revoked key's batch again": {func(w *world, a *sender) {
			w.revoke(a)
			w.repeat(a.send(2))
		}, []string{"accepted", "key-invalid×2", "-"}},
		"key never enrolled": {func(w *world, a *sender) {
			w.sender("acme", "support-1", w.key()).send(2)
		}, []string{"malformed"}},
		"key of another instance": {func(w *world, a *sender) {
			w.agent("acme", "support-2")
			w.sender("acme", "support-2", a.key).send(1)
		}, []string{"accepted×2", "malformed"}},
		"key of another tenant": {func(w *world, a *sender) {
			w.tenant("globex")
			w.sender("globex", "support-1", a.key).send(1)
		}, []string{"accepted", "malformed"}},
		"wrong signature": {func(w *world, a *sender) {
			a.send(1, sent(func(d *draft) { d.wire.Signature[3] ^= 1 }))
		}, []string{"malformed"}},
		"signed by another key": {func(w *world, a *sender) {
			a.send(1, func(d *draft) { d.key = w.key() })
		}, []string{"malformed"}},
		"event altered": {func(_ *world, a *sender) {
			a.send(2, sent(func(d *draft) { d.wire.Events[1][40] ^= 1 }))
		}, []string{"malformed"}},
		"event left out": {func(_ *world, a *sender) {
			a.send(2, sent(func(d *draft) { d.wire.Events = d.wire.Events[:1] }))
		}, []string{"malformed"}},
		"events exchanged": {func(_ *world, a *sender) {
			a.send(2, sent(func(d *draft) { slices.Reverse(d.wire.Events) }))
		}, []string{"malformed"}},
		"event of another tenant": {func(w *world, a *sender) {
			a.send(2, signed(func(d *draft) { d.events[1].Tenant = "globex" }))
		}, []string{"malformed"}},
		"event of another instance": {func(w *world, a *sender) {
			a.send(2, signed(func(d *draft) { d.events[1].Instance = "support-2" }))
		}, []string{"malformed"}},
		"under another tenant's subject": {func(w *world, a *sender) {
			w.tenant("globex")
			a.send(1, func(d *draft) { d.subject = stream.EventSubject("globex", a.key.ID()) })
		}, []string{"accepted", "malformed"}},
		"under another key's subject": {func(w *world, a *sender) {
			a.send(1, func(d *draft) { d.subject = stream.EventSubject("acme", sum("other")) })
		}, []string{"malformed"}},
		"an agent under Custody's subject": {func(_ *world, a *sender) {
			a.send(1, func(d *draft) { d.subject = stream.SystemSubject("acme") })
		}, []string{"malformed"}},
		"not a batch": {func(w *world, a *sender) {
			w.add(stream.EventSubject("acme", a.key.ID()), []byte("garbage"))
			w.add(stream.SystemSubject("acme"), nil)
			w.add(stream.LateSubject("acme"), w.bytes(50))
		}, []string{"malformed", "malformed", "malformed"}},
		"held events": {func(_ *world, a *sender) {
			a.send(4, func(d *draft) { d.held = []int{1, 3} })
		}, []string{"accepted held accepted held"}},
		"held after a gap": {func(_ *world, a *sender) {
			a.last = 3
			a.send(2, func(d *draft) { d.held = []int{0, 1} })
		}, []string{"gap held"}},
		"held event with another hash": {func(_ *world, a *sender) {
			a.send(2, func(d *draft) { d.held = []int{1} }, sent(func(d *draft) { d.wire.Held[0].EventHash[0] ^= 1 }))
		}, []string{"malformed"}},
		"tenant without a log": {func(w *world, a *sender) {
			w.sender("globex", "support-1", a.key).send(1)
		}, []string{"-"}},
		"tenant without a log, in the operator's": {func(w *world, a *sender) {
			w.tenant("operator")
			w.sender("globex", "support-1", a.key).send(1)
			w.add("custody.sys.", nil)
			w.add(stream.TickSubject, []byte("x"))
		}, []string{"accepted", "malformed", "malformed", "malformed"}},
		"genesis twice": {func(w *world, _ *sender) {
			w.tenant("acme")
		}, []string{"equivocation"}},
		"genesis under another key": {func(w *world, _ *sender) {
			w.tenant("operator")
			mine := w.system
			w.system = w.key()
			w.tenant("globex")
			w.system = mine
			w.tenant("globex")
		}, []string{"accepted", "malformed", "accepted"}},
		"genesis after other events": {func(w *world, _ *sender) {
			w.tenant("operator")
			custody := w.sender("globex", "custody", w.system)
			custody.sendEvents(custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "h", Scope: "tenant"}}}))
		}, []string{"accepted", "malformed"}},
		"system event that does not apply": {func(w *world, a *sender) {
			custody := w.tenants["acme"]
			custody.sendEvents(custody.enrolment(a))
			a.send(1)
		}, []string{"accepted", "accepted"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.tenant("acme")
			a := w.agent("acme", "support-1")
			before := len(w.messages)
			test.story(w, a)
			var got []string
			folded := w.fold()
			for _, f := range folded[before:] {
				got = append(got, verdicts(f))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s", diff)
			}
			checkLeaves(t, folded)
		})
	}
}

// repeat publishes a message's data once more under its own subject.
func (w *world) repeat(m stream.Message) { w.add(m.Subject, m.Data) }

// late publishes a message's data once more under its tenant's subject for late batches.
func (w *world) late(m stream.Message) {
	subject, err := stream.ParseSubject(m.Subject)
	w.check(err)
	w.add(stream.LateSubject(subject.Tenant), m.Data)
}

// aside takes back the message that make published.
func (w *world) aside(make func() stream.Message) stream.Message {
	m := make()
	w.messages = w.messages[:len(w.messages)-1]
	return m
}

// checkLeaves replays every log and holds each leaf to what the message contains.
func checkLeaves(t *testing.T, folded []*store.Folded) {
	t.Helper()
	chains := map[string]*chain.Chain{}
	for _, f := range folded {
		if f == nil {
			continue
		}
		c := chains[f.Tenant]
		if c == nil {
			c = genesisChain(t, f)
			chains[f.Tenant] = c
		}
		if f.FirstIndex != uint64(c.Size()) {
			t.Errorf("message %d begins at %d, want %d", f.StreamSeq, f.FirstIndex, c.Size())
		}
		for i := range f.Leaves {
			checkLeaf(t, c, f, &f.Leaves[i])
		}
	}
}

func genesisChain(t *testing.T, f *store.Folded) *chain.Chain {
	t.Helper()
	c, err := chain.New(f.Leaves[0].Event.GetSystem().GetGenesis().GetOrigin())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func checkLeaf(t *testing.T, c *chain.Chain, f *store.Folded, l *store.Leaf) {
	t.Helper()
	leaf, hash, err := c.Replay(l.Bytes)
	if err != nil {
		t.Fatalf("message %d: %v", f.StreamSeq, err)
	}
	content := l.EventBytes
	if f.Raw != nil {
		content = f.Raw
	}
	same := hash == chain.Hash(l.Hash) && uint64(leaf.Index) == l.Index && leaf.Time == l.Time && leaf.Verdict == l.Verdict &&
		uint8(leaf.Kind) == l.Kind && leaf.Event == chain.Hash(l.EventHash) && leaf.Batch == chain.Hash(f.BatchDigest)
	if !same || content != nil && chain.EventHash(content) != leaf.Event {
		t.Errorf("message %d: leaf %d says %+v", f.StreamSeq, l.Index, leaf)
	}
	if (l.Event == nil) != (l.EventBytes == nil) {
		t.Errorf("message %d: leaf %d has event or bytes alone", f.StreamSeq, l.Index)
	}
}

func TestMalformedNamesNobody(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	fork := *a
	a.send(1, sent(func(d *draft) { d.wire.Signature[0] ^= 1 }), func(d *draft) { d.stay = true })
	a.send(2)
	fork.send(2)
	folded := w.fold()
	forged, twice := folded[2], folded[4]
	if forged.Statement != nil || forged.BatchDigest != [32]byte{} || string(forged.Raw) != string(w.messages[2].Data) {
		t.Errorf("malformed: %+v", forged)
	}
	if twice.Statement.GetInstance() != "support-1" || string(twice.Raw) != string(w.messages[4].Data) {
		t.Errorf("equivocation: %+v", twice)
	}
}

func TestKeyCountsFromTheNextLeaf(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	a.send(2)
	w.revoke(a)
	a.send(2)
	f := w.fold()
	if got := f[3].Leaves[0]; got.Index != 5 || got.Verdict != chain.Accepted {
		t.Errorf("revocation: %+v", got)
	}
	if got := f[4].Leaves[0]; got.Index != 6 || got.Verdict != chain.KeyInvalid {
		t.Errorf("first leaf after it: %+v", got)
	}
}

func TestLeafTimeNeverGoesBack(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	late := w.now
	w.now -= int64(1e12)
	a.send(1)
	if got := w.fold()[2].Leaves[0].Time; got != late {
		t.Errorf("leaf time %d, want %d", got, late)
	}
}

func TestClosedEpochIsRemembered(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	end := a.envelope()
	end.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED, Epoch: a.epoch[:], LastSeq: 1,
	}}
	a.sendEvents(a.call(), end)
	_, f := foldAll(t, w.messages, w.system.Public())
	if e := f.tenants["acme"].emitters[a.key.ID()]; !e.closed || e.last != 2 || e.gaps != 0 {
		t.Errorf("emitter %+v", e)
	}
}

func TestMessageOutOfOrderIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	w.tick()
	f := NewFold(w.system.Public(), new(memory))
	if _, err := f.Message(t.Context(), f.Decoder().Decode(w.messages[1])); !errors.Is(err, ErrOrder) {
		t.Errorf("got %v, want ErrOrder", err)
	}
}

// TestHistoryErrorChangesNothing folds a message again after its look-up failed.
func TestHistoryErrorChangesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	first := a.send(1)
	a.send(1)
	w.late(first)
	_, want := foldAll(t, w.messages, w.system.Public())

	history := &flaky{History: new(memory)}
	f := NewFold(w.system.Public(), history)
	for _, m := range w.messages {
		d := f.Decoder().Decode(m)
		folded, err := f.Message(t.Context(), d)
		if err != nil {
			folded, err = f.Message(t.Context(), d)
		}
		if err != nil {
			t.Fatal(err)
		}
		if folded != nil {
			history.History.(*memory).keep(folded)
		}
		f.Committed(m.Seq)
	}
	if history.failed != 1 || stateHash(t, f) != stateHash(t, want) {
		t.Errorf("after %d failures the state differs", history.failed)
	}
}

// flaky fails the first time it is asked.
type flaky struct {
	History
	failed int
}

func (f *flaky) BatchOverlapping(ctx context.Context, r Range) ([32]byte, bool, error) {
	if f.failed == 0 {
		f.failed++
		return [32]byte{}, false, errors.New("store away")
	}
	return f.History.BatchOverlapping(ctx, r)
}

func stateHash(t testing.TB, f *Fold) [32]byte {
	t.Helper()
	h, err := f.StateHash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// chaos makes a stream of n messages in which everything happens.
func chaos(t testing.TB, seed uint64, n int) *world {
	w := newWorld(t, seed)
	var agents []*sender
	for i, name := range []string{"acme", "globex", "operator"} {
		if i == 2 {
			w.sender("initech", "support-1", w.key()).send(1) // nowhere to go yet
		}
		w.tenant(name)
		for k := range 3 {
			agents = append(agents, w.agent(name, fmt.Sprint("support-", k)))
		}
	}
	for len(w.messages) < n {
		w.mischief(agents[w.rnd.IntN(len(agents))])
	}
	return w
}

func (w *world) mischief(a *sender) {
	old := w.messages[w.rnd.IntN(len(w.messages))]
	size := 1 + w.rnd.IntN(5)
	switch w.rnd.IntN(24) {
	case 0:
		w.repeat(old)
	case 1, 2:
		if old.Subject != stream.TickSubject {
			w.late(old)
		}
	case 3:
		a.last += 3
		a.send(size)
	case 4:
		fork := *a
		fork.last -= min(fork.last, 2)
		fork.send(size)
	case 5:
		if a.last > 0 {
			a.newEpoch()
		}
		a.send(size)
	case 6:
		a.send(size, sent(func(d *draft) { d.wire.Signature[0] ^= 1 }), func(d *draft) { d.stay = true })
	case 7:
		w.add(stream.EventSubject(a.tenant, a.key.ID()), w.bytes(40))
	case 8:
		w.tick()
	case 9:
		if w.rnd.IntN(4) == 0 {
			w.revoke(a)
		}
	case 10:
		a.send(size, func(d *draft) { d.held = []int{0} })
	case 11:
		w.sender("nobody", "support-1", a.key).send(1)
	case 12:
		missing := w.aside(func() stream.Message { return a.send(size) })
		a.send(1)
		w.late(missing)
	default:
		a.send(size)
	}
}

// TestFoldIsDeterministic folds one stream in every way: straight, decoded on many goroutines, on one processor
// and on eight, with the state saved and loaded at a hundred random places.
func TestFoldIsDeterministic(t *testing.T) {
	w := chaos(t, 3, 600)
	folded, straight := foldAll(t, w.messages, w.system.Public())
	checkLeaves(t, folded)
	checkVariety(t, folded)
	want := stateHash(t, straight)
	for _, procs := range []int{1, 8} {
		t.Run(fmt.Sprint(procs, " processors"), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			for seed := range uint64(5) {
				if got := stateHash(t, foldInParallel(t, w, rand.New(rand.NewPCG(seed, 1)))); got != want {
					t.Errorf("seed %d: another state", seed)
				}
			}
		})
	}
	t.Run("restarts", func(t *testing.T) {
		for seed := range uint64(4) {
			if got := stateHash(t, foldWithRestarts(t, w, rand.New(rand.NewPCG(seed, 2)), 100)); got != want {
				t.Errorf("seed %d: another state", seed)
			}
		}
	})
}

// checkVariety makes sure that a random stream has some of everything.
func checkVariety(t *testing.T, folded []*store.Folded) {
	t.Helper()
	seen := map[chain.Verdict]int{}
	for _, f := range folded {
		if f == nil {
			seen[0]++
			continue
		}
		for i := range f.Leaves {
			seen[f.Leaves[i].Verdict]++
		}
	}
	for v := range chain.Malformed + 1 {
		if seen[v] < 3 {
			t.Errorf("only %d of verdict %d", seen[v], v)
		}
	}
}

// foldInParallel decodes random chunks on several goroutines, out of order, and folds them in order.
func foldInParallel(t *testing.T, w *world, rnd *rand.Rand) *Fold {
	f := NewFold(w.system.Public(), new(memory))
	decoder := f.Decoder()
	for rest := w.messages; len(rest) > 0; {
		chunk := rest[:min(len(rest), 1+rnd.IntN(60))]
		rest = rest[len(chunk):]
		decoded := make([]*Decoded, len(chunk))
		var group sync.WaitGroup
		for i := range chunk {
			group.Go(func() { decoded[i] = decoder.Decode(chunk[i]) })
		}
		group.Wait()
		for _, d := range decoded {
			if _, err := f.Message(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// foldWithRestarts throws the fold away at random places and goes on from what a store would hold.
func foldWithRestarts(t *testing.T, w *world, rnd *rand.Rand, restarts int) *Fold {
	places := map[int]bool{}
	for range restarts {
		places[rnd.IntN(len(w.messages))] = true
	}
	store := new(memory)
	f := NewFold(w.system.Public(), store)
	for i, m := range w.messages {
		if places[i] {
			next := NewFold(w.system.Public(), store)
			if err := next.Load(f.Seq(), f.Digest(), store.entries()); err != nil {
				t.Fatal(err)
			}
			f = next
		}
		folded, err := f.Message(t.Context(), f.Decoder().Decode(m))
		if err != nil {
			t.Fatal(err)
		}
		if folded != nil {
			store.keep(folded)
		}
		if rnd.IntN(3) == 0 {
			f.Committed(m.Seq)
		}
	}
	return f
}

func TestStateOfAnotherLogIsRefused(t *testing.T) {
	w := chaos(t, 5, 60)
	store := new(memory)
	folded, f := foldAll(t, w.messages, w.system.Public())
	for _, m := range folded {
		if m != nil {
			store.keep(m)
		}
	}
	acme, globex := [2]string{"acme", chainKey}, [2]string{"globex", chainKey}
	tests := map[string]func(){
		"chains exchanged": func() {
			a, g := store.state[acme], store.state[globex]
			a.Value, g.Value = g.Value, a.Value
			store.state[acme], store.state[globex] = a, g
		},
		"no genesis":    func() { delete(store.state, [2]string{"acme", "genesis"}) },
		"unknown entry": func() { store.state[[2]string{"acme", "what"}] = entry("acme", "what") },
		"bad emitter":   func() { store.state[[2]string{"acme", "emitter/00"}] = entry("acme", "emitter/00") },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			good := store.state
			store.state = maps.Clone(good)
			defer func() { store.state = good }()
			spoil()
			if err := NewFold(w.system.Public(), store).Load(f.Seq(), f.Digest(), store.entries()); err == nil {
				t.Error("loaded")
			}
		})
	}
}

type storeEntry = store.TenantEntry

func entry(tenant, key string) storeEntry {
	return storeEntry{Tenant: tenant, Key: key, Value: []byte("x")}
}

func FuzzDecode(f *testing.F) {
	w := newWorld(f, 1)
	w.tenant("acme")
	w.agent("acme", "support-1").send(2)
	for _, m := range w.messages {
		f.Add(m.Subject, m.Data)
	}
	decoder := NewFold(w.system.Public(), new(memory)).Decoder()
	f.Fuzz(func(t *testing.T, subject string, data []byte) {
		d := decoder.Decode(stream.Message{Seq: 1, Time: 1, Subject: subject, Data: data})
		if d.batch != nil && d.reason != nil || d.Events() < 0 || d.Events() > event.MaxBatchEvents {
			t.Errorf("decoded to %+v", d)
		}
	})
}

func FuzzParseEmitter(f *testing.F) {
	f.Add((&emitter{epochNo: 1, last: 2, closed: true}).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEmitter(b); err == nil && string(e.marshal()) != string(b) {
			t.Errorf("%x is read as %+v", b, e)
		}
	})
}

// benchmarkWorld makes a stream of batches of the given size.
func benchmarkWorld(b *testing.B, batches, size int) *world {
	w := newWorld(b, 1)
	w.tenant("acme")
	a := w.agent("acme", "support-1")
	for range batches {
		a.send(size)
	}
	return w
}

func BenchmarkDecode(b *testing.B) {
	w := benchmarkWorld(b, 20, 256)
	f := NewFold(w.system.Public(), new(memory))
	for _, m := range w.messages[:3] {
		if _, err := f.Message(b.Context(), f.Decoder().Decode(m)); err != nil {
			b.Fatal(err)
		}
	}
	events, began := 0, cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range w.messages[3:] {
			events += f.Decoder().Decode(m).Events()
		}
	}
	b.ReportMetric(float64(events)/(cpu(b)-began), "events/cpu-s")
}

// cpu is the processor time of this process so far, in seconds: unlike the clock it says the same on a busy
// machine.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkFold is decode and fold on one core.
func BenchmarkFold(b *testing.B) {
	w := benchmarkWorld(b, 40, 256)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	events, began := 0, cpu(b)
	b.ReportAllocs()
	for b.Loop() {
		f := NewFold(w.system.Public(), new(memory))
		for _, m := range w.messages {
			d := f.Decoder().Decode(m)
			if _, err := f.Message(b.Context(), d); err != nil {
				b.Fatal(err)
			}
			events += d.Events()
		}
	}
	b.ReportMetric(float64(events)/(cpu(b)-began), "events/cpu-s")
}
