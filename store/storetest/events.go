package storetest

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Random is a batch of n events of about 400 bytes as an instrumented agent
// makes them, with 2 sealed fields and 3 fingerprints each.
func (l *Log) Random(tenant string, n int) *store.Folded {
	events := make([]*eventv1.Event, n)
	instance := l.rnd.IntN(4)
	for i := range events {
		events[i] = l.Event(tenant, fmt.Sprintf("support-%d", instance))
	}
	return l.Batch(tenant, eventv1.ProducerClass_PRODUCER_CLASS_AGENT, events...)
}

// Event is the next random event of an instance: one of the stages of a run.
func (l *Log) Event(tenant, instance string) *eventv1.Event {
	e := l.envelope(tenant, instance)
	switch l.rnd.IntN(8) {
	case 0:
		e.Trust = eventv1.Trust_TRUST_UNTRUSTED
		e.Body = &eventv1.Event_Data{Data: l.data()}
	case 1:
		e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
			Action: eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_USED,
			Credential: &eventv1.Credential{
				Fingerprint: l.tenant(tenant).key[:], Scopes: []string{"mail.send"}, Connector: "gmail",
			},
		}}
	case 2:
		e.Body = &eventv1.Event_Approval{Approval: l.approval(tenant)}
	default:
		e.Body = &eventv1.Event_Execution{Execution: l.execution()}
	}
	t := l.tenant(tenant)
	t.recent = append(t.recent[max(0, len(t.recent)-20):], e.Id)
	return e
}

func (l *Log) envelope(tenant, instance string) *eventv1.Event {
	at := time.Unix(0, l.now).Add(time.Duration(l.rnd.IntN(1000)) * time.Microsecond)
	id := event.NewID(at, randReader{l})
	t := l.tenant(tenant)
	t.started++
	return &eventv1.Event{
		Version: event.Version, Id: id[:], Tenant: tenant, Instance: instance,
		Run: fmt.Sprintf("run-%s-%06d", instance, t.started/20), RunSeq: uint64(t.started%20 + 1),
		Principal:  fmt.Sprintf("user-%04d", l.rnd.IntN(500)),
		OccurredAt: at.UnixNano(), TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED, Trust: eventv1.Trust_TRUST_TRUSTED,
		Causes: l.causes(t), Sealed: l.sealed(), Fingerprints: l.fingerprints(),
	}
}

func (l *Log) causes(t *tenantLog) (causes []*eventv1.Cause) {
	for i := range min(len(t.recent), 1+l.rnd.IntN(2)) {
		causes = append(causes, &eventv1.Cause{
			Id: t.recent[len(t.recent)-1-i], Relation: eventv1.Relation(1 + l.rnd.IntN(6)), Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED,
		})
	}
	return causes
}

func (l *Log) sealed() []*eventv1.Sealed {
	subject := fmt.Sprintf("person-%05d", l.rnd.IntN(2000))
	return []*eventv1.Sealed{
		{Path: "arguments", MediaType: "application/json", Size: 200, Subject: subject, Digest: l.bytes(32)},
		{Path: "result", MediaType: "text/plain", Size: 120, Subject: subject, Digest: l.bytes(32)},
	}
}

func (l *Log) fingerprints() (all []*eventv1.Fingerprint) {
	for range 3 {
		all = append(all, &eventv1.Fingerprint{Path: "arguments", KeyId: 1, Normaliser: 1, Value: l.bytes(8)})
	}
	slices.SortFunc(all, func(a, b *eventv1.Fingerprint) int { return slices.Compare(a.Value, b.Value) })
	return all
}

var tools = []string{"send_email", "search_orders", "read_ticket", "update_ticket", "issue_refund", "web_fetch", "create_user", "query_crm"}

func (l *Log) execution() *eventv1.Execution {
	i := l.rnd.IntN(len(tools))
	x := &eventv1.Execution{
		Action: eventv1.ExecutionAction(1 + l.rnd.IntN(6)), Call: fmt.Sprintf("call_%08x", l.rnd.Uint32()), Tool: tools[i],
		Connector: tools[i][:4], Consequence: eventv1.Consequence(1 + i%3), Attempt: 1,
	}
	switch x.Action {
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		x.Decision, x.Policy = eventv1.Decision(1+l.rnd.IntN(3)), "baseline/7"
	case eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED, eventv1.ExecutionAction_EXECUTION_ACTION_FAILED:
		x.Outcome, x.Duration = eventv1.Outcome(1+l.rnd.IntN(2)), int64(l.rnd.IntN(5e9))
		x.CostMicrounits, x.CostUnit = uint64(l.rnd.IntN(9000)), "USD"
	default:
		x.Destination = fmt.Sprintf("host%02d.example.com", l.rnd.IntN(40))
	}
	return x
}

func (l *Log) data() *eventv1.Data {
	return &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, Source: "web_fetch", Resource: fmt.Sprintf("doc/%d", l.rnd.IntN(9000)),
		Domain: fmt.Sprintf("host%02d.example.com", l.rnd.IntN(40)), DataClass: "public", Bytes: uint64(l.rnd.IntN(1e5)),
		Direction: eventv1.Direction_DIRECTION_IN,
	}
}

func (l *Log) approval(tenant string) *eventv1.Approval {
	a := &eventv1.Approval{
		Action: eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED, Approver: fmt.Sprintf("lead-%d", l.rnd.IntN(9)),
		ShownDigest: l.bytes(32), ShownAt: l.now, Call: fmt.Sprintf("call_%08x", l.rnd.Uint32()), Tool: "send_email",
		SubjectEvent: l.bytes(16),
	}
	if recent := l.tenant(tenant).recent; len(recent) > 0 {
		a.SubjectEvent = recent[len(recent)-1]
	} else {
		id := event.NewID(time.Unix(0, l.now), randReader{l})
		a.SubjectEvent = id[:]
	}
	return a
}

// Key is Custody's own batch that enrols an emitter key.
func (l *Log) Key(tenant string) *store.Folded {
	public, proof := l.bytes(32), l.bytes(64)
	key := sha256.Sum256(public)
	e := l.envelope(tenant, string(event.InstanceCustody))
	e.Run, e.RunSeq, e.Sealed, e.Fingerprints, e.Causes = "", 0, nil, nil, nil
	e.Trust = eventv1.Trust_TRUST_UNSPECIFIED
	e.Body = &eventv1.Event_System{System: &eventv1.System{
		Actor: "ops@example.com", Reason: "enrolment",
		Detail: &eventv1.System_Key{Key: &eventv1.KeyChange{
			Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: key[:], PublicKey: public, Instance: "support-1",
			Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Replaces: l.bytes(32), Proof: proof,
		}},
	}}
	return l.Batch(tenant, eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, e)
}

// randReader lets the log's generator stand in for a random source.
type randReader struct{ l *Log }

func (r randReader) Read(p []byte) (int, error) {
	r.l.fill(p)
	return len(p), nil
}
