package engine_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentcustody/custody/store/engine"
)

// overSocket is an ordinary driver on a real socket.
func overSocket(t *testing.T) driver.Conn {
	t.Helper()
	server := httptest.NewServer(engine.Handler(shared))
	t.Cleanup(server.Close)
	return connect(t, func(o *clickhouse.Options) {
		*o = clickhouse.Options{Protocol: clickhouse.HTTP, Addr: []string{server.Listener.Addr().String()}}
	})
}

func TestSocketGivesTheSameAnswers(t *testing.T) {
	db := overSocket(t)
	if err := db.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	run(t, db, eventsTable)
	want := makeEvents(20_000)
	if err := want.insert(context.Background(), db, insertEvents); err != nil {
		t.Fatal(err)
	}
	direct := shared.Options()
	direct.Auth.Database = "TestSocketGivesTheSameAnswers"
	const hash = "SELECT sum(cityHash64(tenant, seq, at, hash, kind, attrs, parents, maybe, body)) FROM events"
	here, there := one[uint64](t, db, hash), one[uint64](t, dial(t, direct), hash)
	if here != there || one[uint64](t, db, "SELECT count() FROM events") != 20_000 {
		t.Error("answers differ")
	}
	for _, v := range []string{`it's \ "x"`, "a\nb\tc\x00d", "世界"} {
		if got := one[string](t, db, "SELECT {v:String}", clickhouse.Named("v", v)); got != v {
			t.Errorf("sent %q, got %q", v, got)
		}
	}
	if n := one[uint64](t, db, "SELECT count() FROM (SELECT number FROM numbers(5000000))"); n != 5_000_000 {
		t.Error(n)
	}
	wantException(t, db.Exec(context.Background(), "SELECT nope"), 47, "UNKNOWN_IDENTIFIER", "nope")
}

func TestSocketExceptionInTheMiddleOfAResult(t *testing.T) { midStream(t, overSocket(t)) }

func TestSocketCancelStopsTheStatement(t *testing.T) {
	db := overSocket(t)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := db.Exec(ctx, endless); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	untilIdle(t, db, time.Second)
}

func TestHandlerAnswersCurl(t *testing.T) {
	server := httptest.NewServer(engine.Handler(shared))
	defer server.Close()
	for _, tc := range []struct{ method, path, body, want string }{
		{"GET", "/ping", "", "Ok.\n"},
		{"GET", "/?query=SELECT+1,+2", "", "1\t2\n"},
		{"POST", "/?default_format=JSONCompactEachRow", "SELECT 1, 'x'", "[1, \"x\"]\n"},
		{"POST", "/", "SELECT 3 FORMAT CSV", "3\n"},
	} {
		req, err := http.NewRequest(tc.method, server.URL+tc.path, strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != 200 || string(got) != tc.want {
			t.Errorf("%s %s: %d %q, %v", tc.method, tc.path, res.StatusCode, got, err)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestHandlerRefusesWhatItCannotDo(t *testing.T) {
	handler := engine.Handler(shared)
	for _, tc := range []struct {
		url, host, remote string
		status            int
		code              string
	}{
		{"/?compress=1", "localhost", "127.0.0.1:1", 500, "48"},
		{"/?session_id=x", "localhost", "127.0.0.1:1", 500, "48"},
		{"/?a%20b=x", "localhost", "127.0.0.1:1", 500, "36"},
		{"/?default_format=a'b", "localhost", "127.0.0.1:1", 500, "36"},
		{"/?query=INSERT+INTO+t+FORMAT+CSV", "localhost", "127.0.0.1:1", 500, "48"},
		{"/?query=INSERT+INTO+FUNCTION+file('x')+FORMAT+Native", "localhost", "127.0.0.1:1", 500, "48"},
		{"/", "[::1]:80", "[::1]:1", 200, ""},
		{"/", "localhost", "10.0.0.1:1", 403, ""},
		{"/", "rebound.example", "127.0.0.1:1", 403, ""},
	} {
		req := httptest.NewRequest("POST", tc.url, strings.NewReader("SELECT 1"))
		req.Host, req.RemoteAddr = tc.host, tc.remote
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != tc.status || w.Header().Get("X-ClickHouse-Exception-Code") != tc.code {
			t.Errorf("%s from %s as %s: %d %s", tc.url, tc.remote, tc.host, w.Code, w.Body)
		}
	}
}

// A client that goes away in the middle of a result leaves no statement behind.
func TestSocketClientGoesAway(t *testing.T) {
	db := connect(t)
	server := httptest.NewServer(engine.Handler(shared))
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET /?query=SELECT+number+FROM+system.numbers HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, 1<<20); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	untilIdle(t, db, 2*time.Second)
}
