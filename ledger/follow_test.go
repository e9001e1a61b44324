package ledger

import (
	"bytes"
	"sync"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// followed folds a world's messages with a follower that is saved and restored before each message of which restart says so.
func followed(t *testing.T, w *world, restart func(int) bool) (all []*Judged, hash [32]byte) {
	t.Helper()
	none := func() uint64 { return 0 }
	f := NewFollower(nil, w.system.Public(), new(memory), none)
	for i, m := range w.messages {
		if restart(i) {
			encode, err := f.Save()
			w.check(err)
			f = NewFollower(nil, w.system.Public(), new(memory), none)
			w.check(f.Restore(encode()))
		}
		d := f.fold.Decoder().Decode(m)
		folded, err := f.message(t.Context(), d)
		w.check(err)
		all = append(all, judged(d, folded))
	}
	hash, err := f.fold.StateHash()
	w.check(err)
	return all, hash
}

// TestFollowerIsSavedAsItWas: what is encoded later, beside the follower, is the state of the moment of Save.
func TestFollowerIsSavedAsItWas(t *testing.T) {
	w := busyWorld(t)
	f := NewFollower(nil, w.system.Public(), new(memory), func() uint64 { return 0 })
	var encoding sync.WaitGroup
	defer encoding.Wait()
	for _, m := range w.messages {
		_, err := f.message(t.Context(), f.fold.Decoder().Decode(m))
		w.check(err)
		now, err := f.Save()
		w.check(err)
		later, err := f.Save()
		w.check(err)
		want := now()
		encoding.Go(func() {
			if !bytes.Equal(later(), want) {
				t.Errorf("message %d: another state", m.Seq)
			}
		})
	}
}

// TestFollowerSaysWhatTheFoldSays: the same indexes, times and state, with restarts or without; what may not be taken for its emitter's has no
// event.
func TestFollowerSaysWhatTheFoldSays(t *testing.T) {
	w := newWorld(t, 1)
	w.tenant("acme")
	a, b := w.agent("acme", "support-1"), w.agent("acme", "support-2")
	a.send(3)
	b.send(2)
	w.tick()
	w.add("custody.ev.acme", []byte("nonsense"))
	w.revoke(b)
	b.send(2)
	a.send(1)
	fold := NewFold(w.system.Public(), new(memory))
	got, gotHash := followed(t, w, func(i int) bool { return i%2 == 1 })
	for i, m := range w.messages {
		folded, err := fold.Message(t.Context(), fold.Decoder().Decode(m))
		w.check(err)
		if folded == nil {
			if got[i].Tenant != "" || len(got[i].Leaves) != 0 {
				t.Errorf("message %d: got %+v", i+1, got[i])
			}
			continue
		}
		for j, l := range folded.Leaves {
			leaf := got[i].Leaves[j]
			admitted := l.Verdict == chain.Accepted
			if leaf.Index != l.Index || leaf.Time != l.Time || leaf.Producer != folded.Producer || (leaf.Event != nil) != admitted {
				t.Errorf("message %d, leaf %d: got %+v, verdict %v", i+1, j, leaf, l.Verdict)
			}
		}
	}
	if want, err := fold.StateHash(); err != nil || gotHash != want {
		t.Errorf("another state: %v", err)
	}
}

// TestAdmits: whose event a leaf is, by its verdict.
func TestAdmits(t *testing.T) {
	for verdict, want := range map[chain.Verdict][2]bool{ // of an agent's, of Custody's own
		chain.Accepted: {true, true}, chain.Gap: {true, false}, chain.Late: {true, false}, chain.KeyInvalid: {}, chain.Held: {}, chain.Equivocation: {}, chain.Malformed: {},
	} {
		got := [2]bool{Admits(verdict, event.Example("execution.started")), Admits(verdict, event.Example("system.rule"))}
		if got != want {
			t.Errorf("%v: got %v", verdict, got)
		}
	}
}

// FuzzRestore: what is no saved state is refused; what is one can be saved again.
func FuzzRestore(f *testing.F) {
	w := newWorld(f, 1)
	w.tenant("acme")
	w.agent("acme", "support-1").send(2)
	follower := NewFollower(nil, w.system.Public(), new(memory), func() uint64 { return 0 })
	for _, m := range w.messages {
		_, err := follower.message(f.Context(), follower.fold.Decoder().Decode(m))
		w.check(err)
	}
	encode, err := follower.Save()
	w.check(err)
	f.Add(encode())
	f.Add([]byte(stateMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		other := NewFollower(nil, w.system.Public(), new(memory), func() uint64 { return 0 })
		if other.Restore(b) != nil {
			return
		}
		if _, err := other.Save(); err != nil {
			t.Fatal(err)
		}
	})
}
