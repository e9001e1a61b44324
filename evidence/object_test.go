package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// longResult is a value that travelled as an object.
func longResult(n int) string { return strings.Repeat("row of the answer\n", n/18+1)[:n] }

// reported has leaf 5 with a short and a long sealed field, and short ones around it.
func reported(t testing.TB, n int) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	e := a.call("person-1", "arguments")
	a.seal(e, "result", "person-2", longResult(n))
	a.batch([]*eventv1.Event{a.call("person-1", "before"), e, a.call("person-1", "after")})
	a.send(2)
	w.clock("11:00").access()
	return w
}

func TestALongValueIsDisclosedWhole(t *testing.T) {
	const n = event.MaxSealedInline*5 + 3
	w := reported(t, n)
	bundle := w.bundle("08:30", "10:30")
	v := verify(t, bundle, w.policy())
	if v.Integrity != Intact || v.Records.FieldsDisclosed != 6 || v.Records.FieldsWithheld != 0 {
		t.Errorf("%s, %+v\n%s", v.Integrity, v.Records, details(v))
	}
	if !bytes.Contains(bundle, []byte(longResult(n))) {
		t.Error("the value is not in the bundle")
	}
}

// TestObjectsAreLoadedWhenTheyAreWritten, and one that cannot be had is withheld.
func TestObjectsAreLoadedWhenTheyAreWritten(t *testing.T) {
	const n = event.MaxSealedInline + 1
	for name, test := range map[string]struct {
		load     func() []byte
		withheld uint64
		reason   string
	}{
		"here":    {func() []byte { return []byte(longResult(n)) }, 0, ""},
		"missing": {func() []byte { return nil }, 1, reasonAbsent},
		"damaged": {func() []byte { return []byte{} }, 1, reasonDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			w := reported(t, n)
			for place, o := range w.openings {
				if len(o.Value) > event.MaxSealedInline {
					o.Value, o.Load = nil, test.load
					w.openings[place] = o
				}
			}
			v := verify(t, w.bundle("08:30", "10:30"), w.policy())
			if v.Integrity != Intact || v.Records.FieldsWithheld != test.withheld {
				t.Errorf("%s, %+v\n%s", v.Integrity, v.Records, details(v))
			}
			if test.withheld > 0 && (len(v.Redactions) != 1 || v.Redactions[0].Reason != test.reason) {
				t.Errorf("redactions %v", v.Redactions)
			}
		})
	}
}

// longRecord is the place of the long value's record in openings/range.bin.
const longRecord = 2

func TestDishonestObjects(t *testing.T) {
	of := func(edit func([]byte) []byte) func(*testing.T) ([]byte, *Policy) {
		return func(t *testing.T) ([]byte, *Policy) {
			w := reported(t, event.MaxSealedInline*2)
			return repack(t, w.export, w.bundle("08:30", "10:30"), editRecord(fileOpenings, longRecord, edit)), w.policy()
		}
	}
	for name, a := range map[string]attack{
		"a byte of the value":  {CheckOpening, ExitOpening, of(func(b []byte) []byte { b[len(b)-1] ^= 1; return b })},
		"its salt":             {CheckOpening, ExitOpening, of(func(b []byte) []byte { b[openingHead-1] ^= 1; return b })},
		"cut":                  {CheckOpening, ExitOpening, of(func(b []byte) []byte { return b[:len(b)-1] })},
		"longer":               {CheckOpening, ExitOpening, of(func(b []byte) []byte { return append(b, 'x') })},
		"cut to a short value": {CheckOpening, ExitOpening, of(func(b []byte) []byte { return b[:openingHead+10] })},
		"another state": {CheckFormat, ExitFormat, of(func(b []byte) []byte {
			b[8+2] = byte(stateErased)
			return b
		})},
		"another field": {CheckRedactions, ExitReport, of(func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[8:], 7)
			return b
		})},
		"out of order": {CheckFormat, ExitFormat, of(func(b []byte) []byte {
			binary.BigEndian.PutUint16(b[8:], 0)
			return b
		})},
		"longer than any object": {CheckFormat, ExitFormat, of(func(b []byte) []byte { return append(b, make([]byte, event.MaxObject)...) })},
	} {
		t.Run(name, func(t *testing.T) { // they are too large to be vectors
			_, _, v := a.run(t)
			holdChecks(t, v)
		})
	}
}

// Long values may be the last of their messages, and follow each other.
func TestLongValuesInARow(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	for _, n := range []int{1, 2} {
		e := a.call("person-1", "arguments")
		a.seal(e, "result", "person-2", longResult(event.MaxSealedInline+n))
		a.seal(e, "trace", "person-2", longResult(event.MaxSealedInline+n+2))
		a.batch([]*eventv1.Event{e})
	}
	a.send(1)
	w.clock("11:00").access()
	v := verify(t, w.bundle("08:30", "10:30"), w.policy())
	if v.Integrity != Intact || v.Records.FieldsDisclosed != 7 {
		t.Errorf("%s, %+v\n%s", v.Integrity, v.Records, details(v))
	}
}

// A value that is as long as may be in memory, or a byte longer, is the same either way.
func TestValuesAtTheLimit(t *testing.T) {
	for _, n := range []int{event.MaxSealedInline, event.MaxSealedInline + 1} {
		if v := verify(t, reported(t, n).bundle("08:30", "10:30"), nil); v.Integrity != Intact {
			t.Errorf("%d bytes: %s\n%s", n, v.Integrity, details(v))
		}
	}
}

// TestObjectsAreNotHeldInMemory: a bundle with the longest values takes no more memory than one without.
func TestObjectsAreNotHeldInMemory(t *testing.T) {
	w := reported(t, event.MaxObject)
	bundle, policy := w.bundle("08:30", "10:30"), w.policy()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), policy, VerifyOptions{})
	runtime.ReadMemStats(&after)
	if err != nil || v.Integrity != Intact {
		t.Fatalf("%s, %v\n%s", v.Integrity, err, details(v))
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > event.MaxObject/2 {
		t.Errorf("%d bytes were allocated", got)
	}
}
