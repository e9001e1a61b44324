package storetest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/store"
)

func testRoundTrip(f *fixture) {
	first := f.sample()
	second := f.commit(f.log.Block(nil, f.log.Random("globex", 30), f.log.Random("acme", 3)))
	f.same(first, second)
	for table, want := range map[string]uint64{"events": 61, "leaves": 61, "batches": 8, "keys": 1, "held": 1, "heads": 4} {
		if got := f.number("SELECT count() FROM ${db}." + table); got != want {
			f.Errorf("%s has %d rows, want %d", table, got, want)
		}
	}
}

func testTwice(f *fixture) {
	b := f.sample()
	events := f.number("SELECT count() FROM ${db}.events")
	f.commit(b)
	if got := f.number("SELECT count() FROM ${db}.events"); got != events {
		f.Errorf("%d events after the second insert, want %d", got, events)
	}
	f.same(b)
}

func testOnePart(f *fixture) {
	f.sample()
	query := fmt.Sprintf("SELECT max(n) FROM (SELECT count() AS n FROM system.parts WHERE active AND database = '%s' AND table IN ('%s') GROUP BY table)",
		f.store.Database(), strings.Join(Tables, "', '"))
	if got := f.number(query); got != 1 {
		f.Errorf("a table has %d parts after one block, want 1", got)
	}
}

// testPrepared inserts blocks that were prepared: once, twice, discarded, after a failure, and reset to other rows.
func testPrepared(f *fixture) {
	f.sample()
	l := f.log
	b := l.Block(nil, l.Key("acme"), l.Random("acme", 12), l.Random("globex", 5))
	f.store.Prepare(b)
	f.store.Prepare(b)
	f.exec("RENAME TABLE ${db}.leaves TO ${db}.away")
	if err := f.store.Insert(f.Context(), b); !errors.Is(err, store.ErrSchema) {
		f.Errorf("insert without a table: %v, want ErrSchema", err)
	}
	f.exec("RENAME TABLE ${db}.away TO ${db}.leaves")
	f.store.Prepare(b)
	f.commit(b)
	f.same(b)
	f.store.Prepare(b)
	f.must(f.store.Insert(f.Context(), b))
	f.same(b)
	f.store.Prepare(b)
	b.Reset(b.Last + 1)
	b = f.commit(l.Block(b, l.Random("acme", 7)))
	f.same(b)
	b = l.Block(nil, l.Random("globex", 3))
	f.store.Prepare(b)
	b.Discard()
	f.same(f.commit(b))
}

// testInterrupted makes one table fail in the middle of a block, as a crash
// would, and repeats the block.
func testInterrupted(f *fixture) {
	f.sample()
	before := f.number("SELECT count() FROM ${db}.events")
	l := f.log
	b := l.Block(nil, l.Key("acme"), l.Random("acme", 12), l.Random("globex", 5))
	for _, table := range []string{"heads", "leaves", "openings"} {
		f.exec("RENAME TABLE ${db}." + table + " TO ${db}.away")
		if err := f.store.Insert(f.Context(), b); !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), table) {
			f.Errorf("insert without table %s: %v, want ErrSchema that names it", table, err)
		}
		f.exec("RENAME TABLE ${db}.away TO ${db}." + table)
	}
	// The failure of a table breaks off those that are on their way: events are there, or not.
	if events := f.number("SELECT count() FROM ${db}.events"); events != before && events != before+18 {
		f.Errorf("%d events after the interruptions, want %d or %d", events, before, before+18)
	}
	f.commit(b)
	f.same(b)
}

// testTokenWithoutRows: a process that is killed after the engine has noted an insert's token, and before the rows are in their place,
// leaves a token without rows. The block is completed all the same, also if that has happened to it more than once.
func testTokenWithoutRows(f *fixture) {
	f.sample()
	l := f.log
	b := l.Block(nil, l.Key("acme"), l.Random("acme", 12), l.Random("globex", 5))
	for number, table := range []string{"fold_state", "fold_state", "leaves"} {
		f.exec(fmt.Sprintf(`INSERT INTO ${db}.%s SELECT * REPLACE (stream_seq + %d AS stream_seq) FROM ${db}.%s LIMIT 1
			SETTINGS insert_deduplicate = 1, insert_deduplication_token = '%s'`, table, 1_000_000+number, table, token(b, table, number%2)))
	}
	f.commit(b)
	f.same(b)
	f.must(f.store.Insert(f.Context(), b))
	f.same(b)
}

