package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/store/engine"
)

// shared is the engine of all tests: a process has one.
var shared *engine.Engine

func TestMain(m *testing.M) {
	if mode := os.Getenv(childEnv); mode != "" {
		os.Exit(child(mode))
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "engine-test-*")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	shared, err = engine.Open(engine.Config{Path: dir, MaxMemory: 2 << 30, NoSync: true})
	if err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := shared.Close(); err != nil {
		return complain(err)
	}
	if err := goleak.Find(); err != nil {
		return complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "engine tests:", err)
	return 1
}

// connect opens the driver on the shared engine, with a database of the test's
// own that is dropped afterwards.
func connect(t testing.TB, change ...func(*clickhouse.Options)) driver.Conn {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '#' {
			return '_'
		}
		return r
	}, t.Name())
	opts := shared.Options()
	for _, c := range change {
		c(opts)
	}
	root := dial(t, opts)
	run(t, root, "CREATE DATABASE IF NOT EXISTS `"+name+"`")
	t.Cleanup(func() { run(t, root, "DROP DATABASE IF EXISTS `"+name+"`") })
	opts.Auth.Database = name
	return dial(t, opts)
}

func dial(t testing.TB, opts *clickhouse.Options) driver.Conn {
	t.Helper()
	db, err := clickhouse.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func run(t testing.TB, db driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := db.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](t testing.TB, db driver.Conn, sql string, args ...any) T {
	t.Helper()
	return oneIn[T](t, context.Background(), db, sql, args...)
}

func oneIn[T any](t testing.TB, ctx context.Context, db driver.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func wantCode(t testing.TB, err error, code int32) {
	t.Helper()
	wantException(t, err, code, "", "")
}

// wantException wants a typed exception whose name is codeName, when that is
// not empty, and whose message has text.
func wantException(t testing.TB, err error, code int32, codeName, text string) {
	t.Helper()
	e, ok := errors.AsType[*clickhouse.Exception](err)
	if !ok || e.Code != code || codeName != "" && e.CodeName != codeName || !strings.Contains(e.Message, text) {
		t.Fatalf("got %v, want exception %d %s %s", err, code, codeName, text)
	}
}

// A config.xml in the working directory would change the engine or break it.
func TestForeignConfigurationIsNotRead(t *testing.T) {
	db := connect(t)
	got := one[string](t, db, "SELECT toString(groupArray((name, value))) FROM (SELECT name, value FROM system.server_settings WHERE changed ORDER BY name)")
	pool := fmt.Sprintf("('background_pool_size','%d')", min(max(1, runtime.NumCPU()/2), 4))
	for _, want := range []string{"('max_server_memory_usage','2147483648')", pool, "engine.xml"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

// Of the two merges that one thread does at a time, one is left to small parts.
func TestOneMergeIsLeftToSmallParts(t *testing.T) {
	db := connect(t)
	got := one[string](t, db, "SELECT toString(groupArray((name, value))) FROM (SELECT name, value FROM system.merge_tree_settings WHERE name LIKE 'number_of_free_entries%' ORDER BY name)")
	if want := "('number_of_free_entries_in_pool_to_lower_max_size_of_merge','2')"; !strings.Contains(got, want) {
		t.Errorf("%s is not in %s", want, got)
	}
}

func TestPing(t *testing.T) {
	db := connect(t)
	if err := db.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	v, err := db.ServerVersion()
	if err != nil || !strings.HasPrefix(shared.Version(), fmt.Sprintf("%d.%d.", v.Version.Major, v.Version.Minor)) {
		t.Errorf("server version %v, engine %s, %v", v, shared.Version(), err)
	}
	if got := one[string](t, db, "SELECT currentDatabase()"); got != "TestPing" {
		t.Errorf("database %q", got)
	}
}

// The library sets the handlers of SIGSEGV and others to their default; a nil
// dereference would then kill the process.
func TestGoKeepsItsSignalHandlers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var p *int
	_ = *p
}

const eventsTable = `CREATE TABLE events (
	tenant LowCardinality(String), seq UInt64 CODEC(Delta, ZSTD(1)), at DateTime64(9, 'UTC'),
	hash FixedString(32), kind Enum8('x' = 1, 'y' = 2), attrs Map(LowCardinality(String), String),
	parents Array(UUID), maybe Nullable(Int32), body String CODEC(ZSTD(1))
) ENGINE = MergeTree ORDER BY (tenant, seq)`

// events are columns for eventsTable.
type events struct {
	tenant, hash, kind, body []string
	seq                      []uint64
	at                       []time.Time
	attrs                    []map[string]string
	parents                  [][]string
	maybe                    []*int32
}

func makeEvents(n int) *events {
	e := new(events)
	start := time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for i := range n {
		odd := int32(i)
		e.tenant = append(e.tenant, fmt.Sprint("tenant-", i%7))
		e.seq = append(e.seq, uint64(i))
		e.at = append(e.at, start.Add(time.Duration(i)))
		h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		e.hash = append(e.hash, string(h[:]))
		e.kind = append(e.kind, []string{"x", "y"}[i%2])
		e.attrs = append(e.attrs, map[string]string{"k": fmt.Sprint(i)})
		e.parents = append(e.parents, []string{"6ba7b810-9dad-11d1-80b4-00c04fd430c8"})
		e.maybe = append(e.maybe, []*int32{nil, &odd}[i%2])
		e.body = append(e.body, fmt.Sprintf("body-%d %s", i, strings.Repeat("z", 200)))
	}
	return e
}

func (e *events) insert(ctx context.Context, db driver.Conn, statement string) error {
	b, err := db.PrepareBatch(ctx, statement)
	if err != nil {
		return err
	}
	for i, column := range []any{e.tenant, e.seq, e.at, e.hash, e.kind, e.attrs, e.parents, e.maybe, e.body} {
		if err := b.Column(i).Append(column); err != nil {
			return errors.Join(err, b.Abort())
		}
	}
	return b.Send()
}

const insertEvents = "INSERT INTO events (tenant, seq, at, hash, kind, attrs, parents, maybe, body)"

func TestColumnarInsertReadsBackTheSame(t *testing.T) {
	db := connect(t)
	run(t, db, eventsTable)
	want := makeEvents(100_000)
	start := time.Now()
	if err := want.insert(context.Background(), db, insertEvents); err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f rows/s with encoding", 100_000/time.Since(start).Seconds())

	if parts := one[uint64](t, db, "SELECT count() FROM system.parts WHERE database = currentDatabase() AND active"); parts != 1 {
		t.Errorf("one block became %d parts", parts)
	}
	rows, err := db.Query(context.Background(), "SELECT tenant, seq, at, hash, kind, attrs, parents, maybe, body FROM events ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	got, wanted := sha256.New(), sha256.New()
	n := 0
	for ; rows.Next(); n++ {
		var tenant, hash, kind, body string
		var seq uint64
		var at time.Time
		var attrs map[string]string
		var parents []uuid.UUID
		var maybe *int32
		if err := rows.Scan(&tenant, &seq, &at, &hash, &kind, &attrs, &parents, &maybe, &body); err != nil {
			t.Fatal(err)
		}
		show := func(maybe *int32) string {
			if maybe == nil {
				return "null"
			}
			return fmt.Sprint(*maybe)
		}
		fmt.Fprint(got, tenant, seq, at.UnixNano(), hash, kind, attrs, parents, show(maybe), body)
		fmt.Fprint(wanted, want.tenant[n], want.seq[n], want.at[n].UnixNano(), want.hash[n], want.kind[n], want.attrs[n], want.parents[n], show(want.maybe[n]), want.body[n])
	}
	if err := rows.Err(); err != nil || n != 100_000 {
		t.Fatalf("%d rows, %v", n, err)
	}
	if string(got.Sum(nil)) != string(wanted.Sum(nil)) {
		t.Error("rows differ")
	}
}

func TestInsertWithoutColumnList(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE t (a UInt64, `b c` String, n Nested(x UInt8)) ENGINE = MergeTree ORDER BY a")
	b, err := db.PrepareBatch(context.Background(), "INSERT INTO t")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(uint64(1), "one", []uint8{4}); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(); err != nil {
		t.Fatal(err)
	}
	got := one[string](t, db, "SELECT concat(toString(a), `b c`, toString(n.x)) FROM t")
	if got != "1one[4]" {
		t.Error(got)
	}
}

// Inserts of different tables reuse file descriptors within a second.
func TestInsertsDoNotShareInferredColumns(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE a (x UInt64) ENGINE = MergeTree ORDER BY x")
	run(t, db, "CREATE TABLE b (y String, x Int8) ENGINE = MergeTree ORDER BY y")
	for i := range 20 {
		insertColumns(t, db, "INSERT INTO a (x)", []uint64{uint64(i)})
		insertColumns(t, db, "INSERT INTO b (y, x)", []string{"s"}, []int8{int8(i)})
	}
	if got := one[uint64](t, db, "SELECT sum(x) FROM a") + uint64(one[int64](t, db, "SELECT sum(x) FROM b")); got != 380 {
		t.Error(got)
	}
}

func insertColumns(t testing.TB, db driver.Conn, statement string, columns ...any) {
	t.Helper()
	if err := tryInsert(context.Background(), db, statement, columns...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func tryInsert(ctx context.Context, db driver.Conn, statement string, columns ...any) error {
	b, err := db.PrepareBatch(ctx, statement)
	if err != nil {
		return err
	}
	for i, c := range columns {
		if err := b.Column(i).Append(c); err != nil {
			return errors.Join(err, b.Abort())
		}
	}
	return b.Send()
}

// The driver can be told the columns, so it does not notice what the table has.
func TestInsertWithWrongColumnsFails(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE t (a UInt64, b UInt64, c UInt64 DEFAULT 7) ENGINE = MergeTree ORDER BY a")
	block := func(names ...string) context.Context {
		var columns []clickhouse.ColumnNameAndType
		for _, n := range names {
			name, nullable := strings.CutSuffix(n, " Nullable")
			columns = append(columns, clickhouse.ColumnNameAndType{Name: name, Type: map[bool]string{false: "UInt64", true: "Nullable(UInt64)"}[nullable]})
		}
		return clickhouse.Context(context.Background(), clickhouse.WithColumnNamesAndTypes(columns))
	}
	one1 := []uint64{1}
	for _, tc := range []struct {
		name, statement string
		block           []string
		columns         []any
		code            int32
	}{
		{"null in the block", "INSERT INTO t (a, b)", []string{"a", "b Nullable"}, []any{one1, []*uint64{nil}}, 349},
		{"renamed in the block", "INSERT INTO t (a, b)", []string{"a", "x"}, []any{one1, one1}, 47},
		{"missing in the block", "INSERT INTO t (a, b)", []string{"a"}, []any{one1}, 47},
		{"surplus in the block", "INSERT INTO t (a, b)", []string{"a", "b", "x"}, []any{one1, one1, one1}, 117},
		{"renamed in the table", "INSERT INTO t (a, x)", []string{"a", "x"}, []any{one1, one1}, 16},
		{"no list, renamed", "INSERT INTO t", []string{"a", "x"}, []any{one1, one1}, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantCode(t, tryInsert(block(tc.block...), db, tc.statement, tc.columns...), tc.code)
		})
	}
	if n := one[uint64](t, db, "SELECT count() FROM t"); n != 0 {
		t.Fatalf("%d rows stored", n)
	}
	insertColumns(t, db, "INSERT INTO t (b, a)", []uint64{2}, []uint64{1})
	if got := one[string](t, db, "SELECT concat(toString(a), toString(b), toString(c)) FROM t"); got != "127" {
		t.Error(got)
	}
}

func TestParameters(t *testing.T) {
	db := connect(t)
	for _, v := range []string{
		"", "plain", "it's", `back\slash`, "line\nbreak", "tab\tstop", "nul\x00byte", "cr\r", "héllo 世界 🦀",
		"'; DROP TABLE t; --", "{x:String}", `\N`, "NULL", "`q`\"d\"", "\xff\xfe", strings.Repeat("long ", 20_000),
	} {
		if got := one[string](t, db, "SELECT {v:String}", clickhouse.Named("v", v)); got != v {
			t.Errorf("sent %.40q, got %.40q", v, got)
		}
	}
	var n uint64
	var list []string
	err := db.QueryRow(context.Background(), "SELECT {a:UInt64} + {b:UInt64}, {l:Array(String)} FROM {d:Identifier}.{t:Identifier}",
		clickhouse.Named("b", 2), clickhouse.Named("a", 40), clickhouse.Named("l", []string{"x'y", "z\n"}),
		clickhouse.Named("d", "system"), clickhouse.Named("t", "one")).Scan(&n, &list)
	if err != nil || n != 42 || !cmp.Equal(list, []string{"x'y", "z\n"}) {
		t.Error(n, list, err)
	}
	wantCode(t, db.QueryRow(context.Background(), "SELECT {missing:UInt8}").Scan(&n), 456)
}

func TestSettingsLastForOneStatement(t *testing.T) {
	db := connect(t, func(o *clickhouse.Options) { o.Settings = clickhouse.Settings{"max_block_size": 1234} })
	get := func(ctx context.Context, name string) string {
		return oneIn[string](t, ctx, db, "SELECT toString(getSetting({n:String}))", clickhouse.Named("n", name))
	}
	bg := context.Background()
	with := clickhouse.Context(bg, clickhouse.WithSettings(clickhouse.Settings{
		"max_execution_time": 77, "max_block_size": 99, "max_threads": 1, "log_comment": "it's me",
	}))
	for range 9 { // every connection of the pool
		if got := get(with, "max_execution_time") + get(with, "max_block_size") + get(with, "max_threads"); got != "77991" {
			t.Fatal(got)
		}
		if got := get(with, "log_comment"); !strings.HasSuffix(got, "it's me") {
			t.Fatal(got)
		}
		if got := get(bg, "max_execution_time") + get(bg, "max_block_size"); got != "01234" {
			t.Fatal(got)
		}
	}
	bad := clickhouse.Context(bg, clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1}))
	wantCode(t, db.Exec(bad, "SELECT 1"), 115)
	for range 9 {
		run(t, db, "SELECT 1")
	}
}

func TestSessionStateDoesNotLeak(t *testing.T) {
	db := connect(t)
	run(t, db, "SET max_block_size = 17")
	run(t, db, "USE system")
	run(t, db, "CREATE TEMPORARY TABLE secret (x UInt8)")
	for range 9 {
		if got := one[string](t, db, "SELECT concat(currentDatabase(), toString(getSetting('max_block_size') = 17))"); got != "TestSessionStateDoesNotLeak0" {
			t.Fatal(got)
		}
		wantCode(t, db.Exec(context.Background(), "SELECT * FROM secret"), 60)
	}
	wantCode(t, db.Exec(context.Background(), "SELECT 1; SELECT 2"), 62)
	wantCode(t, db.Exec(context.Background(), " -- nothing"), 62)
}

func TestExceptionsAreTyped(t *testing.T) {
	db := connect(t)
	wantException(t, db.Exec(context.Background(), "SELECT nope FROM system.one"), 47, "UNKNOWN_IDENTIFIER", "nope")
	wantCode(t, db.Exec(context.Background(), "CREATE TABEL x"), 62)
	wantCode(t, db.Exec(context.Background(), "SELECT * FROM missing"), 60)
	wantCode(t, db.Exec(context.Background(), "DROP TABLE missing"), 60)
	wantCode(t, db.Exec(context.Background(), "USE missing"), 81)
}

func TestExceptionInTheMiddleOfAResult(t *testing.T) {
	midStream(t, connect(t))
}

func midStream(t *testing.T, db driver.Conn) {
	t.Helper()
	rows, err := db.Query(context.Background(), "SELECT number, throwIf(number = 3000000, 'stop here') FROM numbers(10000000)")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	wantException(t, rows.Err(), 395, "", "stop here")
	if n < 65_000 {
		t.Errorf("%d rows before the exception", n)
	}
}

func TestResultsOfEveryShape(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
	run(t, db, "INSERT INTO t VALUES (1), (2)")
	run(t, db, "INSERT INTO t SELECT number FROM numbers(3, 2)")
	run(t, db, "INSERT INTO t FORMAT CSV\n5\n6\n")
	for sql, want := range map[string]uint64{
		"SELECT sum(a) FROM t":                         21,
		"(SELECT sum(a) FROM t)":                       21,
		"WITH 3 AS x SELECT x + sum(a) FROM t":         24,
		"/* c; */ SELECT count() FROM t -- ;":          6,
		"SELECT count() FROM t WHERE toString(a)!=';'": 6,
		"SELECT toUInt64(1);":                          1,
	} {
		if got := one[uint64](t, db, sql); got != want {
			t.Errorf("%s: %d, want %d", sql, got, want)
		}
	}
	if got := one[string](t, db, "SHOW TABLES"); got != "t" {
		t.Error(got)
	}
	rows, err := db.Query(context.Background(), "SELECT a FROM t WHERE a > 100")
	if err != nil || rows.Next() || rows.Err() != nil || rows.Close() != nil {
		t.Error("an empty result is not empty")
	}
	run(t, db, "ALTER TABLE t DELETE WHERE a < 3 SETTINGS mutations_sync = 1")
	if got := one[uint64](t, db, "SELECT count() FROM t"); got != 4 {
		t.Error(got)
	}
}

func TestLargeResultIsStreamed(t *testing.T) {
	const total, width = 400 << 20, 100 // bytes in all, and of a row
	db := connect(t)
	run(t, db, "SELECT 1")
	before := resident(t)
	rows, err := db.Query(context.Background(), "SELECT repeat('x', {w:UInt64}) FROM numbers({n:UInt64})",
		clickhouse.Named("w", width), clickhouse.Named("n", total/width))
	if err != nil {
		t.Fatal(err)
	}
	var size, peak int64
	for n := 0; rows.Next(); n++ {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		size += int64(len(s))
		if n%100_000 == 0 {
			peak = max(peak, resident(t))
		}
	}
	if err := rows.Err(); err != nil || size < total-width {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if grown := peak - before; grown > total/2 {
		t.Errorf("memory grew by %d MB of a result of %d MB", grown>>20, size>>20)
	} else {
		t.Logf("memory grew by %d MB", grown>>20)
	}
}

// resident is this process's resident memory in bytes.
func resident(t testing.TB) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

const (
	endless        = "SELECT max(sipHash64(number)) FROM numbers(1000000000000)"
	endlessResult  = "SELECT number FROM system.numbers"
	endlessMutable = "CREATE TABLE endless ENGINE = Memory AS SELECT number FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
)

func TestCancelStopsTheStatement(t *testing.T) {
	db := connect(t)
	for name, sql := range map[string]string{"select": endless, "whole": endlessMutable} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := db.Exec(ctx, sql)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			untilIdle(t, db, time.Second)
		})
	}
	t.Run("while streaming", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		rows, err := db.Query(ctx, endlessResult)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; rows.Next(); n++ {
			if n == 200_000 {
				cancel()
			}
		}
		if err := rows.Err(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		untilIdle(t, db, time.Second)
	})
	t.Run("closed unread", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		rows, err := db.Query(ctx, endlessResult)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		_ = rows.Close()
		untilIdle(t, db, time.Second)
	})
}

