package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/engine"
	"github.com/agentcustody/custody/store/storetest"
)

// embedded is the engine of all tests: a process has one.
var embedded *engine.Engine

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "store-test-*")
	if err != nil {
		return complain(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	embedded, err = engine.Open(engine.Config{Path: dir, NoSync: true})
	if err != nil {
		return complain(err)
	}
	code := m.Run()
	if err := embedded.Close(); err != nil {
		return complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, "store tests:", err)
	return 1
}

func openEmbedded(tb testing.TB, database string, opts store.Options) (*store.Store, error) {
	return store.OpenOptions(tb.Context(), embedded.Options(), database, opts)
}

// openDirect opens the store as a server does.
func openDirect(tb testing.TB, database string, opts store.Options) (*store.Store, error) {
	return store.OpenEngine(tb.Context(), embedded, database, opts)
}

func TestEmbedded(t *testing.T) { storetest.Run(t, openDirect) }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(engine.Handler(embedded))
	defer server.Close()
	storetest.Run(t, func(tb testing.TB, database string, opts store.Options) (*store.Store, error) {
		return store.Open(tb.Context(), server.URL+"/"+database, opts)
	})
}

// TestServerGone expects the error that means: repeat the block later.
func TestServerGone(t *testing.T) {
	server := httptest.NewServer(engine.Handler(embedded))
	var head atomic.Uint64
	s := storetest.Fresh(t, openEmbedded, &head)
	remote, err := store.Open(t.Context(), server.URL+"/"+s.Database(), store.Options{Head: head.Load})
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.NewLog(t, 3)
	b := l.Block(nil, l.Random("acme", 5))
	server.Close()
	if err := remote.Insert(t.Context(), b); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("insert without a server: %v, want ErrUnavailable", err)
	}
	if err := s.Insert(t.Context(), b); err != nil {
		t.Errorf("the same block later: %v", err)
	}
}

// TestTokensForgotten inserts a block again after the engine has lost its tokens, which a power cut can do: its rows
// are there once.
func TestTokensForgotten(t *testing.T) {
	var head atomic.Uint64
	s := storetest.Fresh(t, openEmbedded, &head)
	l := storetest.NewLog(t, 3)
	b := l.Block(nil, l.Random("acme", 5))
	if err := s.Insert(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"events", "leaves", "batches", "fold_state", "heads"} {
		query := "ALTER TABLE " + s.Database() + "." + table + " MODIFY SETTING non_replicated_deduplication_window = 0"
		if err := s.Conn().Exec(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	again, err := openEmbedded(t, s.Database(), store.Options{Head: head.Load})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Insert(t.Context(), b); err != nil {
		t.Error(err)
	}
}

// TestSize holds the events table, merged and with its indexes, to 0.7 of the
// bytes that were signed.
func TestSize(t *testing.T) {
	const messages, most = 200, 0.7
	var head atomic.Uint64
	s := storetest.Fresh(t, openEmbedded, &head)
	l := storetest.NewLog(t, 1)
	var all []*store.Folded
	signed := 0
	for range messages {
		f := l.Random("acme", 50)
		for i := range f.Leaves {
			signed += len(f.Leaves[i].EventBytes)
		}
		all = append(all, f)
	}
	if err := s.Insert(t.Context(), l.Block(nil, all...)); err != nil {
		t.Fatal(err)
	}
	if err := s.Conn().Exec(t.Context(), "OPTIMIZE TABLE "+s.Database()+".events FINAL"); err != nil {
		t.Fatal(err)
	}
	sizes, err := s.Sizes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range sizes {
		perEvent := float64(size.OnDisk) / (messages * 50)
		t.Logf("%-12s %6.1f bytes an event", size.Table, perEvent)
		if size.Table == "events" && float64(size.OnDisk) > most*float64(signed) {
			t.Errorf("events takes %d bytes for %d signed, want at most %.1f of them", size.OnDisk, signed, most)
		}
	}
}

// serverEnv names a ClickHouse server to run the suite on: a DSN without a
// database.
const serverEnv = "CUSTODY_TEST_CLICKHOUSE"

func TestServer(t *testing.T) {
	dsn := os.Getenv(serverEnv)
	if dsn == "" {
		t.Skipf("%s names no ClickHouse server", serverEnv)
	}
	storetest.Run(t, func(tb testing.TB, database string, opts store.Options) (*store.Store, error) {
		o, err := clickhouse.ParseDSN(dsn)
		if err != nil {
			return nil, err
		}
		return store.OpenOptions(context.Background(), o, database, opts)
	})
}
