package chain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

func TestTilePaths(t *testing.T) {
	for path, want := range map[string]chain.Tile{
		"tile/0/000":                {Width: 256},
		"tile/0/x001/x234/067":      {Index: 1234067, Width: 256}, // the example of the specification
		"tile/63/000.p/1":           {Level: 63, Width: 1},
		"tile/1/999.p/255":          {Level: 1, Index: 999, Width: 255},
		"tile/entries/x001/000":     {Entries: true, Index: 1000, Width: 256},
		"tile/entries/000.p/12":     {Entries: true, Width: 12},
		"tile/0/x009/x223/x372/036": {Index: 9223372036, Width: 256},
	} {
		got, err := chain.ParseTile(path)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %s %v", path, diff, err)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "tile/0/000/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/1000",
		"tile/00/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/a/000", "tile/entry/000", "tile/0/x000/000", "tile/0/001/000",
		"tile/0/x001/x000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p/1/", "tile/0/000.p",
		"tile/0/../checkpoint", "tile/0/x999/x999/x999/x999/x999/x999/999", "tile/0/x1/000", "tile/0/0x1", "tile/0/ 01",
	} {
		if got, err := chain.ParseTile(path); !errors.Is(err, chain.ErrTile) {
			t.Errorf("%q is read as %+v, %v", path, got, err)
		}
	}
}

// The example of the specification: a tree of 70,000 leaves.
func TestTilesOfATree(t *testing.T) {
	for path, want := range map[string]bool{
		"tile/0/272": true, "tile/0/273": false, "tile/0/273.p/112": true, "tile/0/273.p/113": false, "tile/0/273.p/1": true,
		"tile/1/000": true, "tile/1/001": false, "tile/1/001.p/17": true, "tile/1/001.p/18": false, "tile/1/002.p/1": false,
		"tile/2/000": false, "tile/2/000.p/1": true, "tile/2/000.p/2": false, "tile/3/000.p/1": false, "tile/8/000.p/1": false,
		"tile/63/000.p/1": false, "tile/entries/272": true, "tile/entries/273": false, "tile/entries/273.p/112": true, "tile/entries/274.p/1": false,
	} {
		tile, err := chain.ParseTile(path)
		if err != nil || tile.Within(70_000) != want {
			t.Errorf("%s is within: %v, %v", path, !want, err)
		}
	}
}

func FuzzTile(f *testing.F) {
	for _, path := range []string{"tile/0/x001/x234/067", "tile/63/000.p/1", "tile/entries/000.p/12", "tile/0/x009/x223/x372/x036/x854/775"} {
		f.Add(path, uint64(70_000))
	}
	f.Fuzz(func(t *testing.T, path string, size uint64) {
		tile, err := chain.ParseTile(path)
		if err != nil {
			return
		}
		if tile.Path() != path {
			t.Errorf("%q comes back as %q", path, tile.Path())
		}
		size %= uint64(chain.MaxSize)
		if tile.Within(chain.Index(size)) {
			nodes := tile.Nodes()
			if _, end := nodes[len(nodes)-1].Leaves(); uint64(end) > size {
				t.Errorf("%s reaches to %d of %d leaves", path, end, size)
			}
		}
	})
}

// counted counts what is read of a log.
type counted struct {
	hashes []chain.Hash
	leaves int
	calls  int
}

func (c *counted) ReadLeafHashes(_ context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	c.leaves += int(end - begin)
	c.calls++
	if begin >= end || end > chain.Index(len(c.hashes)) {
		return nil, chain.ErrRange
	}
	return c.hashes[begin:end], nil
}

// TileNodes answers as LeafNodes does, and reads each leaf once.
func TestTileNodes(t *testing.T) {
	log := &counted{}
	for i := range 140_000 {
		log.hashes = append(log.hashes, chain.LeafHash(fmt.Appendf(nil, "%d", i)))
	}
	tiles, plain := chain.NewTileNodes(log), chain.LeafNodes{Leaves: &counted{hashes: log.hashes}}
	for _, nodes := range [][]chain.Node{
		{{Level: 0, Index: 5}, {Level: 0, Index: 6}, {Level: 3, Index: 1}, {Level: 8, Index: 0}, {Level: 8, Index: 1}, {Level: 8, Index: 545}},
		{{Level: 16, Index: 1}, {Level: 12, Index: 33}, {Level: 17, Index: 0}},
		{},
	} {
		want, err := plain.ReadNodes(t.Context(), nodes)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tiles.ReadNodes(t.Context(), nodes)
		if !slices.Equal(want, got) || err != nil {
			t.Errorf("%v: other hashes, %v", nodes, err)
		}
	}
	if log.leaves > 150_000 || log.calls > 12 {
		t.Errorf("read %d leaves in %d calls", log.leaves, log.calls)
	}
	log.leaves = 0
	if _, err := chain.ProveConsistency(t.Context(), tiles, 130_000, 139_999); err != nil || log.leaves > 12_000 {
		t.Errorf("a proof over the last leaves read %d of them, %v", log.leaves, err)
	}
	for _, n := range []chain.Node{{Level: 0, Index: 140_000}, {Level: 8, Index: 546}, {Level: 63}, {Level: 62, Index: 2}} {
		if _, err := tiles.ReadNodes(t.Context(), []chain.Node{n}); !errors.Is(err, chain.ErrRange) {
			t.Errorf("%v: %v", n, err)
		}
	}
}
