package store

import (
	"context"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// named is a parameter of a statement: {name:Type}. Values never become part
// of the text.
func named(name string, value any) driver.NamedValue { return clickhouse.Named(name, value) }

// each runs a query and calls yield after scanning each row into dest.
func (s *Store) each(ctx context.Context, query string, args []any, yield func(), dest ...any) error {
	rows, err := s.db.Query(ctx, s.sql(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		yield()
	}
	return rows.Err()
}
