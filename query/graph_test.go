package query_test

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func (s *scene) trace(t *testing.T, req *apiv1.TraceRequest) *apiv1.TraceResponse {
	t.Helper()
	req.Tenant = "acme"
	resp, err := s.auditor.Trace(t.Context(), req)
	if err != nil {
		t.Fatalf("trace %v: %v", req, err)
	}
	checkEdges(t, resp.GetRows(), resp.GetEdges())
	return resp
}

func (s *scene) why(t *testing.T, id event.ID) *apiv1.WhyResponse {
	t.Helper()
	resp, err := s.auditor.Why(t.Context(), &apiv1.WhyRequest{Tenant: "acme", Event: id[:]})
	if err != nil {
		t.Fatalf("why %s: %v", id, err)
	}
	checkEdges(t, resp.GetRows(), resp.GetEdges())
	return resp
}

// checkEdges: they come in the order of their effects, which are among the rows.
func checkEdges(t *testing.T, rows []*apiv1.EventRow, edges []*apiv1.Edge) {
	t.Helper()
	place := map[event.ID]int{}
	for i, r := range rows {
		place[event.ID(parse(t, r).GetId())] = i
	}
	last := 0
	for _, e := range edges {
		at, known := place[event.ID(e.GetEffect())]
		if !known || at < last {
			t.Errorf("edge to %x, known: %v, at %d after %d", e.GetEffect(), known, at, last)
		}
		last = at
	}
}

// drawn are edges as texts: "data.input_received input→ execution.started", with "?" for a cause that is not there.
func drawn(t *testing.T, rows []*apiv1.EventRow, edges []*apiv1.Edge) []string {
	t.Helper()
	names := map[event.ID]string{}
	for _, r := range rows {
		e := parse(t, r)
		names[event.ID(e.GetId())] = event.Action(e)
	}
	out := make([]string, len(edges))
	for i, e := range edges {
		cause, known := names[event.ID(e.GetCause())]
		if !known {
			cause = "?"
		}
		out[i] = cause + " " + event.Relations.Name(e.GetRelation()) + "→ " + names[event.ID(e.GetEffect())]
	}
	slices.Sort(out)
	return out
}

// ticketEdges are the edges of a ticket up to its start.
var ticketEdges = []string{
	"approval.approved approval→ execution.started",
	"approval.requested decision→ approval.approved",
	"data.document_retrieved retrieved→ execution.proposed",
	"data.input_received input→ data.document_retrieved",
	"data.input_received input→ execution.decided",
	"data.input_received input→ execution.proposed",
	"data.input_received input→ execution.started",
	"execution.decided decision→ approval.requested",
	"execution.decided decision→ execution.started",
	"execution.proposed decision→ execution.decided",
	"execution.proposed decision→ execution.started",
}

func testTraceRun(t *testing.T, s *scene) {
	got := s.trace(t, &apiv1.TraceRequest{Run: "ticket-1"})
	if diff := cmp.Diff(wholeRun, actions(t, got.GetRows())); diff != "" || got.GetCut() {
		t.Errorf("rows, cut = %v (-want +got):\n%s", got.GetCut(), diff)
	}
	want := append([]string{"execution.started decision→ execution.finished"}, ticketEdges...)
	slices.Sort(want)
	if diff := cmp.Diff(want, drawn(t, got.GetRows(), got.GetEdges())); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if one := s.trace(t, &apiv1.TraceRequest{Run: "ticket-1", Instance: "support-1"}); len(one.GetRows()) != len(wholeRun) {
		t.Errorf("%d rows of the instance", len(one.GetRows()))
	}
}

// family records A → B → C, with a sibling of B, each in a run of its own.
func (s *scene) family(t *testing.T, name string) (a, b, c, sibling event.ID) {
	t.Helper()
	a = s.record(t, name+"-a", &eventv1.Event{})
	b = s.record(t, name+"-b", &eventv1.Event{Causes: []*eventv1.Cause{cause(a)}})
	sibling = s.record(t, name+"-s", &eventv1.Event{Causes: []*eventv1.Cause{cause(a)}})
	c = s.record(t, name+"-c", &eventv1.Event{Causes: []*eventv1.Cause{cause(b), cause(a)}})
	s.settle(t)
	return a, b, c, sibling
}

func ids(t *testing.T, rows []*apiv1.EventRow) []event.ID {
	t.Helper()
	out := make([]event.ID, len(rows))
	for i, r := range rows {
		out[i] = event.ID(parse(t, r).GetId())
	}
	return out
}

