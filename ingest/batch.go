package ingest

import (
	"bytes"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// emitter is who a stream belongs to.
type emitter struct {
	tenant   event.TenantID
	instance event.InstanceID
	keyID    signer.KeyID
	key      signer.PublicKey
	verified *signer.Verified // what this process has found good; may be nil
}

// tallyKey is the emitter's place among the refusals.
func (e *emitter) tallyKey(reason string) tallyKey { return tallyKey{e.tenant, e.keyID, reason} }

// batch is a signed batch on its way through the checks.
type batch struct {
	signed    *eventv1.SignedBatch
	statement *eventv1.BatchStatement
	digest    [32]byte         // zero before the statement is read
	events    []*eventv1.Event // the worker's, while it has the batch
	place     place
	held      int // events that fail the secret scan
	objects   []named
	dropped   []object.Ref // objects of openings that are dropped
	secrets   []secret     // in openings and objects, which are encrypted anyway
}

// digestBytes is the digest for an answer, nil if it could not be computed.
func (b *batch) digestBytes() []byte {
	if b.statement == nil {
		return nil
	}
	return b.digest[:]
}

// readStatement checks what is cheap: sizes, the statement, and that it is this emitter's.
func (b *batch) readStatement(from *emitter) *refusal {
	if r := checkSizes(b.signed); r != nil {
		return r
	}
	st, err := event.ParseStatement(b.signed.GetStatement())
	if err != nil {
		return fieldRefusal(malformed, "statement", err)
	}
	b.statement, b.digest = st, event.BatchDigest(b.signed.GetStatement())
	switch {
	case st.GetTenant() != string(from.tenant):
		return refuse(scope, "statement.tenant", "is not the tenant of this stream")
	case st.GetInstance() != string(from.instance):
		return refuse(scope, "statement.instance", "is not the instance of this stream")
	case !bytes.Equal(st.GetKeyId(), from.keyID[:]):
		return refuse(badKey, "statement.key_id", "is not the key of this stream")
	}
	return nil
}

// checkSizes holds a batch to its limits before anything is computed.
func checkSizes(b *eventv1.SignedBatch) *refusal {
	switch size := event.BatchSize(b); {
	case size > event.MaxBatch:
		return refuse(tooLarge, "", "the batch has %d bytes with its openings, the limit is %d", size, event.MaxBatch)
	case len(b.GetEvents()) > event.MaxBatchEvents:
		return refuse(tooLarge, "events", "more than %d", event.MaxBatchEvents)
	case len(b.GetOpenings()) > event.MaxOpenings:
		return refuse(tooLarge, "openings", "more than %d", event.MaxOpenings)
	case len(b.ProtoReflect().GetUnknown()) > 0:
		return refuse(malformed, "", "the batch has a field that is not known")
	}
	for i, e := range b.GetEvents() {
		if len(e) > event.MaxEvent {
			return refuse(tooLarge, indexed("events", i), "longer than %d bytes", event.MaxEvent)
		}
	}
	for i, o := range b.GetOpenings() {
		if len(o.GetValue()) > event.MaxSealedInline {
			return refuse(tooLarge, indexed("openings", i)+".value", "longer than %d bytes", event.MaxSealedInline)
		}
	}
	return nil
}

// checkSignature checks that the emitter signed exactly these events, and leaves their hashes with the worker.
func (b *batch) checkSignature(from *emitter, w *worker) *refusal {
	w.hashes = w.hashes[:0]
	for _, e := range b.signed.GetEvents() {
		w.hashes = append(w.hashes, chain.EventHash(e))
	}
	root := chain.EventRoot(w.hashes)
	switch {
	case int(b.statement.GetCount()) != len(w.hashes):
		return refuse(malformed, "statement.count", "is not the number of events")
	case !bytes.Equal(b.statement.GetEventRoot(), root[:]):
		return refuse(malformed, "statement.event_root", "is not the root of the events")
	case from.verified.VerifyDSSE(from.key, signer.PayloadTypeBatch, b.signed.GetStatement(), b.signed.GetSignature()) != nil:
		return refuse(signature, "signature", "does not verify")
	}
	return nil
}

// readEvents parses and validates every event, and holds every opening to the event that commits to it.
func (b *batch) readEvents(prints *prints, checker *event.Checker) *refusal {
	_, events, err := checker.Check(b.signed)
	if err != nil {
		r := fieldRefusal(malformed, "", err)
		r.reason = b.reasonOf(r.field)
		return r
	}
	for i, e := range events {
		if event.Kind(e) == event.KindSystem {
			return refuse(invalid, indexed("events", i)+".system", "only Custody makes system events")
		}
	}
	b.events = events
	return b.checkOpenings(prints)
}

// reasonOf tells the reason by the part of the batch that is wrong.
func (b *batch) reasonOf(field string) apiv1.RefusalReason {
	switch inEvents := strings.HasPrefix(field, "events["); {
	case inEvents && (strings.HasSuffix(field, "].tenant") || strings.HasSuffix(field, "].instance")) && b.eventsAreValid():
		return scope
	case inEvents:
		return invalid
	case strings.HasPrefix(field, "openings["):
		return commitment
	}
	return malformed
}

// eventsAreValid reports whether every event is right by itself.
func (b *batch) eventsAreValid() bool {
	return !slices.ContainsFunc(b.signed.GetEvents(), func(encoded []byte) bool {
		_, err := event.Parse(encoded)
		return err != nil
	})
}

func (b *batch) checkOpenings(prints *prints) *refusal {
	for i, o := range b.signed.GetOpenings() {
		if len(o.GetValue()) == 0 && b.nameObject(i, o) {
			continue
		}
		e := b.events[o.GetPosition()]
		printer := prints.of(e)
		if printer == nil {
			return refuse(commitment, indexed("events", int(o.GetPosition()))+".fingerprints[0].key_id", "is not a key of this tenant")
		}
		if err := printer.CheckOpening(e, o); err != nil {
			return fieldRefusal(commitment, indexed("events", int(o.GetPosition())), err)
		}
	}
	return nil
}
