package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
)

// clock makes the times of one run.
type clock struct {
	base time.Time
	step time.Duration // of one message
	now  time.Time     // of the next event
}

// newClock begins a run at a time that its id decides. A run without messages takes its whole duration.
func newClock(run string, t *trace) *clock {
	sum := sha256.Sum256([]byte("custody/import/time/v1\x00" + run))
	ms := firstMade + int64(binary.BigEndian.Uint64(sum[:8])%spanMade)
	c := &clock{base: time.UnixMilli(ms), step: stepMade}
	if t.duration > 0 {
		c.step = t.duration / time.Duration(max(1, len(t.messages)))
	}
	c.now = c.base
	return c
}

// start of message i, in nanoseconds since the Unix epoch.
func (c *clock) start(i int) int64 { return c.base.Add(time.Duration(i) * c.step).UnixNano() }

// enter moves on to message i, never back.
func (c *clock) enter(i int) {
	if start := c.base.Add(time.Duration(i) * c.step); start.After(c.now) {
		c.now = start
	}
}

// tick is the time of one event, in nanoseconds since the Unix epoch.
func (c *clock) tick() int64 {
	at := c.now
	c.now = at.Add(time.Microsecond)
	return at.UnixNano()
}

// ids makes the ids of one run's events, in order.
type ids struct {
	input   []byte // of the hash, without the ordinal
	ordinal uint32
}

func newIDs(tenant event.TenantID, instance event.InstanceID, run string) *ids {
	return &ids{input: []byte("custody/import/event/v1\x00" + string(tenant) + "\x00" + string(instance) + "\x00" + run + "\x00")}
}

// next is the id of the next event, which happened at ns nanoseconds since the Unix epoch.
func (x *ids) next(ns int64) event.ID {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(slices.Clip(x.input), x.ordinal))
	x.ordinal++
	return event.NewID(time.Unix(0, ns), bytes.NewReader(sum[:]))
}
