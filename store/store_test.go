package store_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
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
	defer os.RemoveAll(dir)
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

func TestEmbedded(t *testing.T) { storetest.Run(t, openEmbedded) }

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(engine.Handler(embedded))
	defer server.Close()
	storetest.Run(t, func(tb testing.TB, database string, opts store.Options) (*store.Store, error) {
		return store.Open(tb.Context(), server.URL+"/"+database, opts)
	})
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
