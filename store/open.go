package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentcustody/custody/store/engine"
)

// DefaultDatabase is the database when the DSN names none.
const DefaultDatabase = "custody"

// MinRetention is the floor of Expire: six months, as the EU AI Act asks of
// logs (Art. 19 and 26(6)).
const MinRetention = 183 * 24 * time.Hour

// Options adjust a store. The zero value is usable, and reads nothing: it has
// no committed head.
type Options struct {
	// Head is the stream sequence up to which rows are committed; readers see
	// nothing beyond it. Without it nothing is committed.
	Head func() uint64
	// MinRetention is the floor of Expire; 0 is the constant MinRetention.
	MinRetention time.Duration
	// Now is the clock of Expire and of stored checkpoints; nil is time.Now.
	Now func() time.Time
}

func (o Options) complete() Options {
	if o.Head == nil {
		o.Head = func() uint64 { return 0 }
	}
	if o.MinRetention == 0 {
		o.MinRetention = MinRetention
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Store is one ClickHouse database. It is safe for concurrent use; inserts run
// one after the other.
type Store struct {
	db      driver.Conn
	name    string // of the database
	options Options
	engine  *engine.Engine // nil for a server
	owned   bool           // the engine is closed with the store
	text    *strings.Replacer
	last    *tally
}

// tally is the number of rows of each table after the last insert, nil if it is
// not known. Its lock is held by the one insert that runs.
type tally struct {
	sync.Mutex
	rows   map[string]uint64
	synced map[string]int64 // number of the newest part of each table that is durable
}

// Open opens the store that a DSN names, creates or migrates its tables, and
// refuses with ErrSchema tables that are newer than this program or differ
// from what it expects.
//
//	chdb:///var/lib/custody/store?database=custody      the engine in this process
//	clickhouse://user:password@host:9000/custody        a server, native protocol; secure=true for TLS
//	https://user:password@host:8443/custody             a server over HTTP
//
// The DSN is never part of an error or a log line: it may hold a password.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	if strings.HasPrefix(dsn, "chdb:") {
		return openEmbedded(ctx, dsn, opts)
	}
	o, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", errDSN)
	}
	database := o.Auth.Database
	if database == "" || database == "default" {
		database = DefaultDatabase
	}
	return OpenOptions(ctx, o, database, opts)
}

// errDSN does not repeat the DSN: it may hold a password.
var errDSN = errors.New("malformed DSN, want chdb:///path, clickhouse://host:9000/db or https://host:8443/db")

// CheckDSN returns an error for a DSN that Open could not read. It opens nothing.
func CheckDSN(dsn string) error {
	if strings.HasPrefix(dsn, "chdb:") {
		if _, embedded := EmbeddedDir(dsn); !embedded {
			return errDSN
		}
		return nil
	}
	if _, err := clickhouse.ParseDSN(dsn); err != nil {
		return errDSN
	}
	return nil
}

// EmbeddedDir is the folder of a DSN that names the engine in this process.
func EmbeddedDir(dsn string) (dir string, embedded bool) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "chdb" || u.Host != "" || u.Path == "" {
		return "", false
	}
	return u.Path, true
}

func openEmbedded(ctx context.Context, dsn string, opts Options) (*Store, error) {
	dir, embedded := EmbeddedDir(dsn)
	u, err := url.Parse(dsn)
	if err != nil || !embedded {
		return nil, fmt.Errorf("open store: %w", errDSN)
	}
	database := u.Query().Get("database")
	if database == "" {
		database = DefaultDatabase
	}
	if err := checkName(database); err != nil {
		return nil, err
	}
	e, err := engine.Open(engine.Config{Path: dir, Library: u.Query().Get("library")})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s, err := OpenEngine(ctx, e, database, opts)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	s.owned = true
	return s, nil
}

// OpenEngine opens a database of an engine that runs in this process and stays the caller's.
func OpenEngine(ctx context.Context, e *engine.Engine, database string, opts Options) (*Store, error) {
	return open(ctx, e, e.Options(), database, opts)
}

// databaseName is what may stand in SQL without quotes.
var databaseName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

func checkName(database string) error {
	if !databaseName.MatchString(database) {
		return fmt.Errorf("open store: database name %q: want [a-z][a-z0-9_]*", database)
	}
	return nil
}

// OpenOptions opens a database through driver options: an engine that is
// already running, or a server.
func OpenOptions(ctx context.Context, o *clickhouse.Options, database string, opts Options) (*Store, error) {
	return open(ctx, nil, o, database, opts)
}

func open(ctx context.Context, e *engine.Engine, o *clickhouse.Options, database string, opts Options) (*Store, error) {
	if err := checkName(database); err != nil {
		return nil, err
	}
	o.Auth.Database = "" // it may not exist yet; every statement names it
	db, err := clickhouse.Open(o)
	if err != nil {
		return nil, wrap(err, "open store")
	}
	s := &Store{db: db, engine: e, name: database, options: opts.complete(), text: strings.NewReplacer("${db}", database), last: &tally{}}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(wrap(err, "open store"), db.Close())
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	return s.tuneBlocks(ctx)
}

// WithHead returns the same store for readers with another committed head.
func (s *Store) WithHead(head func() uint64) *Store {
	other := *s
	other.options.Head = head
	return &other
}

// Head is the committed head that readers see.
func (s *Store) Head() uint64 { return s.options.Head() }

// Conn is the driver's connection, for what this package has no method for:
// looking at the server, and changing rows in tests.
func (s *Store) Conn() driver.Conn { return s.db }

// Database is the name of the store's database.
func (s *Store) Database() string { return s.name }

// Describe names the store for a person, without secrets: "ClickHouse 26.5.1
// (embedded), database custody".
func (s *Store) Describe() string {
	kind := "server"
	if s.engine != nil {
		kind = "embedded"
	}
	v, err := s.db.ServerVersion()
	if err != nil {
		return fmt.Sprintf("ClickHouse (%s, not answering), database %s", kind, s.name)
	}
	return fmt.Sprintf("ClickHouse %d.%d.%d (%s), database %s", v.Version.Major, v.Version.Minor, v.Version.Patch, kind, s.name)
}

// Close closes the connections, and the engine if Open started it.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.owned {
		err = errors.Join(err, s.engine.Close())
	}
	return wrap(err, "close store")
}

// sql puts the database's name into a statement.
func (s *Store) sql(query string) string { return s.text.Replace(query) }
