package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// migrations are applied in the order of their numbers, each once. A file that
// was released is never edited. Every statement can be repeated, because a
// crash may leave a migration half done.
//
//go:embed sql/[0-9]*.sql
var migrations embed.FS

// migration is one file: sql/NNNN_name.sql.
type migration struct {
	version    uint32
	name       string
	statements []string
}

const createVersions = `
CREATE TABLE IF NOT EXISTS ${db}.schema_migrations
(
    version    UInt32,
    name       String,
    applied_at DateTime64(9, 'UTC')
)
ENGINE = MergeTree
ORDER BY version
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`

// migrate brings the database to the newest version that this program knows.
func (s *Store) migrate(ctx context.Context) error {
	all, err := loadMigrations()
	if err != nil {
		return err
	}
	for _, query := range []string{"CREATE DATABASE IF NOT EXISTS ${db}", createVersions} {
		if err := s.exec(ctx, query); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	have, err := s.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if newest := all[len(all)-1].version; have > newest {
		return fmt.Errorf("migrate: database %s has schema version %d, this program knows %d: %w: use a newer program", s.name, have, newest, ErrSchema)
	}
	return s.apply(ctx, all, have)
}

func (s *Store) apply(ctx context.Context, all []migration, have uint32) error {
	for _, m := range all {
		if m.version <= have {
			continue
		}
		for _, statement := range m.statements {
			if err := s.exec(ctx, statement); err != nil {
				return fmt.Errorf("migrate to %s: %w", m.name, err)
			}
		}
		// A crash before this line repeats the migration.
		done := fmt.Sprintf("INSERT INTO ${db}.schema_migrations SELECT %d, '%s', now64(9, 'UTC')", m.version, m.name)
		if err := s.exec(ctx, done); err != nil {
			return fmt.Errorf("migrate to %s: %w", m.name, err)
		}
	}
	return nil
}

// SchemaVersion is the number of the last migration applied, 0 for none.
func (s *Store) SchemaVersion(ctx context.Context) (uint32, error) {
	var version uint32
	err := s.db.QueryRow(ctx, s.sql("SELECT max(version) FROM ${db}.schema_migrations")).Scan(&version)
	return version, wrap(err, "read schema version")
}

func (s *Store) exec(ctx context.Context, query string) error {
	return wrap(s.db.Exec(ctx, s.sql(query)), "execute %.60q", strings.TrimSpace(query))
}

var (
	migrationName = regexp.MustCompile(`^sql/(\d{4})_([a-z_]+)\.sql$`)
	statementEnd  = regexp.MustCompile(`;[ \t]*\n`)
	commentLine   = regexp.MustCompile(`(?m)^--.*\n?`)
)

func loadMigrations() ([]migration, error) {
	files, err := fs.Glob(migrations, "sql/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, file := range files { // Glob sorts
		m, err := loadMigration(file)
		if err != nil {
			return nil, err
		}
		if m.version != uint32(i+1) {
			return nil, fmt.Errorf("load migration %s: want number %d", file, i+1)
		}
		all = append(all, m)
	}
	return all, nil
}

func loadMigration(file string) (migration, error) {
	match := migrationName.FindStringSubmatch(file)
	if match == nil {
		return migration{}, fmt.Errorf("load migration %s: want sql/NNNN_name.sql", file)
	}
	text, err := migrations.ReadFile(file)
	if err != nil {
		return migration{}, err
	}
	version, err := strconv.ParseUint(match[1], 10, 32)
	return migration{uint32(version), match[1] + "_" + match[2], statements(string(text))}, err
}

// statements cuts a file at each semicolon that ends a line, without the lines
// that are comments.
func statements(text string) (all []string) {
	for _, part := range statementEnd.Split(commentLine.ReplaceAllString(text, "")+"\n", -1) {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// checkSchema compares the tables with the columns that this program writes:
// names, types and order.
func (s *Store) checkSchema(ctx context.Context) error {
	for _, t := range NewBlock(0).tables() {
		have, err := s.columnsOf(ctx, t.name)
		if err != nil {
			return err
		}
		if err := t.checkColumns(have); err != nil {
			return fmt.Errorf("check schema of database %s: %w", s.name, err)
		}
	}
	return nil
}

// columnsOf lists "name type" of a table's columns in order.
func (s *Store) columnsOf(ctx context.Context, table string) (columns []string, err error) {
	rows, err := s.db.Query(ctx,
		"SELECT concat(name, ' ', type) FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position",
		named("database", s.name), named("table", table))
	if err != nil {
		return nil, wrap(err, "read columns of %s", table)
	}
	defer rows.Close()
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			return nil, wrap(err, "read columns of %s", table)
		}
		columns = append(columns, column)
	}
	return columns, wrap(rows.Err(), "read columns of %s", table)
}

func (t *table) checkColumns(have []string) error {
	for i, c := range t.columns {
		want := c.Name() + " " + c.Type()
		switch {
		case i >= len(have):
			return fmt.Errorf("table %s lacks column %s: %w", t.name, c.Name(), ErrSchema)
		case have[i] != want:
			return fmt.Errorf("table %s has column %q, want %q: %w", t.name, have[i], want, ErrSchema)
		}
	}
	if len(have) > len(t.columns) {
		return fmt.Errorf("table %s has a further column %q: %w", t.name, have[len(t.columns)], ErrSchema)
	}
	return nil
}
