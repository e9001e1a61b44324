package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The tables of a block are made durable together, once, after the last insert and before the block is read back. In the embedded
// engine that is the program's own work (engine.Sync), so those tables have no sync of an insert by itself; a server's tables keep
// theirs.

// mergeBase is about how many parts of one size become one part. Merging a block costs more than inserting it did, and its rows are
// merged once for every power of this that a table has of blocks: with the engine's own 5 half as often again, for a third fewer
// parts to read. Where parts become old or many, the engine merges fewer at a time, as ever.
const mergeBase = 12

// noStatistics keeps merges from counting the distinct values of every column for the planner, as the engine has them do unless it is
// told otherwise: the program's queries are planned by their keys.
const noStatistics = "auto_statistics_types = ''"

// blockSettings are those of the tables of the fold in the embedded engine.
func blockSettings() []string {
	return []string{"fsync_after_insert = 0", "fsync_part_directory = 0", fmt.Sprintf("merge_selector_base = %d", mergeBase), noStatistics}
}

const selectEngine = "SELECT engine_full FROM system.tables WHERE database = {database:String} AND name = {table:String}"

// tuneBlocks turns the sync of each insert off in the tables of the fold, and has them merged more seldom and for less. An older program would rely
// on the sync, and is kept out by the schema's version (sql/0004_block_sync.sql).
func (s *Store) tuneBlocks(ctx context.Context) error {
	if s.engine == nil {
		return nil
	}
	for _, t := range NewBlock(0).tables() {
		var definition string
		err := s.each(ctx, selectEngine, []any{named("database", s.name), named("table", t.name)}, func() {}, &definition)
		if err != nil {
			return wrap(err, "read definition of %s", t.name)
		}
		if err := s.tune(ctx, t.name, definition); err != nil {
			return err
		}
	}
	return nil
}

// tune changes the settings that a table's definition does not have.
func (s *Store) tune(ctx context.Context, table, definition string) error {
	lacking := slices.DeleteFunc(blockSettings(), func(setting string) bool { return strings.Contains(definition, setting) })
	if len(lacking) == 0 {
		return nil
	}
	return s.exec(ctx, fmt.Sprintf("ALTER TABLE ${db}.%s MODIFY SETTING %s", table, strings.Join(lacking, ", ")))
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
