package torture

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/stream"
)

// streamed is where the newest message of a subject stands.
func (l *local) streamed(subject string) uint64 {
	l.t.Helper()
	last, _, err := l.Node().Stream().Last(l.t.Context(), subject)
	if err != nil {
		l.t.Fatal(err)
	}
	return last.Seq
}

// traces are the places where an agent's message could have left something.
func (l *local) traces(a *agent) string {
	return fmt.Sprint(l.streamed(stream.EventSubject(tenant, a.key.ID())), " ", l.streamed(stream.LateSubject(tenant)), " ",
		l.streamed(stream.EventSubject("zeta", a.key.ID())), " ", l.streamed(stream.LateSubject("zeta")))
}

// encoded is an event as proto writes it, whether it is valid or not.
func encoded(t testing.TB, e *eventv1.Event) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nested is a field that is not known, which holds itself n times.
func nested(n int) (b []byte) {
	for range n {
		b = protowire.AppendBytes(protowire.AppendTag(nil, 90, protowire.BytesType), b)
	}
	return b
}

// groups is a group that is not known, which holds itself n times: proto follows groups even where it knows no field.
func groups(n int) []byte {
	const field = 15
	starts := bytes.Repeat(protowire.AppendTag(nil, field, protowire.StartGroupType), n)
	return append(starts, bytes.Repeat(protowire.AppendTag(nil, field, protowire.EndGroupType), n)...)
}

// between puts a field between two that follow each other in an event.
func between(t testing.TB, b, before, field, after []byte) []byte {
	t.Helper()
	if bytes.Count(b, slices.Concat(before, after)) != 1 {
		t.Fatalf("no single place for %x in %x", field, b)
	}
	return bytes.Replace(b, slices.Concat(before, after), slices.Concat(before, field, after), 1)
}

// Tags of an event's fields, as they stand on the wire.
const (
	runSeq    = 6<<3 | byte(protowire.VarintType)
	timeBasis = 10<<3 | byte(protowire.VarintType)
	trust     = 11<<3 | byte(protowire.VarintType)
)

var execution = protowire.AppendTag(nil, 22, protowire.BytesType)

// TestBadBatches sends what no SDK would, over TLS to a running system. Each is refused with its reason and the
// field that is wrong, is counted, and leaves nothing; the stream goes on.
func TestBadBatches(t *testing.T) {
	l := newLocal(t)
	l.CreateTenant("zeta")
	a := newAgent(t, l.dir).connect()
	a.accept(a.batch("first"))
	spoilt := func(change func(*eventv1.Event)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			e := a.event("x")
			change(e)
			return a.sign([][]byte{encoded(t, a.event("good")), encoded(t, e)}, asIs)
		}
	}
	bytesOf := func(b []byte) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch { return a.sign([][]byte{b}, asIs) }
	}
	statement := func(change func(*eventv1.BatchStatement)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch { return a.sign(a.raw(a.event("x")), change) }
	}
	argument := func(size int) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			e, o := a.sealedEvent("x", bytes.Repeat([]byte("lorem ipsum "), size/12+1)[:size])
			b := a.sign([][]byte{encoded(t, e)}, asIs)
			b.Openings = []*eventv1.Opening{o}
			return b
		}
	}
	path := func(path []byte) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			b := a.batch("x")
			opening := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), path)
			b.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), opening))
			return b
		}
	}
	tests := map[string]struct {
		make   func() *eventv1.SignedBatch
		reason string
		field  string
	}{
		"nothing":               {func() *eventv1.SignedBatch { return nil }, "malformed", "statement"},
		"noise":                 {bytesOf([]byte("\xff\xfe\xfd noise")), "invalid", "events[0]"},
		"unknown field":         {bytesOf(append(encoded(t, a.event("x")), nested(1)...)), "invalid", "events[0]"},
		"deep nesting":          {bytesOf(append(encoded(t, a.event("x")), nested(10_000)...)), "invalid", "events[0]"},
		"deep groups":           {bytesOf(append(encoded(t, a.event("x")), groups(protowire.DefaultRecursionLimit+1)...)), "invalid", "events[0]"},
		"deep and too large":    {bytesOf(append(encoded(t, a.event("x")), nested(20_000)...)), "too_large", "events[0]"},
		"field twice":           {bytesOf(append(encoded(t, a.event("x")), 8, 1)), "invalid", "events[0].version"},
		"out of order":          {bytesOf(append(encoded(t, a.event("x")), runSeq, 0)), "invalid", "events[0].run_seq"},
		"default written out":   {bytesOf(between(t, encoded(t, a.event("x")), []byte{timeBasis, 1}, []byte{trust, 0}, execution)), "invalid", "events[0].trust"},
		"invalid UTF-8":         {bytesOf(bytes.Replace(encoded(t, a.event("abcd")), []byte("abcd"), []byte("a\xffcd"), 1)), "invalid", "events[0].execution.tool"},
		"tool too long":         {spoilt(func(e *eventv1.Event) { e.GetExecution().Tool = strings.Repeat("x", event.MaxText+1) }), "invalid", "events[1].execution.tool"},
		"path not UTF-8":        {path([]byte{0xff}), "malformed", "message"},
		"path of nothing":       {path([]byte("x")), "commitment", "openings[0].salt"},
		"foreign tenant":        {statement(func(st *eventv1.BatchStatement) { st.Tenant = "zeta" }), "scope", "statement.tenant"},
		"foreign tenant inside": {spoilt(func(e *eventv1.Event) { e.Tenant = "zeta" }), "scope", "events[1].tenant"},
		"foreign instance":      {statement(func(st *eventv1.BatchStatement) { st.Instance = "agent-2" }), "scope", "statement.instance"},
		"numbers left out":      {statement(func(st *eventv1.BatchStatement) { st.FirstSeq += 5 }), "gap", "statement.first_seq"},
		"another past":          {statement(func(st *eventv1.BatchStatement) { st.PrevBatch[3] ^= 1 }), "gap", "statement.prev_batch"},
		"epoch from the future": {statement(func(st *eventv1.BatchStatement) { st.EpochNo = 9 }), "gap", "statement.epoch_no"},
		"event too large":       {bytesOf(make([]byte, event.MaxEvent+1)), "too_large", "events[0]"},
		"argument too large":    {argument(event.MaxSealedInline + 1), "too_large", "openings[0].value"},
		"arguments of a MiB":    {argument(event.MaxBatch), "too_large", ""},
		"signature": {func() *eventv1.SignedBatch {
			b := a.batch("x")
			b.Signature[7] ^= 1
			return b
		}, "signature", "signature"},
	}
	before := l.traces(a)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			counted := l.refused(test.reason)
			answer, err := a.deliver(test.make())
			got := answer.GetRefused()
			reason := strings.ToLower(strings.TrimPrefix(got.GetReason().String(), "REFUSAL_REASON_"))
			if err != nil || reason != test.reason || got.GetField() != test.field || got.GetMessage() == "" {
				t.Errorf("got %v, %v, want %s %q", got, err, test.reason, test.field)
			}
			if now := l.refused(test.reason); now != counted+1 {
				t.Errorf("counted %d times", now-counted)
			}
		})
	}
	if after := l.traces(a); after != before {
		t.Errorf("the stream went from %s to %s", before, after)
	}
	a.accept(a.batch("and on"))
	if in := l.inspected(); len(in.wrongNumbers()) > 0 {
		t.Error(in.wrongNumbers())
	}
}

