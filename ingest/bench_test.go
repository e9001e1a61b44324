package ingest

import (
	"fmt"
	"testing"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// BenchmarkCheck is the computing on one batch of 256 events, each with a sealed field of 200 bytes: parse,
// hash, verify, validate, hold openings to their commitments, encrypt, encode.
func BenchmarkCheck(b *testing.B) {
	s := newSite(b, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	member, _ := s.admission.Lookup("acme", a.key.ID())
	door := &session{service: s.door, member: member, emitter: emitter{tenant: "acme", instance: "support-1", keyID: a.key.ID(), key: member.Key}}
	if err := door.open(b.Context()); err != nil {
		b.Fatal(err)
	}
	signed := a.largeBatch(256)
	b.ReportAllocs()
	for b.Loop() {
		if _, r := door.check(b.Context(), &batch{signed: signed}); r != nil {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEmit is the whole way of batches of 256 events over TLS into the stream, which leaves syncing to
// the operating system here.
func BenchmarkEmit(b *testing.B) {
	s := newSite(b, siteConfig{})
	s.tenant("acme", "support-1")
	a := s.enrol("acme", "support-1").connect()
	for b.Loop() {
		b.StopTimer()
		signed := a.largeBatch(256)
		b.StartTimer()
		a.accept(signed)
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "events/s")
}

// largeBatch is the agent's next batch, of n events with a sealed field each.
func (a *agent) largeBatch(n int) *eventv1.SignedBatch {
	var events []*eventv1.Event
	var openings []*eventv1.Opening
	for i := range n {
		value := fmt.Sprintf(`{"to":"user-%d@example.com","subject":"your order %d","body":"%0150d"}`, i, 1000+i, i)
		e, o := a.sealedEvent("send_email", fmt.Sprintf("user-%d", i%8), value)
		o.Position = uint32(i)
		events, openings = append(events, e), append(openings, o)
	}
	signed := a.sign(a.raw(events...), asIs)
	signed.Openings = openings
	return signed
}

var _ apiv1.IngestServiceServer = (*Service)(nil)
