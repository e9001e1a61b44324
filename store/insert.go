package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
)

// insertsAtOnce is how many tables of a block are written at once: waiting for
// the disk overlaps, and one connection of the embedded engine stays free.
const insertsAtOnce = 3

// Insert writes each table of the block as one block of the engine, under a
// deduplication token made of the table and the range, and then reads back what
// stands there. It may be repeated with the same block after any error: rows
// that were written are not written again. The errors are ErrUnavailable
// (repeat later), ErrSchema and ErrMismatch (stop).
//
// A crash between two tables leaves rows that no reader sees: the committed
// head is still before them, and the writer repeats the block.
func (s *Store) Insert(ctx context.Context, b *Block) error {
	s.last.Lock()
	defer s.last.Unlock()
	defer b.Discard()
	if err := s.insert(ctx, b); err != nil {
		s.last.rows = nil
		return fmt.Errorf("insert block %d–%d: %w", b.First, b.Last, err)
	}
	return nil
}

func (s *Store) insert(ctx context.Context, b *Block) error {
	there, err := s.there(ctx, b)
	if err != nil {
		return err
	}
	if err := s.insertTables(ctx, b, there, 0); err != nil {
		return err
	}
	if err = s.settle(ctx, b); errors.Is(err, ErrMismatch) {
		return s.again(ctx, b, err)
	}
	return err
}

// mostTokens is how many tokens a table's rows can use up: each costs a kill between two instructions.
const mostTokens = 8

// again inserts what a kill has taken: the engine notes a token before it puts the rows in their place, so that of a process that
// dies between the two there is a token without rows, and they are taken for repeated. A table's rows are one part, there or not; those
// that are not there go in under a further token.
func (s *Store) again(ctx context.Context, b *Block, mismatch error) error {
	for number := 1; errors.Is(mismatch, ErrMismatch) && number <= mostTokens; number++ {
		there, err := s.counts(ctx, b)
		if err != nil {
			return err
		}
		if !b.lacks(there) {
			return mismatch
		}
		if err := s.insertTables(ctx, b, there, number); err != nil {
			return err
		}
		s.last.rows = nil // rows are counted one by one
		mismatch = s.settle(ctx, b)
	}
	return mismatch
}

// lacks reports whether a table has none of the block's rows.
func (b *Block) lacks(there map[string]uint64) bool {
	return slices.ContainsFunc(b.tables(), func(t *table) bool { return t.rows > 0 && there[t.name] == 0 })
}

// there counts the rows of a block that may have been inserted before: the
// first one after a start, and one that has failed. Tokens alone do not tell:
// the engine does not sync its list of them, so a power cut can take the list
// and leave the rows.
func (s *Store) there(ctx context.Context, b *Block) (map[string]uint64, error) {
	if s.last.rows != nil {
		return nil, nil
	}
	return s.counts(ctx, b)
}

