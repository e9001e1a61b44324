package torture

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/ledger"
)

// clock is the machine's clock, moved by a test.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) leap(by time.Duration) { c.ahead.Store(int64(by)) }

// TestClockLeapsForward: a server whose clock is ahead goes on, and back again.
func TestClockLeapsForward(t *testing.T) {
	c := new(clock)
	l := newLocal(t, func(n *node.Config) { n.Now = c.now })
	l.open()
	for _, ahead := range []time.Duration{0, time.Hour, 4 * time.Minute, 48 * time.Hour, 0} {
		c.leap(ahead)
		l.record(20)
		l.audited()
		l.CreateInstance(tenant, "another") // Custody's own events
	}
	l.Restart()
	l.record(20)
	l.audited()
}

// TestClockLeapsBack: to a server whose clock is minutes behind, messages come from the future. The ledger stops and
// says so, the door takes what the stream can hold, and a person who has set the clock right starts it again.
func TestClockLeapsBack(t *testing.T) {
	c := new(clock)
	l := newLocal(t, func(n *node.Config) { n.Now = c.now }, backlogOf(200))
	l.open()
	l.record(20)
	l.flush()
	c.leap(-ledger.MaxClockLeap / 2)
	l.record(20)
	l.audited()
	c.leap(-2 * ledger.MaxClockLeap)
	l.recordUntil(func() bool { return strings.Contains(l.status().GetLedgerError(), ledger.ErrClockLeap.Error()) })
	l.recordUntil(func() bool { return l.refused("pushback") > 0 })
	c.leap(0)
	l.Restart()
	l.audited()
}
