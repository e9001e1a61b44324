package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/stream"
)

func TestBatchIsTakenAndPromised(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	b := a.batch("crm.read", "send_email")
	receipt := a.accept(b)

	name, key, err := signer.ParseVKey(a.welcome.GetReceiptVerifier())
	if err != nil {
		t.Fatal(err)
	}
	promise := ok(signer.OpenReceipt(receipt.GetNote(), ok(signer.NoteVerifier(name, key))(t)))(t)
	if promise.Batch.String() != digestOf(b) || promise.Sequence != receipt.GetStreamSeq() || promise.Origin != a.welcome.GetOrigin() {
		t.Errorf("receipt promises %+v", promise)
	}
	stored := s.messages(stream.EventSubject("acme", a.key.ID()))
	if len(stored) != 1 || stored[0].Seq != receipt.GetStreamSeq() {
		t.Fatalf("stream holds %d messages", len(stored))
	}
	got := ok(event.ParseStreamBatch(stored[0].Data))(t)
	want := &eventv1.StreamBatch{Version: 1, Statement: b.Statement, Signature: b.Signature, Events: b.Events}
	if !proto.Equal(got, want) {
		t.Errorf("stream holds %v", got)
	}
}

func TestWelcomeSaysWhereTheEmitterStands(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	if a.welcome.GetHead() != nil || a.welcome.GetManifestVersion() != 1 || len(a.welcome.GetFingerprintKey()) != 32 {
		t.Errorf("first welcome: %v", a.welcome)
	}
	a.accept(a.batch("one", "two"))
	a.connect()
	want := &apiv1.EmitterHead{EpochNo: 1, Epoch: a.epoch[:], LastSeq: 2, BatchDigest: a.prev}
	if !proto.Equal(a.welcome.GetHead(), want) {
		t.Errorf("head is %v, want %v", a.welcome.GetHead(), want)
	}
}

