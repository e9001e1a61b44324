package importer

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// lane takes the runs of one instance to its sink, one after the other.
type lane struct {
	place
	pipeline string
	shared   *pipeline
	queue    chan *mapped

	sink   Sink
	cursor *cursor
}

func (l *lane) work(ctx context.Context) (err error) {
	if err := l.open(ctx); err != nil {
		return fmt.Errorf("open %s/%s: %w", l.tenant, l.instance, err)
	}
	l.shared.count(func(s *Stats) { s.Instances++ }, false)
	defer func() {
		if closing := errors.Join(l.sink.Close(ctx), l.cursor.close()); closing != nil {
			err = errors.Join(err, fmt.Errorf("close %s/%s: %w", l.tenant, l.instance, closing))
		}
	}()
	for m := range l.queue {
		if err := l.take(ctx, m); err != nil {
			return fmt.Errorf("record run %s of %s/%s: %w", m.run, l.tenant, l.instance, err)
		}
	}
	return nil
}

func (l *lane) open(ctx context.Context) (err error) {
	if l.cursor, err = openCursor(l.shared.opts.State, l.shared.name, l.place); err != nil {
		return err
	}
	l.sink, err = l.shared.opts.Open(ctx, l.tenant, l.instance)
	if err != nil {
		return errors.Join(err, l.cursor.close())
	}
	return nil
}

// take records what the sink has not had of a run. A crash leaves the sink at most one event ahead of the cursor, and
// the cursor at most one run ahead of the journal.
func (l *lane) take(ctx context.Context, m *mapped) error {
	if l.shared.journal.has(l.place, m.run) {
		l.shared.count(func(s *Stats) { s.Resumed++ }, false)
		return nil
	}
	if err := send(ctx, l.shared.slots, struct{}{}); err != nil {
		return err
	}
	defer func() { <-l.shared.slots }()
	digests := digests{}
	for i := l.had(m); i < len(m.events); i++ {
		if err := l.record(ctx, m, i, digests); err != nil {
			return err
		}
	}
	if err := l.shared.journal.add(l.place, m.run, len(m.events)); err != nil {
		return err
	}
	l.shared.count(func(s *Stats) { s.Runs++; s.add(m.count) }, false)
	return nil
}

// had is how many of the run's events the sink has.
func (l *lane) had(m *mapped) int {
	n := 0
	if l.cursor.run == m.run {
		n = min(l.cursor.events, len(m.events))
	}
	h, ok := l.sink.(Holder)
	if ok && n < len(m.events) && h.Holds(event.ID(m.events[n].Plain.Id)) {
		n++
	}
	return n
}

// record gives event i to the sink. One that the format refuses is a problem and is left out: another import would find
// it refused again.
func (l *lane) record(ctx context.Context, m *mapped, i int, d digests) error {
	ev := m.events[i]
	d.give(ev.Plain)
	if f, ok := l.sink.(Follower); ok {
		f.From(m.from[i])
	}
	_, err := l.sink.Record(ctx, ev)
	if field := new(event.FieldError); errors.As(err, &field) {
		what := m.where
		what.blame(fmt.Errorf("event %d of run %s: %w", i+1, m.run, err))
		l.shared.problem(what)
	} else if err != nil {
		return err
	}
	d.take(ev.Plain)
	return l.cursor.set(m.run, i+1)
}

// digests of arguments, by call: what the proposal sealed, each stage of the call names.
type digests map[string][]byte

func (d digests) give(e *eventv1.Event) {
	if x := e.GetExecution(); x != nil {
		x.ArgumentsDigest = d[x.Call]
	}
}

func (d digests) take(e *eventv1.Event) {
	if x := e.GetExecution(); x != nil {
		d[x.Call] = x.ArgumentsDigest
	}
}

var _ Sink = (*edge.Emitter)(nil)
