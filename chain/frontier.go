package chain

import (
	"errors"
	"fmt"
	"math/bits"
)

// ErrRange says that hashes, leaves or bounds do not fit the claimed range:
// too many, too few, or out of order.
var ErrRange = errors.New("range does not fit")

// Frontier is the compact range [0, size) of an RFC 6962 tree: the roots of
// the complete subtrees that make it up, at most one for each level. A copy is
// independent of the original, and equal trees compare equal. The zero value is
// the empty tree.
type Frontier struct {
	size   uint64
	levels [64]Hash // levels[k] is zero unless bit k of size is set
}

// NewFrontier restores the compact range [0, size) from its hashes, largest
// subtree first. The error is ErrRange unless there is exactly one hash for
// each set bit of size, and size ≤ MaxSize.
func NewFrontier(size Index, hashes []Hash) (Frontier, error) {
	if size > MaxSize {
		return Frontier{}, fmt.Errorf("restore frontier: size %d: %w", size, ErrRange)
	}
	if want := bits.OnesCount64(uint64(size)); len(hashes) != want {
		return Frontier{}, fmt.Errorf("restore frontier of %d leaves: %d hashes, want %d: %w",
			size, len(hashes), want, ErrRange)
	}
	f := Frontier{size: uint64(size)}
	for rest := f.size; rest != 0; hashes = hashes[1:] {
		level := bits.Len64(rest) - 1
		f.levels[level] = hashes[0]
		rest &^= 1 << level
	}
	return f, nil
}

// Size is the number of leaves.
func (f *Frontier) Size() Index { return Index(f.size) }

// Append adds one leaf hash. The error is ErrRange if the tree is full.
func (f *Frontier) Append(leaf Hash) error {
	if f.size >= MaxSize {
		return fmt.Errorf("append to frontier: full: %w", ErrRange)
	}
	f.push(0, leaf)
	return nil
}

// Node returns the hash of a node if it is one of the complete subtrees that
// make the tree up.
func (f *Frontier) Node(n Node) (hash Hash, found bool) {
	if f.size>>n.Level&1 == 0 || uint64(n.Index) != f.size>>n.Level-1 {
		return Hash{}, false
	}
	return f.levels[n.Level], true
}

// push adds the root of a complete subtree of 2^level leaves. The size must be
// a multiple of 2^level and have room.
func (f *Frontier) push(level uint, h Hash) {
	k := level
	for ; f.size>>k&1 == 1; k++ {
		h = NodeHash(f.levels[k], h)
		f.levels[k] = Hash{}
	}
	f.levels[k] = h
	f.size += 1 << level
}

// Root is the RFC 6962 root over all leaves.
func (f *Frontier) Root() Hash {
	if f.size == 0 {
		return emptyRoot
	}
	low := bits.TrailingZeros64(f.size)
	root := f.levels[low]
	for rest := f.size &^ (1 << low); rest != 0; rest &= rest - 1 {
		root = NodeHash(f.levels[bits.TrailingZeros64(rest)], root)
	}
	return root
}

// Hashes returns the roots of the complete subtrees, largest first: the left
// hashes of a range that begins at Size.
func (f *Frontier) Hashes() []Hash {
	hashes := make([]Hash, 0, bits.OnesCount64(f.size))
	for level := 63; level >= 0; level-- {
		if f.size>>level&1 == 1 {
			hashes = append(hashes, f.levels[level])
		}
	}
	return hashes
}
