package ledger

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentcustody/custody/stream"
)

// TestTurnsAreTakenInTurn: emitters go first while they wait, never for more than the share that they have, and not before what is late.
func TestTurnsAreTakenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		turn := &turn{busy: func() bool { return busy }, most: followMost, work: followWork, late: lateAge, backlog: backlogAge}
		for _, c := range []struct {
			name string
			busy bool
			work time.Duration // since the last turn
			age  time.Duration // of the last message
			want time.Duration
		}{
			{"emitters wait", true, 0, 0, followMost},
			{"right after a turn", true, followWork - 1, 0, 0},
			{"the next turn", true, 1, 0, followMost},
			{"nobody waits", false, time.Second, 0, 0},
			{"somebody does again", true, 0, 0, followMost},
			{"not late yet", true, followWork, lateAge - 1, followMost},
			{"late", true, followWork, lateAge, 0},
			{"still late", true, followWork, backlogAge - 1, 0},
			{"a backlog", true, followWork, backlogAge, followMost},
			{"from the future", true, followWork, -time.Second, followMost},
		} {
			time.Sleep(c.work)
			busy = c.busy
			began := time.Now()
			if turn.yield(t.Context(), c.age); time.Since(began) != c.want {
				t.Errorf("%s: waited %s, not %s", c.name, time.Since(began), c.want)
			}
		}
	})
}

// TestTurnEnds as soon as nobody waits, and with its context; without emitters there is none.
func TestTurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		few := turn{busy: func() bool { return time.Since(began) < 3*turnStep }, most: followMost, late: never, backlog: never}
		few.yield(t.Context(), 0)
		if took := time.Since(began); took != 3*turnStep {
			t.Errorf("waited %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		few.yield(ctx, 0)
		(&turn{most: followMost, late: never, backlog: never}).yield(t.Context(), 0)
		if took := time.Since(began); took > turnStep {
			t.Errorf("waited %s after the end", took)
		}
	})
}

// TestTheWriterGivesWay: also when it is late and when nobody waits at the door.
func TestTheWriterGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := &turn{way: new(stream.RightOfWay), late: lateAge}
		const held = time.Millisecond
		time.AfterFunc(held, turn.way.Take())
		began := time.Now()
		if turn.yield(t.Context(), lateAge); time.Since(began) != held {
			t.Errorf("gave way for %s, not %s", time.Since(began), held)
		}
		time.Sleep(time.Second)
	})
}
