package evidence

import (
	"context"
	"fmt"

	"github.com/agentcustody/custody/chain"
)

// nodeCache asks a reader for each inner hash once: the proofs of one bundle share most of theirs.
type nodeCache struct {
	reader chain.NodeReader
	known  map[chain.Node]chain.Hash
}

func newNodeCache(r chain.NodeReader) *nodeCache {
	return &nodeCache{r, map[chain.Node]chain.Hash{}}
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
		if _, known := c.known[n]; !known {
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
