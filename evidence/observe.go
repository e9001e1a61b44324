package evidence

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The writer's side: it folds the same system events as a verifier will, so that it knows the same producers.

func (x *export) openDerivation() error {
	mapping, err := ownMapping(x.options.Frameworks...)
	if err != nil {
		return err
	}
	exam, err := newExamination(mapping)
	if err != nil {
		return err
	}
	x.derived, err = newDerivation(&x.scope, exam, func(file string) io.Writer { return x.file(file) })
	return err
}

// producers folds, for a part of a tenant, what a verifier will know of the part's keys before it reads its records.
func (x *export) producers(ctx context.Context) error {
	if x.scope.whole() || x.scope.End == 0 {
		return nil
	}
	for m, err := range x.reader.Admission(ctx, 0, x.scope.End) {
		if err != nil {
			return fmt.Errorf("read system events: %w", err)
		}
		for i, b := range m.Leaves {
			leaf, err := chain.ParseLeaf(b)
			if err != nil {
				return err
			}
			if e, chosen := chooseEvent(m, i, &leaf, x.concerns); chosen && leaf.Index < x.scope.End {
				x.applySystem(leaf.Index, e)
			}
		}
	}
	return ctx.Err()
}

// applyBefore folds a system event from before the range of a whole tenant.
func (x *export) applyBefore(index chain.Index, encoded []byte) {
	if x.scope.whole() && index < x.scope.Begin {
		x.applySystem(index, encoded)
	}
}

func (x *export) applySystem(index chain.Index, encoded []byte) {
	if e, err := event.Parse(encoded); err == nil {
		_ = x.registry.Apply(uint64(index), e) // one that does not apply changes nothing, as in the log itself
	}
}

// openLog folds the genesis before its own batch, because its key signs it.
func (x *export) openLog(p *part) {
	if p.First == 0 {
		x.apply(p, 0)
	}
}

// applyAll folds the accepted system events of a message, after the facts of the message. What was folded before changes nothing.
func (x *export) applyAll(p *part) {
	if !isSystem(p.statement) {
		return
	}
	for i := p.from; i < p.to; i++ {
		x.apply(p, i)
	}
}

func (x *export) apply(p *part, i int) {
	if p.leaves[i].Verdict != chain.Accepted {
		return
	}
	if e, err := event.Parse(p.Events[i].Bytes); err == nil {
		_ = x.registry.Apply(uint64(p.leaves[i].Index), e)
	}
}

// observe takes leaf i of a message into the derivation, with its event if it is here and right.
func (x *export) observe(p *part, i int, e *eventv1.Event) error {
	l := &p.leaves[i]
	if p.Events[i].Missing != NotMissing {
		x.derived.missing(l.Kind)
	}
	if e == nil {
		return nil
	}
	f := &fact{index: l.Index, time: l.Time, verdict: l.Verdict, producer: producerAt(x.registry, p.statement, p.First), event: e}
	if err := x.derived.add(f); err != nil {
		return err
	}
	x.story.add(f)
	return nil
}

// The verifier's side.

// errDerived says that a file is not what the records give.
var errDerived = errors.New("differs from the records")

// comparer compares what is written with a file, and remembers the record at which they part.
type comparer struct {
	file    string
	r       *bufio.Reader
	room    []byte
	current *chain.Index // the record whose row is written; nil before the first
	err     error        // nil: they agree so far
	at      *chain.Index
}

func (v *verification) compare(file string) *comparer {
	f := v.container.open(file)
	c := &comparer{file: file, r: bufio.NewReaderSize(f, bufferFor(f)), current: &v.current}
	v.comparers = append(v.comparers, c)
	return c
}

// Write never fails: what is wrong is reported at the end.
func (c *comparer) Write(b []byte) (int, error) {
	if c.err != nil {
		return len(b), nil
	}
	c.room = append(c.room[:0], b...)
	_, err := io.ReadFull(c.r, c.room)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), err == nil && !bytes.Equal(c.room, b):
		at := *c.current
		c.err, c.at = errDerived, &at
	case err != nil:
		c.err = err
	}
	return len(b), nil
}

// end is an error unless the file agreed and ends here.
func (c *comparer) end() error {
	if c.err != nil {
		return c.err
	}
	if _, err := c.r.Peek(1); err == nil {
		return errDerived
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// openDerivation begins to derive what the files beside the records should say.
func (v *verification) openDerivation() (err error) {
	v.current = v.scope.Begin
	exam, err := v.openControls()
	if err != nil {
		return err
	}
	v.derived, err = newDerivation(v.scope, exam, func(file string) io.Writer { return v.compare(file) })
	return err
}

// observe takes the events of a message into the derivation.
func (j *judge) observe(m *job) {
	producer := producerAt(j.registry, m.statement, m.record.first)
	for i, e := range m.parsed {
		l := &m.leaves[i]
		if e == nil {
			if s := m.events[i].state; s == stateHeld || s == stateWithheld || s == stateExpired {
				j.derived.missing(l.Kind)
			}
			continue
		}
		j.current = l.Index
		if j.options.watch != nil {
			j.options.watch(l.Index, e)
		}
		j.fact = fact{index: l.Index, time: l.Time, verdict: l.Verdict, producer: producer, event: e}
		_ = j.derived.add(&j.fact) // a comparer never fails
	}
}

// checkPopulations holds every file to its end.
func (v *verification) checkPopulations() error {
	for i, c := range v.comparers {
		v.examine(CheckPopulation, v.derived.rows[i])
		err := c.end()
		switch {
		case err == nil:
		case !errors.Is(err, errDerived):
			return fmt.Errorf("read %s: %w", c.file, err)
		case c.at == nil:
			v.fail(CheckPopulation, fmt.Errorf("%s: goes on after its last row: %w", c.file, err))
		default:
			v.failAt(CheckPopulation, *c.at, fmt.Errorf("%s: %w", c.file, err))
		}
	}
	v.done(CheckPopulation)
	return nil
}

// openControls reads the mapping that the bundle carries. Without one that can be read the controls are not examined; nil.
func (v *verification) openControls() (*examination, error) {
	v.examine(CheckControls, 1)
	file, err := v.container.read(fileControls)
	if err != nil {
		return nil, err
	}
	mapping, err := parseMapping(file)
	if err != nil {
		v.fail(CheckControls, fmt.Errorf("%s: %w", fileControls, err))
		return nil, nil
	}
	exam, err := newExamination(mapping)
	if err != nil {
		v.fail(CheckControls, fmt.Errorf("%s: %w", fileControls, err))
		return nil, nil //nolint:nilerr // it is recorded as a failure of the check
	}
	return exam, nil
}

// checkControls compares controls.json with the answers that the records gave to its own questions.
func (v *verification) checkControls() error {
	if v.derived.exam == nil {
		return nil
	}
	mapping := v.derived.exam.answer()
	v.controls = mapping.sum()
	return v.account(CheckControls, v.compareJSON(fileControls, mapping))
}
