package chain

import "testing"

// When too many roots are known, those of the lowest level are forgotten, and no sooner.
func TestKnownTilesAreBounded(t *testing.T) {
	r, high := NewTileNodes(nil), Node{Level: 2 * TileHeight}
	r.keep(high, Hash{1})
	for i := range Index(maxKnownTiles - 1) {
		r.keep(Node{TileHeight, i}, Hash{2})
	}
	if len(r.known) != maxKnownTiles {
		t.Errorf("%d are known, want %d", len(r.known), maxKnownTiles)
	}
	r.keep(Node{TileHeight, maxKnownTiles}, Hash{3})
	if _, kept := r.lookUp(high); !kept || len(r.known) != 2 {
		t.Errorf("%d are known, want the newest and the dearer one", len(r.known))
	}
}
