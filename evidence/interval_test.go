package evidence

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Of equal bounds the first is given, of others the narrowest, whatever their order; a state of as many records as there are before one does
// not hold it.
func TestNarrowestBounds(t *testing.T) {
	v := newVerification(nil, VerifyOptions{})
	v.anchored = []anchored{{9, 30, 40, "a"}, {8, 50, 20, "b"}, {7, 50, 20, "c"}, {6, 20, 30, "d"}, {5, 0, 60, "e"}}
	for record, want := range map[chain.Index][2]*Bound{
		4: {nil, {20, 7, "b"}},
		5: {nil, {20, 7, "b"}},
		6: {{20, 5, "d"}, {20, 7, "b"}},
		8: {{50, 7, "b"}, {40, 8, "a"}},
		9: {{50, 7, "b"}, nil},
	} {
		if diff := cmp.Diff(want, [2]*Bound{v.notYet(record), v.existed(record)}); diff != "" {
			t.Errorf("record %d: %s", record, diff)
		}
	}
}

// A producer that has seen no record bounds nothing.
func TestNothingSeen(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	a.send(1, stating(func(s *eventv1.BatchStatement) { s.LastSeen = nil }))
	w.clock("11:00").access()
	if got := w.asked(t, "08:30", "10:30", 4)[0]; !got.Found || got.Since != nil || got.After != nil {
		t.Errorf("%+v", got)
	}
}
