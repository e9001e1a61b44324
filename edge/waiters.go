package edge

import (
	"fmt"
	"slices"
	"sync"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"

	"github.com/agentcustody/custody/edge/spool"
)

// RefusedError says that Custody can never accept an event. The batch is in the folder refused.
type RefusedError struct {
	Reason  apiv1.RefusalReason
	Field   string // "events[3].execution.tool"
	Message string
	File    string // where the batch is
	Events  int    // how many were set aside
}

// Error names reason, field and file.
func (e *RefusedError) Error() string {
	what := e.Message
	if e.Field != "" {
		what = e.Field + ": " + what
	}
	return fmt.Sprintf("Custody refused %d events for good (%s): %s; they are in %s", e.Events, reasonName(e.Reason), what, e.File)
}

// waiters are the calls that wait for receipts.
type waiters struct {
	mu  sync.Mutex
	all []*waiter
}

type waiter struct {
	first, last spool.Place
	result      chan error // gets one answer
}

func (w *waiters) add(first, last spool.Place) *waiter {
	one := &waiter{first, last, make(chan error, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, one)
	return one
}

func (w *waiters) remove(one *waiter) {
	w.answer(func(other *waiter) bool { return other == one }, nil)
}

// acknowledged answers all that wait for nothing after place p.
func (w *waiters) acknowledged(p spool.Place) {
	w.answer(func(one *waiter) bool { return one.last <= p }, nil)
}

// refused answers all that wait for a place in the span.
func (w *waiters) refused(p spool.Span, err error) {
	w.answer(func(one *waiter) bool { return one.first <= p.Last && p.First <= one.last }, err)
}

func (w *waiters) answer(concerns func(*waiter) bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = slices.DeleteFunc(w.all, func(one *waiter) bool {
		if !concerns(one) {
			return false
		}
		one.result <- err
		return true
	})
}

// orClosed is the answer if there is one, ErrClosed otherwise.
func (w *waiter) orClosed() error {
	select {
	case err := <-w.result:
		return err
	default:
		return ErrClosed
	}
}
