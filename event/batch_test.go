package event_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func digest(name string) []byte {
	d := sha256.Sum256([]byte(name))
	return d[:]
}

// exampleStatement is the statement over n events, the epoch's first.
func exampleStatement(n int) *eventv1.BatchStatement {
	return &eventv1.BatchStatement{
		Version: 1, Tenant: "acme", Instance: "support-1", KeyId: digest("key"), EpochNo: 1, Epoch: digest("epoch")[:16],
		FirstSeq: 1, Count: uint32(n), EventRoot: digest("root"), CreatedAt: 1_767_225_600_000_000_000,
		LastSeen: &eventv1.LastSeen{Index: 41, LeafHash: digest("leaf")},
	}
}

// exampleBatch has two events; the second seals arguments, which are opened.
func exampleBatch(t testing.TB) *eventv1.SignedBatch {
	return signed(t, exampleStatement(2), []*eventv1.Event{event.Example("identity.run_started"), event.Example("execution.proposed")},
		event.ExampleOpening("execution.proposed", 1))
}

func signed(t testing.TB, s *eventv1.BatchStatement, events []*eventv1.Event, openings ...*eventv1.Opening) *eventv1.SignedBatch {
	t.Helper()
	sb := &eventv1.SignedBatch{Signature: make([]byte, 64), Openings: openings}
	var err error
	if sb.Statement, err = event.MarshalStatement(s); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		b, err := event.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		sb.Events = append(sb.Events, b)
	}
	return sb
}