// insertTables encodes the tables for the driver one after the other, since they
// share a loader, and sends them at the same time. A table whose rows are there is left
// out: they are one part, so all of them are there.
func (s *Store) insertTables(ctx context.Context, b *Block, there map[string]uint64, number int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.atOnce())
	var encoding error
	for _, t := range b.tables() {
		if t.rows == 0 || there[t.name] > 0 || ctx.Err() != nil {
			continue
		}
		send, err := s.sender(ctx, t, b.token(t.name, number), &b.loader)
		if err != nil {
			encoding = err
			break
		}
		group.Go(func() error { return wrap(send(), "insert into %s", t.name) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return encoding
}

// atOnce is how many of the block's tables are written at once.
func (b *Block) atOnce() int {
	if b.slow {
		return 1
	}
	return insertsAtOnce
}

// sender returns what sends a table's rows: to the engine as they are, to a
// server through the driver.
func (s *Store) sender(ctx context.Context, t *table, token string, l *loader) (send func() error, err error) {
	if p := t.takePrepared(token); p != nil {
		return func() error { return p.Run(ctx) }, nil
	}
	if s.engine != nil {
		return func() error { return s.insertNative(ctx, t, token) }, nil
	}
	batch, err := s.encode(ctx, t, token, l)
	if err != nil {
		return nil, err
	}
	return batch.Send, nil
}

// insertNative hands a table's rows to the engine as it reads them.
func (s *Store) insertNative(ctx context.Context, t *table, token string) error {
	p, err := s.prepareTable(t, token)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	return p.Run(ctx)
}

// encode fills a batch with a table's columns.
func (s *Store) encode(ctx context.Context, t *table, token string, l *loader) (driver.Batch, error) {
	ctx = clickhouse.Context(ctx,
		clickhouse.WithColumnNamesAndTypes(t.namesAndTypes()),
		clickhouse.WithSettings(insertSettings(token)))
	batch, err := s.db.PrepareBatch(ctx, fmt.Sprintf("INSERT INTO %s.%s (%s)", s.name, t.name, t.names()))
	if err != nil {
		return nil, wrap(err, "insert into %s", t.name)
	}
	if err := t.load(l, batch); err != nil {
		return nil, errors.Join(err, batch.Close())
	}
	return batch, nil
}

func (t *table) load(l *loader, batch driver.Batch) error {
	columns := batch.Columns()
	if len(columns) != len(t.columns) {
		return fmt.Errorf("insert into %s: %d columns, want %d: %w", t.name, len(columns), len(t.columns), ErrSchema)
	}
	for i, c := range t.columns {
		if columns[i].Name() != c.Name() || string(columns[i].Type()) != c.Type() {
			return fmt.Errorf("insert into %s: column %s %s, want %s %s: %w",
				t.name, columns[i].Name(), columns[i].Type(), c.Name(), c.Type(), ErrSchema)
		}
		if err := c.load(l, columns[i]); err != nil {
			return fmt.Errorf("insert into %s: column %s: %w", t.name, c.Name(), err)
		}
	}
	return nil
}

func (t *table) namesAndTypes() []clickhouse.ColumnNameAndType {
	all := make([]clickhouse.ColumnNameAndType, len(t.columns))
	for i, c := range t.columns {
		all[i] = clickhouse.ColumnNameAndType{Name: c.Name(), Type: c.Type()}
	}
	return all
}

// insertSettings keep an INSERT in one block, and let it count once. Skip
// indexes are built when parts are merged: a new part is small, and building
// them at once would cost as much as the rows (but see indexedAtOnce).
func insertSettings(token string) clickhouse.Settings {
	return clickhouse.Settings{
		"insert_deduplicate":                 1,
		"insert_deduplication_token":         token,
		"async_insert":                       0,
		"materialize_skip_indexes_on_insert": 0,
		"max_insert_threads":                 1,
		"max_insert_block_size":              1 << 24,
		"min_insert_block_size_rows":         1 << 24,
		"min_insert_block_size_bytes":        1 << 30,
	}
}

// settle makes what was inserted durable, and reads back how many rows there are, and the last leaf of each tenant.
func (s *Store) settle(ctx context.Context, b *Block) error {
	now, err := s.parts(ctx)
	if err != nil {
		return err
	}
	if err := s.sync(now); err != nil {
		return err
	}
	if !s.tally(b, now.rows) {
		if err := s.verifyCounts(ctx, b); err != nil {
			return err
		}
	}
	return s.verifyLeaves(ctx, b)
}

// tally compares the rows of each table, which the engine knows without reading
// them, with the tally after the insert before. It is not ok when there is no
// such tally, or when rows were removed since; then the rows must be counted.
func (s *Store) tally(b *Block, now map[string]uint64) (ok bool) {
	ok = s.last.rows != nil
	for _, t := range b.tables() {
		ok = ok && now[t.name] == s.last.rows[t.name]+uint64(t.rows)
	}
	s.last.rows = now
	return ok
}

func (s *Store) verifyCounts(ctx context.Context, b *Block) error {
	counts, err := s.counts(ctx, b)
	if err != nil {
		return err
	}
	for _, t := range b.tables() {
		if counts[t.name] != uint64(t.rows) {
			return fmt.Errorf("table %s has %d rows, want %d: %w", t.name, counts[t.name], t.rows, ErrMismatch)
		}
	}
	return nil
}

// counts is the number of rows in the block's range, by table.
func (s *Store) counts(ctx context.Context, b *Block) (map[string]uint64, error) {
	counts := map[string]uint64{}
	var parts []string
	for _, t := range b.tables() {
		if t.rows > 0 {
			parts = append(parts, fmt.Sprintf("SELECT '%s', count() FROM ${db}.%s WHERE stream_seq BETWEEN {first:UInt64} AND {last:UInt64}", t.name, t.name))
		}
	}
	if parts == nil {
		return counts, nil
	}
	var table string
	var count uint64
	err := s.each(ctx, strings.Join(parts, " UNION ALL "), b.rangeArgs(), func() { counts[table] = count }, &table, &count)
	return counts, wrap(err, "count rows")
}

func (b *Block) rangeArgs() []any {
	return []any{named("first", b.First), named("last", b.Last)}
}

// lastLeaves asks by the key of the table: a search for the block's messages would read every leaf of every tenant.
const lastLeaves = `
SELECT tenant, idx, leaf
FROM ${db}.leaves
WHERE (tenant, idx) IN (SELECT arrayJoin(arrayZip({tenants:Array(String)}, {idxs:Array(UInt64)})))`

// lastLeaf is where a tenant's log ends.
type lastLeaf struct {
	tenant string
	idx    uint64
}

func (s *Store) verifyLeaves(ctx context.Context, b *Block) error {
	last := map[lastLeaf][32]byte{}
	var at lastLeaf
	var leaf string
	err := s.each(ctx, lastLeaves, b.endArgs(), func() { last[at] = chain.LeafHash([]byte(leaf)) }, &at.tenant, &at.idx, &leaf)
	if err != nil {
		return wrap(err, "read last leaves")
	}
	for _, h := range b.ends {
		if got, ok := last[lastLeaf{h.Tenant, h.Size - 1}]; !ok || got != h.LeafHash {
			return fmt.Errorf("tenant %s: last leaf of %d: %w", h.Tenant, h.Size, ErrMismatch)
		}
	}
	return nil
}

func (b *Block) endArgs() []any {
	tenants, idxs := make([]string, len(b.ends)), make([]uint64, len(b.ends))
	for i, h := range b.ends {
		tenants[i], idxs[i] = h.Tenant, h.Size-1
	}
	return []any{named("tenants", tenants), named("idxs", idxs)}
}
