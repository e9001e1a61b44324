package chain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Tiles of https://c2sp.org/tlog-tiles.
const (
	TileHeight = 8               // levels of the tree in one tile
	TileWidth  = 1 << TileHeight // hashes in a full tile
	maxTileLvl = 63              // greatest level that a path may name
	maxTileDir = 7               // groups of three digits: enough for every index below 2^63
)

// ErrTile says that a path names no tile.
var ErrTile = errors.New("not the path of a tile")

// Tile names a resource of a tiled log: hashes of one level of the tree, or the entries under the leftmost level.
type Tile struct {
	Entries bool  // an entry bundle, which has the place of a tile of level 0
	Level   uint  // 0 to 63; 0 for entries
	Index   Index // among the tiles of the level, from 0
	Width   int   // 1 to TileWidth; less than TileWidth is a partial tile
}

// ParseTile reads a path such as "tile/0/x001/067", "tile/1/000.p/17" or "tile/entries/x001/067". It accepts nothing that Path does not
// return. The error is ErrTile.
func ParseTile(path string) (Tile, error) {
	t, ok := parseTile(path)
	if !ok || t.Path() != path {
		return Tile{}, fmt.Errorf("%.100q: %w", path, ErrTile)
	}
	return t, nil
}

func parseTile(path string) (t Tile, ok bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	level, place, found := strings.Cut(rest, "/")
	if !ok || !found {
		return t, false
	}
	if t.Entries = level == "entries"; !t.Entries {
		l, err := strconv.ParseUint(level, 10, 8)
		if err != nil || l > maxTileLvl {
			return t, false
		}
		t.Level = uint(l)
	}
	place, width, partial := strings.Cut(place, ".p/")
	t.Width = TileWidth
	if partial {
		w, err := strconv.ParseUint(width, 10, 8)
		if err != nil || w == 0 {
			return t, false
		}
		t.Width = int(w)
	}
	t.Index, ok = parseTileIndex(place)
	return t, ok
}

// parseTileIndex reads groups of three digits, all but the last after an x.
func parseTileIndex(place string) (Index, bool) {
	groups := strings.Split(place, "/")
	if len(groups) > maxTileDir {
		return 0, false
	}
	for i, g := range groups[:len(groups)-1] {
		rest, ok := strings.CutPrefix(g, "x")
		if !ok {
			return 0, false
		}
		groups[i] = rest
	}
	n, err := strconv.ParseUint(strings.Join(groups, ""), 10, 63)
	return Index(n), err == nil
}

// Path is the path of the tile under the log's prefix.
func (t Tile) Path() string {
	level := strconv.FormatUint(uint64(t.Level), 10)
	if t.Entries {
		level = "entries"
	}
	place := fmt.Sprintf("%03d", t.Index%1000)
	for n := t.Index / 1000; n > 0; n /= 1000 {
		place = fmt.Sprintf("x%03d/%s", n%1000, place)
	}
	if t.Width < TileWidth {
		place += fmt.Sprintf(".p/%d", t.Width)
	}
	return "tile/" + level + "/" + place
}

// Within reports whether every hash of the tile is that of a complete subtree of the first size leaves.
func (t Tile) Within(size Index) bool {
	nodes := size >> (TileHeight * t.Level) // complete subtrees on the tile's level; none from level 8 on
	return t.Index < nodes/TileWidth || t.Index == nodes/TileWidth && Index(t.Width) <= nodes%TileWidth
}

// Leaves returns the range [begin, end) of leaves of an entry bundle. The tile must be Within a log.
func (t Tile) Leaves() (begin, end Index) {
	begin = t.Index * TileWidth
	return begin, begin + Index(t.Width)
}

// Nodes names the hashes of the tile, in order. The tile must be Within a log.
func (t Tile) Nodes() []Node {
	nodes := make([]Node, t.Width)
	for i := range nodes {
		nodes[i] = Node{TileHeight * t.Level, t.Index*TileWidth + Index(i)}
	}
	return nodes
}
