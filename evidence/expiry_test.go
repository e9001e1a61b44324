package evidence

import (
	"testing"

	"github.com/agentcustody/custody/chain"
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
