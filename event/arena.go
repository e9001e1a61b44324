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
	n := min(events, mostAtOnce)
	a := new(arena)
	a.events.size, a.executions.size, a.datas.size = n, n, max(1, n/4)
	a.causes.sized(n)
	a.sealed.sized(2 * n)
	a.fingerprints.sized(2 * n)
	return a
}

// slab hands out values, size of them from one allocation; each by itself where size is 0.
type slab[T any] struct {
	free []T
	size int
}

func (s *slab[T]) take(n int) []T {
	if s.size == 0 {
		return make([]T, n)
	}
	if len(s.free) < n {
		s.free = make([]T, max(n, s.size))
	}
	taken := s.free[:n:n]
	s.free = s.free[n:]
	return taken
}

func (s *slab[T]) one() *T { return &s.take(1)[0] }

// list is a slab for messages and one for the pointers to them, as repeated fields need both.
type list[T any] struct {
	values   slab[T]
	pointers slab[*T]
}

func (l *list[T]) sized(n int) { l.values.size, l.pointers.size = n, n }

func (l *list[T]) take(n int) ([]T, []*T) { return l.values.take(n), l.pointers.take(n) }
