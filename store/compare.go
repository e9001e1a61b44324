package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is one difference between what is stored and what the fold makes of
// the stored bytes.
type Problem struct {
	Tenant  string
	Table   string
	Row     string // the row's key; the row of the block where that exists
	Column  string // empty if a whole row is missing or surplus
	Message string
}

func (p Problem) String() string {
	return fmt.Sprintf("%s.%s [%s]: %s", p.Table, p.Column, p.Row, p.Message)
}

// errReading says that a block is compared with other messages than its own.
var errReading = errors.New("the reading is of")

// maxProblems is how many differences of one table Compare names before it
// says "and more": a person needs the first, not a million.
const maxProblems = 100

// Compare reads every stored row of the block's range and compares every column
// of every table with the rows of the block: changed values, missing rows and
// surplus rows. The block has the boundaries of blocks that were inserted (see
// Boundaries and Mark); blocks that tile the log from 1 to the head cover every row.
// Content that was expired is not missed. If tenants are named, rows of others are not read, and the block holds none.
//
// Tables that are in the reading as they should be are not read again; nil is no reading. See Take.
func (s *Store) Compare(ctx context.Context, b *Block, r *Reading, tenants ...string) ([]Problem, error) {
	if r != nil && (r.First != b.First || r.Last != b.Last) {
		return nil, fmt.Errorf("compare block %d–%d: %w %d–%d", b.First, b.Last, errReading, r.First, r.Last)
	}
	expired, err := s.Expired(ctx)
	if err != nil {
		return nil, err
	}
	var problems []Problem
	for _, want := range b.tables() {
		c := comparison{store: s, block: b, reading: r, tenants: tenants, expired: expired, want: want}
		if err := c.run(ctx); err != nil {
			return nil, fmt.Errorf("compare block %d–%d: table %s: %w", b.First, b.Last, want.name, err)
		}
		problems = append(problems, c.problems...)
	}
	return problems, nil
}

// comparison compares one table. Rows are matched as a whole first, whatever
// their order; what is left on either side is then paired by likeness.
type comparison struct {
	store    *Store
	block    *Block
	reading  *Reading // nil: there is none
	tenants  []string // all if none is named
	expired  map[string]uint64
	want     *table
	have     *table
	problems []Problem
}

func (c *comparison) run(ctx context.Context) error {
	if same, err := c.same(ctx); err != nil || same {
		return err
	}
	c.have = NewBlock(c.block.First).table(c.want.name)
	condition, args := ofBlock, c.block.rangeArgs()
	if len(c.tenants) > 0 {
		condition, args = condition+ofTenants, append(args, named("tenants", c.tenants))
	}
	if err := c.read(ctx, condition, args); err != nil {
		return err
	}
	missing, surplus := c.pair(c.match())
	missing, err := c.excuse(ctx, missing)
	if err != nil {
		return err
	}
	if err := c.search(ctx, missing); err != nil {
		return err
	}
	for _, row := range surplus {
		c.report(c.have, row, "", "this row is not derived from any message of its block")
	}
	return nil
}

// same says that the engine has exactly the rows of the block. When it finds a difference, or cannot tell, the rows must be matched.
func (c *comparison) same(ctx context.Context) (bool, error) {
	if c.reading != nil {
		return c.reading.has(c.want), nil
	}
	if c.store.engine == nil {
		return false, nil
	}
	var stored answer
	err := c.store.answer(ctx, &stored, c.want, c.block.First, c.block.Last, c.tenants)
	return err == nil && c.want.sameRows(stored.blocks), wrap(err, "read rows")
}

// read appends the stored rows of a condition to c.have.
func (c *comparison) read(ctx context.Context, condition string, args []any) error {
	dest, names := make([]any, len(c.have.columns)), make([]string, len(c.have.columns))
	for i, column := range c.have.columns {
		dest[i], names[i] = column.dest(), column.read()
	}
	query := fmt.Sprintf("SELECT %s FROM ${db}.%s WHERE %s", strings.Join(names, ", "), c.have.name, condition)
	return wrap(c.store.each(ctx, query, args, c.have.take, dest...), "read rows")
}

