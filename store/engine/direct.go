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
	prepared, err := e.Prepare(query, settings, rows)
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	return prepared.Run(ctx)
}

// Prepared is an insert whose rows are ready for the engine to read. It is run or closed, once.
type Prepared struct {
	engine *Engine
	s      *statement
}

// Prepare does what there is to do for Insert before the engine takes part.
func (e *Engine) Prepare(query string, settings map[string]string, rows io.WriterTo) (*Prepared, error) {
	s := &statement{format: defaultFormat, database: defaultDatabase, settings: settings}
	if err := s.readInsert(query, rows); err != nil {
		return nil, err
	}
	return &Prepared{e, s}, nil
}

// Run inserts the rows.
func (p *Prepared) Run(ctx context.Context) error {
	if p.s.insert.rows.size == 0 {
		p.Close()
		return ctx.Err()
	}
	r, err := p.engine.execute(ctx, p.s)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// Close gives up rows that are not inserted.
func (p *Prepared) Close() { p.s.close() }

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