// TestRefusals spoils one thing at a time. Nothing of it reaches the stream, and the right batch is still
// taken afterwards.
func TestRefusals(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	a.accept(a.batch("first"))
	statement := func(change func(*eventv1.BatchStatement)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch { return a.sign(a.raw(a.event("x")), change) }
	}
	batch := func(change func(*eventv1.SignedBatch)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			b := a.batch("x")
			change(b)
			return b
		}
	}
	spoilt := func(change func(*eventv1.Event)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			e := a.event("x")
			change(e)
			encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			return a.sign([][]byte{a.raw(a.event("good"))[0], encoded}, asIs)
		}
	}
	opening := func(change func(*eventv1.Event, *eventv1.Opening)) func() *eventv1.SignedBatch {
		return func() *eventv1.SignedBatch {
			e, o := a.sealedEvent("x", "user-1", "mail to bob@example.com")
			change(e, o)
			b := a.sign(a.raw(e), asIs)
			b.Openings = []*eventv1.Opening{o}
			return b
		}
	}
	other := ok(signer.Generate())(t)
	tests := map[string]struct {
		make   func() *eventv1.SignedBatch
		reason apiv1.RefusalReason
		field  string
	}{
		"no batch":            {func() *eventv1.SignedBatch { return nil }, malformed, "message"},
		"empty batch":         {func() *eventv1.SignedBatch { return &eventv1.SignedBatch{} }, malformed, "statement"},
		"statement cut":       {batch(func(b *eventv1.SignedBatch) { b.Statement = b.Statement[:9] }), malformed, "statement.instance"},
		"statement not canon": {batch(func(b *eventv1.SignedBatch) { b.Statement = append(b.Statement, 8, 1) }), malformed, "statement.version"},
		"unknown field":       {batch(func(b *eventv1.SignedBatch) { b.ProtoReflect().SetUnknown([]byte{0x78, 1}) }), malformed, ""},
		"foreign tenant":      {statement(func(st *eventv1.BatchStatement) { st.Tenant = "zeta" }), scope, "statement.tenant"},
		"foreign instance":    {statement(func(st *eventv1.BatchStatement) { st.Instance = "support-2" }), scope, "statement.instance"},
		"foreign key": {statement(func(st *eventv1.BatchStatement) {
			id := other.ID()
			st.KeyId = id[:]
		}), badKey, "statement.key_id"},
		"wrong count":    {statement(func(st *eventv1.BatchStatement) { st.Count = 2 }), malformed, "statement.count"},
		"wrong root":     {statement(func(st *eventv1.BatchStatement) { st.EventRoot[0] ^= 1 }), malformed, "statement.event_root"},
		"signature":      {batch(func(b *eventv1.SignedBatch) { b.Signature[5] ^= 1 }), signature, "signature"},
		"no signature":   {batch(func(b *eventv1.SignedBatch) { b.Signature = nil }), signature, "signature"},
		"event changed":  {batch(func(b *eventv1.SignedBatch) { b.Events[0][len(b.Events[0])-1] ^= 1 }), malformed, "statement.event_root"},
		"gap":            {statement(func(st *eventv1.BatchStatement) { st.FirstSeq = 3 }), gap, "statement.first_seq"},
		"other past":     {statement(func(st *eventv1.BatchStatement) { st.PrevBatch[0] ^= 1 }), gap, "statement.prev_batch"},
		"other epoch":    {statement(func(st *eventv1.BatchStatement) { st.Epoch[0] ^= 1 }), gap, "statement.epoch"},
		"epoch left out": {statement(func(st *eventv1.BatchStatement) { st.EpochNo = 3 }), gap, "statement.epoch_no"},
		"epoch without end": {statement(func(st *eventv1.BatchStatement) {
			st.EpochNo, st.FirstSeq, st.PrevBatch = 2, 1, nil
		}), gap, "statement.previous_epoch"},
		"event is no event":    {func() *eventv1.SignedBatch { return a.sign([][]byte{{0xff}}, asIs) }, invalid, "events[0]"},
		"event too large":      {func() *eventv1.SignedBatch { return a.sign([][]byte{make([]byte, event.MaxEvent+1)}, asIs) }, tooLarge, "events[0]"},
		"tool too long":        {spoilt(func(e *eventv1.Event) { e.GetExecution().Tool = strings.Repeat("x", event.MaxText+1) }), invalid, "events[1].execution.tool"},
		"no version":           {spoilt(func(e *eventv1.Event) { e.Version = 0 }), invalid, "events[1].version"},
		"no instance":          {spoilt(func(e *eventv1.Event) { e.Instance = "" }), invalid, "events[1].instance"},
		"event of a tenant":    {spoilt(func(e *eventv1.Event) { e.Tenant = "zeta" }), scope, "events[1].tenant"},
		"event of an instance": {spoilt(func(e *eventv1.Event) { e.Instance = "support-2" }), scope, "events[1].instance"},
		"system event": {spoilt(func(e *eventv1.Event) {
			e.Body = &eventv1.Event_System{System: &eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "h", Scope: "tenant"}}}}
		}), invalid, "events[1].system"},
		"too many events": {func() *eventv1.SignedBatch {
			b := a.batch("x")
			for len(b.Events) <= event.MaxBatchEvents {
				b.Events = append(b.Events, []byte{1})
			}
			return b
		}, tooLarge, "events"},
		"batch too large": {func() *eventv1.SignedBatch {
			b := a.batch("x")
			for range 17 {
				b.Openings = append(b.Openings, &eventv1.Opening{Value: make([]byte, event.MaxSealedInline)})
			}
			return b
		}, tooLarge, ""},
		"argument too large": {opening(func(_ *eventv1.Event, o *eventv1.Opening) { o.Value = make([]byte, event.MaxSealedInline+1) }), tooLarge, "openings[0].value"},
		"other value":        {opening(func(_ *eventv1.Event, o *eventv1.Opening) { o.Value = []byte("mail to eve@example.com") }), commitment, "events[0].sealed[0].digest"},
		"other salt":         {opening(func(_ *eventv1.Event, o *eventv1.Opening) { o.Salt[0] ^= 1 }), commitment, "events[0].sealed[0].digest"},
		"other size":         {opening(func(_ *eventv1.Event, o *eventv1.Opening) { o.Value = append(o.Value, 'x') }), commitment, "openings[0].value"},
		"of no field":        {opening(func(_ *eventv1.Event, o *eventv1.Opening) { o.Path = "result" }), commitment, "openings[0].path"},
		"fingerprint":        {opening(func(e *eventv1.Event, _ *eventv1.Opening) { e.Fingerprints[0].Value[0] ^= 1 }), commitment, "events[0].fingerprints[0]"},
	}
	before := len(s.messages(stream.EventSubject("acme", a.key.ID())))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := a.deliver(test.make()).GetRefused()
			if got.GetReason() != test.reason || got.GetField() != test.field {
				t.Errorf("got %v, want %s %q", got, test.reason, test.field)
			}
			if (test.reason == gap) != (got.GetHead().GetLastSeq() == 1) {
				t.Errorf("head is %v", got.GetHead())
			}
		})
	}
	if after := len(s.messages(stream.EventSubject("acme", a.key.ID()))); after != before {
		t.Errorf("refused batches left %d messages", after-before)
	}
	a.accept(a.batch("and on"))
}

