package storetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// Held is a batch of one held event between two others.
func (l *Log) Held(tenant string) *store.Folded {
	return l.Batch(tenant, eventv1.ProducerClass_PRODUCER_CLASS_AGENT, l.Event(tenant, "support-1"), nil)
}

func (f *fixture) search(filter store.Filter) (rows []*store.Row) {
	f.Helper()
	for row, err := range f.store.Search(f.Context(), filter) {
		f.must(err)
		rows = append(rows, row)
	}
	return rows
}

func testTenants(f *fixture) {
	l := f.log
	ours, theirs := l.Random("acme", 10), l.Random("acme2", 10)
	f.commit(l.Block(nil, ours, theirs))
	for _, row := range f.search(store.Filter{Tenant: "acme"}) {
		if e, err := event.Parse(row.Bytes); err != nil || e.GetTenant() != "acme" {
			f.Errorf("event of %q in the log of acme: %v", e.GetTenant(), err)
		}
	}
	id := event.ID(theirs.Leaves[3].Event.GetId())
	if _, ok, err := f.store.EventByID(f.Context(), "acme", id); ok || err != nil {
		f.Errorf("another tenant's event by id: found %v, %v", ok, err)
	}
	edges, err := f.store.EdgesOf(f.Context(), "acme", []event.ID{id}, store.Causes, 0)
	if f.must(err); len(edges) != 0 {
		f.Errorf("another tenant's edges: %v", edges)
	}
	fp := theirs.Leaves[0].Event.GetFingerprints()[0].GetValue()
	if rows := f.search(store.Filter{Tenant: "acme", Fingerprint: fp}); len(rows) != 0 {
		f.Errorf("another tenant's fingerprint finds %d events", len(rows))
	}
}

