package query_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func testFields(t *testing.T, s *scene) {
	call := []string{"execution.proposed", "execution.decided", "execution.started", "execution.finished"}
	fingerprint := parse(t, first(s.one(t, "ticket-1", "started"))).GetFingerprints()
	if len(fingerprint) > 0 {
		t.Fatal("a start seals nothing")
	}
	address := s.fingerprintOf(t, "ticket-1", "input_received", "proposed")
	tests := map[string]struct {
		req  *apiv1.SearchRequest
		want []string
	}{
		"run":                    {&apiv1.SearchRequest{}, wholeRun},
		"instance":               {&apiv1.SearchRequest{Instance: "support-1"}, wholeRun},
		"other instance":         {&apiv1.SearchRequest{Instance: "support-2"}, []string{}},
		"tool":                   {&apiv1.SearchRequest{Tool: "send_email"}, wholeRun[3:9]},
		"other tool":             {&apiv1.SearchRequest{Tool: "send"}, []string{}},
		"kind":                   {&apiv1.SearchRequest{Kind: "execution"}, call},
		"action":                 {&apiv1.SearchRequest{Action: "started"}, call[2:3]},
		"action with its kind":   {&apiv1.SearchRequest{Action: "execution.started"}, call[2:3]},
		"end of another action":  {&apiv1.SearchRequest{Action: "run_started"}, wholeRun[:1]},
		"decision":               {&apiv1.SearchRequest{Decision: eventv1.Decision_DECISION_NEEDS_APPROVAL}, call[1:2]},
		"other decision":         {&apiv1.SearchRequest{Decision: eventv1.Decision_DECISION_BLOCK}, []string{}},
		"outcome":                {&apiv1.SearchRequest{Outcome: eventv1.Outcome_OUTCOME_OK}, wholeRun[8:]},
		"consequence":            {&apiv1.SearchRequest{Consequence: eventv1.Consequence_CONSEQUENCE_MODERATE}, call},
		"principal":              {&apiv1.SearchRequest{Principal: "user-7"}, wholeRun},
		"destination of a call":  {&apiv1.SearchRequest{Destination: "mail.example"}, call},
		"domain of data":         {&apiv1.SearchRequest{Destination: "wiki.example"}, wholeRun[2:3]},
		"trust":                  {&apiv1.SearchRequest{Trust: eventv1.Trust_TRUST_TRUSTED}, wholeRun[1:2]},
		"fingerprint":            {&apiv1.SearchRequest{Fingerprint: address}, []string{"data.input_received", "execution.proposed", "approval.requested", "approval.approved"}},
		"other fingerprint":      {&apiv1.SearchRequest{Fingerprint: []byte("notthere")}, []string{}},
		"two at once":            {&apiv1.SearchRequest{Kind: "execution", Outcome: eventv1.Outcome_OUTCOME_OK}, call[3:]},
		"two that exclude":       {&apiv1.SearchRequest{Kind: "data", Tool: "send_email"}, []string{}},
		"a quote is only a text": {&apiv1.SearchRequest{Tool: `' OR 1=1 --\`}, []string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.req.Run = "ticket-1"
			rows, more := s.search(t, test.req)
			if diff := cmp.Diff(test.want, actions(t, rows)); diff != "" || more {
				t.Errorf("found, more = %v (-want +got):\n%s", more, diff)
			}
			s.checkRows(t, rows)
		})
	}
}

func first(row *apiv1.EventRow, _ event.ID) *apiv1.EventRow { return row }

// checkRows checks what does not depend on the question.
func (s *scene) checkRows(t *testing.T, rows []*apiv1.EventRow) {
	t.Helper()
	for i, r := range rows {
		switch {
		case i > 0 && rows[i-1].GetIndex() >= r.GetIndex():
			t.Errorf("row %d: index %d after %d", i, r.GetIndex(), rows[i-1].GetIndex())
		case !bytes.Equal(r.GetKeyId(), s.keyID[:]), r.GetProducer() != eventv1.ProducerClass_PRODUCER_CLASS_AGENT, r.GetSeq() == 0:
			t.Errorf("row %d is of key %x, class %s, number %d", i, r.GetKeyId(), r.GetProducer(), r.GetSeq())
		case r.GetVerdict() != "accepted", r.GetSuspect(), len(r.GetLeafHash()) != 32, r.GetReceivedAt() < s.began.UnixNano():
			t.Errorf("row %d is %v", i, r)
		case len(r.GetOpened()) > 0:
			t.Errorf("row %d is opened", i)
		}
	}
}

// fingerprintOf is a fingerprint that two events of a run have in common.
func (s *scene) fingerprintOf(t *testing.T, run, a, b string) []byte {
	t.Helper()
	in := map[string]bool{}
	for _, f := range parse(t, first(s.one(t, run, a))).GetFingerprints() {
		in[hex.EncodeToString(f.GetValue())] = true
	}
	for _, f := range parse(t, first(s.one(t, run, b))).GetFingerprints() {
		if in[hex.EncodeToString(f.GetValue())] {
			return f.GetValue()
		}
	}
	t.Fatalf("%s and %s of %s have no fingerprint in common", a, b, run)
	return nil
}

func testPages(t *testing.T, s *scene) {
	for _, id := range []string{"page-1", "page-2", "page-3"} {
		s.ticket(t, id, "")
	}
	s.settle(t)
	all, more := s.search(t, &apiv1.SearchRequest{Instance: "support-1", Limit: 10_000})
	if len(all) < 4*len(wholeRun) || more {
		t.Fatalf("%d events, more = %v", len(all), more)
	}
	for _, limit := range []int{7, 32, 33, len(all) - 1, len(all), len(all) + 1} {
		if diff := cmp.Diff(indices(all), indices(s.inPages(t, uint32(limit)))); diff != "" {
			t.Errorf("in pages of %d (-at once +got):\n%s", limit, diff)
		}
	}
	newest, _ := s.search(t, &apiv1.SearchRequest{Instance: "support-1", Newest: true, Limit: 5})
	if diff := cmp.Diff(indices(all[len(all)-5:]), indices(newest)); diff != "" {
		t.Errorf("newest (-want +got):\n%s", diff)
	}
	last := all[len(all)-1].GetIndex()
	if rows, more := s.search(t, &apiv1.SearchRequest{Instance: "support-1", Page: true, AfterIndex: last}); len(rows) > 0 || more {
		t.Errorf("%d events after the last, more = %v", len(rows), more)
	}
}

// inPages reads everything of the instance in pages that say whether there is more.
func (s *scene) inPages(t *testing.T, limit uint32) (all []*apiv1.EventRow) {
	t.Helper()
	req := &apiv1.SearchRequest{Instance: "support-1", Limit: limit}
	for {
		rows, more := s.search(t, req)
		if all = append(all, rows...); !more {
			return all
		}
		if len(rows) != int(limit) {
			t.Fatalf("%d rows and more, with a limit of %d", len(rows), limit)
		}
		req.Page, req.AfterIndex = true, rows[len(rows)-1].GetIndex()
	}
}

func indices(rows []*apiv1.EventRow) []uint64 {
	out := make([]uint64, len(rows))
	for i, r := range rows {
		out[i] = r.GetIndex()
	}
	return out
}

func testTimes(t *testing.T, s *scene) {
	all, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1"})
	middle := all[len(all)-1].GetReceivedAt()
	before, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1", To: middle})
	after, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1", From: middle})
	for _, r := range before {
		if r.GetReceivedAt() >= middle {
			t.Errorf("%d was received at %d, not before %d", r.GetIndex(), r.GetReceivedAt(), middle)
		}
	}
	if diff := cmp.Diff(indices(all), append(indices(before), indices(after)...)); diff != "" {
		t.Errorf("before and after (-all +got):\n%s", diff)
	}
	if rows, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1", From: time.Now().Add(time.Hour).UnixNano()}); len(rows) > 0 {
		t.Errorf("%d events of the future", len(rows))
	}
	if rows, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1", From: -1, To: s.began.UnixNano()}); len(rows) > 0 {
		t.Errorf("%d events before the beginning", len(rows))
	}
}

func testWrongFields(t *testing.T, s *scene) {
	tests := map[string]struct {
		req   *apiv1.SearchRequest
		field string
	}{
		"kind":                 {&apiv1.SearchRequest{Kind: "cosmic"}, "kind: "},
		"action":               {&apiv1.SearchRequest{Action: "begun"}, "action: "},
		"half an action":       {&apiv1.SearchRequest{Action: "tarted"}, "action: "},
		"limit":                {&apiv1.SearchRequest{Limit: 10_001}, "limit: "},
		"fingerprint":          {&apiv1.SearchRequest{Fingerprint: []byte("short")}, "fingerprint: "},
		"to":                   {&apiv1.SearchRequest{From: 2, To: 1}, "to: "},
		"newest and follow":    {&apiv1.SearchRequest{Newest: true, Follow: true}, "newest: "},
		"after_index":          {&apiv1.SearchRequest{Page: true, AfterIndex: 1<<64 - 1}, "after_index: "},
		"decision":             {&apiv1.SearchRequest{Decision: 200}, "decision: "},
		"outcome":              {&apiv1.SearchRequest{Outcome: -1}, "outcome: "},
		"consequence":          {&apiv1.SearchRequest{Consequence: 257}, "consequence: "},
		"trust":                {&apiv1.SearchRequest{Trust: 4}, "trust: "},
		"limit while followed": {&apiv1.SearchRequest{Follow: true, Limit: 10_001}, "limit: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := searchAs(t.Context(), s.auditor, test.req)
			wantCode(t, err, codes.InvalidArgument, test.field)
		})
	}
}

func testSystemEvents(t *testing.T, s *scene) {
	rows, _ := s.search(t, &apiv1.SearchRequest{Kind: "system", Limit: 4})
	want := []string{"system.genesis", "system.instance_changed", "system.manifest_changed"}
	got := actions(t, rows)
	if len(got) != 4 || got[0] != want[0] || rows[0].GetIndex() != 0 {
		t.Errorf("the log begins with %v at %d", got, rows[0].GetIndex())
	}
	for _, r := range rows {
		if e := parse(t, r); e.GetInstance() != string(event.InstanceCustody) || r.GetProducer() != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
			t.Errorf("%d is of %s, class %s", r.GetIndex(), e.GetInstance(), r.GetProducer())
		}
	}
	if grants, _ := s.search(t, &apiv1.SearchRequest{Action: "system.genesis"}); len(grants) != 1 {
		t.Errorf("%d geneses", len(grants))
	}
}

func testFollow(t *testing.T, s *scene) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	stream, err := s.auditor.Search(ctx, &apiv1.SearchRequest{Tenant: "acme", Run: "followed", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	page, err := stream.Recv() // the first answer comes although nothing matches
	if err != nil || len(page.GetRows()) > 0 {
		t.Fatalf("got %v, %v", page, err)
	}
	var got []string
	for i := 1; i <= 2; i++ {
		s.ticket(t, "followed", "")
		for len(got) < i*len(wholeRun) {
			if page, err = stream.Recv(); err != nil {
				t.Fatal(err)
			}
			if page.GetMore() {
				t.Error("cut, without a limit")
			}
			got = append(got, actions(t, page.GetRows())...)
		}
	}
	if diff := cmp.Diff(append(append([]string{}, wholeRun...), wholeRun...), got); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
	leave()
	for err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, err, codes.Canceled, "")
}

func testFollowLimit(t *testing.T, s *scene) {
	stream, err := s.auditor.Search(t.Context(), &apiv1.SearchRequest{Tenant: "acme", Run: "limited", Follow: true, Limit: 12})
	if err != nil {
		t.Fatal(err)
	}
	s.ticket(t, "limited", "")
	s.ticket(t, "limited", "")
	rows, _, err := receive(stream) // to its end
	if err != nil || len(rows) != 12 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

// testFollowEnds is of a server that stops: whoever follows is told so at once, and as something to try again.
func testFollowEnds(t *testing.T, s *scene) {
	service := s.keyless()
	began, ended := make(chan struct{}), make(chan error, 1)
	stream := toldStream{searchStream{ctx: inAcme(t)}, func() { close(began) }}
	go func() {
		ended <- service.Search(&apiv1.SearchRequest{Tenant: "acme", Run: "nothing", Follow: true}, stream)
	}()
	<-began
	service.Drain()
	wantCode(t, <-ended, codes.Unavailable, "follow: the server stops")
}

// toldStream is a searchStream that says when an answer was sent.
type toldStream struct {
	searchStream
	sent func()
}

func (s toldStream) Send(*apiv1.SearchResponse) error { s.sent(); return nil }
