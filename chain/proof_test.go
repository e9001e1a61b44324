package chain_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/agentcustody/custody/chain"
)

func TestInclusionOfEveryLeaf(t *testing.T) {
	for size := 1; size <= 40; size++ {
		h := write(t, size)
		for i := range size {
			path, err := chain.ProveInclusion(t.Context(), h.nodes(), chain.Index(i), chain.Index(size))
			if err != nil {
				t.Fatal(err)
			}
			err = chain.VerifyInclusion(path, chain.Index(i), chain.Index(size), h.hashes[i], h.head.Root())
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestInclusionIsStrict(t *testing.T) {
	h := write(t, 21)
	path, _ := chain.ProveInclusion(t.Context(), h.nodes(), 13, 21)
	root, leaf := h.head.Root(), h.hashes[13]
	cases := map[string]error{
		"other leaf":   chain.VerifyInclusion(path, 13, 21, h.hashes[12], root),
		"other index":  chain.VerifyInclusion(path, 12, 21, leaf, root),
		"other size":   chain.VerifyInclusion(path, 13, 64, leaf, root),
		"other root":   chain.VerifyInclusion(path, 13, 21, leaf, leaf),
		"surplus hash": chain.VerifyInclusion(append(slices.Clip(path), leaf), 13, 21, leaf, root),
		"missing hash": chain.VerifyInclusion(path[1:], 13, 21, leaf, root),
		"outside":      chain.VerifyInclusion(path, 21, 21, leaf, root),
		"overflow":     chain.VerifyInclusion(path, 13, 1<<63, leaf, root),
	}
	for name, err := range cases {
		if !errors.Is(err, chain.ErrProof) {
			t.Errorf("%s: %v, want ErrProof", name, err)
		}
	}
	if _, err := chain.ProveInclusion(t.Context(), h.nodes(), 21, 21); !errors.Is(err, chain.ErrRange) {
		t.Errorf("prove a leaf that is not there: %v", err)
	}
}

func TestConsistencyOfEveryPrefix(t *testing.T) {
	h := write(t, 33)
	for older := 0; older <= 33; older++ {
		path, err := chain.ProveConsistency(t.Context(), h.nodes(), chain.Index(older), 33)
		if err != nil {
			t.Fatal(err)
		}
		oldRoot := write(t, older).head.Root()
		if err := chain.VerifyConsistency(path, chain.Index(older), 33, oldRoot, h.head.Root()); err != nil {
			t.Error(err)
		}
	}
}

func TestConsistencyCatchesForkAndRollback(t *testing.T) {
	h, fork := write(t, 20), write(t, 11)
	fork.append(t, entry(99))
	path, _ := chain.ProveConsistency(t.Context(), h.nodes(), 12, 20)
	old := write(t, 12).head.Root()
	cases := map[string]error{
		"fork":            chain.VerifyConsistency(path, 12, 20, fork.head.Root(), h.head.Root()),
		"rollback":        chain.VerifyConsistency(path, 20, 12, h.head.Root(), old),
		"surplus hash":    chain.VerifyConsistency(append(path, old), 12, 20, old, h.head.Root()),
		"missing hash":    chain.VerifyConsistency(path[1:], 12, 20, old, h.head.Root()),
		"false empty":     chain.VerifyConsistency(nil, 0, 20, old, h.head.Root()),
		"same size, fork": chain.VerifyConsistency(nil, 12, 12, old, fork.head.Root()),
		"overflow":        chain.VerifyConsistency(path, 12, 1<<63, old, h.head.Root()),
	}
	for name, err := range cases {
		if !errors.Is(err, chain.ErrProof) {
			t.Errorf("%s: %v, want ErrProof", name, err)
		}
	}
	if _, err := chain.ProveConsistency(t.Context(), h.nodes(), 21, 20); !errors.Is(err, chain.ErrRange) {
		t.Errorf("prove a rollback: %v", err)
	}
}

func TestSpanRebuildsRoot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(0, 150).Draw(rt, "size")
		begin := rapid.IntRange(0, size).Draw(rt, "begin")
		end := rapid.IntRange(begin, size).Draw(rt, "end")
		h := write(t, size)
		s, err := chain.ProveSpan(t.Context(), h.nodes(), chain.Index(begin), chain.Index(end), chain.Index(size))
		if err != nil {
			rt.Fatal(err)
		}
		if err := verifySpan(s, h.hashes[begin:end], h); err != nil {
			rt.Fatal(err)
		}
	})
}

