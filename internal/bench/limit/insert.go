package limit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/internal/bench/workload"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/engine"
)

const (
	// tablesAtOnce is how many inserts run at the same time, as in package store.
	tablesAtOnce = 3
	// emitters and their batches make the block.
	emitters = 16
)

// Insert is how many events a second the engine itself takes: a block of so many events is made as the ledger makes it, read
// back from every table in the engine's own format, and those bytes are inserted into tables of the same definition again
// and again. The engine is opened in dir, so a process can measure this once.
func Insert(ctx context.Context, dir string, events int, d time.Duration) (perSecond, bytesPerEvent float64, err error) {
	e, err := engine.Open(engine.Config{Path: filepath.Join(dir, "store")})
	if err != nil {
		return 0, 0, fmt.Errorf("measure insert: %w", err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	rows, n, err := prepareRows(ctx, e, filepath.Join(dir, "vault"), events)
	if err != nil {
		return 0, 0, fmt.Errorf("measure insert: %w", err)
	}
	began, blocks := time.Now(), 0
	for ; time.Since(began) < d; blocks++ {
		if err := insertAll(ctx, e, rows, blocks); err != nil {
			return 0, 0, fmt.Errorf("measure insert: %w", err)
		}
	}
	return float64(blocks*n) / time.Since(began).Seconds(), size(rows) / float64(n), nil
}

// tableRows is one table's rows in the Native format.
type tableRows struct {
	name, columns string
	body          []byte
}

func size(rows []tableRows) (bytes float64) {
	for _, r := range rows {
		bytes += float64(len(r.body))
	}
	return bytes
}

// prepareRows stores one block as the ledger does, makes the empty tables, and returns the block's rows.
func prepareRows(ctx context.Context, e *engine.Engine, vaultDir string, events int) (rows []tableRows, n int, err error) {
	s, err := store.OpenOptions(ctx, e.Options(), "made", store.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	block, err := makeBlock(ctx, vaultDir, events)
	if err != nil {
		return nil, 0, err
	}
	if err := s.Insert(ctx, block); err != nil {
		return nil, 0, err
	}
	if rows, err = readTables(ctx, e, s); err != nil {
		return nil, 0, err
	}
	return rows, block.Events(), nil
}

// makeBlock folds the log of one tenant into a block of about so many events.
func makeBlock(ctx context.Context, vaultDir string, events int) (*store.Block, error) {
	v, err := vault.OpenDir(vaultDir)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	log, err := workload.NewLog("limit", emitters, v)
	if err != nil {
		return nil, err
	}
	fold, block := ledger.NewFold(log.System(), nil), store.NewBlock(1)
	for block.Events() < events {
		m, err := log.Next(BatchEvents)
		if err != nil {
			return nil, err
		}
		folded, err := fold.Message(ctx, fold.Decoder().Decode(m))
		if err != nil {
			return nil, err
		}
		block.Add(folded)
	}
	block.Close(fold.Seq(), fold.Digest(), fold.Heads())
	return block, nil
}

// readTables copies the definition of every table that has rows, and reads its rows.
func readTables(ctx context.Context, e *engine.Engine, s *store.Store) (rows []tableRows, err error) {
	if err := s.Conn().Exec(ctx, "CREATE DATABASE raw"); err != nil {
		return nil, err
	}
	names, err := s.Conn().Query(ctx, `
		SELECT t.name, arrayStringConcat(groupArray(c.name), ', ')
		FROM system.tables t JOIN (SELECT * FROM system.columns WHERE database = 'made' ORDER BY position) c ON c.table = t.name
		WHERE t.database = 'made' AND t.total_rows > 0 AND NOT startsWith(t.name, 'schema')
		GROUP BY t.name ORDER BY t.name`)
	if err != nil {
		return nil, err
	}
	defer names.Close()
	for names.Next() {
		var r tableRows
		if err := names.Scan(&r.name, &r.columns); err != nil {
			return nil, err
		}
		if err := s.Conn().Exec(ctx, "CREATE TABLE raw."+r.name+" AS made."+r.name); err != nil {
			return nil, err
		}
		if r.body, err = post(ctx, e, "SELECT "+r.columns+" FROM made."+r.name+" SETTINGS max_block_size = 16777216, preferred_block_size_bytes = 0, max_threads = 1 FORMAT Native", nil, nil); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, names.Err()
}

// insertAll inserts every table's rows once.
func insertAll(ctx context.Context, e *engine.Engine, rows []tableRows, round int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tablesAtOnce)
	for _, r := range rows {
		group.Go(func() error {
			_, err := post(ctx, e, "INSERT INTO raw."+r.name+" ("+r.columns+") FORMAT Native", r.body, clickhouse.Settings{
				"insert_deduplication_token": fmt.Sprint(r.name, round), "materialize_skip_indexes_on_insert": 0,
				"max_insert_threads": 1, "max_insert_block_size": 1 << 24,
				"min_insert_block_size_rows": 1 << 24, "min_insert_block_size_bytes": 1 << 30,
			})
			return err
		})
	}
	return group.Wait()
}

// post runs a statement through the engine's own door, without the driver.
func post(ctx context.Context, e *engine.Engine, statement string, body []byte, settings clickhouse.Settings) ([]byte, error) {
	values := url.Values{"query": {statement}, "default_format": {"Native"}}
	for name, value := range settings {
		values.Set(name, fmt.Sprint(value))
	}
	u := &url.URL{Scheme: "http", Host: "embedded", Path: "/", RawQuery: values.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := e.RoundTripper().RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%d: %.300s", response.StatusCode, answer)
	}
	return answer, err
}
