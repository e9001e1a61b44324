package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	recorded = eventv1.CauseBasis_CAUSE_BASIS_RECORDED
	inferred = eventv1.CauseBasis_CAUSE_BASIS_INFERRED
)

// idOfRow is the id of the event at an index.
func idOfRow(index int) event.ID {
	id := event.ID{0: 1, 6: 0x70, 8: 0x80}
	id[15] = byte(index)
	return id
}

// call is a row: a call of a tool at an index.
func callAt(t *testing.T, index int, tool string) *apiv1.EventRow {
	t.Helper()
	id := idOfRow(index)
	raw, err := event.Marshal(&eventv1.Event{
		Version: 1, Id: id[:], Tenant: "acme", Instance: "support-1", Run: "r", RunSeq: uint64(index) + 1, OccurredAt: 1, TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
		Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: eventv1.ExecutionAction_EXECUTION_ACTION_STARTED, Call: "c", Tool: tool}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &apiv1.EventRow{Index: uint64(index), Verdict: accepted, Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Event: raw}
}

func edgeOf(cause, effect int, basis eventv1.CauseBasis) *apiv1.Edge {
	c, e := idOfRow(cause), idOfRow(effect)
	return &apiv1.Edge{Cause: c[:], Effect: e[:], Relation: eventv1.Relation_RELATION_DECISION, Basis: basis}
}

func derivedEdge(cause, effect int) *apiv1.Edge {
	e := edgeOf(cause, effect, eventv1.CauseBasis_CAUSE_BASIS_UNSPECIFIED)
	e.Relation, e.Derived = eventv1.Relation_RELATION_MEMORY, true
	return e
}

func drawn(rows []*apiv1.EventRow, edges ...*apiv1.Edge) string {
	var out strings.Builder
	newGraph(rows, edges).print(&out)
	return strings.ReplaceAll(out.String(), "execution.started             ", "")
}

func TestGraph(t *testing.T) {
	rows := func(n int) (all []*apiv1.EventRow) {
		for i := range n {
			all = append(all, callAt(t, i, fmt.Sprintf("t%d", i)))
		}
		return all
	}
	tests := map[string]struct {
		rows  []*apiv1.EventRow
		edges []*apiv1.Edge
		want  string
	}{
		"a path stays in its column": {rows(3), []*apiv1.Edge{edgeOf(0, 1, recorded), edgeOf(1, 2, inferred)}, `
● @0     t0
──▶ @1     t1
╌╌▷ @2     t2
`},
		"a memory that neither names": {rows(3), []*apiv1.Edge{derivedEdge(0, 1), edgeOf(1, 2, recorded), derivedEdge(0, 2)}, `
● @0     t0
┈┈▷ @1     t1
──▶ @2     t2
`},
		"branches": {rows(6), []*apiv1.Edge{edgeOf(0, 1, recorded), edgeOf(1, 2, recorded), edgeOf(1, 3, recorded), edgeOf(3, 4, recorded), edgeOf(0, 5, inferred)}, `
● @0     t0
├──▶ @1     t1
│   ├──▶ @2     t2
│   └──▶ @3     t3
│       ──▶ @4     t4
└╌╌▷ @5     t5
`},
		"further causes are named once": {rows(4), []*apiv1.Edge{edgeOf(0, 2, recorded), edgeOf(1, 2, recorded), edgeOf(2, 3, recorded), edgeOf(1, 3, recorded), edgeOf(0, 3, inferred)}, `
● @0     t0
● @1     t1
──▶ @2     t2  (also from @0 decision)
──▶ @3     t3  (also from @0 decision inferred)
`},
		"a forged circle": {rows(2), []*apiv1.Edge{edgeOf(0, 1, recorded), edgeOf(1, 0, recorded), edgeOf(1, 1, recorded)}, `
● @0     t0  (also from @1 decision)
──▶ @1     t1  (also from @1 decision)
`},
		"a cause that is nowhere": {rows(1), []*apiv1.Edge{edgeOf(9, 0, recorded)}, `
● @0     t0  (also from 01000000-0000-7000-8000-000000000009, NOT EVIDENCED)
`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := "acme/support-1, run r\n" + strings.TrimPrefix(test.want, "\n")
			if diff := cmp.Diff(want, drawn(test.rows, test.edges...)); diff != "" {
				t.Errorf("drawing (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGraphShowsWhatIsNotReadable: nothing is left out, whether it is held, expired or there twice.
func TestGraphShowsWhatIsNotReadable(t *testing.T) {
	twin := callAt(t, 0, "t0")
	twin.Index = 2
	got := drawn([]*apiv1.EventRow{callAt(t, 0, "t0"), {Index: 1, Verdict: "held", KeyId: []byte{0xab}, Seq: 7}, twin})
	want := `● @0     support-1     r             t0
● @1     (held)                        content not available, key ab, number 7
● @2     support-1     r             t0  (has the id of @0)
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("drawing (-want +got):\n%s", diff)
	}
}

// TestDeepGraphStaysNarrow: whoever forges a deep tree does not fill the screen with indentation.
func TestDeepGraphStaysNarrow(t *testing.T) {
	var rows []*apiv1.EventRow
	var edges []*apiv1.Edge
	for i := range 200 {
		rows = append(rows, callAt(t, i, "t"))
		if i > 1 {
			edges = append(edges, edgeOf(i-2+i%2, i, recorded))
		}
	}
	for line := range strings.Lines(drawn(rows, edges...)) {
		if len([]rune(line)) > 4*maxIndent+80 {
			t.Fatalf("line of %d characters", len([]rune(line)))
		}
	}
}
