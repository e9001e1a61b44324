package evidence

import (
	"context"
	"fmt"

	"github.com/agentcustody/custody/chain"
)

// nodeCache asks a reader for each inner hash once: the proofs of one bundle share most of theirs. What lies under leaves that the bundle
// shows from the first one of the log on is not asked for at all, and so they are not read again.
type nodeCache struct {
	reader chain.NodeReader
	known  map[chain.Node]chain.Hash

	shown chain.Frontier // of the leaves that the bundle shows
}

func newNodeCache(r chain.NodeReader) *nodeCache {
	return &nodeCache{reader: r, known: map[chain.Node]chain.Hash{}}
}

// show takes the next leaf that the bundle shows.
func (c *nodeCache) show(first chain.Index, leaf []byte) error {
	if first > 0 {
		return nil
	}
	return c.shown.Append(chain.LeafHash(leaf))
}

// under gives a node that lies under leaves that were shown, or over some of them.
func (c *nodeCache) under(ctx context.Context, n chain.Node) (hash chain.Hash, found bool, err error) {
	if hash, found = c.shown.Node(n); found {
		return hash, true, nil
	}
	if begin, end := n.Leaves(); begin >= c.shown.Size() || end <= c.shown.Size() {
		return hash, false, nil
	}
	below := []chain.Node{{Level: n.Level - 1, Index: 2 * n.Index}, {Level: n.Level - 1, Index: 2*n.Index + 1}}
	children, err := c.ReadNodes(ctx, below)
	if err != nil {
		return hash, false, err
	}
	return chain.NodeHash(children[0], children[1]), true, nil
}

// ReadNodes implements chain.NodeReader.
func (c *nodeCache) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	if err := c.fetch(ctx, nodes); err != nil {
		return nil, err
	}
	hashes := make([]chain.Hash, len(nodes))
	for i, n := range nodes {
		hashes[i] = c.known[n]
	}
	return hashes, nil
}

// fetch reads those of the nodes that are not known.
func (c *nodeCache) fetch(ctx context.Context, nodes []chain.Node) error {
	var missing []chain.Node
	for _, n := range nodes {
		if _, known := c.known[n]; known {
			continue
		}
		hash, found, err := c.under(ctx, n)
		if err != nil {
			return err
		}
		if found {
			c.known[n] = hash
		} else {
			missing = append(missing, n)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	hashes, err := c.reader.ReadNodes(ctx, missing)
	if err != nil {
		return err
	}
	if len(hashes) != len(missing) {
		return fmt.Errorf("read %d nodes: got %d: %w", len(missing), len(hashes), chain.ErrRange)
	}
	for i, n := range missing {
		c.known[n] = hashes[i]
	}
	return nil
}