// testTraceEvent: all that led to an event and all that came of it, and not what else came of its causes.
func testTraceEvent(t *testing.T, s *scene) {
	a, b, c, sibling := s.family(t, "family")
	all := []event.ID{a, b, sibling, c}
	tests := map[string]struct {
		req   *apiv1.TraceRequest
		rows  []event.ID
		edges int
	}{
		"the first":  {&apiv1.TraceRequest{Event: a[:]}, all, 4},
		"the middle": {&apiv1.TraceRequest{Event: b[:]}, []event.ID{a, b, c}, 3},
		"the last":   {&apiv1.TraceRequest{Event: c[:]}, []event.ID{a, b, c}, 3},
		"its run":    {&apiv1.TraceRequest{Run: "family-b"}, []event.ID{a, b, c}, 3},
		"first run":  {&apiv1.TraceRequest{Run: "family-a"}, all, 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := s.trace(t, test.req)
			if diff := cmp.Diff(test.rows, ids(t, got.GetRows())); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if len(got.GetEdges()) != test.edges || got.GetCut() {
				t.Errorf("%d edges, want %d; cut = %v", len(got.GetEdges()), test.edges, got.GetCut())
			}
		})
	}
}

func testTraceLimit(t *testing.T, s *scene) {
	for _, limit := range []uint32{1, 4, uint32(len(wholeRun) - 1)} {
		got := s.trace(t, &apiv1.TraceRequest{Run: "ticket-1", Limit: limit})
		if len(got.GetRows()) != int(limit) || !got.GetCut() {
			t.Errorf("limit %d: %d rows, cut = %v", limit, len(got.GetRows()), got.GetCut())
		}
		wantNothingMissing(t, got)
	}
	_, started := s.one(t, "ticket-1", "started")
	for _, limit := range []uint32{1, 3} {
		got := s.trace(t, &apiv1.TraceRequest{Event: started[:], Limit: limit})
		if len(got.GetRows()) != int(limit) || !got.GetCut() {
			t.Errorf("limit %d: %d rows, cut = %v", limit, len(got.GetRows()), got.GetCut())
		}
		wantNothingMissing(t, got)
	}
	if whole := s.trace(t, &apiv1.TraceRequest{Run: "ticket-1", Limit: uint32(len(wholeRun))}); whole.GetCut() {
		t.Error("a limit that was not reached has cut")
	}
}

// wantNothingMissing: a cause that a limit has cut off is not shown as one that there is not.
func wantNothingMissing(t *testing.T, got *apiv1.TraceResponse) {
	t.Helper()
	for _, e := range drawn(t, got.GetRows(), got.GetEdges()) {
		if e[0] == '?' {
			t.Errorf("of %d rows: %s", len(got.GetRows()), e)
		}
	}
}

func testTraceWrong(t *testing.T, s *scene) {
	_, started := s.one(t, "ticket-1", "started")
	unknown := newID()
	tests := map[string]struct {
		req   *apiv1.TraceRequest
		code  codes.Code
		field string
	}{
		"neither":            {&apiv1.TraceRequest{}, codes.InvalidArgument, "run: "},
		"both":               {&apiv1.TraceRequest{Run: "ticket-1", Event: started[:]}, codes.InvalidArgument, "run: "},
		"half an id":         {&apiv1.TraceRequest{Event: started[:8]}, codes.InvalidArgument, "event: "},
		"limit":              {&apiv1.TraceRequest{Run: "ticket-1", Limit: 10_001}, codes.InvalidArgument, "limit: "},
		"unknown run":        {&apiv1.TraceRequest{Run: "ticket-0"}, codes.NotFound, ""},
		"of other instances": {&apiv1.TraceRequest{Run: "ticket-1", Instance: "support-2"}, codes.NotFound, ""},
		"unknown event":      {&apiv1.TraceRequest{Event: unknown[:]}, codes.NotFound, ""},
		"no event":           {&apiv1.TraceRequest{Event: make([]byte, 16)}, codes.NotFound, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.req.Tenant = "acme"
			_, err := s.auditor.Trace(t.Context(), test.req)
			wantCode(t, err, test.code, test.field)
		})
	}
	_, err := s.auditor.Why(t.Context(), &apiv1.WhyRequest{Tenant: "acme"})
	wantCode(t, err, codes.InvalidArgument, "event: ")
}

