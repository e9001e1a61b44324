package stream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// mostWay bounds how long one that has the right of way holds up the others: many times what an order takes to the gates.
	mostWay = 40 * time.Millisecond
	// wayShare is how many times longer than it was taken the way is everybody's after that: orders without end must not close the door.
	wayShare = 4
)

// RightOfWay lets what must not wait go before what can. While somebody has it, whoever gives way begins nothing new: on a busy machine
// a message passes through a dozen goroutines to its reader, and each waits for a processor. It is safe for concurrent use; a nil one
// is never taken.
type RightOfWay struct {
	taken atomic.Pointer[way] // nil if nobody has it

	mu     sync.Mutex
	holds  int       // that have taken it and not returned it
	before time.Time // when it can be taken again
}

// way is one time for which the right is taken.
type way struct {
	began time.Time
	free  chan struct{} // closed at its end
}

// Take takes the right of way, if it is not somebody else's time now, for no longer than mostWay. giveBack must be called.
func (r *RightOfWay) Take() (giveBack func()) {
	if r == nil {
		return func() {}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holds++
	if now := time.Now(); r.taken.Load() == nil && !now.Before(r.before) {
		w := &way{began: now, free: make(chan struct{})}
		r.taken.Store(w)
		time.AfterFunc(mostWay, func() { r.end(w) })
	}
	return sync.OnceFunc(r.giveBack)
}

func (r *RightOfWay) giveBack() {
	r.mu.Lock()
	r.holds--
	w, last := r.taken.Load(), r.holds == 0
	r.mu.Unlock()
	if w != nil && last {
		r.end(w)
	}
}

// end lets the others go on.
func (r *RightOfWay) end(w *way) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken.CompareAndSwap(w, nil) {
		now := time.Now()
		r.before = now.Add(wayShare * now.Sub(w.began))
		close(w.free)
	}
}

// Give returns when nobody has the right of way, or when ctx ends.
func (r *RightOfWay) Give(ctx context.Context) {
	if r == nil {
		return
	}
	if w := r.taken.Load(); w != nil {
		select {
		case <-w.free:
		case <-ctx.Done():
		}
	}
}
