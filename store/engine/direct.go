package engine

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
)

// Insert runs an INSERT … FORMAT Native whose rows are what rows writes, without the driver between. They are one block
// of the engine if they come as one; a block before them that has no rows saves the engine from reading them twice, for it
// reads the first block to learn the columns. The error is a *clickhouse.Exception if the engine refuses.
func (e *Engine) Insert(ctx context.Context, query string, settings map[string]string, rows io.WriterTo) error {
	s := &statement{format: defaultFormat, database: defaultDatabase, settings: settings}
	if err := s.readInsert(query, rows); err != nil {
		return errors.Join(err, ctx.Err())
	}
	if s.insert.rows.size == 0 {
		s.close()
		return ctx.Err()
	}
	r, err := e.execute(ctx, s)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// Select runs a SELECT with named parameters, whose values are text, and returns its rows in the Native format. The caller closes
// them.
func (e *Engine) Select(ctx context.Context, query string, params map[string]string) (io.ReadCloser, error) {
	s := &statement{text: query, format: nativeFormat, database: defaultDatabase}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		s.params = append(s.params, param{name, params[name]})
	}
	var err error
	if s.shape, err = shapeOf(query); err != nil {
		return nil, err
	}
	return e.execute(ctx, s)
}