func testMessages(f *fixture) {
	l := f.log
	messages := []*store.Folded{
		l.Key("acme"), l.Random("acme", 12), l.Held("acme"), l.Random("globex", 5), l.Whole("acme", chain.Malformed, []byte{0, 1, 2}),
		l.Random("acme", 300),
	}
	f.commit(l.Block(nil, messages...))
	var got []*store.Stored
	for m, err := range f.store.Messages(f.Context(), "acme", 0) {
		f.must(err)
		got = append(got, m)
	}
	want := slices.DeleteFunc(messages, func(m *store.Folded) bool { return m.Tenant != "acme" })
	if len(got) != len(want) {
		f.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i, m := range got {
		f.sameMessage(m, want[i])
	}
	f.checkMessagesOf(want)
	for m, err := range f.store.Messages(f.Context(), "acme", 20) {
		if f.must(err); m.FirstIndex != 16 {
			f.Errorf("the message of leaf 20 begins at %d, want 16", m.FirstIndex)
		}
		break
	}
	m, ok, err := f.store.Message(f.Context(), "acme", 20)
	if f.must(err); !ok || m.FirstIndex != 16 || !m.Intact || len(m.Leaves) != 300 {
		f.Errorf("the message of leaf 20: %v, %+v", ok, m)
	}
	if _, ok, err := f.store.Message(f.Context(), "acme", 316); ok || err != nil {
		f.Errorf("the message of a leaf that there is not: %v, %v", ok, err)
	}
}

// checkMessagesOf reads the messages of one instance, which stand between others, and cuts a range short.
func (f *fixture) checkMessagesOf(all []*store.Folded) {
	f.Helper()
	want := slices.DeleteFunc(slices.Clone(all), func(m *store.Folded) bool { return m.Statement.GetInstance() != "support-1" })
	last := want[len(want)-1].FirstIndex
	for _, before := range []uint64{math.MaxInt64, last} {
		var got []*store.Stored
		for m, err := range f.store.MessagesOf(f.Context(), "acme", "support-1", 0, before) {
			f.must(err)
			got = append(got, m)
		}
		if before == last {
			want = want[:len(want)-1]
		}
		if len(got) != len(want) || len(want) == len(all) {
			f.Fatalf("%d messages of one instance, want %d of %d", len(got), len(want), len(all))
		}
		for i, m := range got {
			f.sameMessage(m, want[i])
		}
	}
}

func (f *fixture) sameMessage(got *store.Stored, want *store.Folded) {
	f.Helper()
	if !got.Intact || sha256.Sum256(got.Data) != want.MessageDigest {
		f.Errorf("message %d differs from what was stored", want.StreamSeq)
	}
	if got.StreamSeq != want.StreamSeq || got.MessageTime != want.MessageTime || got.Subject != want.Subject ||
		got.FirstIndex != want.FirstIndex || got.StreamDigest != want.StreamDigest || got.BatchDigest != want.BatchDigest || got.Producer != want.Producer {
		f.Errorf("message %d: the fields around it differ: %+v", want.StreamSeq, got)
	}
	for i, leaf := range got.Leaves {
		if !bytes.Equal(leaf, want.Leaves[i].Bytes) {
			f.Errorf("message %d: leaf %d differs", want.StreamSeq, i)
		}
	}
}

func testState(f *fixture) {
	l := f.log
	one := l.Random("acme", 2)
	f.commit(l.Block(nil, one))
	two, three := l.Random("acme", 2), l.Random("acme", 2)
	three.State = append(three.State, store.StateEntry{Key: "gone"})
	f.commit(l.Block(nil, two, three))
	for upTo, want := range map[uint64]*store.Folded{one.StreamSeq: one, two.StreamSeq: one, three.StreamSeq: three, 99: three} {
		got, err := f.store.LoadState(f.Context(), upTo)
		f.must(err)
		var entries []store.TenantEntry
		for _, s := range want.State[:2] {
			entries = append(entries, store.TenantEntry{Tenant: "acme", Key: s.Key, StreamSeq: want.StreamSeq, Value: s.Value})
		}
		if diff := cmp.Diff(entries, got); diff != "" {
			f.Errorf("state at %d (-want +got):\n%s", upTo, diff)
		}
	}
}

func testPrune(f *fixture) {
	l := f.log
	var blocks []*store.Block
	for range 4 {
		blocks = append(blocks, f.commit(l.Block(nil, l.Random("acme", 2), l.Random("globex", 1))))
	}
	before, err := f.store.LoadState(f.Context(), f.head.Load())
	f.must(err)
	f.must(f.store.PruneState(f.Context(), blocks[2].Last))
	if n := f.number("SELECT count() FROM ${db}.fold_state"); n != 8 {
		f.Errorf("%d rows of state are left, want 8: two entries of two tenants, then and now", n)
	}
	after, err := f.store.LoadState(f.Context(), f.head.Load())
	f.must(err)
	if diff := cmp.Diff(before, after); diff != "" {
		f.Errorf("pruning changed the state (-before +after):\n%s", diff)
	}
	f.same(blocks...)
}

func testOverlapping(f *fixture) {
	l := f.log
	a, b := l.Random("acme", 5), l.Random("acme", 7)
	bad := l.Whole("acme", chain.Equivocation, []byte("equivocation"))
	bad.Statement, bad.BatchDigest = a.Statement, [32]byte{9}
	f.commit(l.Block(nil, a, b, bad))
	key := [32]byte(a.Statement.GetKeyId())
	for numbers, want := range map[[2]uint64][32]byte{
		{1, 1}: a.BatchDigest, {5, 5}: a.BatchDigest, {6, 6}: b.BatchDigest, {12, 20}: b.BatchDigest, {5, 6}: b.BatchDigest, {13, 14}: {}, {0, 0}: {},
	} {
		got, ok, err := f.store.BatchOverlapping(f.Context(), "acme", key, 1, numbers[0], numbers[1])
		if f.must(err); got != want || ok != (want != [32]byte{}) {
			f.Errorf("sequences %v: %x %v, want %x", numbers, got, ok, want)
		}
	}
	if _, ok, err := f.store.BatchOverlapping(f.Context(), "acme", key, 2, 1, 9); ok || err != nil {
		f.Errorf("another epoch: found %v, %v", ok, err)
	}
}

func testRanges(f *fixture) {
	l := f.log
	key, first, second := l.Key("acme"), l.Random("acme", 6), l.Random("acme", 4)
	f.commit(l.Block(nil, key, first, second, l.Whole("acme", chain.Malformed, []byte("x"))))
	hashes, err := f.store.LeafHashes(f.Context(), "acme", 5, 9)
	want := []chain.Hash{first.Leaves[4].Hash, first.Leaves[5].Hash, second.Leaves[0].Hash, second.Leaves[1].Hash}
	if diff := cmp.Diff(want, hashes); diff != "" || err != nil {
		f.Errorf("leaf hashes: %s %v", diff, err)
	}
	for at, want := range map[int64]uint64{0: 0, second.MessageTime: 7, second.MessageTime + 1: 11, math.MaxInt64 / 2: 99} {
		if got, err := f.store.FirstAt(f.Context(), "acme", at, 99); got != want || err != nil {
			f.Errorf("first leaf at %d: %d, %v, want %d", at, got, err, want)
		}
	}
	for last, want := range map[bool]uint64{false: 0, true: 7} {
		got, err := f.store.EmitterBatches(f.Context(), "acme", 0, 12, last)
		if i, ok := got[[32]byte(first.Statement.GetKeyId())]; i != want || !ok || err != nil {
			f.Errorf("batch of the emitter (last %v): %d %v %v, want %d", last, i, ok, err, want)
		}
	}
	if got, err := f.store.EmitterBatches(f.Context(), "acme", 8, 10, true); len(got) > 0 || err != nil {
		f.Errorf("batches that lie wholly in [8, 10): %v %v", got, err)
	}
	system, err := f.store.SystemMessages(f.Context(), "acme", 0, 12, []string{"system.key"})
	if diff := cmp.Diff([]uint64{0}, system); diff != "" || err != nil {
		f.Errorf("system messages: %s %v", diff, err)
	}
}

// testSearch compares every filter with the same condition on the events that
// were written.
func testSearch(f *fixture) {
	l := f.log
	messages := []*store.Folded{l.Key("acme"), l.Random("acme", 400), l.Held("acme"), l.Random("acme", 600), l.Random("globex", 50)}
	f.commit(l.Block(nil, messages...))
	sample := messages[1].Leaves[17].Event
	for _, test := range searches(messages, sample) {
		filter := test.filter
		filter.Tenant = "acme"
		var want []uint64
		for _, m := range messages[:4] {
			for i := range m.Leaves {
				if leaf := &m.Leaves[i]; test.match(m, leaf) {
					want = append(want, leaf.Index)
				}
			}
		}
		got := f.indices(filter)
		if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
			f.Errorf("%s: %d found, want %d", test.name, len(got), len(want))
		}
		f.limits(test.name, filter, want)
	}
}

