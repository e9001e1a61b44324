package chain

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
)

// Span is what a holder of the leaves [Begin, End) needs besides them to
// rebuild the root of the first Size leaves: the compact hashes on either side.
type Span struct {
	Begin Index  `json:"begin"` // first leaf of the range
	End   Index  `json:"end"`   // one past the last leaf; Begin ≤ End ≤ Size
	Size  Index  `json:"size"`  // leaves in the tree, ≤ MaxSize
	Left  []Hash `json:"left"`  // complete subtrees of [0, Begin), left to right
	Right []Hash `json:"right"` // complete subtrees of [End, Size), left to right
}

// ProveSpan reads the hashes on either side of [begin, end) in the tree of size
// leaves. The error is ErrRange unless begin ≤ end ≤ size ≤ MaxSize.
func ProveSpan(ctx context.Context, r NodeReader, begin, end, size Index) (Span, error) {
	s := Span{Begin: begin, End: end, Size: size}
	if err := s.checkBounds(); err != nil {
		return Span{}, fmt.Errorf("prove span: %w", err)
	}
	var err error
	if s.Left, err = readNodes(ctx, r, compact.RangeNodes(0, uint64(begin), nil)); err != nil {
		return Span{}, fmt.Errorf("prove span: left: %w", err)
	}
	if s.Right, err = readNodes(ctx, r, compact.RangeNodes(uint64(end), uint64(size), nil)); err != nil {
		return Span{}, fmt.Errorf("prove span: right: %w", err)
	}
	return s, nil
}

func (s *Span) checkBounds() error {
	if s.Begin > s.End || s.End > s.Size || s.Size > MaxSize {
		return fmt.Errorf("[%d, %d) of %d leaves: %w", s.Begin, s.End, s.Size, ErrRange)
	}
	return nil
}

// Rebuild computes a root from a Span and its leaf hashes, one at a time, in
// constant memory. Counts are strict: a surplus or missing leaf or hash is an
// error, never ignored.
type Rebuild struct {
	span Span
	tree Frontier
}

// NewRebuild starts to rebuild s. The error is ErrRange if the bounds are out
// of order or the number of hashes is not exactly what the bounds require.
func NewRebuild(s Span) (*Rebuild, error) {
	if err := s.checkBounds(); err != nil {
		return nil, fmt.Errorf("rebuild span: %w", err)
	}
	if want := compact.RangeSize(uint64(s.End), uint64(s.Size)); len(s.Right) != want {
		return nil, fmt.Errorf("rebuild span: %d hashes on the right, want %d: %w", len(s.Right), want, ErrRange)
	}
	tree, err := NewFrontier(s.Begin, s.Left)
	if err != nil {
		return nil, fmt.Errorf("rebuild span: left: %w", err)
	}
	return &Rebuild{span: s, tree: tree}, nil
}

// Add takes the hash of the next leaf. The error is ErrRange past End.
func (r *Rebuild) Add(leaf Hash) error {
	if r.tree.Size() >= r.span.End {
		return fmt.Errorf("rebuild span: surplus leaf %d: %w", r.tree.Size(), ErrRange)
	}
	r.tree.push(0, leaf)
	return nil
}

// Verify checks the rebuilt root against a tree head that the caller trusts.
// The error is ErrRange if leaves are missing, and ErrProof if the head has
// another size or root. The size is checked on its own because a root does not
// determine it: trees of 21 and 22 leaves can share the shape of a proof.
func (r *Rebuild) Verify(head Checkpoint) error {
	root, err := r.Root()
	if err != nil {
		return err
	}
	if r.span.Size != head.Size || root != head.Root {
		return fmt.Errorf("rebuild span: root %s of %d leaves, want %s of %d: %w",
			root, r.span.Size, head.Root, head.Size, ErrProof)
	}
	return nil
}

// Root returns the root of all Size leaves. The error is ErrRange before every
// leaf up to End has been added. Prefer Verify.
func (r *Rebuild) Root() (Hash, error) {
	if r.tree.Size() != r.span.End {
		return Hash{}, fmt.Errorf("rebuild span: %d leaves missing: %w", r.span.End-r.tree.Size(), ErrRange)
	}
	tree := r.tree
	for i, id := range compact.RangeNodes(uint64(r.span.End), uint64(r.span.Size), nil) {
		tree.push(id.Level, r.span.Right[i])
	}
	return tree.Root(), nil
}
