package node

import (
	"context"
	"time"
)

// The rules let the door go first, by turns: somebody waits for each receipt, and somebody may have to be stopped. However busy the
// door is, the rules have half of the time.
const (
	turnMost = 10 * time.Millisecond // that is waited in one turn
	turnWork = 10 * time.Millisecond // before the next turn
	turnStep = time.Millisecond      // how often it is looked whether emitters still wait
)

// turn is for one goroutine. The zero time begins with a turn.
type turn struct {
	busy func() bool // whether emitters wait
	last time.Time   // end of the last turn
}

// yield waits while the door is busy, if it is the door's turn.
func (t *turn) yield(ctx context.Context) {
	began := time.Now()
	if began.Sub(t.last) < turnWork || !t.busy() {
		return
	}
	step := time.NewTicker(turnStep)
	defer step.Stop()
	for t.busy() && time.Since(began) < turnMost {
		select {
		case <-step.C:
		case <-ctx.Done():
			return
		}
	}
	t.last = time.Now()
}