func (f *fixture) indices(filter store.Filter) (all []uint64) {
	f.Helper()
	for _, row := range f.search(filter) {
		all = append(all, row.Index)
		if l, err := chain.ParseLeaf(row.Leaf); err != nil || uint64(l.Index) != row.Index {
			f.Errorf("row %d has leaf %d: %v", row.Index, l.Index, err)
		}
	}
	return all
}

func (f *fixture) limits(name string, filter store.Filter, want []uint64) {
	f.Helper()
	filter.Limit = 3
	if diff := cmp.Diff(want[:min(3, len(want))], f.indices(filter)); diff != "" {
		f.Errorf("%s, the first three: %s", name, diff)
	}
	filter.Newest = true
	if diff := cmp.Diff(want[max(0, len(want)-3):], f.indices(filter)); diff != "" {
		f.Errorf("%s, the last three: %s", name, diff)
	}
}

type searchTest struct {
	name   string
	filter store.Filter
	match  func(m *store.Folded, l *store.Leaf) bool
}

func searches(messages []*store.Folded, sample *eventv1.Event) []searchTest {
	byEvent := func(match func(e *eventv1.Event) bool) func(*store.Folded, *store.Leaf) bool {
		return func(_ *store.Folded, l *store.Leaf) bool { return l.Event != nil && match(l.Event) }
	}
	fp := sample.GetFingerprints()[0].GetValue()
	since, middle := messages[1].MessageTime, messages[3].MessageTime
	return []searchTest{
		{"everything", store.Filter{}, func(*store.Folded, *store.Leaf) bool { return true }},
		{"instance", store.Filter{Instance: sample.GetInstance()}, func(m *store.Folded, _ *store.Leaf) bool {
			return m.Statement.GetInstance() == sample.GetInstance()
		}},
		{"run", store.Filter{Run: sample.GetRun()}, byEvent(func(e *eventv1.Event) bool { return e.GetRun() == sample.GetRun() })},
		{"tool", store.Filter{Tool: "send_email"}, byEvent(func(e *eventv1.Event) bool {
			return e.GetExecution().GetTool() == "send_email" || e.GetApproval().GetTool() == "send_email"
		})},
		{"kind", store.Filter{Kind: chain.KindData}, byEvent(func(e *eventv1.Event) bool { return e.GetData() != nil })},
		{"verdict", store.Filter{Verdict: chain.Held}, func(_ *store.Folded, l *store.Leaf) bool { return l.Verdict == chain.Held }},
		{"short action", store.Filter{Action: "started"}, byEvent(func(e *eventv1.Event) bool { return event.Action(e) == "execution.started" })},
		{"action", store.Filter{Action: "system.key"}, byEvent(func(e *eventv1.Event) bool { return event.Action(e) == "system.key" })},
		{"decision", store.Filter{Decision: eventv1.Decision_DECISION_BLOCK}, byEvent(func(e *eventv1.Event) bool {
			return e.GetExecution().GetDecision() == eventv1.Decision_DECISION_BLOCK
		})},
		{"outcome and tool", store.Filter{Outcome: eventv1.Outcome_OUTCOME_ERROR, Tool: "web_fetch"}, byEvent(func(e *eventv1.Event) bool {
			return e.GetExecution().GetOutcome() == eventv1.Outcome_OUTCOME_ERROR && e.GetExecution().GetTool() == "web_fetch"
		})},
		{"consequence", store.Filter{Consequence: eventv1.Consequence_CONSEQUENCE_HIGH}, byEvent(func(e *eventv1.Event) bool {
			return e.GetExecution().GetConsequence() == eventv1.Consequence_CONSEQUENCE_HIGH
		})},
		{"principal", store.Filter{Principal: sample.GetPrincipal()}, byEvent(func(e *eventv1.Event) bool { return e.GetPrincipal() == sample.GetPrincipal() })},
		{"destination", store.Filter{Destination: "host07.example.com"}, byEvent(func(e *eventv1.Event) bool {
			return e.GetExecution().GetDestination() == "host07.example.com" || e.GetData().GetDomain() == "host07.example.com"
		})},
		{"trust", store.Filter{Trust: eventv1.Trust_TRUST_UNTRUSTED}, byEvent(func(e *eventv1.Event) bool { return e.GetTrust() == eventv1.Trust_TRUST_UNTRUSTED })},
		{"subject", store.Filter{Subject: sample.GetSealed()[0].GetSubject()}, byEvent(func(e *eventv1.Event) bool {
			return len(e.GetSealed()) > 0 && e.GetSealed()[0].GetSubject() == sample.GetSealed()[0].GetSubject()
		})},
		{"fingerprint", store.Filter{Fingerprint: fp}, byEvent(func(e *eventv1.Event) bool {
			return slices.ContainsFunc(e.GetFingerprints(), func(p *eventv1.Fingerprint) bool { return bytes.Equal(p.GetValue(), fp) })
		})},
		{"received", store.Filter{ReceivedFrom: since, ReceivedTo: middle}, func(_ *store.Folded, l *store.Leaf) bool { return l.Time >= since && l.Time < middle }},
		{"indices", store.Filter{FromIndex: 10, ToIndex: 900}, func(_ *store.Folded, l *store.Leaf) bool { return l.Index >= 10 && l.Index < 900 }},
	}
}

