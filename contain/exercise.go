package contain

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// exerciseTTL is how long a test lease lasts: long enough that a busy process can look in between, short enough for thousands.
	exerciseTTL = 250 * time.Millisecond
	// exercisePatience bounds the wait for a gate's answer: it comes with a renewal, which the gate makes at once.
	exercisePatience = 5 * time.Second
)

var (
	errNotConnected = errors.New("no gate is connected")
	errSilent       = errors.New("the gate does not answer")
	errDead         = errors.New("the credential is dead: nothing to revoke, and nothing to see")
)

// ask is an exercise that somebody waits for.
type ask struct{ answer chan *apiv1.Exercised } // of one place, so that nobody waits for who has gone

// exercise has a gate try itself: what its own decision is under a pause, and under a lease that ends. Nothing is stopped.
func (e *Engine) exercise(ctx context.Context, key [32]byte) (evidence string, err error) {
	ctx, cancel := context.WithTimeout(ctx, exercisePatience)
	defer cancel()
	asks, a, began := e.leases.asksOf(key), ask{make(chan *apiv1.Exercised, 1)}, e.cfg.Now()
	if asks == nil {
		return "", errNotConnected
	}
	select {
	case asks <- a:
	case <-ctx.Done():
		return "", errSilent
	}
	select {
	case x := <-a.answer:
		return judge(x, e.cfg.Now().Sub(began))
	case <-ctx.Done():
		return "", errSilent
	}
}

// judge says what a gate's answer shows.
func judge(x *apiv1.Exercised, took time.Duration) (evidence string, err error) {
	switch {
	case !x.GetContained():
		return "", errors.New("a pause would not stop a call at this gate")
	case !x.GetLeased():
		return "", errors.New("a call was refused under the test lease")
	case !x.GetEnded():
		return "", errors.New("a call was let through after the test lease")
	}
	return fmt.Sprintf("round trip, pause and test lease in %d ms", took.Milliseconds()), nil
}

// exercise passes an ask on to the gate.
func (w *watcher) exercise(a ask) error {
	w.count++
	w.open[w.count] = a
	x := &apiv1.Exercise{Number: w.count, Ttl: int64(exerciseTTL)}
	return w.link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Exercise{Exercise: x}})
}

// exercised passes the gate's answer on. Asks before it get none any more.
func (w *watcher) exercised(x *apiv1.Exercised) {
	if a, open := w.open[x.GetNumber()]; open {
		a.answer <- x
	}
	for number := range w.open {
		if number <= x.GetNumber() {
			delete(w.open, number)
		}
	}
}
