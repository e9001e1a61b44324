package edge

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ErrNoRun says that a context belongs to no run: it must come from Emitter.Run.
var ErrNoRun = errors.New("context belongs to no run")

// scope is what a context knows: what led here and whether it can be trusted. Input, Retrieve and the like give a new
// context with a new scope; the results of calls are added to the scope that the call was made with, because the model
// sees them next.
type scope struct {
	run   *Run
	given Trust // of what led here, where the program that knows it says so

	bringing sync.Mutex // held from naming the causes of an event that brings content until it is added

	mu     sync.Mutex // guards what follows
	inputs []item     // what triggered the run, at most maxInputs; each later event names them directly
	items  []item     // what entered the context since, at most maxItems
	err    error      // the first that could not be returned
}

// item is one event that brought content.
type item struct {
	id       event.ID
	relation eventv1.Relation
	trust    Trust
}

// An event has event.MaxCauses causes at most. When a scope has maxItems, the event that brings the next one names them
// all as its causes and stands for them from then on: nothing falls out of the chain of causes.
const (
	maxInputs = 8
	maxItems  = 40
)

type scopeKey struct{}

func scopeOf(ctx context.Context) *scope {
	s, _ := ctx.Value(scopeKey{}).(*scope)
	return s
}

func (s *scope) into(ctx context.Context) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// child is a scope that knows what s knows.
func (s *scope) child() *scope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &scope{run: s.run, given: s.given, inputs: slices.Clone(s.inputs), items: slices.Clone(s.items), err: s.err}
}

// add takes in what an event has brought. A full list gives way to the event, which names all of it: see bring.
func (s *scope) add(i item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i.relation == eventv1.Relation_RELATION_INPUT && len(s.inputs) < maxInputs {
		s.inputs = append(s.inputs, i)
		return
	}
	if len(s.items) >= maxItems {
		i.trust = worst(s.items, i.trust)
		s.items = s.items[:0:0]
	}
	s.items = append(s.items, i)
}

// causes of an event that acts on everything in the scope, after the given ones.
func (s *scope) causes(first ...*eventv1.Cause) []*eventv1.Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range [][]item{s.inputs, s.items} {
		for _, i := range list {
			first = append(first, recorded(i.id, i.relation))
		}
	}
	return first
}

// triggers are the causes of an event that only needs to name what started it all.
func (s *scope) triggers(first ...*eventv1.Cause) []*eventv1.Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.inputs {
		first = append(first, recorded(i.id, i.relation))
	}
	return first
}

// bring records an event that brings content, and adds it to the scope. Its causes are the given ones and what triggered
// the run; everything, if the scope is full.
func (s *scope) bring(ctx context.Context, i item, build func([]*eventv1.Cause) *Event, first ...*eventv1.Cause) {
	s.bringing.Lock()
	defer s.bringing.Unlock()
	if s.failed() != nil {
		return
	}
	causes := s.triggers
	if s.full() {
		causes = s.causes
	}
	id, err := s.run.emitter.Record(ctx, build(causes(first...)))
	if err != nil {
		s.fail(err)
		return
	}
	i.id = id
	s.add(i)
}

func (s *scope) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.items) >= maxItems
}

func recorded(id event.ID, relation eventv1.Relation) *eventv1.Cause {
	return &eventv1.Cause{Id: id[:], Relation: relation, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}
}

// trust of everything in the scope together.
func (s *scope) trust() Trust {
	s.mu.Lock()
	defer s.mu.Unlock()
	return worst(s.items, worst(s.inputs, s.given))
}

// worst of a list and t: untrusted, then checked, then trusted, then none.
func worst(items []item, t Trust) Trust {
	for _, i := range items {
		if rank(i.trust) > rank(t) {
			t = i.trust
		}
	}
	return t
}

func rank(t Trust) int {
	switch t {
	case Untrusted:
		return 3
	case Checked:
		return 2
	case Trusted:
		return 1
	}
	return 0
}

// checked turns untrusted items into checked ones: all of them, or those named.
func (s *scope) checked(ids []event.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range [][]item{s.inputs, s.items} {
		for i := range list {
			if list[i].trust == Untrusted && (len(ids) == 0 || slices.Contains(ids, list[i].id)) {
				list[i].trust = Checked
			}
		}
	}
}

// fill sets what a plain Record in this scope leaves out.
func (s *scope) fill(p *eventv1.Event) {
	p.Run = s.run.id
	if p.Principal == "" {
		p.Principal = s.run.options.Principal
	}
	if p.OnBehalfOf == nil {
		p.OnBehalfOf = s.run.options.OnBehalfOf
	}
	if p.Causes == nil {
		p.Causes = s.causes()
	}
	if p.Trust == 0 {
		p.Trust = s.trust()
	}
}

// fail keeps the first error, for the scope and for its run.
func (s *scope) fail(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.run.fail(err)
}

func (s *scope) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Err is the first error of a helper that returns only a context, ErrNoRun outside a run.
func Err(ctx context.Context) error {
	s := scopeOf(ctx)
	if s == nil {
		return ErrNoRun
	}
	return s.failed()
}

// Branch returns a context for a part of the run that works on its own: it begins with everything that ctx knows, and what
// it learns stays in it.
func Branch(ctx context.Context) context.Context {
	s := scopeOf(ctx)
	if s == nil {
		return ctx
	}
	return s.child().into(ctx)
}
