package ingest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/stream"
)

// long is a value of n bytes that holds something distinctive.
func long(n int) []byte {
	line := []byte("row of account 4929123456 for jane@corp.example\n")
	return bytes.Repeat(line, n/len(line)+1)[:n]
}

// sent is an event with a long sealed value, as an emitter has it.
type sent struct {
	event   *eventv1.Event
	header  *apiv1.ObjectHeader
	opening *eventv1.Opening
	value   []byte
}

func (a *agent) longEvent(value []byte) *sent {
	e := a.event("fetch")
	salt := sha256.Sum256(e.GetId())
	digest := event.SealedDigest(event.ID(e.GetId()), "result", "text/plain", &salt, value)
	e.Sealed = []*eventv1.Sealed{{Path: "result", MediaType: "text/plain", Size: uint64(len(value)), Subject: "jane", Digest: digest[:]}}
	prints := event.NewFingerprinter(a.welcome.GetFingerprintKey(), a.welcome.GetFingerprintKeyId())
	e.Fingerprints = prints.AppendObject(nil, "result", value)
	return &sent{e, &apiv1.ObjectHeader{
		EventId: e.GetId(), Path: "result", MediaType: "text/plain", Subject: "jane", Size: uint64(len(value)), Digest: digest[:], Salt: salt[:],
	}, &eventv1.Opening{Path: "result", Salt: salt[:]}, value}
}

// part sends one part and returns the answer.
func (a *agent) part(p *apiv1.ObjectPart) *apiv1.EmitResponse {
	a.t.Helper()
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Object{Object: p}})
	answer, err := a.link.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return answer
}

// upload sends a whole object, or the parts up to the first refusal.
func (a *agent) upload(s *sent) *apiv1.EmitResponse {
	a.t.Helper()
	answer := a.part(&apiv1.ObjectPart{Header: s.header})
	for answer.GetRefused() == nil && answer.GetObjectTaken().GetBytes() < s.header.GetSize() {
		at := answer.GetObjectTaken().GetBytes()
		answer = a.part(&apiv1.ObjectPart{Offset: at, Data: s.value[at:min(at+ObjectPart, uint64(len(s.value)))]})
	}
	return answer
}

func (a *agent) longBatch(s *sent) *eventv1.SignedBatch {
	b := a.sign(a.raw(s.event), asIs)
	b.Openings = []*eventv1.Opening{s.opening}
	return b
}

func wantRefusal(t *testing.T, answer *apiv1.EmitResponse, reason apiv1.RefusalReason, field string) {
	t.Helper()
	if r := answer.GetRefused(); r.GetReason() != reason || r.GetField() != field {
		t.Errorf("got %v, want %s of %s", answer, reason, field)
	}
}

func (s *site) ref(tenant string, x *sent) *object.Ref {
	r := object.RefOf(x.event, x.event.GetSealed()[0])
	r.Tenant = event.TenantID(tenant)
	return &r
}

func TestObjectIsThereBeforeItsBatch(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(ObjectPart + 5))
	wantRefusal(t, a.deliver(a.longBatch(x)), noObject, "openings[0]")
	if got := a.upload(x).GetObjectTaken().GetBytes(); got != uint64(len(x.value)) {
		t.Fatalf("%d bytes were taken", got)
	}
	if got := a.part(&apiv1.ObjectPart{Header: x.header}).GetObjectTaken().GetBytes(); got != uint64(len(x.value)) {
		t.Errorf("of an object that is there, %d bytes are said to be", got)
	}
	a.accept(a.longBatch(x))
	for _, m := range s.messages(stream.EventSubject("acme", a.key.ID())) {
		if len(m.Data) > 32<<10 || bytes.Contains(m.Data, []byte("jane@corp")) {
			t.Errorf("a message of %d bytes", len(m.Data))
		}
	}
	var got bytes.Buffer
	salt := [event.SaltSize]byte(x.opening.GetSalt())
	if err := s.objects.CopyTo(&got, s.ref("acme", x), &salt); err != nil || !bytes.Equal(got.Bytes(), x.value) {
		t.Errorf("%d bytes are stored: %v", got.Len(), err)
	}
	if n, err := s.objects.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Errorf("%d objects of a batch were swept: %v", n, err)
	}
}