// TestFingerprintKeyRotates: an emitter that has not connected since, or has events on its disk that are older, is let in
// with the key that it had; a key that never was is none.
func TestFingerprintKeyRotates(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	sealed := func(change func(*eventv1.Event)) *eventv1.SignedBatch {
		e, o := a.sealedEvent("x", "user-1", "mail to bob@example.com")
		change(e)
		b := a.sign(a.raw(e), asIs)
		b.Openings = []*eventv1.Opening{o}
		return b
	}
	keep := func(*eventv1.Event) {}
	a.accept(sealed(keep))
	if number := ok(s.vault.RotateFingerprintKey("acme"))(t); number != 2 {
		t.Fatalf("the second key has the number %d", number)
	}
	a.accept(sealed(keep))
	old := a.welcome
	a.connect()
	if w := a.welcome; w.GetFingerprintKeyId() != 2 || bytes.Equal(w.GetFingerprintKey(), old.GetFingerprintKey()) {
		t.Fatalf("after the rotation the key is still number %d", w.GetFingerprintKeyId())
	}
	a.accept(sealed(keep))
	a.welcome = old
	a.accept(sealed(keep))
	for name, change := range map[string]func(*eventv1.Event){
		"under another number": func(e *eventv1.Event) { e.Fingerprints[0].KeyId = 2 },
		"never was":            func(e *eventv1.Event) { e.Fingerprints[0].KeyId = 3 },
	} {
		if got := a.deliver(sealed(change)).GetRefused(); got.GetReason() != commitment || !strings.HasPrefix(got.GetField(), "events[0].fingerprints[0]") {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestBatchThatIsTooLargeForTheConnection(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	b := a.batch("x")
	b.Openings = []*eventv1.Opening{{Value: make([]byte, 10<<20)}}
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Batch{Batch: b}})
	_, err := a.link.Recv()
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("got %v", err)
	}
	s.waitFor("acme", func(e *eventv1.Event) bool { return e.GetSystem().GetRefusal().GetReason() == "too_large" })
}

func TestBatchSentAgain(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	one := a.batch("one")
	first := a.accept(one)
	two := a.batch("two")
	second := a.accept(two)
	if again := a.deliver(two).GetReceipt(); again.GetStreamSeq() != second.GetStreamSeq() {
		t.Errorf("the head again: receipt for %d, want %d", again.GetStreamSeq(), second.GetStreamSeq())
	}
	// JetStream still knows the id of a batch that is a little older.
	if again := a.deliver(one).GetReceipt(); again.GetStreamSeq() != first.GetStreamSeq() {
		t.Errorf("an older batch again: receipt for %d, want %d", again.GetStreamSeq(), first.GetStreamSeq())
	}
	if n := len(s.messages(stream.EventSubject("acme", a.key.ID()))); n != 2 {
		t.Errorf("stream holds %d batches, want 2", n)
	}
}

// TestLateBatchIsLeftToTheFold: other content under old numbers, and a batch of an old epoch.
func TestLateBatchIsLeftToTheFold(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	forged := a.batch("another story")
	a.accept(a.batch("one"))
	a.accept(a.batch("two"))
	if r := a.deliver(forged).GetReceipt(); r == nil {
		t.Fatal("a batch before the head was refused")
	}
	old := a.batch("never sent before the epoch ended")
	a.newEpoch()
	a.accept(a.batch("new epoch"))
	if r := a.deliver(old).GetReceipt(); r == nil {
		t.Fatal("a batch of an old epoch was refused")
	}
	if n := len(s.messages(stream.LateSubject("acme"))); n != 2 {
		t.Errorf("%d late messages, want 2", n)
	}
	a.accept(a.batch("and on"))
}

