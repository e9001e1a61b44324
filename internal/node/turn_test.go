package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurnsAreTakenInTurn: the door goes first while emitters wait, and never for more than half of the time.
func TestTurnsAreTakenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := true
		turn := &turn{busy: func() bool { return busy }}
		yielded := func() time.Duration {
			began := time.Now()
			turn.yield(t.Context())
			return time.Since(began)
		}
		for _, c := range []struct {
			name string
			busy bool
			work time.Duration // since the last turn
			want time.Duration
		}{
			{"emitters wait", true, 0, turnMost},
			{"right after a turn", true, turnWork - 1, 0},
			{"the next turn", true, 1, turnMost},
			{"nobody waits", false, time.Second, 0},
			{"somebody does again", true, 0, turnMost},
		} {
			time.Sleep(c.work)
			if busy = c.busy; yielded() != c.want {
				t.Errorf("%s: not %s", c.name, c.want)
			}
		}
	})
}

// TestTurnEnds as soon as nobody waits, and with its context.
func TestTurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		(&turn{busy: func() bool { return time.Since(began) < 3*turnStep }}).yield(t.Context())
		if took := time.Since(began); took != 3*turnStep {
			t.Errorf("waited %s", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		(&turn{busy: func() bool { return true }}).yield(ctx)
		if took := time.Since(began); took > turnStep {
			t.Errorf("waited %s after the end", took)
		}
	})
}
