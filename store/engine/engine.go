// Package engine runs the ClickHouse engine inside this process.
//
// The engine is libchdb, ClickHouse built as a shared library; it is loaded at
// run time without cgo, so a binary built with CGO_ENABLED=0 carries it. The
// caller sees none of that: clickhouse-go talks HTTP to a [http.RoundTripper]
// that turns a request into an engine call and the result into a response.
//
//	e, err := engine.Open(engine.Config{Path: "data/store"})
//	db, err := clickhouse.Open(e.Options())
//
// What holds:
//
//   - Same answers as a server. Errors arrive as *[clickhouse.Exception] with
//     the server's code, before the first row or in the middle of a result.
//     Settings, named parameters and the database of a request are applied to
//     that request only.
//   - Durability is ClickHouse's own. fsync_after_insert and
//     fsync_part_directory (settings of a table, unknown to a query) are on for
//     every table that does not say otherwise: an insert that returned survives
//     kill -9, and a power cut as far as the disk's own promises go. So does a
//     merge: it is synced before the parts that it replaces are removed. Where a
//     table says otherwise, the caller makes many inserts durable at once with
//     [Engine.Sync].
//   - An insert goes by column name. A column that the block lacks, or that the
//     table lacks, is an error and never a column of zeros. One native block
//     of the driver is one block of the engine.
//   - Large results are streamed; memory does not grow with their size.
//   - A cancelled context frees the caller at once and kills the statement.
//
// What does not hold: the library serves one path per process, so a process has
// at most one open Engine (use one database per tenant or test, not one
// engine); there are no sessions, so SET, USE and temporary tables end with the
// statement, as they do over HTTP without a session; and query ids, users and
// HTTP compression have no meaning here.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
)

const (
	// DefaultConnections is how many statements run at once. Four keep a scan
	// and an insert from holding up point reads on a small machine.
	DefaultConnections = 4
	// MaxConnections bounds the pool: each connection holds engine threads.
	MaxConnections = 64
	// DefaultMaxMemory bounds the engine's memory in bytes. The engine with a
	// warm cache needs about 0.7 GB; the rest is for sorts and joins.
	DefaultMaxMemory = 4 << 30
	// MinMemory is the smallest bound that the engine starts and merges with.
	MinMemory = 512 << 20
	// DefaultMaxThreads caps the threads of one statement, whatever the machine
	// has, so that one scan leaves cores for the rest of the process.
	DefaultMaxThreads = 8

	// queryMemoryShare is the part of the engine's memory one statement may
	// use, in quarters: three leave room for merges and inserts beside it.
	queryMemoryShare = 3
	// driverConnections is the driver's own pool. Its connections are only
	// structs here; statements queue in the engine's pool, where waiting ends
	// with the caller's context.
	driverConnections = 64
	// closeTimeout is how long Close waits for killed statements to stop.
	closeTimeout = 30 * time.Second
)

var (
	// ErrLocked means that another process has the folder open. Stop it, or
	// send the call to it instead.
	ErrLocked = errors.New("another process has this engine folder open")
	// ErrProcess means that this process already has an open engine: libchdb
	// serves one path per process.
	ErrProcess = errors.New("this process already runs an engine")
	// ErrClosed means that the engine was closed.
	ErrClosed = errors.New("engine is closed")
)

// Config says where and how large. The zero value of every field but Path is
// the documented default.
type Config struct {
	Path           string // folder of the store; created with mode 0700
	Library        string // path of libchdb.so; default: Find
	Connections    int    // statements at once, 1 to MaxConnections; default DefaultConnections
	MaxMemory      int64  // bytes for the whole engine, at least MinMemory; default DefaultMaxMemory
	MaxQueryMemory int64  // bytes for one statement; default three quarters of MaxMemory
	MaxThreads     int    // threads of one statement; default the cores, at most DefaultMaxThreads
	NoSync         bool   // inserts do not wait for the disk: for tests; a power cut may lose some
}

// Engine is the engine of this process. It is safe for concurrent use.
//
// It owns the folder (through a lock file that the kernel releases when the
// process dies), the pool of connections and one more connection that only
// kills statements.
type Engine struct {
	lib     *library
	lock    *os.File
	control *control
	size    int
	pool    chan *conn
	closing chan struct{} // closed when Close begins
	noSync  bool
	hello   identity

	mu   sync.Mutex
	runs map[*run]struct{} // statements that hold a connection; nil once closed
}

// identity is what the engine answers to the driver's first query.
type identity struct{ version, timezone string }

// process is the one engine this process may have open.
var process struct {
	mu   sync.Mutex
	open bool
}

