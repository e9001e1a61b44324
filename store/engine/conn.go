package engine

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// conn is one connection of the engine. It runs one statement at a time and
// belongs to whoever took it from the pool; only its tag is read by others.
//
// A connection keeps settings and a database between statements, so what each
// statement wants is compared with what is in force, and the difference is set.
type conn struct {
	lib    *library
	args   []string
	handle *unsafe.Pointer // chdb_connection*; nil: to be opened

	tag      string            // begins the log_comment of its statements, and of no other's
	base     map[string]string // settings of every statement
	applied  map[string]string // settings in force
	database string            // in force
	dirty    bool              // its state is unknown: close it after the statement
}

func newConn(lib *library, cfg Config, args []string, id int) *conn {
	tag := fmt.Sprintf("custody-%d-%d;", os.Getpid(), id)
	return &conn{lib: lib, args: args, tag: tag, base: baseSettings(cfg, tag)}
}

// baseSettings bound a statement, undo what the library sets looser than a
// server does, and keep the planner from reading the statistics of every column
// of a table's parts, which for a short statement is most of its work.
func baseSettings(cfg Config, tag string) map[string]string {
	return map[string]string{
		"log_comment":                   tag,
		"max_threads":                   strconv.Itoa(cfg.MaxThreads),
		"max_memory_usage":              strconv.FormatInt(cfg.MaxQueryMemory, 10),
		"allow_introspection_functions": "0",
		"implicit_select":               "0",
		"use_statistics":                "0",
	}
}

// ensure opens the connection when it is not open.
func (c *conn) ensure() error {
	if c.handle != nil {
		return nil
	}
	handle := c.lib.dial(c.args)
	if handle == nil {
		return errors.New("the engine does not start: the folder is unreadable, damaged or of a newer version (its own words, if any, are on standard error)")
	}
	c.handle, c.applied, c.database, c.dirty = handle, map[string]string{}, defaultDatabase, false
	return c.set(c.base, nil)
}

func (c *conn) close() {
	if c.handle != nil {
		c.lib.closeConn(c.handle)
		c.handle = nil
	}
}

// exec runs text and returns a copy of its result.
func (c *conn) exec(text, format string) ([]byte, error) {
	result := c.lib.call(false, *c.handle, text, format, nil)
	defer c.lib.free(result)
	if err := c.lib.failure(result); err != nil {
		return nil, err
	}
	return slices.Clone(c.lib.view(result)), nil
}

func (c *conn) identity() (identity, error) {
	out, err := c.exec("SELECT version(), timezone()", "TabSeparated")
	version, timezone, _ := strings.Cut(strings.TrimSpace(string(out)), "\t")
	return identity{version, timezone}, err
}

// prepare brings the connection into the state that s wants and returns the text
// to run. The settings of an insert go into its text instead: a deduplication
// token differs with every insert, and a SET costs a tenth of a small query.
func (c *conn) prepare(s *statement) (string, error) {
	if err := c.use(s.database); err != nil {
		return "", err
	}
	set, reset := c.difference(s.settings)
	if s.insert == nil {
		return s.text, c.set(set, reset)
	}
	if err := c.set(nil, reset); err != nil {
		return "", err
	}
	columns, err := c.columns(s.insert)
	if err != nil {
		return "", err
	}
	return s.insert.sql(s.insert.rows.path, columns, set), nil
}

func (c *conn) columns(i *insert) ([]string, error) {
	if len(i.columns) > 0 {
		return i.columns, nil
	}
	rows, err := c.exec(describeFile(i.rows.path), "RowBinary")
	if err != nil {
		return nil, err
	}
	return describedNames(rows)
}

func (c *conn) use(database string) error {
	if database == c.database {
		return nil
	}
	if _, err := c.exec("USE "+quoteName(database), "Null"); err != nil {
		return err
	}
	c.database = database
	return nil
}

// difference says what to set and what to reset to its default, so that wanted
// over base is in force.
func (c *conn) difference(wanted map[string]string) (set map[string]string, reset []string) {
	if len(wanted) == 0 && maps.Equal(c.applied, c.base) {
		return nil, nil
	}
	want := maps.Clone(c.base)
	maps.Copy(want, wanted)
	if comment, ok := wanted["log_comment"]; ok {
		want["log_comment"] = c.tag + comment
	}
	for name := range c.applied {
		if _, ok := want[name]; !ok {
			reset = append(reset, name)
		}
	}
	maps.DeleteFunc(want, func(name, value string) bool {
		now, ok := c.applied[name]
		return ok && now == value
	})
	slices.Sort(reset)
	return want, reset
}

// set changes the connection's settings. After an error it is unknown which of
// them are in force.
func (c *conn) set(set map[string]string, reset []string) error {
	if len(set)+len(reset) == 0 {
		return nil
	}
	var parts []string
	if len(set) > 0 {
		parts = append(parts, assignments(set))
	}
	for _, name := range reset {
		parts = append(parts, name+" = DEFAULT")
	}
	if _, err := c.exec("SET "+strings.Join(parts, ", "), "Null"); err != nil {
		c.dirty = true
		return err
	}
	maps.Copy(c.applied, set)
	for _, name := range reset {
		delete(c.applied, name)
	}
	return nil
}

// renew closes a connection whose state is unknown. It is opened again when it
// is next used; the control connection keeps the engine running meanwhile.
func (c *conn) renew() {
	if c.dirty {
		c.close()
	}
}

// control is the connection that kills statements of the others.
type control struct {
	mu   sync.Mutex
	conn *conn
}

// kill stops the statement of the connection with this tag, if one is running.
// The interface has no way to set a query id, but a statement's settings show in
// system.processes, hence the tag in log_comment. A statement that sets
// log_comment in its own text cannot be killed; as a setting of the request it
// is put behind the tag.
func (k *control) kill(tag string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.conn.exec("KILL QUERY WHERE startsWith(Settings['log_comment'], "+quoteLiteral(tag)+") ASYNC", "Null")
	return err
}
