package chain

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// maxKnownTiles bounds the roots of full tiles that TileNodes keeps: those of 16 million leaves, some 6 MB.
const maxKnownTiles = 1 << 16

// TileNodes is a NodeReader over leaf hashes that remembers the root of every full tile that it has computed. Those never change. So
// a proof about a log that has grown costs the leaves that are new. It may be used from many goroutines.
type TileNodes struct {
	leaves LeafReader

	mu    sync.Mutex
	known map[Node]Hash // levels that are multiples of TileHeight, without 0
}

// NewTileNodes reads the leaves of one log.
func NewTileNodes(leaves LeafReader) *TileNodes {
	return &TileNodes{leaves: leaves, known: map[Node]Hash{}}
}

// ReadNodes implements NodeReader.
func (r *TileNodes) ReadNodes(ctx context.Context, nodes []Node) ([]Hash, error) {
	hashes := make([]Hash, 0, len(nodes))
	for i := 0; i < len(nodes); {
		run := runOf(nodes[i:])
		first := nodes[i]
		got, err := r.level(ctx, first.Level, first.Index, first.Index+Index(run))
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, got...)
		i += run
	}
	return hashes, nil
}

// runOf counts the neighbours with which nodes begin.
func runOf(nodes []Node) int {
	n := 1
	for n < len(nodes) && nodes[n] == (Node{nodes[0].Level, nodes[0].Index + Index(n)}) {
		n++
	}
	return n
}

// level returns the hashes of the nodes [begin, end) of one level.
func (r *TileNodes) level(ctx context.Context, level uint, begin, end Index) ([]Hash, error) {
	switch {
	case end > MaxSize>>level: // of no level from 63 on
		return nil, fmt.Errorf("nodes [%d, %d) of level %d: %w", begin, end, level, ErrRange)
	case level == 0:
		return r.read(ctx, begin, end)
	case level%TileHeight != 0:
		return r.fold(ctx, level-level%TileHeight, level%TileHeight, begin, end)
	}
	return r.tiles(ctx, level, begin, end)
}

// read returns leaf hashes.
func (r *TileNodes) read(ctx context.Context, begin, end Index) ([]Hash, error) {
	hashes := make([]Hash, 0, end-begin)
	for at := begin; at < end; at += LeafChunk {
		to := min(at+LeafChunk, end)
		got, err := r.leaves.ReadLeafHashes(ctx, at, to)
		if err != nil {
			return nil, fmt.Errorf("read leaf hashes [%d, %d): %w", at, to, err)
		}
		if Index(len(got)) != to-at {
			return nil, fmt.Errorf("read leaf hashes [%d, %d): got %d: %w", at, to, len(got), ErrRange)
		}
		hashes = append(hashes, got...)
	}
	return hashes, nil
}

// fold makes each node of 2^up nodes of the level below.
func (r *TileNodes) fold(ctx context.Context, below, up uint, begin, end Index) ([]Hash, error) {
	hashes := make([]Hash, 0, end-begin)
	for ; begin < end; begin++ {
		under, err := r.level(ctx, below, begin<<up, (begin+1)<<up)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, EventRoot(under))
	}
	return hashes, nil
}

// tiles returns roots of full tiles. Those that are not known are computed in runs, so that leaves are read in chunks.
func (r *TileNodes) tiles(ctx context.Context, level uint, begin, end Index) ([]Hash, error) {
	hashes := make([]Hash, end-begin)
	for at := begin; at < end; {
		hash, known := r.lookUp(Node{level, at})
		if known {
			hashes[at-begin] = hash
			at++
			continue
		}
		to := min(at+LeafChunk/TileWidth, end)
		under, err := r.level(ctx, level-TileHeight, at<<TileHeight, to<<TileHeight)
		if err != nil {
			return nil, err
		}
		for ; at < to; at++ {
			hashes[at-begin] = EventRoot(under[:TileWidth])
			under = under[TileWidth:]
			r.keep(Node{level, at}, hashes[at-begin])
		}
	}
	return hashes, nil
}

func (r *TileNodes) lookUp(n Node) (Hash, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, known := r.known[n]
	return h, known
}

// keep remembers a root. When there are too many, those of the lowest level go: the others are dearer.
func (r *TileNodes) keep(n Node, h Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= maxKnownTiles {
		maps.DeleteFunc(r.known, func(n Node, _ Hash) bool { return n.Level == TileHeight })
	}
	r.known[n] = h
}