// Open starts the engine on cfg.Path, creating it when it is new. It fails with
// ErrLocked, ErrProcess or ErrNotInstalled, or with what the engine said.
func Open(cfg Config) (*Engine, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.open {
		return nil, fmt.Errorf("open engine at %s: %w", cfg.Path, ErrProcess)
	}
	e, err := start(cfg)
	if err != nil {
		return nil, fmt.Errorf("open engine at %s: %w", cfg.Path, err)
	}
	process.open = true
	return e, nil
}

func (c Config) complete() (Config, error) {
	if c.Path == "" {
		return c, errors.New("no path given")
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return c, err
	}
	c.Path = path
	c.Connections = defaulted(c.Connections, DefaultConnections)
	c.MaxMemory = defaulted(c.MaxMemory, DefaultMaxMemory)
	c.MaxQueryMemory = defaulted(c.MaxQueryMemory, c.MaxMemory/4*queryMemoryShare)
	c.MaxThreads = defaulted(c.MaxThreads, min(runtime.NumCPU(), DefaultMaxThreads))
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Connections < 1 || c.Connections > MaxConnections:
		return fmt.Errorf("connections %d: not in 1..%d", c.Connections, MaxConnections)
	case c.MaxMemory < MinMemory:
		return fmt.Errorf("memory bound %d bytes: less than %d", c.MaxMemory, MinMemory)
	case c.MaxQueryMemory < 1 || c.MaxThreads < 1:
		return errors.New("statement bounds must be positive")
	}
	return nil
}

func defaulted[T int | int64](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// start takes the lock before it touches the library: two processes in one
// folder would corrupt it.
func start(cfg Config) (_ *Engine, err error) {
	lib, err := load(cfg.Library)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Path, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFolder(cfg.Path)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		lib: lib, lock: lock, size: cfg.Connections, runs: map[*run]struct{}{},
		pool: make(chan *conn, cfg.Connections), closing: make(chan struct{}), noSync: cfg.NoSync,
	}
	if err := e.connect(cfg); err != nil {
		return nil, errors.Join(err, e.disconnect(context.Background()), lock.Close())
	}
	return e, nil
}

// connect opens the control connection first: the first connection starts the
// engine, and the last one closed stops it.
func (e *Engine) connect(cfg Config) error {
	args, err := arguments(cfg)
	if err != nil {
		return err
	}
	first := newConn(e.lib, cfg, args, 0)
	if err := first.ensure(); err != nil {
		return err
	}
	e.control = &control{conn: first}
	for i := range e.size {
		e.pool <- newConn(e.lib, cfg, args, i+1)
	}
	e.hello, err = first.identity()
	go e.yieldThreads()
	go e.writeMerges(cfg.Path)
	return err
}

// Options are driver options for this engine; the caller may add to them.
func (e *Engine) Options() *clickhouse.Options {
	return &clickhouse.Options{
		Protocol:      clickhouse.HTTP,
		Addr:          []string{"embedded:0"},
		TransportFunc: func(*http.Transport) (http.RoundTripper, error) { return e.RoundTripper(), nil },
		MaxOpenConns:  driverConnections,
		MaxIdleConns:  driverConnections,
	}
}

// Version is the engine's own version, such as "26.5.1.1".
func (e *Engine) Version() string { return e.hello.version }

// Close kills what is running, waits for it, and stops the engine. It returns
// an error, and leaves the engine loaded, when a statement does not stop within
// 30 seconds. A second Close returns ErrClosed.
func (e *Engine) Close() error {
	process.mu.Lock()
	defer process.mu.Unlock()
	if !e.abortAll() {
		return ErrClosed
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := e.disconnect(ctx); err != nil {
		return fmt.Errorf("close engine: %w", err)
	}
	process.open = false
	return e.lock.Close()
}

func (e *Engine) abortAll() bool {
	e.mu.Lock()
	runs := e.runs
	e.runs = nil
	e.mu.Unlock()
	if runs == nil {
		return false
	}
	close(e.closing)
	for r := range runs {
		go r.abort(ErrClosed)
	}
	return true
}

// disconnect collects the pool, so that no connection is closed under a running
// statement (the library aborts the process on that), then closes them all.
func (e *Engine) disconnect(ctx context.Context) error {
	if e.control == nil {
		return nil
	}
	var idle []*conn
	for range e.size {
		select {
		case c := <-e.pool:
			idle = append(idle, c)
		case <-ctx.Done():
			return errors.New("a statement does not stop")
		}
	}
	for _, c := range append(idle, e.control.conn) {
		c.close()
	}
	return nil
}

func lockError(path string) error {
	holder, err := os.ReadFile(path)
	pid, atoiErr := strconv.Atoi(strings.TrimSpace(string(holder)))
	if err != nil || atoiErr != nil {
		return ErrLocked
	}
	return fmt.Errorf("%w (process %d)", ErrLocked, pid)
}