func (t *table) take() {
	for _, column := range t.columns {
		column.take()
	}
	t.rows++
}

// match cancels equal rows against each other and returns the rest.
func (c *comparison) match() (missing, surplus []int) {
	rows := make(map[[sha256.Size]byte][]int, c.want.rows)
	var b []byte
	for row := range c.want.rows {
		b = c.want.encode(b[:0], row)
		sum := sha256.Sum256(b)
		rows[sum] = append(rows[sum], row)
	}
	for row := range c.have.rows {
		b = c.have.encode(b[:0], row)
		sum := sha256.Sum256(b)
		if same := rows[sum]; len(same) > 0 {
			rows[sum] = same[1:]
		} else {
			surplus = append(surplus, row)
		}
	}
	return unmatched(rows, c.want.rows), surplus
}

func unmatched(rows map[[sha256.Size]byte][]int, n int) (missing []int) {
	left := make([]bool, n)
	for _, same := range rows {
		for _, row := range same {
			left[row] = true
		}
	}
	for row, is := range left {
		if is {
			missing = append(missing, row)
		}
	}
	return missing
}

// excuse drops the missing rows that were removed on purpose.
func (c *comparison) excuse(ctx context.Context, missing []int) ([]int, error) {
	switch {
	case len(missing) == 0:
		return nil, nil
	case expires(c.want.name):
		return c.excuseExpired(missing), nil
	case c.want.name == tableState:
		return c.excusePruned(ctx, missing)
	}
	return missing, nil
}

// excuseExpired drops rows whose content was expired.
func (c *comparison) excuseExpired(missing []int) (rest []int) {
	tenant, idx := c.want.column("tenant").(*dict), c.want.column("idx").(*number[uint64])
	own := func(row int) bool {
		return c.want.name == tableEvents && c.block.events.producer.rows[row] == int8(producerKept)
	}
	for _, row := range missing {
		if idx.rows[row] >= c.expired[tenant.value(row)] || own(row) {
			rest = append(rest, row)
		}
	}
	return rest
}

// excusePruned drops rows of the fold's state that a newer committed row of the
// same entry has replaced.
func (c *comparison) excusePruned(ctx context.Context, missing []int) (rest []int, err error) {
	newest, err := c.store.newestState(ctx)
	if err != nil {
		return nil, err
	}
	t := c.block.state
	for _, row := range missing {
		if newest[stateKey{t.tenant.value(row), t.key.rows[row]}] <= t.streamSeq.rows[row] {
			rest = append(rest, row)
		}
	}
	return rest, nil
}

// pair reports what can be told about rows on both sides. A few rows are paired
// by likeness, since a changed key may hit upon that of a neighbour; many rows
// by key first.
func (c *comparison) pair(missing, surplus []int) (lonely, rest []int) {
	if len(missing) > maxProblems || len(surplus) > maxProblems {
		missing, surplus = c.pairByKey(missing, surplus)
	}
	return c.pairByLikeness(missing, surplus)
}

