package store

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// Limits of one page of Contents. What the engine needs for a query, however little it finds, is as much as for some 10,000 rows.
const (
	contentPage      = 1 << 15 // leaves
	contentPageBytes = 32 << 20
)

// contentColumns are the columns that messages are put together from. Those of batches are few, and are all read.
var contentColumns = map[string][]string{
	tableBatches:  nil,
	tableLeaves:   {"tenant", "idx", "leaf"},
	tableEvents:   {"tenant", "idx", "bytes"},
	tableOpenings: {"tenant", "idx", "path", "subject", "generation", "ciphertext"},
	tableHeld:     {"tenant", "idx", "kind", "event_hash", "generation", "detector", "ciphertext"},
}

// Contents yields what Messages does, from the message that holds the leaf from, as far as messages begin before the leaf to, some at a
// time: for those who show what is stored, and not how it travelled. Data is there only for messages that are kept whole, and Intact says
// nothing. Messages of a page share their memory.
func (s *Store) Contents(ctx context.Context, tenant string, from, to uint64) iter.Seq2[[]*Stored, error] {
	return func(yield func([]*Stored, error) bool) {
		next, err := s.messageStart(ctx, tenant, from)
		r := newContentReading()
		for err == nil && next < to {
			var page []*Stored
			r = r.another()
			if page, err = s.contentPage(ctx, r, tenant, next, to); len(page) == 0 {
				break
			}
			if !yield(page, nil) {
				return
			}
			last := page[len(page)-1]
			next = max(last.FirstIndex+1, last.end)
		}
		if err != nil {
			yield(nil, fmt.Errorf("read contents of %s: %w", tenant, err))
		}
	}
}

// contentPage reads the next messages from the engine's blocks; where there are none, or rows do not belong together, row by row.
func (s *Store) contentPage(ctx context.Context, r *Reading, tenant string, from, to uint64) ([]*Stored, error) {
	if s.engine != nil {
		if page, err := s.nativePage(ctx, r, tenant, from, min(to, from+contentPage)); err != nil || len(page) > 0 {
			return page, err
		}
	}
	page, err := s.messagePage(ctx, messageFilter{tenant: tenant}, from, messagePage)
	for i, m := range page {
		if m.FirstIndex >= to {
			return page[:i], err
		}
	}
	return page, err
}

const ofContent = "tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64}"

// nativePage reads the messages that begin in [from, to). It returns none if that does not do.
func (s *Store) nativePage(ctx context.Context, r *Reading, tenant string, from, to uint64) ([]*Stored, error) {
	if err := s.contentRows(ctx, r, r.number(tableBatches), tenant, from, to); err != nil {
		return nil, err
	}
	page := cutContent(r.batches())
	if len(page) == 0 {
		return nil, nil
	}
	if err := s.contentParts(ctx, r, tenant, page[0].FirstIndex, page[len(page)-1].end); err != nil {
		return nil, err
	}
	expired, err := s.Expired(ctx)
	if err != nil || page[0].FirstIndex < expired[tenant] || !r.fill(page) {
		return nil, err
	}
	return page, nil
}

// contentParts reads the rows that belong to the batches that were read.
func (s *Store) contentParts(ctx context.Context, r *Reading, tenant string, from, to uint64) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tablesAtOnce)
	for i, t := range r.tables {
		if t.name != tableBatches {
			group.Go(func() error { return s.contentRows(ctx, r, i, tenant, from, to) })
		}
	}
	return group.Wait()
}

// cutContent keeps at least one message and stops before contentPageBytes.
func cutContent(page []*Stored) []*Stored {
	var size uint64
	for i, m := range page {
		if size += m.size; size > contentPageBytes && i > 0 {
			return page[:i]
		}
	}
	return page
}

// newContentReading is a reading of the columns that messages are made of.
func newContentReading() *Reading {
	r := &Reading{}
	for _, t := range NewBlock(1).tables() {
		names, wanted := contentColumns[t.name]
		switch {
		case wanted && names == nil:
			r.tables = append(r.tables, t)
		case wanted:
			r.tables = append(r.tables, t.only(names))
		}
	}
	r.answers = make([]answer, len(r.tables))
	return r
}

// another is an empty reading of the same columns, with room for as much as was read into r, and an eighth more.
func (r *Reading) another() *Reading {
	next := &Reading{tables: r.tables, answers: make([]answer, len(r.answers))}
	for i, a := range r.answers {
		next.answers[i].bytes = make([]byte, 0, len(a.bytes)+len(a.bytes)/8)
	}
	return next
}

// only is a table with some of the columns.
func (t *table) only(names []string) *table {
	narrow := &table{name: t.name, key: t.key}
	for _, name := range names {
		narrow.columns = append(narrow.columns, t.column(name))
	}
	return narrow
}

func (s *Store) contentRows(ctx context.Context, r *Reading, i int, tenant string, from, to uint64) error {
	params := map[string]string{
		"tenant": tenant, "from": strconv.FormatUint(from, 10), "to": strconv.FormatUint(to, 10),
		"head": strconv.FormatUint(s.options.Head(), 10),
	}
	return wrap(s.native(ctx, &r.answers[i], r.tables[i], ofContent, params), "read rows of %s", r.tables[i].name)
}
