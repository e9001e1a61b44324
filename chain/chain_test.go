package chain_test

import (
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/chain"
)

func TestChainRootEqualsNaiveRoot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := write(t, rapid.IntRange(0, 300).Draw(rt, "leaves"))
		if got, want := h.head.Root(), naiveRoot(h.hashes); got != want {
			rt.Fatalf("root of %d leaves is %s, want %s", len(h.leaves), got, want)
		}
		if got, want := chain.EventRoot(h.hashes), h.head.Root(); got != want {
			rt.Fatalf("event root is %s, want %s", got, want)
		}
	})
}

func TestLeavesAreLinked(t *testing.T) {
	h := write(t, 5)
	for i, b := range h.leaves {
		leaf, err := chain.ParseLeaf(b)
		if err != nil {
			t.Fatal(err)
		}
		want := chain.Hash{}
		if i > 0 {
			want = chain.LeafHash(h.leaves[i-1])
		}
		if leaf.Prev != want || leaf.Index != chain.Index(i) || leaf.Origin != chain.OriginHash(origin) {
			t.Errorf("leaf %d: prev %s index %d origin %s", i, leaf.Prev, leaf.Index, leaf.Origin)
		}
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	h := write(t, 0)
	for _, at := range []int64{-5, 10, 7, 12, math.MinInt64} {
		h.append(t, chain.Entry{Time: at, Kind: chain.KindSystem, Verdict: chain.Accepted})
	}
	got := make([]int64, 0, len(h.leaves))
	for _, b := range h.leaves {
		leaf, _ := chain.ParseLeaf(b)
		got = append(got, leaf.Time)
	}
	if diff := cmp.Diff([]int64{0, 10, 10, 12, 12}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAppendRefusesUnknownKindAndVerdict(t *testing.T) {
	h := write(t, 3)
	before := h.head.Clone()
	for _, e := range []chain.Entry{
		{Kind: 0, Verdict: chain.Accepted},
		{Kind: 6, Verdict: chain.Accepted},
		{Kind: 254, Verdict: chain.Accepted},
		{Kind: chain.KindData, Verdict: 0},
		{Kind: chain.KindData, Verdict: 8},
	} {
		if _, _, err := h.head.Append(nil, e); !errors.Is(err, chain.ErrLeaf) {
			t.Errorf("append %+v: %v, want ErrLeaf", e, err)
		}
	}
	if *before != *h.head {
		t.Error("a refused append changed the chain")
	}
}

func TestCloneIsIndependent(t *testing.T) {
	h := write(t, 7)
	clone, root := h.head.Clone(), h.head.Root()
	h.append(t, entry(7))
	if clone.Root() != root || clone.Size() != 7 {
		t.Error("appending changed the clone")
	}
}

func TestReplayAcceptsOwnHistory(t *testing.T) {
	h := write(t, 100)
	head, _ := chain.New(origin)
	for i, b := range h.leaves {
		if _, hash, err := head.Replay(b); err != nil || hash != h.hashes[i] {
			t.Fatalf("replay %d: %s, %v", i, hash, err)
		}
	}
	if *head != *h.head {
		t.Error("replaying gave another head")
	}
}

// Each attack changes a written history; replay must name the check that fails.
func TestReplayCatchesTheAdversary(t *testing.T) {
	foreign, _ := chain.New("log.example.com/custody/other")
	foreignLeaf, _, _ := foreign.Append(nil, entry(0))
	attacks := []struct {
		name   string
		want   error
		attack func(h *history) [][]byte
	}{
		{"drop", chain.ErrIndex, func(h *history) [][]byte { return append(h.leaves[:4:4], h.leaves[5:]...) }},
		{"duplicate", chain.ErrIndex, func(h *history) [][]byte { return append(h.leaves[:5:5], h.leaves[4:]...) }},
		{"reorder", chain.ErrIndex, func(h *history) [][]byte {
			h.leaves[3], h.leaves[4] = h.leaves[4], h.leaves[3]
			return h.leaves
		}},
		{"edit event", chain.ErrPrev, func(h *history) [][]byte { h.leaves[4][160] ^= 1; return h.leaves }},
		{"renumber", chain.ErrPrev, func(h *history) [][]byte {
			cut := append(h.leaves[:4:4], h.leaves[5:]...)
			for i := range cut[4:] {
				cut[4+i][40]--
			}
			return cut
		}},
		{"back-date", chain.ErrTime, func(h *history) [][]byte { h.leaves[9][73] = 0; return h.leaves }},
		{"splice from another log", chain.ErrOrigin, func(h *history) [][]byte { return append([][]byte{foreignLeaf}, h.leaves[1:]...) }},
		{"truncate a leaf", chain.ErrLeaf, func(h *history) [][]byte { h.leaves[9] = h.leaves[9][:182]; return h.leaves }},
		{"extend a leaf", chain.ErrLeaf, func(h *history) [][]byte { h.leaves[9] = append(h.leaves[9], 0); return h.leaves }},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			if err := replayAll(a.attack(write(t, 10))); !errors.Is(err, a.want) {
				t.Errorf("got %v, want %v", err, a.want)
			}
			if err := followAll(a.attack(write(t, 10))); !errors.Is(err, a.want) {
				t.Errorf("links: got %v, want %v", err, a.want)
			}
		})
	}
}

func replayAll(leaves [][]byte) error {
	head, err := chain.New(origin)
	for _, b := range leaves {
		if err != nil {
			return err
		}
		_, _, err = head.Replay(b)
	}
	return err
}

// followAll is replayAll without the tree.
func followAll(leaves [][]byte) error {
	head, err := chain.New(origin)
	if err != nil {
		return err
	}
	links := head.Links()
	for _, b := range leaves {
		leaf, err := chain.ParseLeaf(b)
		if err == nil {
			_, err = links.Follow(&leaf, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestLinksGoOnBehindAChain: links taken from a chain follow its next leaves, with their hashes, and no others; what does not follow changes
// nothing.
func TestLinksGoOnBehindAChain(t *testing.T) {
	h := write(t, 20)
	links := write(t, 10).head.Links()
	for i := 10; i < 20; i++ {
		for _, wrong := range []int{i - 1, (i + 1) % 20} {
			leaf, err := chain.ParseLeaf(h.leaves[wrong])
			if err != nil {
				t.Fatal(err)
			}
			if hash, err := links.Follow(&leaf, h.leaves[wrong]); !errors.Is(err, chain.ErrIndex) || hash != (chain.Hash{}) {
				t.Errorf("leaf %d at %d: %v, want ErrIndex", wrong, i, err)
			}
		}
		leaf, _ := chain.ParseLeaf(h.leaves[i])
		if hash, err := links.Follow(&leaf, h.leaves[i]); err != nil || hash != h.hashes[i] {
			t.Fatalf("leaf %d: %s, %v", i, hash, err)
		}
	}
}

func TestFailedReplayChangesNothing(t *testing.T) {
	h := write(t, 4)
	before := h.head.Clone()
	if _, _, err := h.head.Replay(h.leaves[3]); err == nil {
		t.Fatal("a leaf was replayed twice")
	}
	if *before != *h.head {
		t.Error("a refused replay changed the chain")
	}
}

func TestResumeFromBoundaryLeaf(t *testing.T) {
	h := write(t, 50)
	for begin := 1; begin < 50; begin++ {
		head, err := chain.Resume(h.leaves[begin-1], write(t, begin).head.Left())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range h.leaves[begin:] {
			if _, _, err := head.Replay(b); err != nil {
				t.Fatal(err)
			}
		}
		if *head != *h.head {
			t.Errorf("resumed at %d, ended elsewhere", begin)
		}
	}
}

func TestResumeRefusesWrongHashes(t *testing.T) {
	h := write(t, 7)
	left := h.head.Left()
	if _, err := chain.Resume(h.leaves[6], left[:2]); !errors.Is(err, chain.ErrRange) {
		t.Errorf("missing hash: %v", err)
	}
	if _, err := chain.Resume(h.leaves[6], append(left, chain.Hash{})); !errors.Is(err, chain.ErrRange) {
		t.Errorf("surplus hash: %v", err)
	}
	left[2][0] ^= 1
	if _, err := chain.Resume(h.leaves[6], left); !errors.Is(err, chain.ErrState) {
		t.Errorf("last leaf not in the tree: %v", err)
	}
}

func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := write(t, rapid.IntRange(0, 200).Draw(rt, "leaves"))
		state, err := h.head.MarshalBinary()
		if err != nil {
			rt.Fatal(err)
		}
		var back chain.Chain
		if err := back.UnmarshalBinary(state); err != nil || back != *h.head {
			rt.Fatalf("state of %d leaves does not come back: %v", len(h.leaves), err)
		}
	})
}

func TestStateIsStrict(t *testing.T) {
	good, _ := write(t, 7).head.MarshalBinary()
	empty, _ := write(t, 0).head.MarshalBinary()
	mutate := func(b []byte, change func(b []byte) []byte) []byte { return change(append([]byte{}, b...)) }
	cases := map[string][]byte{
		"nothing":              {},
		"version":              mutate(good, func(b []byte) []byte { b[0] = 2; return b }),
		"truncated":            mutate(good, func(b []byte) []byte { return b[:len(b)-1] }),
		"missing hash":         mutate(good, func(b []byte) []byte { return b[:len(b)-32] }),
		"surplus hash":         mutate(good, func(b []byte) []byte { return append(b, make([]byte, 32)...) }),
		"other size":           mutate(good, func(b []byte) []byte { b[40] = 6; return b }),
		"size overflow":        mutate(good, func(b []byte) []byte { b[33] = 0xff; return b }),
		"negative time":        mutate(good, func(b []byte) []byte { b[73] |= 0x80; return b }),
		"prev not in the tree": mutate(good, func(b []byte) []byte { b[41] ^= 1; return b }),
		"empty with prev":      mutate(empty, func(b []byte) []byte { b[41] = 1; return b }),
		"empty with time":      mutate(empty, func(b []byte) []byte { b[80] = 1; return b }),
	}
	for name, state := range cases {
		head := write(t, 2).head
		before := head.Clone()
		if err := head.UnmarshalBinary(state); !errors.Is(err, chain.ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
		if *head != *before {
			t.Errorf("%s: a refused state changed the chain", name)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	h := write(t, 10)
	buf, e := make([]byte, 0, chain.LeafSize), entry(11)
	if n := testing.AllocsPerRun(100, func() { _, _, _ = h.head.Append(buf, e) }); n != 0 {
		t.Errorf("append allocates %v times", n)
	}
	replayed, leaf := write(t, 9).head, h.leaves[9]
	if n := testing.AllocsPerRun(100, func() { c := *replayed; _, _, _ = c.Replay(leaf) }); n > 1 {
		t.Errorf("replay allocates %v times", n)
	}
}
