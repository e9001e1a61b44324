package importer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/event"
)

const (
	// ahead is how many records are decoded ahead of the one to hand out, for each worker.
	ahead = 4
	// waiting is how many runs wait for one sink.
	waiting = 2
	// progressEvery keeps the progress from costing more than the work.
	progressEvery = 200 * time.Millisecond
)

// pipeline is one import: a reader, some decoders, one dispatcher that hands runs out in the order of the input, and a
// lane for each instance. Each step waits for the next, so memory holds few runs at a time.
type pipeline struct {
	opts    Options
	name    string // of the journal
	read    func(file string) *dialect
	journal *journal
	todo    chan *job     // to the decoders
	order   chan *job     // to the dispatcher
	slots   chan struct{} // one for each sink that is recording

	// The dispatcher's.
	lanes map[place]*lane
	seen  seen

	mu       sync.Mutex // guards what follows, and keeps calls of Progress and Problem apart
	stats    Stats
	reported time.Time
}

// place is an instance of a tenant.
type place struct {
	tenant   event.TenantID
	instance event.InstanceID
}

// job is one record of a file on its way through a decoder.
type job struct {
	dialect *dialect
	where   Problem // Reason is empty if all is well
	raw     []byte
	run     *mapped // nil if there is a problem
	done    chan struct{}
}

// run imports the files.
func run(ctx context.Context, name string, files []string, read func(string) *dialect, opts Options) (Stats, error) {
	if opts.Concurrency <= 0 {
		opts.Concurrency = runtime.GOMAXPROCS(0)
	}
	j, err := openJournal(opts.State, name)
	if err != nil {
		return Stats{}, err
	}
	p := &pipeline{
		opts: opts, name: name, read: read, journal: j,
		todo:  make(chan *job, ahead*opts.Concurrency),
		order: make(chan *job, ahead*opts.Concurrency),
		slots: make(chan struct{}, opts.Concurrency),
		lanes: map[place]*lane{}, seen: newSeen(),
	}
	err = errors.Join(p.run(ctx, files), j.close())
	p.count(func(*Stats) {}, true)
	return p.stats, err
}

func (p *pipeline) run(ctx context.Context, files []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.readAll(ctx, files) })
	for range p.opts.Concurrency {
		g.Go(func() error { return p.decodeAll(ctx) })
	}
	g.Go(func() error { return p.dispatchAll(ctx, g) })
	return g.Wait()
}

// readAll cuts the files into jobs.
func (p *pipeline) readAll(ctx context.Context, files []string) error {
	defer close(p.todo)
	defer close(p.order)
	for _, file := range files {
		p.count(func(s *Stats) { s.Files++ }, false)
		d := p.read(file)
		for r := range records(file) {
			j := &job{dialect: d, where: r.where, raw: r.raw, done: make(chan struct{})}
			if send(ctx, p.order, j) != nil || send(ctx, p.todo, j) != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pipeline) decodeAll(ctx context.Context) error {
	for j := range p.todo {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		j.decode()
	}
	return nil
}

func (j *job) decode() {
	defer close(j.done)
	if j.where.Reason != "" {
		return
	}
	t, err := j.dialect.decode(j.raw)
	j.raw = nil
	if err == nil {
		j.run = j.dialect.mapRun(t)
		j.run.where = j.where
		return
	}
	j.where.blame(err)
}

func (p *Problem) blame(err error) {
	p.Reason = err.Error()
	if field := new(event.FieldError); errors.As(err, &field) {
		p.Field, p.Reason = field.Field, field.Reason
	}
}

// dispatchAll hands the runs to their lanes, in the order of the input.
func (p *pipeline) dispatchAll(ctx context.Context, g *errgroup.Group) error {
	defer func() {
		for _, l := range p.lanes {
			close(l.queue)
		}
	}()
	for j := range p.order {
		select {
		case <-j.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := p.dispatch(ctx, g, j); err != nil {
			return err
		}
	}
	return nil
}

func (p *pipeline) dispatch(ctx context.Context, g *errgroup.Group, j *job) error {
	if j.run == nil {
		p.problem(j.where)
		return nil
	}
	if p.seen.twice(j.run) {
		p.count(func(s *Stats) { s.Duplicates++ }, false)
		return nil
	}
	l, err := p.lane(ctx, g, j.run)
	if err != nil {
		j.where.blame(err)
		p.problem(j.where)
		return nil
	}
	return send(ctx, l.queue, j.run)
}

// lane is the run's lane, which begins with its first run.
func (p *pipeline) lane(ctx context.Context, g *errgroup.Group, m *mapped) (*lane, error) {
	at := place{m.tenant, m.instance}
	l, ok := p.lanes[at]
	switch {
	case ok && l.pipeline != m.pipeline:
		return nil, wrong("pipeline_name", "gives the same instance %s as %q", at.instance, l.pipeline)
	case ok:
		return l, nil
	case len(p.lanes) == MaxInstances:
		return nil, wrong("pipeline_name", "one of more than %d", MaxInstances)
	}
	l = &lane{pipeline: m.pipeline, place: at, shared: p, queue: make(chan *mapped, waiting)}
	p.lanes[at] = l
	g.Go(func() error { return l.work(ctx) })
	return l, nil
}

func (p *pipeline) problem(what Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Bad++
	if p.opts.Problem != nil {
		p.opts.Problem(what)
	}
}

// count changes the stats, and reports them if it is time to or if it must.
func (p *pipeline) count(change func(*Stats), must bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.stats)
	if p.opts.Progress == nil || !must && time.Since(p.reported) < progressEvery {
		return
	}
	p.reported = time.Now()
	p.opts.Progress(p.stats)
}

// seen are the runs of this import, by id and by content.
type seen struct {
	ids     map[[sha256.Size]byte]bool
	content map[[sha256.Size]byte]bool // true: a run of that content came without an id
}

func newSeen() seen {
	return seen{map[[sha256.Size]byte]bool{}, map[[sha256.Size]byte]bool{}}
}

// twice reports whether the run was there before. Runs with ids of their own are told apart by these alone; a run without
// one is the same as any of equal content.
func (s seen) twice(m *mapped) bool {
	id := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", m.tenant, m.instance, m.run))
	nameless, known := s.content[m.content]
	if s.ids[id] || known && (nameless || !m.named) {
		return true
	}
	s.ids[id], s.content[m.content] = true, !m.named
	return false
}