// TestTwoStreamsOfOneKey: whoever comes second is told that numbering does not continue.
func TestTwoStreamsOfOneKey(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	twin := *a
	twin.connect()
	stale := twin.batch("twin")
	a.accept(a.batch("one", "two"))
	if r := twin.deliver(stale).GetReceipt(); r == nil {
		t.Error("the twin's batch is before the head: the fold must see it")
	}
	twin.seq, twin.prev = 7, bytes.Repeat([]byte{1}, 32)
	got := twin.deliver(twin.batch("x")).GetRefused()
	if got.GetReason() != gap || got.GetHead().GetLastSeq() != 2 {
		t.Errorf("got %v", got)
	}
}

func TestRestartInTheMiddle(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	receipt := a.accept(a.batch("one"))
	last := a.batch("two")
	a.accept(last)
	s.restart()
	if _, err := a.link.Recv(); err == nil {
		t.Error("the old stream still answers")
	}
	a.connect()
	if got := a.welcome.GetHead().GetLastSeq(); got != 2 {
		t.Errorf("after the restart the head is at %d", got)
	}
	if again := a.deliver(last).GetReceipt(); again.GetStreamSeq() <= receipt.GetStreamSeq() {
		t.Errorf("the last batch again: %v", again)
	}
	a.accept(a.batch("three"))
	events := s.systemEvents("acme")
	if len(events) == 0 || event.Action(events[0]) != "system.genesis" {
		t.Errorf("the log does not begin with its genesis: %v", events)
	}
}

func TestRevokedKeyIsRefusedInTheMiddle(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	a.accept(a.batch("one"))
	id := a.key.ID()
	if _, err := s.asRoot().RevokeKey(t.Context(), &apiv1.RevokeKeyRequest{Tenant: "acme", KeyId: id[:], Reason: "laptop lost"}); err != nil {
		t.Fatal(err)
	}
	if got := a.deliver(a.batch("two")).GetRefused(); got.GetReason() != badKey || got.GetField() != "statement.key_id" {
		t.Errorf("got %v", got)
	}
	err := a.open(func(*apiv1.Hello, *apiv1.Proof) {})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("hello with a revoked key: %v", err)
	}
}

