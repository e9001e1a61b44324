package engine_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"testing"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

const benchRows = 50_000

// BenchmarkInsert is the whole path of the driver, from column slices to a
// committed part.
func BenchmarkInsert(b *testing.B) {
	db := connect(b)
	run(b, db, eventsTable)
	rows := makeEvents(benchRows)
	for b.Loop() {
		if err := rows.insert(context.Background(), db, insertEvents); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b)
}

// BenchmarkInsertEncoded leaves the driver's encoding out.
func BenchmarkInsertEncoded(b *testing.B) {
	db := connect(b)
	run(b, db, eventsTable)
	body := encoded(b, db)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		post(b, insertEvents+" FORMAT Native", body)
	}
	perSecond(b)
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(benchRows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// encoded is what the driver would send, taken from the engine itself.
func encoded(b *testing.B, db driver.Conn) []byte {
	if err := makeEvents(benchRows).insert(context.Background(), db, insertEvents); err != nil {
		b.Fatal(err)
	}
	return post(b, "SELECT * FROM events SETTINGS max_block_size = 1000000, preferred_block_size_bytes = 0", nil)
}

func post(b *testing.B, sql string, rows []byte) []byte {
	u := &url.URL{Scheme: "http", Host: "embedded", RawQuery: url.Values{
		"database": {b.Name()}, "query": {sql}, "default_format": {"Native"},
	}.Encode()}
	req := &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}, Body: http.NoBody}
	if rows != nil {
		req.Body = readCloser{bytes.NewReader(rows)}
	}
	res, err := shared.RoundTripper().RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	out := new(bytes.Buffer)
	if _, err := out.ReadFrom(res.Body); err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("%d %.200s %v", res.StatusCode, out, err)
	}
	return out.Bytes()
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func BenchmarkPointRead(b *testing.B) {
	db := connect(b)
	run(b, db, eventsTable)
	if err := makeEvents(benchRows).insert(context.Background(), db, insertEvents); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		seq := uint64(i) % benchRows
		if one[uint64](b, db, "SELECT seq FROM events WHERE tenant = concat('tenant-', toString({n:UInt64} % 7)) AND seq = {n:UInt64}", clickhouse.Named("n", seq)) != seq {
			b.Fatal("wrong row")
		}
	}
}

func BenchmarkSelectOne(b *testing.B) {
	db := connect(b)
	for b.Loop() {
		one[uint8](b, db, "SELECT 1")
	}
}

// BenchmarkInsertOne is the least an insert costs, durable and not.
func BenchmarkInsertOne(b *testing.B) {
	for name, fsync := range map[string]string{"Durable": "1", "Lazy": "0"} {
		b.Run(name, func(b *testing.B) {
			db := connect(b)
			run(b, db, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS fsync_after_insert = "+fsync+", fsync_part_directory = "+fsync)
			for b.Loop() {
				insertColumns(b, db, "INSERT INTO t (a)", []uint64{1})
			}
		})
	}
}