// TestAnObjectWithoutABatchIsSwept, and asked for again when the batch comes after all.
func TestAnObjectWithoutABatchIsSwept(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(100 << 10))
	a.upload(x)
	if n, err := s.objects.Sweep(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d young objects were swept: %v", n, err)
	}
	if n, err := s.objects.Sweep(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("%d objects were swept: %v", n, err)
	}
	wantRefusal(t, a.deliver(a.longBatch(x)), noObject, "openings[0]")
	a.upload(x)
	a.accept(a.longBatch(x))
}

// TestRestartBetweenObjectAndBatch loses nothing.
func TestRestartBetweenObjectAndBatch(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(100 << 10))
	a.upload(x)
	s.restart()
	a.connect()
	a.accept(a.longBatch(x))
}

func TestForeignTenantsLearnNothingOfObjects(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	s.tenant("zeta", "spy")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(100 << 10))
	a.upload(x)
	a.accept(a.longBatch(x))
	spy := s.enrol("zeta", "spy").connect()
	if got := spy.part(&apiv1.ObjectPart{Header: x.header}); got.GetObjectTaken() == nil || got.GetObjectTaken().GetBytes() != 0 {
		t.Errorf("the spy is told %v", got)
	}
	x.event.Tenant, x.event.Instance, x.event.Fingerprints = "zeta", "spy", nil
	wantRefusal(t, spy.deliver(spy.longBatch(x)), noObject, "openings[0]")
	if _, err := s.objects.Stat(s.ref("zeta", x)); !errors.Is(err, object.ErrMissing) {
		t.Errorf("under the spy's tenant: %v", err)
	}
}

func TestObjectRefusals(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	header := func(change func(*apiv1.ObjectHeader)) *apiv1.ObjectPart {
		x := a.longEvent(long(70 << 10))
		change(x.header)
		return &apiv1.ObjectPart{Header: x.header}
	}
	tests := map[string]struct {
		part   *apiv1.ObjectPart
		reason apiv1.RefusalReason
		field  string
	}{
		"too short":         {header(func(h *apiv1.ObjectHeader) { h.Size = event.MaxSealedInline }), malformed, "object.size"},
		"too long":          {header(func(h *apiv1.ObjectHeader) { h.Size = event.MaxObject + 1 }), tooLarge, "object.size"},
		"overflow":          {header(func(h *apiv1.ObjectHeader) { h.Size = math.MaxUint64 }), tooLarge, "object.size"},
		"no id":             {header(func(h *apiv1.ObjectHeader) { h.EventId = nil }), malformed, "object.event_id"},
		"no path":           {header(func(h *apiv1.ObjectHeader) { h.Path = "" }), malformed, "object.path"},
		"long media type":   {header(func(h *apiv1.ObjectHeader) { h.MediaType = strings.Repeat("x", 300) }), malformed, "object.media_type"},
		"long subject":      {header(func(h *apiv1.ObjectHeader) { h.Subject = strings.Repeat("x", 300) }), malformed, "object.subject"},
		"digest":            {header(func(h *apiv1.ObjectHeader) { h.Digest = []byte{1} }), malformed, "object.digest"},
		"fingerprint key":   {header(func(h *apiv1.ObjectHeader) { h.FingerprintKeyId = 9 }), malformed, "object.fingerprint_key_id"},
		"salt":              {header(func(h *apiv1.ObjectHeader) { h.Salt = []byte{1} }), malformed, "object.salt"},
		"part of nothing":   {&apiv1.ObjectPart{Data: []byte{1}}, noObject, "object"},
		"empty part":        {&apiv1.ObjectPart{}, noObject, "object"},
		"part out of place": {&apiv1.ObjectPart{Offset: 7}, noObject, "object"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { wantRefusal(t, a.part(test.part), test.reason, test.field) })
	}
	t.Run("wrong offset", func(t *testing.T) {
		a.part(header(func(*apiv1.ObjectHeader) {}))
		wantRefusal(t, a.part(&apiv1.ObjectPart{Offset: 1, Data: long(10)}), malformed, "object.offset")
	})
	t.Run("wrong length", func(t *testing.T) {
		a.part(header(func(*apiv1.ObjectHeader) {}))
		wantRefusal(t, a.part(&apiv1.ObjectPart{Data: long(10)}), malformed, "object.data")
	})
	t.Run("other value", func(t *testing.T) {
		x := a.longEvent(long(70 << 10))
		x.value[69<<10] ^= 1
		wantRefusal(t, a.upload(x), commitment, "object.digest")
	})
	t.Run("more than a batch may have", func(t *testing.T) {
		x := a.longEvent(long(70 << 10))
		x.event.Sealed[0].Size = event.MaxObject + 1
		wantRefusal(t, a.deliver(a.longBatch(x)), commitment, "openings[0].value")
	})
}