func TestNothingWithoutAManifest(t *testing.T) {
	s := newSite(t, siteConfig{})
	root := s.asRoot()
	if _, err := root.CreateTenant(t.Context(), &apiv1.CreateTenantRequest{Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.CreateInstance(t.Context(), &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "support-1"}); err != nil {
		t.Fatal(err)
	}
	a := s.enrol("acme", "support-1").connect()
	b := a.batch("one")
	if got := a.deliver(b).GetRefused(); got.GetReason() != noManifest {
		t.Errorf("got %v", got)
	}
	s.instance("acme", "support-1")
	a.accept(b)
}

func TestBacklogPushesBack(t *testing.T) {
	s := newSite(t, siteConfig{maxBacklog: 10})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	s.ledger.setBacklog(10)
	b := a.batch("one")
	got := a.deliver(b).GetRefused()
	if got.GetReason() != pushback || time.Duration(got.GetRetryAfter()) != pushbackDelay {
		t.Errorf("got %v", got)
	}
	s.instance("acme", "support-2") // Custody's own events are exempt
	s.ledger.setBacklog(9)
	a.accept(b)
}

func TestFullStreamPushesBack(t *testing.T) {
	s := newSite(t, siteConfig{stream: stream.Config{MaxBytes: 400 << 10, SystemQuota: 200 << 10}})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	for range 100 {
		e, o := a.sealedEvent("x", "user-1", strings.Repeat("lorem ipsum ", 3000))
		b := a.sign(a.raw(e), asIs)
		b.Openings = []*eventv1.Opening{o}
		answer := a.deliver(b)
		if answer.GetReceipt() == nil {
			if got := answer.GetRefused(); got.GetReason() != pushback || got.GetRetryAfter() == 0 {
				t.Errorf("got %v", got)
			}
			s.instance("acme", "support-2") // Custody's own events are exempt
			return
		}
		a.seq++
		a.prev = answer.GetReceipt().GetBatchDigest()
	}
	t.Error("never pushed back")
}

// awsKey is what a secret scanner finds; it was never a key.
const awsKey = "AKIAIOSFODNN7EXAMPLE"

func TestEventWithASecretIsHeld(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	b := a.batch("harmless", "login "+awsKey)
	a.accept(b)
	stored := s.messages(stream.EventSubject("acme", a.key.ID()))[0].Data
	if bytes.Contains(stored, []byte(awsKey)) {
		t.Error("the secret is in the stream")
	}
	got := ok(event.ParseStreamBatch(stored))(t)
	if len(got.GetEvents()[1]) != 0 || !bytes.Equal(got.GetEvents()[0], b.GetEvents()[0]) || len(got.GetHeld()) != 1 {
		t.Fatalf("stream holds %v", got)
	}
	held := got.GetHeld()[0]
	key := ok(s.vault.Get("acme", content.HeldKey, held.GetGeneration()))(t)
	aad := content.AppendHeldData(nil, "acme", [32]byte(held.GetEventHash()))
	if opened := ok(vault.Open(key, aad, held.GetCiphertext()))(t); !bytes.Equal(opened, b.GetEvents()[1]) {
		t.Error("the held event does not open to its bytes")
	}
}

func TestOpeningsAreEncryptedForTheirSubject(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	const value = "mail bob@example.com with key " + awsKey
	e, o := a.sealedEvent("send_email", "user-81", value)
	b := a.sign(a.raw(e), asIs)
	b.Openings = []*eventv1.Opening{o}
	a.accept(b)
	stored := s.messages(stream.EventSubject("acme", a.key.ID()))[0].Data
	if bytes.Contains(stored, []byte("bob@example.com")) {
		t.Error("sealed content is in the stream in the clear")
	}
	sealed := ok(event.ParseStreamBatch(stored))(t).GetOpenings()[0]
	key := ok(s.vault.Get("acme", content.SubjectKey("user-81"), sealed.GetGeneration()))(t)
	aad := content.AppendOpeningData(nil, "acme", event.ID(e.GetId()), "arguments")
	_, got, err := content.SplitOpening(ok(vault.Open(key, aad, sealed.GetCiphertext()))(t))
	if err != nil || string(got) != value {
		t.Errorf("opened to %q, %v", got, err)
	}
	s.waitFor("acme", func(found *eventv1.Event) bool {
		data := found.GetData()
		return data.GetLabel() == "secret" && bytes.Equal(found.GetCauses()[0].GetId(), e.GetId())
	})
}

// waitFor waits until Custody has recorded an event.
func (s *site) waitFor(tenant string, is func(*eventv1.Event) bool) {
	s.t.Helper()
	for range 100 {
		if slices.ContainsFunc(s.systemEvents(tenant), is) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Error("not recorded")
}

func TestRefusalsAreRecordedAtMostOnceAMinute(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	bad := a.batch("x")
	bad.Signature[0] ^= 1
	for range 5 {
		a.deliver(bad)
	}
	isRefusal := func(e *eventv1.Event) bool { return e.GetSystem().GetRefusal().GetReason() == "signature" }
	s.waitFor("acme", isRefusal)
	for range 3 {
		a.deliver(bad)
	}
	s.stop() // what is counted and not recorded yet is recorded at the end
	s.start()
	var total, records uint64
	for _, e := range s.systemEvents("acme") {
		if isRefusal(e) {
			records++
			total += e.GetSystem().GetRefusal().GetCount()
		}
	}
	if total != 8 || records > 3 {
		t.Errorf("%d records of %d refusals", records, total)
	}
}

func TestStrangersLearnNothing(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	s.tenant("zeta", "support-1")
	s.instance("acme", "support-2")
	a := s.enrol("acme", "support-1")
	other := ok(signer.Generate())(t).ID()
	tests := map[string]func(*apiv1.Hello, *apiv1.Proof){
		"unknown tenant": func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant = "nobody" },
		"foreign tenant": func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant = "zeta" },
		"operator's log": func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant = "operator" },
		"other instance": func(h *apiv1.Hello, _ *apiv1.Proof) { h.Instance = "support-2" },
		"no instance":    func(h *apiv1.Hello, _ *apiv1.Proof) { h.Instance = "support-3" },
		"unknown key":    func(h *apiv1.Hello, _ *apiv1.Proof) { h.KeyId = other[:] },
		"system key": func(h *apiv1.Hello, _ *apiv1.Proof) {
			id := s.system.key.Public().ID()
			h.KeyId, h.Instance = id[:], "custody"
		},
		"not proven": func(_ *apiv1.Hello, p *apiv1.Proof) { p.Signature = make([]byte, 64) },
		"no proof":   func(_ *apiv1.Hello, p *apiv1.Proof) { p.Signature = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			if err := a.open(change); !sameStatus(err, notEnrolled) {
				t.Errorf("got %v", err)
			}
		})
	}
	s.waitFor("operator", func(e *eventv1.Event) bool {
		r := e.GetSystem().GetRefusal()
		return r.GetReason() == "hello" && len(r.GetEmitter()) == 0
	})
}