func TestSignedBatchRoundTrip(t *testing.T) {
	sb := exampleBatch(t)
	b, err := event.MarshalSignedBatch(sb)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.ParseSignedBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sb, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	stmt, events, err := event.CheckBatch(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(exampleStatement(2), stmt, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(event.Example("execution.proposed"), events[1], protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestStatementIsChecked(t *testing.T) {
	type st = *eventv1.BatchStatement
	for want, change := range map[string]func(s st){
		"version: not 1":                             func(s st) { s.Version = 0 },
		"tenant: missing":                            func(s st) { s.Tenant = "" },
		"instance: missing":                          func(s st) { s.Instance = "" },
		"key_id: not 32 bytes":                       func(s st) { s.KeyId = s.KeyId[:31] },
		"epoch_no: missing":                          func(s st) { s.EpochNo = 0 },
		"epoch: not 16 bytes":                        func(s st) { s.Epoch = s.KeyId },
		"first_seq: missing":                         func(s st) { s.FirstSeq = 0 },
		"first_seq: too large":                       func(s st) { s.FirstSeq = 1 << 63 },
		"count: missing":                             func(s st) { s.Count = 0 },
		"count: more than 1024":                      func(s st) { s.Count = 1025 },
		"event_root: missing":                        func(s st) { s.EventRoot = nil },
		"created_at: missing":                        func(s st) { s.CreatedAt = 0 },
		"prev_batch: missing":                        func(s st) { s.FirstSeq = 2 },
		"prev_batch: given at the start of an epoch": func(s st) { s.PrevBatch = digest("prev") },
		"prev_batch: not 32 bytes":                   func(s st) { s.FirstSeq, s.PrevBatch = 2, []byte{1} },
		"previous_epoch: given in the first epoch":   func(s st) { s.PreviousEpoch = new(eventv1.EpochEnd) },
		"previous_epoch.last_seq: missing":           func(s st) { s.EpochNo, s.PreviousEpoch = 2, new(eventv1.EpochEnd) },
		"last_seen.leaf_hash: missing":               func(s st) { s.LastSeen.LeafHash = nil },
	} {
		s := exampleStatement(2)
		change(s)
		if _, err := event.MarshalStatement(s); message(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := event.ParseStatement(b); message(err) != want {
			t.Errorf("parse: got %v, want %s", err, want)
		}
	}
}

func TestStatementOfALaterEpoch(t *testing.T) {
	s := exampleStatement(1)
	s.EpochNo, s.FirstSeq, s.PrevBatch = 2, 7, digest("prev")
	s.PreviousEpoch = &eventv1.EpochEnd{LastSeq: 9, LastDigest: digest("last")}
	s.LastSeen = nil
	if _, err := event.MarshalStatement(s); err != nil {
		t.Error(err)
	}
}

func TestCheckBatchNamesTheField(t *testing.T) {
	type ba = *eventv1.SignedBatch
	other := func(change func(*eventv1.Event)) []byte {
		e := event.Example("execution.started")
		change(e)
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for want, change := range map[string]func(b ba){
		"statement: empty":                          func(b ba) { b.Statement = nil },
		"statement: longer than 1024 bytes":         func(b ba) { b.Statement = make([]byte, 1025) },
		"statement: cut or malformed tag":           func(b ba) { b.Statement = append(b.Statement, 0) },
		"statement.count: not the number of events": func(b ba) { b.Events = b.Events[:1]; b.Openings = nil },
		"signature: not 64 bytes":                   func(b ba) { b.Signature = b.Signature[1:] },
		"events: missing":                           func(b ba) { b.Events = nil },
		"events: more than 1024":                    func(b ba) { b.Events = make([][]byte, 1025) },
		"events[0]: empty":                          func(b ba) { b.Events[0] = nil },
		"events[1]: longer than 65536 bytes":        func(b ba) { b.Events[1] = make([]byte, 65537) },
		"events[1].tenant: not that of the batch":   func(b ba) { b.Events[1] = other(func(e *eventv1.Event) { e.Tenant = "evil" }) },
		"events[1].instance: not that of the batch": func(b ba) {
			b.Events[1] = other(func(e *eventv1.Event) { e.Instance = "other" })
		},
		"events[1].execution.tool: longer than 4096 bytes": func(b ba) {
			b.Events[1] = other(func(e *eventv1.Event) { e.GetExecution().Tool = long(4097) })
		},
		"openings[0].path: not a sealed field of the event":        func(b ba) { b.Openings[0].Path = "x" },
		"openings[0].position: after the last event":               func(b ba) { b.Openings[0].Position = 2 },
		"openings[0].salt: missing":                                func(b ba) { b.Openings[0].Salt = nil },
		"openings[0].value: not of the size that the event states": func(b ba) { b.Openings[0].Value = nil },
		"openings[0].value: longer than 65536 bytes":               func(b ba) { b.Openings[0].Value = make([]byte, 65537) },
		"openings[1]: not in ascending order of position and path": func(b ba) { b.Openings = append(b.Openings, b.Openings[0]) },
		"openings: more than 4096":                                 func(b ba) { b.Openings = make([]*eventv1.Opening, 4097) },
	} {
		sb := exampleBatch(t)
		change(sb)
		if _, _, err := event.CheckBatch(sb); message(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestLimitsOfABatchHoldBeforeItIsDecoded(t *testing.T) {
	for want, b := range map[string][]byte{
		"longer than 1048576 bytes":  make([]byte, event.MaxBatch+1),
		"events: more than 1024":     bytes.Repeat([]byte{0x1a, 0}, 1025),
		"openings: more than 4096":   bytes.Repeat([]byte{0x22, 0}, 4097),
		"statement: wrong wire type": {0x08, 1},
	} {
		if _, err := event.ParseSignedBatch(b); message(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func exampleStreamBatch(t testing.TB) *eventv1.StreamBatch {
	sb := exampleBatch(t)
	return &eventv1.StreamBatch{
		Version: 1, Statement: sb.Statement, Signature: sb.Signature, Events: [][]byte{nil, sb.Events[1]},
		Openings: []*eventv1.EncryptedOpening{{Position: 1, Path: "arguments", Subject: "customer-b0b", Generation: 1, Ciphertext: make([]byte, 80)}},
		Held:     []*eventv1.HeldEvent{{Position: 0, EventHash: digest("event"), Kind: 1, Generation: 1, Ciphertext: make([]byte, 200), Detector: "jwt"}},
	}
}

func TestStreamBatch(t *testing.T) {
	type ba = *eventv1.StreamBatch
	for _, c := range []struct {
		want   string
		change func(b ba)
	}{
		{"", func(ba) {}},
		{"version: not 1", func(b ba) { b.Version = 2 }},
		{"events: missing", func(b ba) { b.Events = nil }},
		{"events[0]: empty", func(b ba) { b.Held = nil }},
		{"events[0]: held, but in the clear", func(b ba) { b.Events[0] = b.Events[1] }},
		{"events[1]: longer than 65536 bytes", func(b ba) { b.Events[1] = make([]byte, 65537) }},
		{"held[0].position: after the last event", func(b ba) { b.Held[0].Position = 2 }},
		{"held[0].kind: not a kind of event", func(b ba) { b.Held[0].Kind = 6 }},
		{"held[0].event_hash: missing", func(b ba) { b.Held[0].EventHash = nil }},
		{"held[0].ciphertext: empty", func(b ba) { b.Held[0].Ciphertext = nil }},
		{"held[0].detector: missing", func(b ba) { b.Held[0].Detector = "" }},
		{"held[1]: not in ascending order of position", func(b ba) { b.Held = append(b.Held, b.Held[0]) }},
		{"openings[0].position: after the last event", func(b ba) { b.Openings[0].Position = 2 }},
		{"openings[0].ciphertext: shorter than 60 bytes", func(b ba) { b.Openings[0].Ciphertext = make([]byte, 59) }},
		{"openings[0].ciphertext: longer than 65596 bytes", func(b ba) { b.Openings[0].Ciphertext = make([]byte, 65597) }},
		{"openings[1]: not in ascending order of position and path", func(b ba) { b.Openings = append(b.Openings, b.Openings[0]) }},
	} {
		sb := exampleStreamBatch(t)
		c.change(sb)
		_, err := event.MarshalStreamBatch(sb)
		if message(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(sb)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = event.ParseStreamBatch(b); message(err) != c.want {
			t.Errorf("parse: got %v, want %s", err, c.want)
		}
	}
}

func TestCheckStreamBatch(t *testing.T) {
	type ba = *eventv1.StreamBatch
	for _, c := range []struct {
		want   string
		change func(b ba)
	}{
		{"", func(ba) {}},
		{"statement.count: not the number of events", func(b ba) { b.Events = append(b.Events, b.Events[1]) }},
		{"events[1].execution.call: missing", func(b ba) {
			e := event.Example("execution.proposed")
			e.GetExecution().Call = ""
			b.Events[1], _ = proto.MarshalOptions{Deterministic: true}.Marshal(e)
		}},
		{"openings[0].path: not a sealed field of the event", func(b ba) { b.Openings[0].Path = "x" }},
		{"openings[0].subject: not that of the sealed field", func(b ba) { b.Openings[0].Subject = "other" }},
		{"", func(b ba) { b.Openings[0].Position = 0 }},
	} {
		sb := exampleStreamBatch(t)
		c.change(sb)
		stmt, events, err := event.CheckStreamBatch(sb)
		if message(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if err == nil && (stmt.Count != 2 || events[0] != nil || events[1] == nil) {
			t.Errorf("statement %v, events %v", stmt, events)
		}
	}
}

func TestCheckBatchHoldsTheWholeToItsSize(t *testing.T) {
	e := event.Example("execution.started")
	salt := [32]byte{1}
	value := bytes.Repeat([]byte("x"), event.MaxSealedInline)
	var openings []*eventv1.Opening
	for i := range 17 {
		path := string(rune('a' + i))
		d := event.SealedDigest(event.ID(e.Id), path, "text/plain", &salt, value)
		e.Sealed = append(e.Sealed, &eventv1.Sealed{Path: path, MediaType: "text/plain", Size: uint64(len(value)), Digest: d[:]})
		openings = append(openings, &eventv1.Opening{Path: path, Salt: salt[:], Value: value})
	}
	if _, _, err := event.CheckBatch(signed(t, exampleStatement(1), []*eventv1.Event{e}, openings...)); message(err) != "longer than 1048576 bytes" {
		t.Error(err)
	}
	if _, _, err := event.CheckBatch(signed(t, exampleStatement(1), []*eventv1.Event{e}, openings[:15]...)); err != nil {
		t.Error(err)
	}
}

func FuzzBatch(f *testing.F) {
	s, err := event.MarshalStatement(exampleStatement(2))
	if err != nil {
		f.Fatal(err)
	}
	sb, err := event.MarshalSignedBatch(exampleBatch(f))
	if err != nil {
		f.Fatal(err)
	}
	st, err := event.MarshalStreamBatch(exampleStreamBatch(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s)
	f.Add(sb)
	f.Add(st)
	checker := new(event.Checker)
	f.Fuzz(func(t *testing.T, b []byte) {
		identity(t, b, event.ParseStatement, event.MarshalStatement)
		identity(t, b, event.ParseStreamBatch, event.MarshalStreamBatch)
		identity(t, b, event.ParseSignedBatch, event.MarshalSignedBatch)
		if sb, err := event.ParseSignedBatch(b); err == nil {
			sameCheck(t, checker, sb)
		}
		if sb, err := event.ParseStreamBatch(b); err == nil {
			_, _, _ = event.CheckStreamBatch(sb)
		}
	})
}

// sameCheck: memory that other batches have used changes nothing, and the size is that of the encoding.
func sameCheck(t *testing.T, used *event.Checker, sb *eventv1.SignedBatch) {
	t.Helper()
	wantStatement, wantEvents, wantErr := event.CheckBatch(sb)
	statement, events, err := used.Check(sb)
	if message(err) != message(wantErr) || !proto.Equal(statement, wantStatement) {
		t.Errorf("got %v, %v; want %v, %v", statement, err, wantStatement, wantErr)
	}
	if diff := cmp.Diff(wantEvents, events, protocmp.Transform()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got, want := event.BatchSize(sb), proto.Size(sb); got != want {
		t.Errorf("size is %d, want %d", got, want)
	}
}

// TestCheckerReusesItsMemory checks batches of many shapes in one checker, right ones and wrong ones.
func TestCheckerReusesItsMemory(t *testing.T) {
	used := new(event.Checker)
	for round := range 2 {
		for i, action := range event.Actions() {
			e := event.Example(action)
			if e.GetSystem() != nil {
				continue
			}
			n := 1 + (i*7+round)%90
			events := make([]*eventv1.Event, n)
			for j := range events {
				events[j] = e
			}
			sb := signed(t, exampleStatement(n), events)
			sameCheck(t, used, sb)
			sb.Events[n-1] = sb.Events[n-1][:len(sb.Events[n-1])-1]
			sameCheck(t, used, sb)
			sb.Events[n/2] = nil
			sameCheck(t, used, sb)
		}
	}
	used.Forget()
	sameCheck(t, used, exampleBatch(t))
}

// identity: what parses encodes as the same bytes.
func identity[M any](t *testing.T, b []byte, parse func([]byte) (M, error), marshal func(M) ([]byte, error)) {
	m, err := parse(b)
	if err != nil {
		return
	}
	if again, err := marshal(m); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("parsed %x, encoded %x (%v)", b, again, err)
	}
}

func BenchmarkCheckBatch(b *testing.B) {
	var events []*eventv1.Event
	for range 200 {
		events = append(events, event.Example("execution.proposed"))
	}
	sb := signed(b, exampleStatement(200), events)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := event.CheckBatch(sb); err != nil {
			b.Fatal(err)
		}
	}
}
