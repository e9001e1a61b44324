package evidence

import (
	"errors"
	"slices"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// expire records that content from before a time is no longer kept, and drops it.
func (w *world) expire(before Instant) {
	w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Expiry{Expiry: &eventv1.Expiry{Before: int64(before)}}}))
	w.drop(before)
}

// drop forgets the content of what was received before a time, as an operator does who says nothing of it.
func (w *world) drop(before Instant) {
	for _, m := range w.messages {
		leaf, err := chain.ParseLeaf(m.Leaves[0])
		w.must(err)
		for i := range m.Events {
			if !m.system && Instant(leaf.Time) < before {
				m.Events[i] = Event{Missing: Expired}
			}
		}
	}
}

// expiring is a log of one instance whose first batch is old when content expires.
func expiring(t testing.TB, then func(w *world)) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(2)
	w.clock("09:30")
	a.send(1).say(a.closing())
	w.clock("11:00")
	then(w)
	w.clock("12:00").access()
	return w
}

func TestExpired(t *testing.T) {
	for name, test := range map[string]struct {
		then              func(w *world)
		from, to          string
		expired, withheld uint64
	}{
		"after the range":        {func(w *world) { w.expire(at("09:15")) }, "08:30", "10:00", 2, 0},
		"in the range":           {func(w *world) { w.expire(at("09:15")) }, "08:30", "11:30", 2, 0},
		"all of it":              {func(w *world) { w.expire(at("10:00")) }, "08:30", "10:00", 4, 0},
		"twice":                  {func(w *world) { w.expire(at("09:15")); w.expire(at("10:00")) }, "08:30", "10:00", 4, 0},
		"after a hold":           {func(w *world) { w.hold("tenant", false); w.hold("tenant", true); w.expire(at("09:15")) }, "08:30", "10:00", 2, 0},
		"before a hold":          {func(w *world) { w.expire(at("09:15")); w.hold("tenant", false) }, "08:30", "10:00", 2, 0},
		"lost, and nobody said":  {func(w *world) { w.drop(at("09:15")) }, "08:30", "10:00", 0, 2},
		"lost under a hold":      {func(w *world) { w.hold("run/run-9", false); w.expire(at("09:15")) }, "08:30", "10:00", 0, 2},
		"lost, and less is said": {func(w *world) { w.expire(at("09:15")); w.drop(at("10:00")) }, "08:30", "10:00", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := expiring(t, test.then)
			for what, s := range map[string]Scope{"tenant": {}, "instance": {Instance: "support-1"}, "run": {Instance: "support-1", Run: "run-1"}} {
				scope := w.scope(test.from, test.to)
				scope.Instance, scope.Run = s.Instance, s.Run
				v := verify(t, w.exportScope(scope, ExportOptions{}), w.policy())
				if v.Exit >= ExitContainer || v.Records.Expired != test.expired || v.Records.Withheld != test.withheld {
					t.Errorf("bundle of the %s: %+v\n%s", what, v.Records, details(v))
				}
			}
		})
	}
}

// A state of the log from before an expiry does not say that anything expired.
func TestExpiredLater(t *testing.T) {
	var earlier []byte
	w := expiring(t, func(w *world) {
		w.access()
		note, err := w.checkpoint()
		w.must(err)
		earlier = note
		w.expire(at("09:15"))
	})
	v := verify(t, w.exportAt(earlier, w.scope("08:30", "10:00"), ExportOptions{}), w.policy())
	if v.Exit >= ExitContainer || v.Records.Expired != 0 || v.Records.Withheld != 2 {
		t.Errorf("%+v\n%s", v.Records, details(v))
	}
}

// expiredBy shows records as no longer kept, whatever the log says.
func expiredBy(scope Scope, then func(w *world)) attack {
	return attack{CheckErasure, ExitOpening, func(t *testing.T) ([]byte, *Policy) {
		w := expiring(t, then)
		w.drop(at("09:15"))
		s := w.scope("08:30", "10:00")
		s.Instance, s.Run = scope.Instance, scope.Run
		return repack(t, w.export, w.exportScope(s, ExportOptions{}), func(files map[string][]byte) {
			for i := range 2 {
				editRecord(fileEvents, i, func([]byte) []byte { return []byte{byte(stateExpired)} })(files)
			}
			for _, r := range [][2]string{{`"expired": 0`, `"expired": 2`}, {`"withheld": 2`, `"withheld": 0`}} {
				replace(fileManifest, r[0], r[1])(files)
				replace(fileRedactions, r[0], r[1])(files)
			}
		}), w.policy()
	}}
}