func sameStatus(a, b error) bool {
	x, errX := proto.Marshal(status.Convert(a).Proto())
	y, errY := proto.Marshal(status.Convert(b).Proto())
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func TestHandshakeRefusals(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1")
	tests := map[string]struct {
		change func(*apiv1.Hello, *apiv1.Proof)
		field  string
	}{
		"version":  {func(h *apiv1.Hello, _ *apiv1.Proof) { h.Version = 2 }, "hello.version"},
		"tenant":   {func(h *apiv1.Hello, _ *apiv1.Proof) { h.Tenant = "A B" }, "hello.tenant"},
		"instance": {func(h *apiv1.Hello, _ *apiv1.Proof) { h.Instance = "" }, "hello.instance"},
		"key":      {func(h *apiv1.Hello, _ *apiv1.Proof) { h.KeyId = h.KeyId[:3] }, "hello.key_id"},
		"software": {func(h *apiv1.Hello, _ *apiv1.Proof) { h.Software = strings.Repeat("x", maxSoftware+1) }, "hello.software"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := a.open(test.change)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(status.Convert(err).Message(), test.field) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestProofIsBoundToTheConnection replays a proof, nonce and all, on another connection.
func TestProofIsBoundToTheConnection(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1")
	var stolen []byte
	if err := a.open(func(_ *apiv1.Hello, p *apiv1.Proof) { stolen = p.GetSignature() }); err != nil {
		t.Fatal(err)
	}
	if err := a.open(func(_ *apiv1.Hello, p *apiv1.Proof) { p.Signature = stolen }); !sameStatus(err, notEnrolled) {
		t.Errorf("got %v", err)
	}
}

// TestManyEmitters sends from several emitters at once, each in its order.
func TestManyEmitters(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	var work sync.WaitGroup
	for i := range 4 {
		a := s.enrol("acme", "support-1").connect()
		work.Go(func() {
			for j := range 10 {
				a.accept(a.batch(fmt.Sprintf("tool-%d-%d", i, j)))
			}
		})
	}
	work.Wait()
	counts := s.door.Counters()
	want := map[string]uint64{"ingest_batches": 40, "ingest_events": 40, "ingest_streams": 4}
	got := map[string]uint64{}
	for name := range want {
		got[name] = counts[name]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// TestUnpublishedBatchIsNotPromised: the stream is gone, the sender keeps the batch.
func TestUnpublishedBatchIsNotPromised(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	s.door.cfg.Stream = brokenStream{s.stream}
	b := a.batch("one")
	if got := a.deliver(b).GetRefused(); got.GetReason() != pushback || strings.Contains(got.GetMessage(), "disk") {
		t.Errorf("got %v", got)
	}
	s.door.cfg.Stream = s.stream
	a.accept(b)
}

// brokenStream fails to publish with an error that is nobody's business.
type brokenStream struct{ *stream.Stream }

func (brokenStream) Publish(context.Context, stream.Msg) (uint64, bool, error) {
	return 0, false, errors.New("disk /dev/sdb: input/output error")
}
