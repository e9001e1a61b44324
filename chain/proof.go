package chain

import (
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// ErrProof says that a proof does not hold: wrong hashes, too many or too few.
var ErrProof = errors.New("proof does not hold")

// Node names the root of the complete subtree over leaves
// [Index << Level, (Index+1) << Level).
type Node struct {
	Level uint  // 0 is a leaf
	Index Index // position among the nodes of the level, from 0
}

// Leaves returns the range [begin, end) of leaves under n.
func (n Node) Leaves() (begin, end Index) { return n.Index << n.Level, (n.Index + 1) << n.Level }

// NodeReader supplies hashes of complete subtrees of one log. Nodes that were
// once complete never change, so an answer may come from any later state.
type NodeReader interface {
	// ReadNodes returns the hashes of nodes, one for each, in their order. It
	// fails if any of them is not complete yet.
	ReadNodes(ctx context.Context, nodes []Node) ([]Hash, error)
}

// LeafReader supplies leaf hashes of one log.
type LeafReader interface {
	// ReadLeafHashes returns the leaf hashes of [begin, end), in order and
	// without holes, or an error. 0 < end − begin ≤ LeafChunk.
	ReadLeafHashes(ctx context.Context, begin, end Index) ([]Hash, error)
}

// LeafChunk is the most leaf hashes that LeafNodes asks for at once (2 MiB).
const LeafChunk = 1 << 16

// LeafNodes makes a NodeReader of a LeafReader by hashing the leaves under each
// node: O(leaves) time, O(LeafChunk) memory. A store that keeps inner nodes
// should implement NodeReader itself.
type LeafNodes struct{ Leaves LeafReader }

// ReadNodes implements NodeReader.
func (r LeafNodes) ReadNodes(ctx context.Context, nodes []Node) ([]Hash, error) {
	hashes := make([]Hash, 0, len(nodes))
	for _, n := range nodes {
		h, err := r.root(ctx, n)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

func (r LeafNodes) root(ctx context.Context, n Node) (Hash, error) {
	var f Frontier
	begin, end := n.Leaves()
	for at := begin; at < end; at += LeafChunk {
		to := min(at+LeafChunk, end)
		leaves, err := r.Leaves.ReadLeafHashes(ctx, at, to)
		if err != nil {
			return Hash{}, fmt.Errorf("read leaf hashes [%d, %d): %w", at, to, err)
		}
		if Index(len(leaves)) != to-at {
			return Hash{}, fmt.Errorf("read leaf hashes [%d, %d): got %d: %w", at, to, len(leaves), ErrRange)
		}
		for _, leaf := range leaves {
			f.push(0, leaf)
		}
	}
	return f.Root(), nil
}

// ProveInclusion returns the RFC 6962 section 2.1.1 audit path of the leaf at
// index in the tree of size leaves.
func ProveInclusion(ctx context.Context, r NodeReader, index, size Index) ([]Hash, error) {
	if index >= size || size > MaxSize {
		return nil, fmt.Errorf("prove inclusion of %d in %d leaves: %w", index, size, ErrRange)
	}
	nodes, err := proof.Inclusion(uint64(index), uint64(size))
	if err != nil {
		return nil, fmt.Errorf("prove inclusion: %w", err)
	}
	return readProof(ctx, r, nodes)
}

// VerifyInclusion checks that leaf stands at index in the tree of size leaves
// with the given root. Size and root must come from one signed checkpoint: some
// neighbouring sizes share the shape of a path. The error is ErrProof.
func VerifyInclusion(path []Hash, index, size Index, leaf, root Hash) error {
	if size > MaxSize {
		return fmt.Errorf("verify inclusion in %d leaves: %w", size, ErrProof)
	}
	err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf[:], toSlices(path), root[:])
	if err != nil {
		return fmt.Errorf("verify inclusion of leaf %d in %d leaves: %w: %w", index, size, ErrProof, err)
	}
	return nil
}

// ProveConsistency returns the RFC 6962 section 2.1.2 proof that the tree of
// older leaves is a prefix of the tree of newer leaves.
func ProveConsistency(ctx context.Context, r NodeReader, older, newer Index) ([]Hash, error) {
	if older > newer || newer > MaxSize {
		return nil, fmt.Errorf("prove consistency of %d with %d leaves: %w", older, newer, ErrRange)
	}
	nodes, err := proof.Consistency(uint64(older), uint64(newer))
	if err != nil {
		return nil, fmt.Errorf("prove consistency: %w", err)
	}
	return readProof(ctx, r, nodes)
}

// VerifyConsistency checks that the log with root newRoot at newer leaves
// extends the log with root oldRoot at older leaves. The error is ErrProof.
func VerifyConsistency(path []Hash, older, newer Index, oldRoot, newRoot Hash) error {
	if newer > MaxSize || older == 0 && oldRoot != emptyRoot {
		return fmt.Errorf("verify consistency of %d with %d leaves: %w", older, newer, ErrProof)
	}
	err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(older), uint64(newer), toSlices(path), oldRoot[:], newRoot[:])
	if err != nil {
		return fmt.Errorf("verify consistency of %d with %d leaves: %w: %w", older, newer, ErrProof, err)
	}
	return nil
}

func readProof(ctx context.Context, r NodeReader, nodes proof.Nodes) ([]Hash, error) {
	hashes, err := readNodes(ctx, r, nodes.IDs)
	if err != nil {
		return nil, err
	}
	path, err := nodes.Rehash(toSlices(hashes), rfc6962.DefaultHasher.HashChildren)
	if err != nil {
		return nil, fmt.Errorf("rehash proof: %w", err)
	}
	return fromSlices(path), nil
}

func readNodes(ctx context.Context, r NodeReader, ids []compact.NodeID) ([]Hash, error) {
	if len(ids) == 0 {
		return []Hash{}, nil
	}
	nodes := make([]Node, len(ids))
	for i, id := range ids {
		nodes[i] = Node{Level: id.Level, Index: Index(id.Index)}
	}
	hashes, err := r.ReadNodes(ctx, nodes)
	if err != nil {
		return nil, fmt.Errorf("read %d nodes: %w", len(nodes), err)
	}
	if len(hashes) != len(nodes) {
		return nil, fmt.Errorf("read %d nodes: got %d: %w", len(nodes), len(hashes), ErrRange)
	}
	return hashes, nil
}

func toSlices(hashes []Hash) [][]byte {
	slices := make([][]byte, len(hashes))
	for i := range hashes {
		slices[i] = hashes[i][:]
	}
	return slices
}

func fromSlices(slices [][]byte) []Hash {
	hashes := make([]Hash, len(slices))
	for i, s := range slices {
		hashes[i] = Hash(s)
	}
	return hashes
}