// token is a table's deduplication token, as the store makes it.
func token(b *store.Block, table string, number int) string {
	d := append([]byte("custody/insert/v1\x00"), table...)
	d = binary.BigEndian.AppendUint64(append(d, 0), b.First)
	d = binary.BigEndian.AppendUint64(d, b.Last)
	if number > 0 {
		d = append(d, byte(number))
	}
	return fmt.Sprintf("%x", sha256.Sum256(d))
}

func testUncommitted(f *fixture) {
	f.sample()
	committed := f.head.Load()
	b := f.log.Block(nil, f.log.Random("acme", 4), f.log.Random("initech", 4))
	f.must(f.store.Insert(f.Context(), b))
	if n := len(f.search(store.Filter{Tenant: "initech"})); n != 0 {
		f.Errorf("%d events of an uncommitted tenant are visible", n)
	}
	if n := len(f.search(store.Filter{Tenant: "acme"})); n != 23 {
		f.Errorf("%d events are visible, want the 23 committed", n)
	}
	heads, err := f.store.Heads(f.Context())
	f.must(err)
	for _, h := range heads {
		if h.StreamSeq > committed {
			f.Errorf("head of %s at %d is visible beyond %d", h.Tenant, h.StreamSeq, committed)
		}
	}
	f.head.Store(b.Last)
	if n := len(f.search(store.Filter{Tenant: "initech"})); n != 4 {
		f.Errorf("%d events after the commit, want 4", n)
	}
}

// testSchema takes a column away in each possible way, both under a running
// writer and before a start.
func testSchema(f *fixture, open Open) {
	changes := map[string][2]string{
		"renamed": {"ALTER TABLE ${db}.events RENAME COLUMN label TO tag", "ALTER TABLE ${db}.events RENAME COLUMN tag TO label"},
		"missing": {"ALTER TABLE ${db}.events DROP COLUMN label", "ALTER TABLE ${db}.events ADD COLUMN label LowCardinality(String) AFTER memory_key"},
		"further": {"ALTER TABLE ${db}.events ADD COLUMN extra UInt8", "ALTER TABLE ${db}.events DROP COLUMN extra"},
		"retyped": {"ALTER TABLE ${db}.events MODIFY COLUMN label String", "ALTER TABLE ${db}.events MODIFY COLUMN label LowCardinality(String)"},
	}
	for _, name := range sortedKeys(changes) {
		f.exec(changes[name][0])
		if _, err := open(f, f.store.Database(), store.Options{}); !errors.Is(err, store.ErrSchema) {
			f.Errorf("open with a %s column: %v, want ErrSchema", name, err)
		}
		if err := f.store.Insert(f.Context(), f.log.Block(nil, f.log.Random("acme", 3))); err != nil && !errors.Is(err, store.ErrSchema) {
			f.Errorf("insert with a %s column: %v, want ErrSchema", name, err)
		} else if err == nil && (name == "renamed" || name == "missing") {
			f.Errorf("insert with a %s column succeeded", name)
		}
		f.exec(changes[name][1])
	}
}

// newestVersion is the number of the newest migration.
const newestVersion = 5

func testVersions(f *fixture, open Open) {
	f.sample()
	again, err := open(f, f.store.Database(), store.Options{Head: f.head.Load})
	f.must(err)
	if n, err := again.SchemaVersion(f.Context()); err != nil || n != newestVersion {
		f.Errorf("schema version %d, %v, want %d", n, err, newestVersion)
	}
	f.must(again.Close())
	if n := f.number("SELECT count() FROM ${db}.schema_migrations"); n != newestVersion {
		f.Errorf("%d migrations recorded after opening twice, want %d", n, newestVersion)
	}
	f.exec("INSERT INTO ${db}.schema_migrations SELECT 99, 'from the future', now64(9)")
	if _, err := open(f, f.store.Database(), store.Options{}); !errors.Is(err, store.ErrSchema) {
		f.Errorf("open a newer schema: %v, want ErrSchema", err)
	}
}
