// Package storetest is the acceptance suite of package store: it runs the same
// tests on the embedded engine, on the engine behind an HTTP socket, and on any
// ClickHouse server.
package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/store"
)

// Open opens the named database of one engine or server, creating it. The
// suite drops it afterwards.
type Open func(tb testing.TB, database string, opts store.Options) (*store.Store, error)

// Now is the clock of the suite's stores.
var Now = Start.Add(600 * 24 * time.Hour)

// databases numbers the suite's databases, so that tests do not meet.
var databases atomic.Int64

// Fresh opens an empty database whose committed head is whatever head holds.
func Fresh(tb testing.TB, open Open, head *atomic.Uint64) *store.Store {
	tb.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	s, err := open(tb, name, store.Options{Head: head.Load, Now: func() time.Time { return Now }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Conn().Exec(context.Background(), "DROP DATABASE IF EXISTS "+name); err != nil {
			tb.Errorf("drop database: %v", err)
		}
		if err := s.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	return s
}

// fixture is a store, a stream and the committed head.
type fixture struct {
	*testing.T
	store *store.Store
	log   *Log
	head  atomic.Uint64
}

// Run runs the suite.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(f *fixture)
	}{
		{"rows are read back as they were written", testRoundTrip},
		{"a block inserted twice counts once", testTwice},
		{"a block is one part of each table", testOnePart},
		{"a failed table is repeated without doubling the others", testInterrupted},
		{"what was prepared is what is inserted", testPrepared},
		{"a token without rows does not keep a block from its rows", testTokenWithoutRows},
		{"nothing is read beyond the committed head", testUncommitted},
		{"one tenant never sees another", testTenants},
		{"messages come back byte for byte", testMessages},
		{"a reading has the same messages", testReading},
		{"state is the newest entry at or before", testState},
		{"pruning keeps the newest state", testPrune},
		{"the batch that holds a sequence number", testOverlapping},
		{"ranges of leaves", testRanges},
		{"search finds what matches and nothing else", testSearch},
		{"what seals content about a subject", testSeals},
		{"hostile text stays text", testHostile},
		{"edges lead both ways", testEdges},
		{"heads, boundaries and checkpoints", testHeads},
		{"expiry drops content and keeps leaves", testExpire},
		{"a missing row and a surplus row are named", testMissing},
		{"a changed value is named by table, row and column", testMutations},
		{"renamed, missing and further columns are refused", func(f *fixture) { testSchema(f, open) }},
		{"a newer schema is refused, the same is opened again", func(f *fixture) { testVersions(f, open) }},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			f := &fixture{T: t, log: NewLog(t, 7)}
			f.store = Fresh(t, open, &f.head)
			test.run(f)
		})
	}
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// commit inserts a block and moves the committed head past it.
func (f *fixture) commit(b *store.Block) *store.Block {
	f.Helper()
	f.must(f.store.Insert(f.Context(), b))
	f.head.Store(b.Last)
	return b
}

// sample commits one block of several tenants with every kind of row.
func (f *fixture) sample() *store.Block {
	f.Helper()
	l := f.log
	return f.commit(l.Block(nil, l.Key("acme"), l.Random("acme", 12), l.Held("acme"), l.Random("globex", 5),
		l.Whole("acme", 7, []byte("not a batch")), l.Random("acme", 7)))
}

// exec runs a statement with ${db} as the database.
func (f *fixture) exec(query string) {
	f.Helper()
	f.must(f.store.Conn().Exec(f.Context(), strings.ReplaceAll(query, "${db}", f.store.Database())))
}

func (f *fixture) number(query string) (n uint64) {
	f.Helper()
	f.must(f.store.Conn().QueryRow(f.Context(), strings.ReplaceAll(query, "${db}", f.store.Database())).Scan(&n))
	return n
}

// same asserts that the store holds exactly what the blocks derive.
func (f *fixture) same(blocks ...*store.Block) {
	f.Helper()
	for _, b := range blocks {
		for _, p := range f.problems(b) {
			f.Errorf("block %d–%d: %v", b.First, b.Last, p)
		}
	}
}

// problems compares a block with the store, and with a reading of it where there is such a thing: the problems are the same.
func (f *fixture) problems(b *store.Block) []store.Problem {
	f.Helper()
	problems, err := f.store.Compare(f.Context(), b, nil)
	f.must(err)
	r := store.NewReading()
	ok, err := f.store.Read(f.Context(), r, b.First, b.Last)
	if f.must(err); !ok {
		return problems
	}
	again, err := f.store.Compare(f.Context(), b, r)
	f.must(err)
	if diff := cmp.Diff(problems, again); diff != "" {
		f.Errorf("block %d–%d with its reading (-without +with):\n%s", b.First, b.Last, diff)
	}
	return problems
}
