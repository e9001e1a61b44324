package chain_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

// full is the largest log of which something can be proven.
const full = chain.Index(chain.MaxSize)

// anyHash answers for every node of every log.
type anyHash struct{}

func (anyHash) ReadNodes(_ context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	return make([]chain.Hash, len(nodes)), nil
}

// faulty is a reader that keeps to its contract except in one way, and is asked for nothing only if something is wrong.
type faulty struct {
	*history
	err   error // instead of an answer
	short bool  // one hash is missing
	after int   // calls that are answered well before
}

func (f *faulty) ReadLeafHashes(ctx context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	if begin >= end || end-begin > chain.LeafChunk {
		return nil, errors.New("no such range may be asked for")
	}
	hashes, err := f.history.ReadLeafHashes(ctx, begin, end)
	return f.spoil(hashes, err)
}

func (f *faulty) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	if len(nodes) == 0 {
		return nil, errors.New("no nodes may not be asked for")
	}
	hashes, err := f.nodes().ReadNodes(ctx, nodes)
	return f.spoil(hashes, err)
}

func (f *faulty) spoil(hashes []chain.Hash, err error) ([]chain.Hash, error) {
	if f.after--; f.after >= 0 || err != nil {
		return hashes, err
	}
	if f.short {
		return hashes[:len(hashes)-1], nil
	}
	return hashes, f.err
}