func testWhy(t *testing.T, s *scene) {
	_, started := s.one(t, "ticket-1", "started")
	_, input := s.one(t, "ticket-1", "input_received")
	got := s.why(t, started)
	if diff := cmp.Diff(wholeRun[1:8], actions(t, got.GetRows())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(ticketEdges, drawn(t, got.GetRows(), got.GetEdges())); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]byte{input[:]}, got.GetTriggers()); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
	if len(got.GetMissing()) > 0 || got.GetCut() {
		t.Errorf("missing %x, cut = %v", got.GetMissing(), got.GetCut())
	}
}

func testMissingCause(t *testing.T, s *scene) {
	lost := newID()
	id := s.record(t, "orphan", &eventv1.Event{Causes: []*eventv1.Cause{cause(lost)}})
	s.settle(t)
	got := s.why(t, id)
	if diff := cmp.Diff([][]byte{lost[:]}, got.GetMissing()); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if len(got.GetRows()) != 1 || len(got.GetTriggers()) > 0 || got.GetCut() {
		t.Errorf("%d rows, triggers %x, cut = %v", len(got.GetRows()), got.GetTriggers(), got.GetCut())
	}
	want := []string{"? input→ data.input_received"}
	if diff := cmp.Diff(want, drawn(t, got.GetRows(), got.GetEdges())); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
	if traced := s.trace(t, &apiv1.TraceRequest{Run: "orphan"}); len(traced.GetEdges()) != 1 {
		t.Errorf("traced %v", traced.GetEdges())
	}
}

// testCircle: two events that name each other, and one that came of them.
func testCircle(t *testing.T, s *scene) {
	a, b := newID(), newID()
	s.record(t, "circle", &eventv1.Event{Id: a[:], Causes: []*eventv1.Cause{cause(b)}})
	s.record(t, "circle", &eventv1.Event{Id: b[:], Causes: []*eventv1.Cause{cause(a)}})
	c := s.record(t, "circle", &eventv1.Event{Causes: []*eventv1.Cause{cause(b)}})
	s.settle(t)
	got := s.why(t, a)
	if diff := cmp.Diff([]event.ID{a, b}, ids(t, got.GetRows())); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if len(got.GetEdges()) != 2 || len(got.GetTriggers()) > 0 || len(got.GetMissing()) > 0 || got.GetCut() {
		t.Errorf("got %v", got)
	}
	if from := s.why(t, c); len(from.GetRows()) != 3 || len(from.GetEdges()) != 3 || from.GetCut() {
		t.Errorf("from outside it, got %v", from)
	}
	around := s.trace(t, &apiv1.TraceRequest{Event: a[:]})
	if diff := cmp.Diff([]event.ID{a, b, c}, ids(t, around.GetRows())); diff != "" {
		t.Errorf("around it (-want +got):\n%s", diff)
	}
}

func testInferred(t *testing.T, s *scene) {
	a := s.record(t, "guess", &eventv1.Event{})
	guess := cause(a)
	guess.Basis = eventv1.CauseBasis_CAUSE_BASIS_INFERRED
	b := s.record(t, "guess", &eventv1.Event{Causes: []*eventv1.Cause{guess}})
	c := s.record(t, "guess", &eventv1.Event{Causes: []*eventv1.Cause{cause(b)}})
	s.settle(t)
	var got []string
	for _, e := range s.why(t, c).GetEdges() {
		got = append(got, event.CauseBases.Name(e.GetBasis()))
	}
	if diff := cmp.Diff([]string{"inferred", "recorded"}, got); diff != "" {
		t.Errorf("bases (-want +got):\n%s", diff)
	}
}

// testTwins: an id that two events share gives both, and both count.
func testTwins(t *testing.T, s *scene) {
	id := newID()
	s.record(t, "twin-1", &eventv1.Event{Id: id[:]})
	s.record(t, "twin-2", &eventv1.Event{Id: id[:], Principal: "somebody"})
	s.settle(t)
	if rows := s.why(t, id).GetRows(); len(rows) != 2 || rows[0].GetIndex() >= rows[1].GetIndex() {
		t.Errorf("got %v", indices(rows))
	}
	if got := s.trace(t, &apiv1.TraceRequest{Event: id[:], Limit: 1}); len(got.GetRows()) != 1 || !got.GetCut() {
		t.Errorf("%d rows, cut = %v", len(got.GetRows()), got.GetCut())
	}
}

