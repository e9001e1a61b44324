package ledger

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// busyWorld is a stream of two agents with ticks, nonsense and a key that is taken back.
func busyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 1)
	w.tenant("acme")
	a, b := w.agent("acme", "support-1"), w.agent("acme", "support-2")
	for i := range 60 {
		a.send(1 + i%5)
		b.send(2)
		w.tick()
		w.add("custody.ev.acme", []byte("nonsense"))
	}
	w.revoke(b)
	b.send(2)
	a.send(1)
	return w
}

// foldShared folds a world's messages as one of two readers and returns the hash of the state.
func foldShared(w *world, who reader, s *Shared, v *signer.Verified) (hash [32]byte) {
	fold := NewFold(w.system.Public(), new(memory))
	fold.keys.verified = v
	decoder := fold.Decoder()
	for _, m := range w.messages {
		_, err := fold.Message(w.t.Context(), s.decode(who, decoder, m))
		w.check(err)
	}
	hash, err := fold.StateHash()
	w.check(err)
	return hash
}

// TestSharedFoldsTheSame: two folds at once that share what they decode and verify come to the state of one that is alone.
func TestSharedFoldsTheSame(t *testing.T) {
	w := busyWorld(t)
	want := foldShared(w, readsWriter, nil, nil)
	for range 20 {
		s, v := NewShared(), new(signer.Verified)
		var both sync.WaitGroup
		var got [2][32]byte
		for who := range got {
			both.Go(func() { got[who] = foldShared(w, reader(who), s, v) })
		}
		both.Wait()
		if got[0] != want || got[1] != want {
			t.Fatal("another state")
		}
		if s.size != 0 || len(s.left) != 0 {
			t.Fatalf("%d messages are left, %d bytes", len(s.left), s.size)
		}
	}
}

// TestSharedIsTakenOnce: the second reader has the first one's events, in a copy of its own; another message of that sequence is decoded anew.
func TestSharedIsTakenOnce(t *testing.T) {
	w := busyWorld(t)
	d, s := NewFold(w.system.Public(), new(memory)).Decoder(), NewShared()
	m := w.messages[1]
	s.decode(readsFollower, d, m)
	other := m
	other.Data = slices.Concat(m.Data, []byte{0})
	if forged := s.decode(readsWriter, d, other); forged.batch != nil {
		t.Error("a message was taken for another")
	}
	s = NewShared()
	first := s.decode(readsFollower, d, m)
	second := s.decode(readsWriter, d, m)
	if first == second || first.batch == second.batch || first.batch.events[0] != second.batch.events[0] {
		t.Error("not shared, or not a copy of its own")
	}
	if third := s.decode(readsWriter, d, m); third.batch.events[0] == first.batch.events[0] {
		t.Error("it was left twice")
	}
}

// TestSharedIsBounded: a reader that is far behind, or begins again, makes the other keep no more than the bound.
func TestSharedIsBounded(t *testing.T) {
	s, rnd := NewShared(), rand.New(rand.NewPCG(1, 1))
	d := NewFold(signer.PublicKey{}, new(memory)).Decoder()
	data, hits := make([]byte, 1<<18), 0
	at := [2]uint64{}
	for range 2000 {
		who := rnd.IntN(2)
		if at[who]++; rnd.IntN(400) == 0 {
			at[who] = at[1-who] / 2
		}
		if s.left[at[who]] != nil {
			hits++
		}
		s.decode(reader(who), d, stream.Message{Seq: at[who], Subject: "nonsense", Data: data})
		if s.size > maxShared || s.size != len(s.left)*(sharedWeight*len(data)+sharedLeast) {
			t.Fatalf("%d messages, %d bytes", len(s.left), s.size)
		}
	}
	if hits == 0 {
		t.Error("nothing was shared: the test shows nothing")
	}
}