// pairByKey reports the columns in which a missing row differs from a surplus
// row with the same key, and returns the rows without a partner.
func (c *comparison) pairByKey(missing, surplus []int) (lonely, rest []int) {
	partners := map[string][]int{}
	for _, row := range surplus {
		key := c.have.rowName(row)
		partners[key] = append(partners[key], row)
	}
	for _, row := range missing {
		key := c.want.rowName(row)
		if same := partners[key]; len(same) > 0 {
			c.reportColumns(row, same[0])
			partners[key] = same[1:]
		} else {
			lonely = append(lonely, row)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(partners)) {
		rest = append(rest, partners[key]...)
	}
	return lonely, rest
}

// pairByLikeness does the same for the rows that differ least.
func (c *comparison) pairByLikeness(missing, surplus []int) (lonely, rest []int) {
	paired, taken := map[int]bool{}, map[int]bool{}
	for _, p := range c.likely(missing, surplus) {
		if !paired[p.row] && !taken[p.other] {
			paired[p.row], taken[p.other] = true, true
			c.reportColumns(p.row, p.other)
		}
	}
	return without(missing, paired), without(surplus, taken)
}

type pair struct{ row, other, differences int }

// likely lists pairs of rows that agree in at least half of their columns, the
// most alike first. It looks at as many rows as there can be reports.
func (c *comparison) likely(missing, surplus []int) (pairs []pair) {
	for _, row := range missing[:min(len(missing), maxProblems)] {
		for _, other := range surplus[:min(len(surplus), maxProblems)] {
			if d := len(c.differences(row, other)); d <= len(c.want.columns)/2 {
				pairs = append(pairs, pair{row, other, d})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return a.differences - b.differences })
	return pairs
}

func without(rows []int, drop map[int]bool) []int {
	return slices.DeleteFunc(slices.Clone(rows), func(row int) bool { return drop[row] })
}

func (c *comparison) differences(row, other int) (columns []int) {
	var a, b []byte
	for i := range c.want.columns {
		a, b = c.want.columns[i].encode(a[:0], row), c.have.columns[i].encode(b[:0], other)
		if string(a) != string(b) {
			columns = append(columns, i)
		}
	}
	return columns
}

func (c *comparison) reportColumns(row, other int) {
	for _, i := range c.differences(row, other) {
		want, have := c.want.columns[i], c.have.columns[i]
		c.report(c.want, row, want.Name(), fmt.Sprintf("stored %s, derived %s", have.show(other), want.show(row)))
	}
}

// search looks for missing rows by their key outside the block's range: a row
// whose stream_seq was changed is found there and can be named.
func (c *comparison) search(ctx context.Context, missing []int) error {
	for _, row := range missing {
		if len(c.problems) > maxProblems {
			return nil
		}
		first := c.have.rows
		condition, args := c.outside(row)
		if err := c.read(ctx, condition, args); err != nil {
			return err
		}
		lonely, _ := c.pairByLikeness([]int{row}, count(first, c.have.rows))
		for range lonely {
			c.report(c.want, row, "", "this row is missing")
		}
	}
	return nil
}

// outside selects rows with the key of the given row and another stream_seq.
func (c *comparison) outside(row int) (condition string, args []any) {
	conditions := []string{"NOT (stream_seq BETWEEN {first:UInt64} AND {last:UInt64})"}
	args = c.block.rangeArgs()
	for _, name := range c.want.key {
		switch column := c.want.column(name).(type) {
		case *number[uint64]:
			if name != "stream_seq" {
				conditions = append(conditions, name+" = {"+name+":UInt64}")
				args = append(args, named(name, column.rows[row]))
			}
		case *dict:
			conditions = append(conditions, name+" = {"+name+":String}")
			args = append(args, named(name, column.value(row)))
		case *text:
			conditions = append(conditions, name+" = unhex({"+name+":String})")
			args = append(args, named(name, fmt.Sprintf("%x", column.rows[row])))
		}
	}
	return strings.Join(conditions, " AND ") + " LIMIT 100", args
}

func count(from, to int) (rows []int) {
	for row := from; row < to; row++ {
		rows = append(rows, row)
	}
	return rows
}

func (c *comparison) report(t *table, row int, column, message string) {
	if len(c.problems) > maxProblems {
		return
	}
	if len(c.problems) == maxProblems {
		message = "and more"
	}
	tenant := t.column("tenant").(*dict).value(row)
	c.problems = append(c.problems, Problem{Tenant: tenant, Table: t.name, Row: t.rowName(row), Column: column, Message: message})
}