// testHostile writes text that would break out of a quoted string, a TSV field
// or a URL, and looks for it.
func testHostile(f *fixture) {
	l := f.log
	hostile := []string{"' OR 1=1 --", `\' OR 1=1 --`, "tab\there", "line\nbreak", `back\slash\n`, "{head:UInt64}", "ünï\u202ecode", "a&b=c%20+d", `"quoted"`}
	var messages []*store.Folded
	for _, s := range hostile {
		e := l.Event("acme", "support-1")
		e.Run, e.Principal = s, s
		e.OnBehalfOf = []string{s, "x"}
		messages = append(messages, l.Batch("acme", eventv1.ProducerClass_PRODUCER_CLASS_AGENT, e))
	}
	b := f.commit(l.Block(nil, messages...))
	for i, s := range hostile {
		for _, filter := range []store.Filter{{Tenant: "acme", Run: s}, {Tenant: "acme", Principal: s}} {
			if got := f.indices(filter); len(got) != 1 || got[0] != uint64(i) {
				f.Errorf("%q finds %v, want [%d]", s, got, i)
			}
		}
	}
	if got := f.search(store.Filter{Tenant: "acme' OR tenant != '"}); len(got) != 0 {
		f.Errorf("a hostile tenant name finds %d events", len(got))
	}
	f.same(b)
}