// What a reader cannot answer, or answers in part, is an error and never a proof.
func TestReadersThatFail(t *testing.T) {
	broken, ctx := errors.New("broken"), t.Context()
	for name, ask := range map[string]func(f *faulty) error{
		"inclusion": func(f *faulty) error {
			path, err := chain.ProveInclusion(ctx, f, 3, 9)
			return nothing(t, path, err)
		},
		"consistency": func(f *faulty) error {
			path, err := chain.ProveConsistency(ctx, f, 3, 9)
			return nothing(t, path, err)
		},
		"left": func(f *faulty) error {
			s, err := chain.ProveSpan(ctx, f, 3, 9, 9)
			return nothing(t, s.Left, err)
		},
		"right": func(f *faulty) error {
			s, err := chain.ProveSpan(ctx, f, 0, 3, 9)
			return nothing(t, s.Right, err)
		},
		"leaves": func(f *faulty) error {
			hashes, err := chain.LeafNodes{Leaves: f}.ReadNodes(ctx, []chain.Node{{Level: 2}})
			return nothing(t, hashes, err)
		},
		"tiles, leaves": func(f *faulty) error {
			hashes, err := chain.NewTileNodes(f).ReadNodes(ctx, []chain.Node{{Index: 4}})
			return nothing(t, hashes, err)
		},
		"tiles, inner nodes": func(f *faulty) error {
			hashes, err := chain.NewTileNodes(f).ReadNodes(ctx, []chain.Node{{Level: 2}})
			return nothing(t, hashes, err)
		},
	} {
		if err := ask(&faulty{history: write(t, 9), err: broken}); !errors.Is(err, broken) {
			t.Errorf("%s: %v, want that of the reader", name, err)
		}
		if err := ask(&faulty{history: write(t, 9), short: true}); !errors.Is(err, chain.ErrRange) {
			t.Errorf("%s, one hash short: %v, want ErrRange", name, err)
		}
		if err := ask(&faulty{history: write(t, 9), after: 1}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func nothing(t *testing.T, hashes []chain.Hash, err error) error {
	t.Helper()
	if err != nil && len(hashes) > 0 {
		t.Errorf("%d hashes beside %v", len(hashes), err)
	}
	return err
}

// Spans that need no hash on a side ask for none.
func TestNothingIsAskedForWhereNothingIsNeeded(t *testing.T) {
	f := &faulty{history: write(t, 8), after: 10}
	if _, err := chain.ProveSpan(t.Context(), f, 0, 8, 8); err != nil {
		t.Error(err)
	}
	for _, n := range []chain.Node{{Level: 3}, {Index: 7}} {
		if _, err := (chain.LeafNodes{Leaves: f}).ReadNodes(t.Context(), []chain.Node{n}); err != nil {
			t.Error(err)
		}
		if _, err := chain.NewTileNodes(f).ReadNodes(t.Context(), []chain.Node{n}); err != nil {
			t.Error(err)
		}
	}
}

// left folds hashes of complete subtrees to the left of a last leaf, smallest first.
func left(leaf chain.Hash, subtrees []chain.Hash) chain.Hash {
	for _, h := range subtrees {
		leaf = chain.NodeHash(h, leaf)
	}
	return leaf
}

// Proofs reach to the largest log and no further, whatever the hashes say.
func TestProofsAtTheLargestLog(t *testing.T) {
	ctx, leaf, half := t.Context(), numbered("leaf", 1), numbered("half", 1)
	path := make([]chain.Hash, 62)
	for i := range path {
		path[i] = numbered("subtree", uint64(i))
	}
	two := chain.NodeHash(half, leaf)
	for name, c := range map[string]struct{ got, want error }{
		"inclusion":               {chain.VerifyInclusion(path, full-1, full, leaf, left(leaf, path)), nil},
		"inclusion, one more":     {chain.VerifyInclusion([]chain.Hash{half}, 1<<63, 1<<63+1, leaf, two), chain.ErrProof},
		"consistency":             {chain.VerifyConsistency([]chain.Hash{leaf}, 1<<62, full, half, two), nil},
		"consistency, one more":   {chain.VerifyConsistency([]chain.Hash{leaf}, 1<<63, 1<<63+1, half, two), chain.ErrProof},
		"empty and empty":         {chain.VerifyConsistency(nil, 0, 0, chain.EmptyRoot(), chain.EmptyRoot()), nil},
		"empty, false newer root": {chain.VerifyConsistency(nil, 0, 0, chain.EmptyRoot(), leaf), chain.ErrProof},
		"empty, surplus hash":     {chain.VerifyConsistency([]chain.Hash{leaf}, 0, 5, chain.EmptyRoot(), two), chain.ErrProof},
		"prove inclusion":         {second(chain.ProveInclusion(ctx, anyHash{}, full-1, full)), nil},
		"prove one more":          {second(chain.ProveInclusion(ctx, anyHash{}, 5, full+1)), chain.ErrRange},
		"prove consistency":       {second(chain.ProveConsistency(ctx, anyHash{}, 1<<62, full)), nil},
		"prove it of one more":    {second(chain.ProveConsistency(ctx, anyHash{}, 1<<62, full+1)), chain.ErrRange},
		"prove a span":            {second(chain.ProveSpan(ctx, anyHash{}, 5, 7, full)), nil},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestFrontierAtTheLargestLog(t *testing.T) {
	if _, err := chain.NewFrontier(full, make([]chain.Hash, 63)); err != nil {
		t.Error(err)
	}
	if _, err := chain.NewFrontier(full+1, make([]chain.Hash, 1)); !errors.Is(err, chain.ErrRange) {
		t.Errorf("one more: %v, want ErrRange", err)
	}
}

// A rebuild says what is missing before it says a root, and takes nothing past its end.
func TestRebuildCounts(t *testing.T) {
	h := write(t, 9)
	s, err := chain.ProveSpan(t.Context(), h.nodes(), 2, 5, 9)
	if err != nil {
		t.Fatal(err)
	}
	r, err := chain.NewRebuild(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Root(); !errors.Is(err, chain.ErrRange) || !strings.Contains(err.Error(), "3 leaves missing") {
		t.Errorf("root of nothing: %v", err)
	}
	if err := r.Verify(chain.Checkpoint{Size: 9, Root: h.head.Root()}); !errors.Is(err, chain.ErrRange) {
		t.Errorf("verified without its leaves: %v", err)
	}
	for _, hash := range h.hashes[2:5] {
		if err := r.Add(hash); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Add(h.hashes[5]); !errors.Is(err, chain.ErrRange) {
		t.Errorf("surplus leaf: %v, want ErrRange", err)
	}
	if got, err := r.Root(); err != nil || got != h.head.Root() {
		t.Errorf("root %s, %v", got, err)
	}
	s = chain.Span{Begin: 5, End: 2, Size: 9, Left: make([]chain.Hash, 2), Right: make([]chain.Hash, 3)} // as many as these need
	if r, err := chain.NewRebuild(s); r != nil || !errors.Is(err, chain.ErrRange) {
		t.Errorf("bounds out of order: %v, want ErrRange", err)
	}
	s = chain.Span{Begin: 3, End: 5, Size: 5, Left: make([]chain.Hash, 1)}
	if r, err := chain.NewRebuild(s); r != nil || !errors.Is(err, chain.ErrRange) {
		t.Errorf("a hash short: %v, want ErrRange", err)
	}
}

func TestOrigins(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, strings.Repeat("a", chain.MaxOrigin): true, strings.Repeat("a", chain.MaxOrigin+1): false,
		"+a": false, "a+": false, " a": false, "\x7fa": false, "": false, "\xff": false,
	} {
		if err := chain.CheckOrigin(name); good != (err == nil) || err != nil && !errors.Is(err, chain.ErrCheckpoint) {
			t.Errorf("origin %q: %v", name, err)
		}
		if c, err := chain.New(name); good != (err == nil) || good != (c != nil) || err != nil && !errors.Is(err, chain.ErrCheckpoint) {
			t.Errorf("chain of origin %q: %v", name, err)
		}
	}
}

// The longest body is read, and one byte more is refused for its length.
func TestLongestCheckpoint(t *testing.T) {
	c := chain.Checkpoint{Origin: strings.Repeat("a", chain.MaxOrigin), Size: full, Root: numbered("root", 1)}
	body, err := c.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := chain.ParseCheckpoint(body); err != nil || back != c {
		t.Errorf("comes back as %+v, %v", back, err)
	}
	if _, err := chain.ParseCheckpoint(append(body, '\n')); !errors.Is(err, chain.ErrCheckpoint) || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("one byte more: %v", err)
	}
	c.Size++
	if _, err := c.MarshalText(); !errors.Is(err, chain.ErrCheckpoint) {
		t.Errorf("a larger log was written: %v", err)
	}
}

func TestHashTextOfAValue(t *testing.T) {
	h := numbered("hash", 1)
	text, err := h.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var back chain.Hash
	if err := back.UnmarshalText(text); err != nil || back != h {
		t.Errorf("comes back as %s, %v", back, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "short": h.String()[2:], "long": h.String() + "00", "upper case": strings.ToUpper(h.String()), "no digit": "x" + h.String()[1:],
	} {
		back := h
		if err := back.UnmarshalText([]byte(bad)); !errors.Is(err, chain.ErrHash) || back != h {
			t.Errorf("%s: %s, %v, want ErrHash", name, back, err)
		}
	}
}

// A leaf that could not be read back is not written.
func TestLeafThatIsRefused(t *testing.T) {
	before := []byte("before")
	for _, l := range []chain.Leaf{{}, {Kind: chain.KindData}, {Kind: chain.KindData, Verdict: chain.Accepted, Time: -1}} {
		if got, err := l.AppendBinary(before); !errors.Is(err, chain.ErrLeaf) || string(got) != "before" {
			t.Errorf("%+v: %q, %v", l, got, err)
		}
	}
}

// Two leaves may be of the same instant.
func TestLeavesOfOneInstant(t *testing.T) {
	h := write(t, 0)
	for range 3 {
		h.append(t, chain.Entry{Time: 17, Kind: chain.KindSystem, Verdict: chain.Accepted})
	}
	if err := replayAll(h.leaves); err != nil {
		t.Error(err)
	}
	if h.head.Time() != 17 {
		t.Errorf("time of the last leaf is %d", h.head.Time())
	}
}

func TestResumeRefusesWhatIsNoLeaf(t *testing.T) {
	h := write(t, 7)
	if c, err := chain.Resume(h.leaves[6][1:], h.head.Left()); c != nil || !errors.Is(err, chain.ErrLeaf) {
		t.Errorf("%v, want ErrLeaf", err)
	}
}

func TestStateWithoutItsHashes(t *testing.T) {
	empty, _ := write(t, 0).head.MarshalBinary()
	sized := slices.Clone(empty)
	sized[40] = 2 // an even size: nothing holds the last leaf against the tree
	for name, state := range map[string][]byte{"a size without hashes": sized, "part of a hash": append(empty, 1)} {
		var c chain.Chain
		if err := c.UnmarshalBinary(state); !errors.Is(err, chain.ErrState) {
			t.Errorf("%s: %v, want ErrState", name, err)
		}
	}
}

func TestTilesName(t *testing.T) {
	bundle, tile := chain.Tile{Entries: true, Index: 3, Width: 7}, chain.Tile{Level: 1, Index: 2, Width: 2}
	if begin, end := bundle.Leaves(); begin != 768 || end != 775 {
		t.Errorf("entries [%d, %d), want [768, 775)", begin, end)
	}
	if diff := cmp.Diff([]chain.Node{{Level: 8, Index: 512}, {Level: 8, Index: 513}}, tile.Nodes()); diff != "" {
		t.Error(diff)
	}
	if (chain.Tile{Level: 8, Width: 1}).Within(full) {
		t.Error("a tile above every log is within one")
	}
	if !(chain.Tile{Level: 7, Width: 1}).Within(full) || (chain.Tile{Level: 7, Width: 128}).Within(full) {
		t.Error("the highest tile of the largest log has 127 hashes")
	}
}

// Neighbours are read with one call.
func TestNeighboursAreReadTogether(t *testing.T) {
	log := &counted{hashes: write(t, 600).hashes}
	nodes := []chain.Node{{Index: 5}, {Index: 6}, {Index: 7}, {Index: 9}, {Index: 3}}
	got, err := chain.NewTileNodes(log).ReadNodes(t.Context(), nodes)
	want := []chain.Hash{log.hashes[5], log.hashes[6], log.hashes[7], log.hashes[9], log.hashes[3]}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if log.calls != 3 {
		t.Errorf("%d calls, want 3: neighbours are read together", log.calls)
	}
}

// Nodes that no log can have are refused before anything is read.
func TestNodesBeyondEveryLog(t *testing.T) {
	log := &counted{}
	for _, n := range []chain.Node{{Level: 63}, {Level: 64}, {Level: 62, Index: 1}, {Level: 8, Index: full >> 8}, {Index: full}} {
		if _, err := chain.NewTileNodes(log).ReadNodes(t.Context(), []chain.Node{n}); !errors.Is(err, chain.ErrRange) || log.calls > 0 {
			t.Errorf("%+v: %v after %d calls, want ErrRange", n, err, log.calls)
		}
	}
	if _, err := chain.NewTileNodes(log).ReadNodes(t.Context(), []chain.Node{{Index: full - 1}}); log.calls != 1 || err == nil {
		t.Errorf("the last leaf of the largest log is not asked for: %v", err)
	}
}
