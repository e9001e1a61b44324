package evidence

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestErasure(t *testing.T) {
	for name, erase := range map[string]string{"in the window": "09:30", "after it": "11:00"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			a.batch([]*eventv1.Event{a.call("person-1", "gone"), a.call("person-2", "stays")})
			tombstone := w.clock(erase).erase("person-1")
			w.clock("12:00").access()
			bundle := w.bundle("08:30", "10:00")
			v := verify(t, bundle, w.policy())
			if v.Records.FieldsErased != 1 || v.Records.FieldsDisclosed != 1 || v.Check(CheckErasure).Result != Passed {
				t.Errorf("%+v\n%s", v.Records, v.Text())
			}
			said, err := parseRedactions(unpack(t, bundle)[fileRedactions])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Tombstone{{uint64(tombstone), 1}}, said.Tombstones); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// hold places a hold, or lifts it.
func (w *world) hold(scope string, lifted bool) {
	w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{
		Hold: &eventv1.Hold{Hold: "case-12", Scope: scope, Lifted: lifted},
	}}))
}

// TestErasureAfterAHold: the verifier knows of a hold from before the range, in it or after it, and that it was lifted.
func TestErasureAfterAHold(t *testing.T) {
	for name, hours := range map[string][3]string{
		"before":                {"08:00", "08:10", "08:20"},
		"lifted in the range":   {"08:00", "09:10", "09:20"},
		"lifted after it":       {"08:00", "11:00", "11:10"},
		"placed and lifted":     {"09:10", "09:20", "09:30"},
		"placed, lifted after":  {"09:10", "11:00", "11:10"},
		"all after the range":   {"11:00", "11:10", "11:20"},
		"placed after, on time": {"11:00", "11:00", "11:00"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			a.batch([]*eventv1.Event{a.call("person-1", "gone")})
			steps := []func(){
				func() { w.hold("subject/person-1", false) },
				func() { w.hold("subject/person-1", true) },
				func() { w.erase("person-1") },
			}
			atHours(w, hours, steps, func() { a.batch([]*eventv1.Event{a.call("person-2", "stays"), a.closing()}) })
			w.clock("12:00").access()
			v := verify(t, w.bundle("00:00", "10:00"), w.policy())
			want := uint64(1)
			if v.Records.FieldsErased != want || v.Check(CheckErasure).Result != Passed {
				t.Errorf("%+v\n%s", v.Records, details(v))
			}
		})
	}
}

// atHours does the steps at their hours, and the work at nine.
func atHours(w *world, hours [3]string, steps []func(), work func()) {
	worked := false
	for i, hour := range hours {
		if hour > "09:00" && !worked {
			w.clock("09:00")
			work()
			worked = true
		}
		w.clock(hour)
		steps[i]()
	}
	if !worked {
		w.clock("09:00")
		work()
	}
}

// A hold on an instance or a run keeps what is theirs: not before it is placed, not after it is lifted, and nothing of others.
func TestHoldsOnInstancesAndRuns(t *testing.T) {
	for _, test := range []struct {
		scope  string
		lifted bool
		want   Result
	}{
		{"instance/support-1", false, Failed},
		{"run/run-1", false, Failed},
		{"instance/support-1", true, Passed},
		{"run/run-1", true, Passed},
		{"instance/billing-1", false, Passed},
		{"run/run-2", false, Passed},
		{"instance/run-1", false, Passed},
		{"run/support-1", false, Passed},
	} {
		for name, hour := range map[string]string{"in the range": "09:30", "after it": "11:00"} {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			send(a)
			w.clock(hour).hold(test.scope, false)
			if test.lifted {
				w.hold(test.scope, true)
			}
			w.erase("person-1")
			w.clock("12:00").access()
			for what, s := range map[string]Scope{"tenant": w.scope("08:30", "10:00"), "instance": w.part("support-1", ""), "run": w.part("support-1", "run-1")} {
				s.From, s.To = at("08:30"), at("10:00")
				v := verify(t, w.exportScope(s, ExportOptions{}), w.policy())
				if v.Records.FieldsErased != 1 || v.Check(CheckErasure).Result != test.want {
					t.Errorf("%s, lifted %t, erased %s, bundle of the %s: %s", test.scope, test.lifted, name, what, details(v))
				}
			}
		}
	}
}

// falseTombstone is content that an exporter shows as erased by a record that the log holds.
func falseTombstone(prepare func(w *world, a *sender) chain.Index) attack {
	return attack{CheckErasure, ExitOpening, func(t *testing.T) ([]byte, *Policy) {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		tombstone := prepare(w, a)
		for _, o := range w.openings {
			o.Opening = Opening{Path: o.Path, Erased: true, Tombstone: tombstone, Generation: 1}
		}
		w.clock("12:00").access()
		return w.bundle("08:30", "11:00"), w.policy()
	}}
}

func send(a *sender) {
	a.batch([]*eventv1.Event{a.call("person-1", "what nobody shall read"), a.closing()})
}

// Content is shown as erased that is not, and a record in the log seems to say so.
func TestWithheldShownAsErased(t *testing.T) {
	runAttacks(t, map[string]attack{
		"by an erasure from before the content": falseTombstone(func(w *world, a *sender) chain.Index {
			tombstone := w.erase("person-1")
			send(a)
			return tombstone
		}),
		"by the erasure of another person": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			return w.erase("person-2")
		}),
		"by an erasure under a hold on the person": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			w.hold("subject/person-1", false)
			return w.erase("person-1")
		}),
		"by an erasure under a hold on the tenant": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			w.hold("tenant", false)
			return w.erase("person-1")
		}),
		"by an erasure under a hold on the instance": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			w.hold("instance/support-1", false)
			return w.erase("person-1")
		}),
		"by an erasure under a hold on the task": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			w.hold("run/run-1", false)
			return w.erase("person-1")
		}),
		"by a record that is no erasure": falseTombstone(func(w *world, a *sender) chain.Index {
			send(a)
			w.access()
			return w.chain.Size() - 1
		}),
	})
	imposter := falseTombstone(func(w *world, a *sender) chain.Index {
		send(a)
		w.custody = w.sender("custody", w.key())
		return w.erase("person-1")
	})
	imposter.exit = ExitKeys
	runAttacks(t, map[string]attack{"by a record that Custody did not sign": imposter})
}

// TestTombstoneAfterTheRange: it stands beside the range with its proof, and is held to it.
func TestTombstoneAfterTheRange(t *testing.T) {
	later := func(check string, exit int, edit func(map[string][]byte)) attack {
		return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			send(a)
			w.clock("11:00").erase("person-1")
			w.clock("12:00").access()
			return repack(t, w.export, w.bundle("08:30", "10:00"), edit), w.policy()
		}}
	}
	runAttacks(t, map[string]attack{
		"of another place": later(CheckAdmission, ExitKeys, editProven(fileKeysAfter, 0, func(r *provenRecord) { r.shown[0].path[0][0] ^= 1 })),
		"not signed":       later(CheckAdmission, ExitKeys, editProven(fileKeysAfter, 0, func(r *provenRecord) { r.signature[9] ^= 1 })),
		"edited":           later(CheckAdmission, ExitKeys, editProven(fileKeysAfter, 0, func(r *provenRecord) { flipLast(r.shown[0].event) })),
		"left out":         later(CheckErasure, ExitOpening, editRecords(fileKeysAfter, without(0))),
	})
}