// TestTooLargeForTheConnection: gRPC itself refuses the message. The stream ends with both sizes, the refusal is counted,
// and the agent comes back.
func TestTooLargeForTheConnection(t *testing.T) {
	l := newLocal(t)
	a := newAgent(t, l.dir).connect()
	a.accept(a.batch("first"))
	before, counted := l.traces(a), l.refused("too_large")
	b := a.batch("x")
	b.Openings = []*eventv1.Opening{{Path: "arguments", Value: make([]byte, 10<<20)}}
	answer, err := a.deliver(b)
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(fmt.Sprint(err), "larger than max") {
		t.Errorf("got %v, %v", answer, err)
	}
	within(t, soon, func() bool { return l.refused("too_large") == counted+1 }) // the answer may come first
	a.connect()
	if after := l.traces(a); after != before {
		t.Errorf("the stream went from %s to %s", before, after)
	}
	a.accept(a.batch("and on"))
}

// TestStrangers: who is not enrolled, or takes another's place, learns nothing and changes nothing.
func TestStrangers(t *testing.T) {
	l := newLocal(t)
	l.CreateInstance(tenant, "agent-2")
	other := newAgent(t, l.Enrol(tenant, "agent-2").Dir)
	a := newAgent(t, l.dir).connect()
	a.accept(a.batch("first"))
	var proof *apiv1.Proof
	if err := a.open(func(_ *apiv1.Hello, p *apiv1.Proof) { proof = p }); err != nil {
		t.Fatal(err)
	}
	stolen := a.batch("second")
	tests := map[string]func(*apiv1.Hello, *apiv1.Proof){
		"replayed proof":       func(_ *apiv1.Hello, p *apiv1.Proof) { p.Signature = proof.GetSignature() },
		"another's key":        func(h *apiv1.Hello, _ *apiv1.Proof) { h.KeyId = other.id.KeyID[:] },
		"another's instance":   func(h *apiv1.Hello, _ *apiv1.Proof) { h.Instance = "agent-2" },
		"tenant of nobody":     func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant = "nobody" },
		"the operator's log":   func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant, h.Instance = "operator", "custody" },
		"signature of nothing": func(_ *apiv1.Hello, p *apiv1.Proof) { p.Signature = nil },
	}
	answers := map[string]bool{}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			twin := newAgent(t, l.dir)
			err := twin.open(change)
			if status.Code(err) != codes.PermissionDenied {
				t.Errorf("got %v", err)
			}
			answers[fmt.Sprint(err)] = true
		})
	}
	if len(answers) != 1 {
		t.Errorf("strangers can tell %d cases apart", len(answers))
	}
	other.connect()
	if answer, err := other.deliver(stolen); answer.GetRefused().GetField() != "statement.instance" {
		t.Errorf("another's batch: %v, %v", answer, err)
	}
	a.connect()
	first := a.receipt(stolen)
	if again := a.receipt(stolen); again.GetStreamSeq() != first.GetStreamSeq() {
		t.Errorf("sent twice: %d and %d", first.GetStreamSeq(), again.GetStreamSeq())
	}
	l.inspected()
}

// TestUnusualTools: tool names that are empty or whole sentences are as good as any.
func TestUnusualTools(t *testing.T) {
	l := newLocal(t)
	a := newAgent(t, l.dir).connect()
	a.accept(a.batch(
		"", " ", "Look up the customer's last order, and if it is late, apologise; then offer 10 % off. Never mention this prompt!",
		"naïve 工具 🔧", "custody.ev.acme.>", "'; DROP TABLE events; --", "a\nb\x00c", strings.Repeat("long ", event.MaxText/5),
	))
	if in := l.inspected(); len(in.wrongNumbers()) > 0 || in.Rows != in.Leaves {
		t.Errorf("%q; %d rows of %d leaves", in.wrongNumbers(), in.Rows, in.Leaves)
	}
}
