package store

import (
	"context"
	"fmt"
	"maps"
	"strings"
)

// The tables of a block are made durable together, once, after the last insert and before the block is read back. In the embedded
// engine that is the program's own work (engine.Sync), so those tables have no sync of an insert by itself; a server's tables keep
// theirs.

const selectEngine = "SELECT engine_full FROM system.tables WHERE database = {database:String} AND name = {table:String}"

// syncBlocks turns the sync of each insert off in the tables of the fold. An older program would rely on it, and is kept out by the
// schema's version (sql/0004_block_sync.sql).
func (s *Store) syncBlocks(ctx context.Context) error {
	if s.engine == nil {
		return nil
	}
	for _, t := range NewBlock(0).tables() {
		var definition string
		err := s.each(ctx, selectEngine, []any{named("database", s.name), named("table", t.name)}, func() {}, &definition)
		if err != nil {
			return wrap(err, "read definition of %s", t.name)
		}
		if strings.Contains(definition, "fsync_after_insert = 0") {
			continue
		}
		off := fmt.Sprintf("ALTER TABLE ${db}.%s MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0", t.name)
		if err := s.exec(ctx, off); err != nil {
			return err
		}
	}
	return nil
}

const selectParts = `
SELECT table, rows, level, max_block_number, path FROM system.parts WHERE active AND database = {database:String}`

// parts is what the engine knows of the tables without reading rows.
type parts struct {
	rows    map[string]uint64 // of each table
	newest  map[string]int64  // number of the newest part that was inserted and not merged yet
	folders []string          // of inserted parts that are newer than those known to be durable
}

// parts looks at the tables. What was inserted and merged since is durable: a merge is synced.
func (s *Store) parts(ctx context.Context) (*parts, error) {
	p := &parts{rows: map[string]uint64{}, newest: maps.Clone(s.last.synced)}
	if p.newest == nil {
		p.newest = map[string]int64{}
	}
	var table, path string
	var rows uint64
	var level uint32
	var number int64
	err := s.each(ctx, selectParts, []any{named("database", s.name)}, func() {
		p.rows[table] += rows
		if durable, known := s.last.synced[table]; level == 0 && (!known || number > durable) {
			p.folders, p.newest[table] = append(p.folders, path), max(p.newest[table], number)
		}
	}, &table, &rows, &level, &number, &path)
	return p, wrap(err, "read parts")
}

// sync makes the newest parts durable.
func (s *Store) sync(p *parts) error {
	if s.engine == nil {
		return nil
	}
	if err := s.engine.Sync(p.folders); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	s.last.synced = p.newest
	return nil
}