// TestObjectAndEventBelongTogether: fingerprints and salt of the batch are those of the object.
func TestObjectAndEventBelongTogether(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(70 << 10))
	a.upload(x)
	prints := x.event.GetFingerprints()
	if len(prints) == 0 {
		t.Fatal("no fingerprints")
	}
	x.event.Fingerprints = prints[1:]
	wantRefusal(t, a.deliver(a.longBatch(x)), commitment, fmt.Sprintf("events[0].fingerprints[%d]", 0))
	x.event.Fingerprints = prints
	x.opening.Salt = bytes.Repeat([]byte{9}, event.SaltSize)
	wantRefusal(t, a.deliver(a.longBatch(x)), commitment, "openings[0].salt")
	x.opening.Salt = x.header.GetSalt()
	x.event.Sealed[0].Subject = "joe"
	wantRefusal(t, a.deliver(a.longBatch(x)), noObject, "openings[0]")
	x.event.Sealed[0].Subject = "jane"
	a.accept(a.longBatch(x))
}

// TestObjectsUnderAnEarlierFingerprintKey: the emitter has recorded before the key was rotated.
func TestObjectsUnderAnEarlierFingerprintKey(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(long(70 << 10))
	ok(s.vault.RotateFingerprintKey("acme"))(t)
	a.connect()
	a.upload(x) // says nothing of the key: taken for the newest
	wantRefusal(t, a.deliver(a.longBatch(x)), noObject, "openings[0]")
	x.header.FingerprintKeyId = 1
	a.upload(x)
	a.accept(a.longBatch(x))
	y := a.longEvent(long(80 << 10))
	y.header.FingerprintKeyId = 2
	a.upload(y)
	a.accept(a.longBatch(y))
}

func TestSecretsInObjectsAreFlagged(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	x := a.longEvent(append(long(100<<10), "key "+awsKey...))
	a.upload(x)
	a.accept(a.longBatch(x))
	found := false
	for deadline := time.Now().Add(10 * time.Second); !found && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, e := range s.systemEvents("acme") {
			d := e.GetData()
			found = found || d.GetAction() == eventv1.DataAction_DATA_ACTION_CONTENT_FINDING && d.GetResource() == "result"
		}
	}
	if !found {
		t.Error("the secret was not flagged")
	}
}

func TestAFullDiskPushesObjectsBack(t *testing.T) {
	s := newSite(t, siteConfig{objectReserve: math.MaxInt64})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	answer := a.upload(a.longEvent(long(70 << 10)))
	wantRefusal(t, answer, pushback, "")
	if answer.GetRefused().GetRetryAfter() == 0 {
		t.Error("no time to wait")
	}
	a.accept(a.batch("small ones go on"))
}

// TestMemoryOfObjectsIsBounded: who begins an object and leaves gives its memory back.
func TestMemoryOfObjectsIsBounded(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	s.door.uploads.take(objectMemory - 100<<10)
	a := s.enrol("acme", "support-1").connect()
	begin := &apiv1.ObjectPart{Header: a.longEvent(long(90 << 10)).header}
	if got := a.part(begin); got.GetObjectTaken() == nil {
		t.Fatalf("got %v", got)
	}
	b := s.enrol("acme", "support-1").connect()
	wantRefusal(t, b.part(&apiv1.ObjectPart{Header: b.longEvent(long(90 << 10)).header}), pushback, "")
	if err := a.link.CloseSend(); err != nil {
		t.Fatal(err)
	}
	_, _ = a.link.Recv() // the server has ended the stream
	for range 200 {
		if b.part(&apiv1.ObjectPart{Header: b.longEvent(long(90 << 10)).header}).GetRefused() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("memory was not given back")
}

func TestObjectsWithoutABatchAreBounded(t *testing.T) {
	s := newSite(t, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	for range 4 {
		a.upload(a.longEvent(make([]byte, event.MaxObject)))
	}
	wantRefusal(t, a.upload(a.longEvent(long(70<<10))), tooLarge, "object.size")
	a.accept(a.batch("a batch"))
	if got := a.upload(a.longEvent(long(70 << 10))); got.GetObjectTaken() == nil {
		t.Errorf("got %v", got)
	}
}