// testTwinsContent: the content of an event that uses the id of another is had by its index, and is not taken for the other's.
func testTwinsContent(t *testing.T, s *scene) {
	id := newID()
	for _, said := range []string{"harmless", "the order"} {
		input := &eventv1.Data{Action: eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED, Source: "test"}
		_, err := s.emitter.Record(t.Context(), &edge.Event{
			Plain:  &eventv1.Event{Id: id[:], Run: "twin-3", Trust: eventv1.Trust_TRUST_TRUSTED, Body: &eventv1.Event_Data{Data: input}},
			Sealed: []edge.Content{{Path: "content", Value: []byte(said)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.settle(t)
	rows, _ := s.search(t, &apiv1.SearchRequest{Run: "twin-3"})
	if len(rows) != 2 {
		t.Fatalf("got %v", indices(rows))
	}
	first, second, none := rows[0].GetIndex(), rows[1].GetIndex(), uint64(0)
	for _, test := range []struct {
		index *uint64
		want  string
	}{{nil, "harmless"}, {&first, "harmless"}, {&second, "the order"}, {&none, ""}} {
		stream, err := s.auditor.Content(t.Context(), &apiv1.ContentRequest{Tenant: "acme", Event: id[:], Path: "content", Index: test.index})
		if err != nil {
			t.Fatal(err)
		}
		piece, err := stream.Recv()
		if test.want == "" {
			wantCode(t, err, codes.NotFound, "")
			continue
		}
		var got []byte
		for ; err == nil; piece, err = stream.Recv() {
			got = append(got, piece.GetChunk()...)
		}
		if string(got) != test.want || !errors.Is(err, io.EOF) {
			t.Errorf("got %q, %v, want %q", got, err, test.want)
		}
	}
}

// memory is an event about a key, and what led to it.
func (s *scene) memory(t *testing.T, run, key string, action eventv1.DataAction, causes ...event.ID) event.ID {
	t.Helper()
	e := &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{Action: action, MemoryKey: key}}}
	for _, id := range causes {
		e.Causes = append(e.Causes, cause(id))
	}
	return s.record(t, run, e)
}

// testMemory: what was written into a memory on Monday is found from what a run on Friday did with it, and the other way round,
// although neither run names the other. A later write ends it, and other keys have nothing to do with it.
func testMemory(t *testing.T, s *scene) {
	const written, read = eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN, eventv1.DataAction_DATA_ACTION_MEMORY_READ
	page := s.record(t, "monday", &eventv1.Event{})
	write := s.memory(t, "monday", "diary", written, page)
	s.memory(t, "monday", "almanac", written)
	first := s.memory(t, "friday", "diary", read)
	act := s.record(t, "friday", &eventv1.Event{Causes: []*eventv1.Cause{cause(first)}})
	second := s.memory(t, "sunday", "diary", read, write) // which says itself where it has it from
	mended := s.memory(t, "sunday", "diary", written)
	after := s.memory(t, "tuesday", "diary", read)
	s.settle(t)

	back := s.why(t, act)
	if diff := cmp.Diff([]event.ID{page, write, first, act}, ids(t, back.GetRows())); diff != "" {
		t.Errorf("why the act (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]byte{page[:]}, back.GetTriggers()); diff != "" {
		t.Errorf("triggers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"data.memory_written→data.memory_read"}, derived(t, back.GetRows(), back.GetEdges())); diff != "" {
		t.Errorf("derived (-want +got):\n%s", diff)
	}
	forth := s.trace(t, &apiv1.TraceRequest{Event: page[:]})
	if diff := cmp.Diff([]event.ID{page, write, first, act, second}, ids(t, forth.GetRows())); diff != "" {
		t.Errorf("what came of the page (-want +got):\n%s", diff)
	}
	if got := derived(t, forth.GetRows(), forth.GetEdges()); len(got) != 1 {
		t.Errorf("derived %v, though the second reader claims its cause", got)
	}
	if diff := cmp.Diff([]event.ID{mended, after}, ids(t, s.why(t, after).GetRows())); diff != "" {
		t.Errorf("why a later read (-want +got):\n%s", diff)
	}
}

// derived are the edges that no event claims.
func derived(t *testing.T, rows []*apiv1.EventRow, edges []*apiv1.Edge) (out []string) {
	t.Helper()
	names := map[event.ID]string{}
	for _, r := range rows {
		e := parse(t, r)
		names[event.ID(e.GetId())] = event.Action(e)
	}
	for _, e := range edges {
		if e.GetDerived() {
			out = append(out, names[event.ID(e.GetCause())]+"→"+names[event.ID(e.GetEffect())])
		}
	}
	return out
}