func testEdges(f *fixture) {
	l := f.log
	m := l.Random("acme", 100)
	f.commit(l.Block(nil, m))
	effect := m.Leaves[50].Event
	id := event.ID(effect.GetId())
	edges, err := f.store.EdgesOf(f.Context(), "acme", []event.ID{id}, store.Causes, 0)
	f.must(err)
	if len(edges) != len(effect.GetCauses()) {
		f.Fatalf("%d causes, want %d", len(edges), len(effect.GetCauses()))
	}
	back, err := f.store.EdgesOf(f.Context(), "acme", []event.ID{edges[0].Cause}, store.Effects, 0)
	f.must(err)
	if !slices.Contains(back, edges[0]) {
		f.Errorf("the effects of %v do not contain %v: %v", edges[0].Cause, edges[0], back)
	}
	f.must(err)
	rows, err := f.store.EventsByIDs(f.Context(), "acme", []event.ID{id, edges[0].Cause, {1}}, 0)
	if f.must(err); len(rows) != 2 || rows[1].ID != id || !bytes.Equal(rows[1].Bytes, m.Leaves[50].EventBytes) {
		f.Errorf("events by ids: %d rows", len(rows))
	}
	first, err := f.store.EventsByIDs(f.Context(), "acme", []event.ID{id, edges[0].Cause, {1}}, 1)
	if f.must(err); len(first) != 1 || first[0].ID != rows[0].ID {
		f.Errorf("the first event by ids: %d rows", len(first))
	}
	openings, err := f.store.OpeningsOf(f.Context(), "acme", 50, 51)
	if f.must(err); len(openings) != 4 || openings[0].Path != "arguments" || openings[3].Index != 51 {
		f.Errorf("openings: %+v", openings)
	}
}

func testHeads(f *fixture) {
	l := f.log
	f.commit(l.Block(nil, l.Random("acme", 5), l.Random("globex", 2)))
	first := f.head.Load()
	b := l.Block(nil, l.Random("acme", 5))
	f.commit(b)
	heads, err := f.store.Heads(f.Context())
	f.must(err)
	if len(heads) != 2 || heads[0].Size != 10 || heads[0].StreamSeq != b.Last || heads[1].StreamSeq != first {
		f.Errorf("heads: %+v", heads)
	}
	boundaries, err := f.store.Boundaries(f.Context(), 0)
	if diff := cmp.Diff([]uint64{first, b.Last}, boundaries); diff != "" || err != nil {
		f.Errorf("boundaries: %s %v", diff, err)
	}
	f.checkpoints()
}

func (f *fixture) checkpoints() {
	f.Helper()
	var want []store.Checkpoint
	for size := range uint64(3) {
		c := store.Checkpoint{Tenant: "acme", Size: size + 1, Note: []byte("example.com/log\n1\n\n— sig ' \n"), MadeAt: Start.Add(time.Duration(size))}
		f.must(f.store.SaveCheckpoint(f.Context(), c))
		want = append(want, c)
	}
	got, err := f.store.Checkpoints(f.Context(), "acme", 2, 10)
	if diff := cmp.Diff(want[1:], got); diff != "" || err != nil {
		f.Errorf("checkpoints: %s %v", diff, err)
	}
	last, ok, err := f.store.LastCheckpoint(f.Context(), "acme")
	if diff := cmp.Diff(want[2], last); diff != "" || !ok || err != nil {
		f.Errorf("last checkpoint: %s %v", diff, err)
	}
	if _, ok, err := f.store.LastCheckpoint(f.Context(), "globex"); ok || err != nil {
		f.Errorf("a checkpoint of a tenant without one: %v %v", ok, err)
	}
	f.confirmed(want)
}

