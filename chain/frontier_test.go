package chain_test

import (
	"testing"

	"github.com/agentcustody/custody/chain"
)

// TestFrontierNode: a node is known if, and only if, it is one of the complete subtrees that make the tree up.
func TestFrontierNode(t *testing.T) {
	var f chain.Frontier
	var leaves []chain.Hash
	for size := range uint64(33) {
		want := map[chain.Node]chain.Hash{}
		for _, n := range subtrees(size) {
			begin, end := n.Leaves()
			want[n] = subtreeHash(leaves[begin:end])
		}
		for level := range uint(66) {
			for index := range chain.Index(34) {
				n := chain.Node{Level: level, Index: index}
				hash, found := f.Node(n)
				if wanted, known := want[n]; found != known || hash != wanted {
					t.Fatalf("size %d: %v is found %v", size, n, found)
				}
			}
		}
		leaf := chain.LeafHash([]byte{byte(size)})
		leaves = append(leaves, leaf)
		if err := f.Append(leaf); err != nil {
			t.Fatal(err)
		}
	}
}

// subtrees are the complete subtrees that make a tree up, the largest first.
func subtrees(size uint64) (all []chain.Node) {
	begin := uint64(0)
	for level := 63; level >= 0; level-- {
		if size>>level&1 == 1 {
			all = append(all, chain.Node{Level: uint(level), Index: chain.Index(begin >> level)})
			begin += 1 << level
		}
	}
	return all
}

// subtreeHash is the root of a power of two of leaves.
func subtreeHash(leaves []chain.Hash) chain.Hash {
	if len(leaves) == 1 {
		return leaves[0]
	}
	half := len(leaves) / 2
	return chain.NodeHash(subtreeHash(leaves[:half]), subtreeHash(leaves[half:]))
}
