package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// arena is where the decoder takes messages from. That of a batch makes them many at a time, since they live and die together; the
// zero arena makes each by itself, and any number of decoders may share it.
type arena struct {
	events       slab[eventv1.Event]
	executions   slab[executionBody]
	datas        slab[dataBody]
	causes       list[eventv1.Cause]
	sealed       list[eventv1.Sealed]
	fingerprints list[eventv1.Fingerprint]
}

// alone is the arena of events that are parsed one at a time.
var alone arena

// executionBody and dataBody are the most frequent bodies, each with the wrapper that an event holds it in.
type (
	executionBody struct {
		of      eventv1.Event_Execution
		message eventv1.Execution
	}
	dataBody struct {
		of      eventv1.Event_Data
		message eventv1.Data
	}
)

// mostAtOnce bounds what an arena makes at a time: an event that is kept keeps its neighbours.
const mostAtOnce = 64

// newArena is for a batch of so many events.
func newArena(events int) *arena {
	a := new(arena)
	a.sized(min(events, mostAtOnce))
	return a
}

// sized sets how much is made at a time, for so many events.
func (a *arena) sized(n int) {
	a.events.size, a.executions.size, a.datas.size = n, n, max(1, n/4)
	a.causes.size, a.sealed.size, a.fingerprints.size = n, 2*n, 2*n
}

// reset forgets everything that was taken, and gives it out again.
func (a *arena) reset() {
	a.events.reset()
	a.executions.reset()
	a.datas.reset()
	a.causes.reset()
	a.sealed.reset()
	a.fingerprints.reset()
}

// slab hands out values, size of them from one allocation; each by itself where size is 0.
type slab[T any] struct {
	all  []T
	used int
	size int
}

func (s *slab[T]) one() *T {
	if s.size == 0 {
		return new(T)
	}
	if s.used == len(s.all) {
		s.all, s.used = make([]T, s.size), 0
	}
	s.used++
	return &s.all[s.used-1]
}

func (s *slab[T]) reset() {
	clear(s.all[:s.used])
	s.used = 0
}

// list is a slab for repeated fields, which are pointers to messages.
type list[T any] struct {
	all      []T
	pointers []*T // to all, in order
	used     int
	size     int
}

func (l *list[T]) take(n int) []*T {
	if l.size == 0 {
		_, pointers := pointed[T](n)
		return pointers
	}
	if len(l.all)-l.used < n {
		l.all, l.pointers = pointed[T](max(n, l.size))
		l.used = 0
	}
	l.used += n
	return l.pointers[l.used-n : l.used : l.used]
}

func (l *list[T]) reset() {
	clear(l.all[:l.used])
	l.used = 0
}

// pointed makes n values and the pointers to them.
func pointed[T any](n int) (all []T, pointers []*T) {
	all, pointers = make([]T, n), make([]*T, n)
	for i := range all {
		pointers[i] = &all[i]
	}
	return all, pointers
}