// confirmed keeps some of the checkpoints once more, as others have confirmed them.
func (f *fixture) confirmed(plain []store.Checkpoint) {
	f.Helper()
	var want []store.Checkpoint
	for i, c := range plain[:2] {
		c.MadeAt = c.MadeAt.Add(time.Hour)
		if i == 0 {
			c.Witnesses = 2
		} else {
			c.Token = []byte("token ' \x00")
		}
		f.must(f.store.SaveCheckpoint(f.Context(), c))
		want = append(want, c)
	}
	got, err := f.store.Confirmed(f.Context(), "acme", 0, 100, 50)
	if diff := cmp.Diff(want[:1], got); diff != "" || err != nil {
		f.Errorf("confirmed, the first in each part: %s %v", diff, err)
	}
	got, err = f.store.Confirmed(f.Context(), "acme", 1, 2, 50)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		f.Errorf("confirmed: %s %v", diff, err)
	}
	for upTo, index := range map[uint64]int{1: 0, 2: 1, 100: 1} {
		last, ok, err := f.store.LastConfirmed(f.Context(), "acme", upTo)
		if diff := cmp.Diff(want[index], last); diff != "" || !ok || err != nil {
			f.Errorf("last confirmed up to %d: %s %v", upTo, diff, err)
		}
	}
	if last, ok, err := f.store.LastConfirmed(f.Context(), "acme", 0); ok || err != nil {
		f.Errorf("confirmed of no leaves: %+v %v", last, err)
	}
	if last, _, err := f.store.LastCheckpoint(f.Context(), "acme"); err != nil || last.Size != 3 || last.Confirmed() {
		f.Errorf("last of all: %+v %v", last, err)
	}
}

func testExpire(f *fixture) {
	l := f.log
	old := l.Block(nil, l.Key("acme"), l.Random("acme", 9), l.Random("globex", 3))
	f.commit(old)
	l.Wait(200 * 24 * time.Hour)
	cut := l.Now()
	f.holds()
	young := f.commit(l.Block(nil, l.Random("acme", 5)))
	if _, err := f.store.Expire(f.Context(), "acme", Now.Add(-24*time.Hour)); !errors.Is(err, store.ErrRetention) {
		f.Errorf("expire of yesterday: %v, want ErrRetention", err)
	}
	kept, err := f.store.Expire(f.Context(), "acme", cut)
	if f.must(err); kept != 10 {
		f.Errorf("first kept %d, want 10", kept)
	}
	if n := f.number("SELECT count() FROM ${db}.leaves"); n != 20 {
		f.Errorf("%d leaves after the expiry, want all 20", n)
	}
	if n := f.number("SELECT count() FROM ${db}.openings WHERE tenant = 'acme'"); n != 10 {
		f.Errorf("%d openings after the expiry, want 10", n)
	}
	for m, err := range f.store.Messages(f.Context(), "acme", 0) {
		if f.must(err); m.Expired != (m.FirstIndex == 1) || m.Intact == m.Expired {
			f.Errorf("message at %d: expired %v, intact %v", m.FirstIndex, m.Expired, m.Intact)
		}
	}
	f.same(old, young)
	f.exec("ALTER TABLE ${db}.events DELETE WHERE tenant = 'acme' AND idx = 0 SETTINGS mutations_sync = 2")
	if problems := f.problems(old); len(problems) != 1 || problems[0].Table != "events" {
		f.Errorf("an event of Custody's own is gone: %v", problems)
	}
}

// holds places a hold on globex, which keeps it from expiring, and lifts it.
func (f *fixture) holds() {
	f.Helper()
	for _, hold := range []string{`{"scope":"subject/s"}`, ""} {
		m := f.log.Random("globex", 1)
		m.State = append(m.State, store.StateEntry{Key: "hold/h1", Value: []byte(hold)})
		f.commit(f.log.Block(nil, m))
		_, err := f.store.Expire(f.Context(), "globex", Start)
		if got := errors.Is(err, store.ErrHold); got != (hold != "") {
			f.Errorf("expire under the hold %q: %v", hold, err)
		}
	}
}
