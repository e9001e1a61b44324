package ledger

import (
	"context"
	"time"

	"github.com/agentcustody/custody/stream"
)

// Both that fold the stream let emitters go first, who wait for a processor: somebody waits for each receipt. They do so only while
// they are not late themselves.
const (
	// turnStep is how often it is looked whether emitters still wait.
	turnStep = time.Millisecond

	// yieldMost is how long the writer lets a message wait at most. With it the log goes on by some ten messages a second however busy the
	// door is; when the backlog is full, the door pushes back and is not busy.
	yieldMost = 100 * time.Millisecond

	// Messages of an age between these the writer takes at once however busy the door is: a row may come later than its receipt, but not
	// so late that whoever looks for it gives up. What is older is a backlog already, and no reader waits for its end.
	lateAge    = 300 * time.Millisecond
	backlogAge = 1500 * time.Millisecond

	// A follower waits so long, after it has worked so long, and not at all for messages of this age and older: the rules are behind it,
	// and what they stop should not go on for longer than a person could notice.
	followMost = 3 * time.Millisecond
	followWork = 3 * time.Millisecond
	followLate = 30 * time.Millisecond

	// never is an age that no message has.
	never = time.Duration(1<<63 - 1)
)

// turn is how one that folds lets emitters go first. It is for one goroutine; the zero time begins with a turn.
type turn struct {
	way     *stream.RightOfWay // given at any time
	busy    func() bool        // whether emitters wait; nil is never
	most    time.Duration      // that is waited in one turn
	work    time.Duration      // before the next turn
	late    time.Duration      // age of a message that is late: from here on there are no turns
	backlog time.Duration      // age of a message that nobody waits for any more: from here on there are
	last    time.Time          // end of the last turn
}

// yield waits while emitters do, if it is their turn; age is that of the last message.
func (t *turn) yield(ctx context.Context, age time.Duration) {
	t.way.Give(ctx)
	began := time.Now()
	if t.busy == nil || age >= t.late && age < t.backlog || began.Sub(t.last) < t.work || !t.busy() {
		return
	}
	step := time.NewTicker(turnStep)
	defer step.Stop()
	for t.busy() && time.Since(began) < t.most {
		select {
		case <-step.C:
		case <-ctx.Done():
			return
		}
	}
	t.last = time.Now()
}