// untilIdle waits until no other statement runs.
func untilIdle(t testing.TB, db driver.Conn, within time.Duration) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		running := one[uint64](t, db, "SELECT count() FROM system.processes WHERE query NOT LIKE '%system.processes%'")
		if running == 0 {
			return
		}
		if time.Since(start) > within {
			t.Fatalf("still running after %v", within)
		}
	}
}

func TestWaitingForAConnectionEndsWithTheContext(t *testing.T) {
	db := connect(t)
	hold, release := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range engine.DefaultConnections {
		wg.Go(func() { _ = db.Exec(hold, endless) })
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := db.Exec(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	release()
	wg.Wait()
	run(t, db, "SELECT 1")
}

func TestConcurrentStatements(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE t (g UInt64, n UInt64) ENGINE = MergeTree ORDER BY n")
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			for n := range uint64(10) {
				if err := tryInsert(context.Background(), db, "INSERT INTO t (n, g)", []uint64{n}, []uint64{g}); err != nil {
					t.Error(err)
				}
				var sum uint64
				err := db.QueryRow(context.Background(), "SELECT sum(n) FROM t WHERE g = {g:UInt64}", clickhouse.Named("g", g)).Scan(&sum)
				if err != nil || sum != n*(n+1)/2 {
					t.Errorf("writer %d: sum %d after %d, %v", g, sum, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// A kill that comes late must not reach the next statement of the connection.
func TestCancelHitsOnlyItsStatement(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE t (a UInt64) ENGINE = Memory")
	stop := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := 0; time.Now().Before(stop); i++ {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i*g%20)*300*time.Microsecond)
				err := db.Exec(ctx, "SELECT sum(sipHash64(number)) FROM numbers(100000000)")
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				if err := db.Exec(context.Background(), "SELECT count() FROM numbers(100000)"); err != nil {
					t.Error(err)
				}
				if err := tryInsert(context.Background(), db, "INSERT INTO t (a)", []uint64{1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	untilIdle(t, db, time.Second)
}

func TestMemoryIsBounded(t *testing.T) {
	db := connect(t)
	wantCode(t, db.Exec(context.Background(), "SELECT length(groupArray(number)) FROM numbers(1000000000)"), 241)
	small := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{"max_memory_usage": 1 << 20}))
	wantCode(t, db.Exec(small, "SELECT length(groupArray(number)) FROM numbers(10000000)"), 241)
	if got, want := one[uint64](t, db, "SELECT toUInt64(getSetting('max_threads'))"), uint64(min(runtime.NumCPU(), engine.DefaultMaxThreads)); got != want {
		t.Errorf("%d threads, want %d", got, want)
	}
}

func TestDeduplicationToken(t *testing.T) {
	db := connect(t)
	run(t, db, `CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100`)
	insert := func(token string, values ...uint64) {
		t.Helper()
		ctx := clickhouse.Context(context.Background(), clickhouse.WithSettings(clickhouse.Settings{
			"insert_deduplication_token": token,
		}))
		if err := tryInsert(ctx, db, "INSERT INTO t (a)", values); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		token string
		want  uint64
	}{{"one's", 3}, {"one's", 3}, {"two", 6}, {"one's", 6}, {"two", 6}} {
		insert(step.token, 1, 2, 3)
		if got := one[uint64](t, db, "SELECT count() FROM t"); got != step.want {
			t.Fatalf("after %q: %d rows, want %d", step.token, got, step.want)
		}
	}
}

func TestOneEnginePerProcess(t *testing.T) {
	_, err := engine.Open(engine.Config{Path: t.TempDir()})
	if !errors.Is(err, engine.ErrProcess) {
		t.Error(err)
	}
}

func TestOpenRefusesBadConfig(t *testing.T) {
	for _, cfg := range []engine.Config{
		{},
		{Path: "x", Connections: -1},
		{Path: "x", Connections: engine.MaxConnections + 1},
		{Path: "x", MaxMemory: 1},
		{Path: "x", MaxThreads: -1},
	} {
		if e, err := engine.Open(cfg); err == nil || e != nil {
			t.Errorf("%+v opened", cfg)
		}
	}
}

func TestFind(t *testing.T) {
	path, err := engine.Find()
	if err != nil || filepath.Base(path) != "libchdb.so" {
		t.Fatal(path, err)
	}
	t.Setenv("CUSTODY_LIBCHDB", path)
	if got, err := engine.Find(); err != nil || got != path {
		t.Error(got, err)
	}
	t.Setenv("CUSTODY_LIBCHDB", filepath.Join(t.TempDir(), "none"))
	_, err = engine.Find()
	if !errors.Is(err, engine.ErrNotInstalled) || !strings.Contains(err.Error(), "npm ci --prefix deploy/engine") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}
