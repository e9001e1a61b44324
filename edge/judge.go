package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// questions is what a gate asks the rules: whether they have seen the stream up to a batch of its own. The control's mutex guards it.
type questions struct {
	wanted uint64 // the newest that a call waits for
	judged uint64 // up to where the rules have seen it, and what they asked for is in force here
}

// took notes up to where the stream has the emitter's batches.
func (e *Emitter) took(streamSeq uint64) {
	for {
		before := e.taken.Load()
		if streamSeq <= before || e.taken.CompareAndSwap(before, streamSeq) {
			return
		}
	}
}

// awaitJudged lets the rules see all that was recorded before an act of high consequence: they may stop it. It waits no longer than
// Custody says; what then is Custody's policy.
func (c *control) awaitJudged(ctx context.Context, class Consequence) error {
	v, seq := c.view(), c.emitter.taken.Load()
	if class != High || v.judgeWait == 0 || seq == 0 || c.emitter.config.WithoutWriteAhead {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, v.judgeWait)
	defer cancel()
	if c.isJudged(ctx, seq) || !v.judgeRequired {
		return nil
	}
	return fmt.Errorf("%w: the rules have not seen what led to it within %s", ErrBlocked, v.judgeWait)
}

// isJudged asks, and waits for the answer.
func (c *control) isJudged(ctx context.Context, seq uint64) bool {
	for {
		c.mu.Lock()
		is, changed := c.rules.judged >= seq, c.changed
		ask := c.rules.wanted < seq
		c.rules.wanted = max(c.rules.wanted, seq)
		c.mu.Unlock()
		if is {
			return true
		}
		if ask {
			c.wonder()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// wonder has the session ask.
func (c *control) wonder() {
	select {
	case c.asks <- struct{}{}:
	default:
	}
}

// ask sends the newest question, unless it was sent on this stream.
func (s *controlSession) ask() error {
	c := s.control
	c.mu.Lock()
	wanted, judged := c.rules.wanted, c.rules.judged
	c.mu.Unlock()
	if wanted <= max(s.asked, judged) {
		return nil
	}
	s.asked = wanted
	s.question++
	s.questions[s.question] = wanted
	err := s.stream.Send(&apiv1.WatchRequest{Message: &apiv1.WatchRequest_Judge{Judge: &apiv1.Judge{Number: s.question, StreamSeq: wanted}}})
	if errors.Is(err, io.EOF) {
		return nil // receiving says why
	}
	return err
}

// judged takes an answer. What the rules have asked for has come before it on the same stream.
func (s *controlSession) judged(j *apiv1.Judged) {
	seq := s.questions[j.GetNumber()]
	for n := range s.questions {
		if n <= j.GetNumber() {
			delete(s.questions, n)
		}
	}
	c := s.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq > c.rules.judged {
		c.rules.judged = seq
		c.move()
	}
}

// judgeWaitOf is how long Custody lets an act wait, within reason.
func judgeWaitOf(x *apiv1.Control) time.Duration {
	return min(max(time.Duration(x.GetJudgeWait()), 0), gatePatience)
}