// Each attack changes a span of [5, 14) in 21 leaves; none may give its root.
func TestSpanCatchesTheAdversary(t *testing.T) {
	h := write(t, 21)
	attacks := map[string]func(s *chain.Span, leaves *[]chain.Hash){
		"edit":                func(_ *chain.Span, l *[]chain.Hash) { (*l)[3][0] ^= 1 },
		"reorder":             func(_ *chain.Span, l *[]chain.Hash) { (*l)[3], (*l)[4] = (*l)[4], (*l)[3] },
		"drop":                func(_ *chain.Span, l *[]chain.Hash) { *l = append((*l)[:3], (*l)[4:]...) },
		"duplicate":           func(_ *chain.Span, l *[]chain.Hash) { *l = append((*l)[:4], (*l)[3:]...) },
		"truncate":            func(_ *chain.Span, l *[]chain.Hash) { *l = (*l)[:8] },
		"truncate and say so": func(s *chain.Span, l *[]chain.Hash) { *l = (*l)[:8]; s.End-- },
		"surplus leaf":        func(_ *chain.Span, l *[]chain.Hash) { *l = append(*l, h.hashes[14]) },
		"surplus left":        func(s *chain.Span, _ *[]chain.Hash) { s.Left = append(s.Left, chain.Hash{}) },
		"surplus right":       func(s *chain.Span, _ *[]chain.Hash) { s.Right = append(s.Right, chain.Hash{}) },
		"missing left":        func(s *chain.Span, _ *[]chain.Hash) { s.Left = s.Left[1:] },
		"missing right":       func(s *chain.Span, _ *[]chain.Hash) { s.Right = s.Right[1:] },
		"swap left":           func(s *chain.Span, _ *[]chain.Hash) { s.Left[0], s.Left[1] = s.Left[1], s.Left[0] },
		"smaller log":         func(s *chain.Span, _ *[]chain.Hash) { s.Size, s.Right = 14, nil },
		"larger log":          func(s *chain.Span, _ *[]chain.Hash) { s.Size++ },
		"shift":               func(s *chain.Span, _ *[]chain.Hash) { s.Begin, s.End = s.Begin+1, s.End+1 },
		"end before begin":    func(s *chain.Span, _ *[]chain.Hash) { s.Begin, s.End = s.End, s.Begin },
		"end past size":       func(s *chain.Span, _ *[]chain.Hash) { s.End = 22 },
		"overflow":            func(s *chain.Span, _ *[]chain.Hash) { s.Size = 1 << 63 },
		"leaf taken for a node": func(s *chain.Span, l *[]chain.Hash) {
			(*l)[1] = chain.NodeHash((*l)[1], (*l)[2])
			*l = append((*l)[:2], (*l)[3:]...)
			s.End, s.Size = s.End-1, s.Size-1
		},
	}
	for name, attack := range attacks {
		s, err := chain.ProveSpan(t.Context(), h.nodes(), 5, 14, 21)
		if err != nil {
			t.Fatal(err)
		}
		leaves := append([]chain.Hash{}, h.hashes[5:14]...)
		attack(&s, &leaves)
		err = verifySpan(s, leaves, h)
		if !errors.Is(err, chain.ErrRange) && !errors.Is(err, chain.ErrProof) {
			t.Errorf("%s: %v, want ErrRange or ErrProof", name, err)
		}
	}
}

func verifySpan(s chain.Span, leaves []chain.Hash, h *history) error {
	r, err := chain.NewRebuild(s)
	if err != nil {
		return err
	}
	for _, leaf := range leaves {
		if err := r.Add(leaf); err != nil {
			return err
		}
	}
	return r.Verify(chain.Checkpoint{Origin: origin, Size: h.head.Size(), Root: h.head.Root()})
}

func TestProveSpanRefusesBadBounds(t *testing.T) {
	h := write(t, 8)
	for _, b := range [][3]chain.Index{{5, 4, 8}, {4, 9, 8}, {0, 1, 1 << 63}} {
		if _, err := chain.ProveSpan(t.Context(), h.nodes(), b[0], b[1], b[2]); !errors.Is(err, chain.ErrRange) {
			t.Errorf("%v: %v, want ErrRange", b, err)
		}
	}
	if _, err := chain.ProveSpan(t.Context(), h.nodes(), 0, 1, 9); err == nil {
		t.Error("a span past the written log was proven")
	}
}

// FuzzRange feeds arbitrary bounds and hashes: nothing may panic, and a rebuilt
// root must use every hash that was given.
func FuzzRange(f *testing.F) {
	f.Add(uint64(5), uint64(7), uint64(9), make([]byte, 6*32))
	f.Add(uint64(0), uint64(0), uint64(0), []byte{})
	f.Add(uint64(1)<<62, uint64(1)<<62+1, uint64(1)<<63-1, make([]byte, 64*32))
	f.Fuzz(func(t *testing.T, begin, end, size uint64, raw []byte) {
		var hashes []chain.Hash
		for ; len(raw) >= 32; raw = raw[32:] {
			hashes = append(hashes, chain.Hash(raw[:32]))
		}
		cut := min(len(hashes), onesCount(begin))
		s := chain.Span{
			Begin: chain.Index(begin), End: chain.Index(end), Size: chain.Index(size),
			Left: hashes[:cut], Right: hashes[cut:],
		}
		r, err := chain.NewRebuild(s)
		if err != nil || end-begin > 1000 {
			return
		}
		for i := begin; i < end; i++ {
			if err := r.Add(numbered("leaf", i)); err != nil {
				t.Fatal(err)
			}
		}
		root, err := r.Root()
		if err != nil {
			t.Fatal(err)
		}
		checkEveryHashCounts(t, s, begin, end, root)
	})
}

func onesCount(n uint64) (ones int) {
	for ; n != 0; n &= n - 1 {
		ones++
	}
	return ones
}

func checkEveryHashCounts(t *testing.T, s chain.Span, begin, end uint64, root chain.Hash) {
	t.Helper()
	leaves := make([]chain.Hash, 0, end-begin)
	for i := begin; i < end; i++ {
		leaves = append(leaves, numbered("leaf", i))
	}
	for _, side := range [][]chain.Hash{s.Left, s.Right} {
		for i := range side {
			side[i][0] ^= 1
			if got, err := rebuild(s, leaves); err != nil || got == root {
				t.Errorf("hash %d does not count: %s, %v", i, got, err)
			}
			side[i][0] ^= 1
		}
	}
}

// The largest log takes its last leaf and no more.
func TestLargestLog(t *testing.T) {
	f, err := chain.NewFrontier(chain.MaxSize-1, make([]chain.Hash, 62))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Append(chain.Hash(binary.BigEndian.AppendUint64(make([]byte, 24), 7))); err != nil {
		t.Fatal(err)
	}
	if err := f.Append(chain.Hash{}); !errors.Is(err, chain.ErrRange) || f.Size() != chain.MaxSize {
		t.Errorf("full log took a leaf: size %d, %v", f.Size(), err)
	}
}
