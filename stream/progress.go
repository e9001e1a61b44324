package stream

import (
	"context"
	"fmt"
	"sync"
)

// Progress is how far somebody who folds the stream has come, for those who wait for it. It is safe for concurrent use. Its lock is held
// for nothing else, so it may be moved on while the folded state is locked.
type Progress struct {
	mu     sync.Mutex
	seq    uint64        // of the last message that is folded
	failed error         // why folding has ended
	moved  chan struct{} // closed and replaced when anything has changed
}

// NewProgress is at a stream sequence.
func NewProgress(seq uint64) *Progress { return &Progress{seq: seq, moved: make(chan struct{})} }

// Reach notes that the message at a stream sequence is folded.
func (p *Progress) Reach(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq = seq
	p.wake()
}

// Fail makes every later wait for a message that is not folded fail: what is known gets old.
func (p *Progress) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
	p.wake()
}

// Wake lets everybody who waits look again.
func (p *Progress) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
}

func (p *Progress) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// At is the sequence of the last message that is folded, a channel that is closed when anything may have changed, and the error of Fail.
func (p *Progress) At() (seq uint64, moved <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq, p.moved, p.failed
}

// Await returns when the message at a stream sequence is folded. The error is that of Fail, or the cause of ctx.
func (p *Progress) Await(ctx context.Context, seq uint64) error {
	return p.Until(ctx, func() bool { at, _, _ := p.At(); return at >= seq }, fmt.Sprintf("message %d", seq))
}

// Until returns when done is true, which is looked at after every change; what names what is waited for.
func (p *Progress) Until(ctx context.Context, done func() bool, what string) error {
	for {
		_, moved, failed := p.At() // before looking: a change in between is not missed
		switch {
		case done():
			return nil
		case failed != nil:
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w", what, context.Cause(ctx))
		}
	}
}