// A record is hidden as no longer kept, and no record in the log says so, or none that may.
func TestWithheldShownAsExpired(t *testing.T) {
	runAttacks(t, map[string]attack{
		"by nothing":              expiredBy(Scope{}, func(*world) {}),
		"of a part by nothing":    expiredBy(Scope{Instance: "support-1", Run: "run-1"}, func(*world) {}),
		"by an expiry of before":  expiredBy(Scope{}, func(w *world) { w.expire(at("09:00")) }),
		"by an expiry under hold": expiredBy(Scope{}, func(w *world) { w.hold("run/run-9", false); w.expire(at("09:15")) }),
		"by what is no expiry":    expiredBy(Scope{}, func(w *world) { w.erase("customer") }),
		"of a part under its hold": expiredBy(Scope{Instance: "support-1"}, func(w *world) {
			w.hold("instance/support-1", false)
			w.expire(at("09:15"))
		}),
		"by an expiry from before the record": {CheckErasure, ExitOpening, func(t *testing.T) ([]byte, *Policy) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00").expire(at("10:00"))
			a.send(1).say(a.closing())
			w.clock("12:00").access()
			return repack(t, w.export, w.bundle("08:30", "10:00"), func(files map[string][]byte) {
				editRecord(fileEvents, 1, func([]byte) []byte { return []byte{byte(stateExpired)} })(files)
				editRecords(fileOpenings, without(0))(files)
			}), w.policy()
		}},
		"by an expiry that is left out": {CheckErasure, ExitOpening, func(t *testing.T) ([]byte, *Policy) {
			w := expiring(t, func(w *world) { w.expire(at("09:15")) })
			return repack(t, w.export, w.bundle("08:30", "10:00"), editRecords(fileKeysAfter, without(0))), w.policy()
		}},
	})
}

// An expiry covers what stands before it and was received before its time, and is one only if it applies and no hold is in force.
func TestWhatExpiryCovers(t *testing.T) {
	x := expiry{5, 100}
	for _, test := range []struct {
		index    chain.Index
		received int64
		want     bool
	}{{4, 99, true}, {5, 99, false}, {6, 99, false}, {4, 100, false}} {
		if x.covers(test.index, test.received) != test.want {
			t.Errorf("leaf %d, %d", test.index, test.received)
		}
	}
	w := expiring(t, func(w *world) { w.expire(at("09:15")) })
	m := w.opened(w.messages[len(w.messages)-2])
	for name, test := range map[string]struct {
		size chain.Index
		edit func(*Message)
		want int
	}{
		"in the state":    {m.First + 1, func(*Message) {}, 1},
		"after the state": {m.First, func(*Message) {}, 0},
		"not accepted": {m.First + 1, func(m *Message) {
			m.Leaves = [][]byte{slices.Clone(m.Leaves[0])}
			m.Leaves[0][verdictAt] = byte(chain.KeyInvalid)
		}, 0},
		"that is not here": {m.First + 1, func(m *Message) { m.Events = nil }, 0},
		"of no log":        {m.First + 1, func(m *Message) {}, 0},
	} {
		c := *m
		test.edit(&c)
		state := registry.New()
		if name != "of no log" {
			state = w.registry.Clone()
		}
		var l expiries
		if err := l.takeAll(&c, test.size, state); err != nil || len(l) != test.want {
			t.Errorf("%s: %d, %v", name, len(l), err)
		}
	}
	cut := *m
	cut.Leaves = [][]byte{m.Leaves[0][1:]}
	if err := new(expiries).takeAll(&cut, m.First+1, registry.New()); !errors.Is(err, chain.ErrLeaf) {
		t.Errorf("a leaf that is cut: %v", err)
	}
	var l expiries
	if l.take(5, w.custody.envelope(), registry.New()); len(l) != 0 {
		t.Error("what is no expiry is taken for one")
	}
}

// Expiries are read once, and not without end; content that is missing for one more reason than there may be ends the export.
func TestExpiriesAreReadOnce(t *testing.T) {
	w := expiring(t, func(w *world) { w.expire(at("09:15")) })
	x := newExport(w, w.scope("08:30", "10:00"), w.export, ExportOptions{Dir: t.TempDir()})
	w.must(x.begin(t.Context()))
	for range 2 {
		if err := x.readExpiries(t.Context()); err != nil || len(x.expiries) != 1 {
			t.Errorf("%d expiries, %v", len(x.expiries), err)
		}
	}
	x.expiries, x.reasons.list = nil, make([]Reason, maxReasons)
	if _, err := x.missing(t.Context(), new(chain.Leaf)); !errors.Is(err, ErrRedactions) {
		t.Errorf("too many reasons: %v", err)
	}
	w.must(x.close())
}

// The last leaf of a message that is shown as expired is the one that is.
func TestLastExpiredLeaf(t *testing.T) {
	j := &judge{verification: &verification{}}
	m := &job{from: 5, to: 8, leaves: make([]chain.Leaf, 3), events: []eventRecord{{state: stateExpired}, {state: stateExpired}, {state: stateHere}}}
	m.leaves[1].Time = 7
	if j.expire(m); j.expired == nil || j.expired.index != 6 || j.expired.received != 7 {
		t.Errorf("%+v", j.expired)
	}
}
