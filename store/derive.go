package store

import (
	"crypto/sha256"
	"encoding/hex"
	"unsafe"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// str views bytes as text without a copy: the bytes of a Folded do not change
// while its block lives.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // see above

func (t *leaves) add(f *Folded) {
	first := t.grow(len(f.Leaves))
	for i := range f.Leaves {
		l, row := &f.Leaves[i], first+i
		t.place.set(row, f.Tenant, l.Index, f.StreamSeq)
		t.time.rows[row] = l.Time
		t.leaf.set(row, str(l.Bytes))
	}
}

func (t *batches) add(f *Folded) {
	row := t.grow(1)
	t.place.set(row, f.Tenant, f.FirstIndex, f.StreamSeq)
	t.leaves.rows[row] = uint32(len(f.Leaves))
	t.messageTime.rows[row] = f.MessageTime
	t.bytes.rows[row] = uint64(f.weight())
	t.subject.set(row, f.Subject)
	t.messageDigest.set(row, string(f.MessageDigest[:])) // a copy: a view would keep f, with every event of the message
	t.streamDigest.set(row, string(f.StreamDigest[:]))
	t.producer.rows[row] = int8(f.Producer)
	t.batchDigest.set(row, string(f.BatchDigest[:]))
	if f.Statement != nil {
		t.setStatement(row, f.Statement)
	}
	if f.Raw == nil {
		t.statement.set(row, str(f.StatementBytes))
		t.signature.set(row, str(f.Signature))
	}
}

func (t *batches) setStatement(row int, s *eventv1.BatchStatement) {
	t.instance.set(row, s.GetInstance())
	t.keyID.set(row, fit(s.GetKeyId(), hashSize))
	t.epochNo.rows[row] = s.GetEpochNo()
	t.epoch.set(row, fit(s.GetEpoch(), idSize))
	t.firstSeq.rows[row] = s.GetFirstSeq()
	t.count.rows[row] = s.GetCount()
}

// fit is b if it has the size of its column. A statement that was refused may
// hold anything, and its exact bytes are kept elsewhere.
func fit(b []byte, size int) string {
	if len(b) != size {
		return ""
	}
	return str(b)
}

// exact is b, padded or cut to the size of its column. Valid events hold
// nothing of another size.
func exact(b []byte, size int) string {
	if len(b) == size {
		return str(b)
	}
	padded := make([]byte, size)
	copy(padded, b)
	return string(padded)
}

func (t *openings) add(f *Folded) {
	first := t.grow(len(f.Openings))
	for i, o := range f.Openings {
		row := first + i
		t.place.set(row, f.Tenant, f.FirstIndex+uint64(o.GetPosition()), f.StreamSeq)
		t.path.set(row, o.GetPath())
		t.subject.set(row, o.GetSubject())
		t.generation.rows[row] = o.GetGeneration()
		t.ciphertext.set(row, str(o.GetCiphertext()))
	}
}

func (t *held) add(f *Folded) {
	first := t.grow(len(f.Held))
	for i, h := range f.Held {
		row := first + i
		t.place.set(row, f.Tenant, f.FirstIndex+uint64(h.GetPosition()), f.StreamSeq)
		t.kind.rows[row] = h.GetKind()
		t.eventHash.set(row, fit(h.GetEventHash(), hashSize))
		t.generation.rows[row] = h.GetGeneration()
		t.detector.set(row, h.GetDetector())
		t.ciphertext.set(row, str(h.GetCiphertext()))
	}
}

// add takes only what the fold applies: accepted events under Custody's key.
func (t *keys) add(f *Folded) {
	if f.Producer != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		return
	}
	for i := range f.Leaves {
		l := &f.Leaves[i]
		if k := l.Event.GetSystem().GetKey(); k != nil && l.Verdict == chain.Accepted {
			row := t.grow(1)
			t.place.set(row, f.Tenant, l.Index, f.StreamSeq)
			t.setKey(row, k)
		}
	}
}

func (t *keys) setKey(row int, k *eventv1.KeyChange) {
	t.action.rows[row] = int8(k.GetAction())
	t.keyID.set(row, fit(k.GetKeyId(), hashSize))
	t.publicKey.set(row, str(k.GetPublicKey()))
	t.instance.set(row, k.GetInstance())
	t.producer.rows[row] = int8(k.GetProducer())
	t.replaces.set(row, str(k.GetReplaces()))
	t.suspectFrom.rows[row] = k.GetSuspectFrom()
}

// add keeps the last value of each key in the block.
func (t *state) add(f *Folded) {
	for _, s := range f.State {
		k := stateKey{f.Tenant, s.Key}
		row, ok := t.at[k]
		if !ok {
			row = t.grow(1)
			t.at[k] = row
			t.tenant.set(row, f.Tenant)
			t.key.set(row, s.Key)
		}
		t.streamSeq.rows[row] = f.StreamSeq
		t.value.rows[row] = str(s.Value)
	}
}

func (t *heads) add(first, last uint64, streamDigest [32]byte, all []Head) {
	row := t.grow(len(all))
	for i := range all {
		h := &all[i]
		t.tenant.set(row, h.Tenant)
		t.blockFirst.rows[row], t.streamSeq.rows[row] = first, last
		t.size.rows[row], t.time.rows[row] = h.Size, h.Time
		t.root.set(row, string(h.Root[:]))
		t.leafHash.set(row, string(h.LeafHash[:]))
		t.streamDigest.set(row, string(streamDigest[:]))
		row++
	}
}

func (t *events) add(f *Folded) {
	first := t.grow(len(f.Leaves))
	for i := range f.Leaves {
		l, row := &f.Leaves[i], first+i
		t.place.set(row, f.Tenant, l.Index, f.StreamSeq)
		t.position.rows[row] = l.Position
		t.received.rows[row] = l.Time
		t.producer.rows[row] = int8(f.Producer)
		t.verdict.rows[row], t.kind.rows[row] = int8(l.Verdict), int8(l.Kind)
		t.bytes.set(row, str(l.EventBytes))
		if f.Raw != nil {
			t.bytes.set(row, str(f.Raw))
		}
		if f.Statement != nil {
			t.setEmitter(row, f.Statement, l.Position)
		}
		if l.Event != nil {
			t.setEvent(row, l.Event)
		}
	}
}

func (t *events) setEmitter(row int, s *eventv1.BatchStatement, position uint32) {
	t.instance.set(row, s.GetInstance())
	t.keyID.set(row, fit(s.GetKeyId(), hashSize))
	t.seq.rows[row] = s.GetFirstSeq() + uint64(position)
}

func (t *events) setEvent(row int, e *eventv1.Event) {
	t.action.set(row, event.Action(e))
	t.id.set(row, fit(e.GetId(), idSize))
	t.run.set(row, e.GetRun())
	t.runSeq.rows[row] = e.GetRunSeq()
	t.principal.set(row, e.GetPrincipal())
	t.occurredAt.rows[row] = e.GetOccurredAt()
	t.timeBasis.rows[row] = int8(e.GetTimeBasis())
	t.trust.rows[row] = int8(e.GetTrust())
	for _, p := range e.GetOnBehalfOf() {
		t.onBehalfOf.add(row, p)
	}
	t.setCauses(row, e.GetCauses())
	t.setSubjects(row, e.GetSealed())
	for _, v := range e.GetFingerprints() {
		t.fingerprints.add(row, exact(v.GetValue(), valueSize))
	}
	t.setBody(row, e)
}

func (t *events) setCauses(row int, causes []*eventv1.Cause) {
	for _, c := range causes {
		t.causes.add(row, exact(c.GetId(), idSize))
		t.causeRelations.add(row, int8(c.GetRelation()))
		t.causeBases.add(row, int8(c.GetBasis()))
	}
}

// setSubjects lists each subject of the sealed fields once, in the order of
// the fields.
func (t *events) setSubjects(row int, sealed []*eventv1.Sealed) {
	for i, s := range sealed {
		subject := s.GetSubject()
		if subject == "" || hasSubject(sealed[:i], subject) {
			continue
		}
		t.subjects.add(row, subject)
	}
}

func hasSubject(sealed []*eventv1.Sealed, subject string) bool {
	for _, s := range sealed {
		if s.GetSubject() == subject {
			return true
		}
	}
	return false
}

func (t *events) setBody(row int, e *eventv1.Event) {
	switch body := e.GetBody().(type) {
	case *eventv1.Event_Identity:
		t.setIdentity(row, body.Identity)
	case *eventv1.Event_Data:
		t.setData(row, body.Data)
	case *eventv1.Event_Execution:
		t.setExecution(row, body.Execution)
	case *eventv1.Event_Approval:
		t.setApproval(row, body.Approval)
	case *eventv1.Event_System:
		t.setSystem(row, body.System)
	}
}

func (t *events) setIdentity(row int, x *eventv1.Identity) {
	t.workflow.set(row, x.GetWorkflow())
	t.model.set(row, x.GetModel())
	t.agentVersion.set(row, x.GetAgentVersion())
	t.session.set(row, x.GetSession())
	t.outcome.rows[row] = int8(x.GetOutcome())
	t.role.set(row, x.GetRole())
	t.delegate.set(row, x.GetDelegate())
	if c := x.GetCredential(); c != nil {
		t.credential.set(row, hex.EncodeToString(c.GetFingerprint()))
		t.connector.set(row, c.GetConnector())
	}
}

func (t *events) setData(row int, x *eventv1.Data) {
	t.source.set(row, x.GetSource())
	t.resource.set(row, x.GetResource())
	t.domain.set(row, x.GetDomain())
	t.dataClass.set(row, x.GetDataClass())
	t.direction.rows[row] = int8(x.GetDirection())
	t.size.rows[row] = x.GetBytes()
	t.memoryKey.set(row, x.GetMemoryKey())
	t.label.set(row, x.GetLabel())
}

func (t *events) setExecution(row int, x *eventv1.Execution) {
	t.call.set(row, x.GetCall())
	t.tool.set(row, x.GetTool())
	t.operation.set(row, x.GetOperation())
	t.connector.set(row, x.GetConnector())
	t.consequence.rows[row] = int8(x.GetConsequence())
	t.destination.set(row, x.GetDestination())
	t.attempt.rows[row] = x.GetAttempt()
	t.decision.rows[row] = int8(x.GetDecision())
	t.policy.set(row, x.GetPolicy())
	t.outcome.rows[row] = int8(x.GetOutcome())
	t.cost.rows[row] = x.GetCostMicrounits()
	t.costUnit.set(row, x.GetCostUnit())
	t.duration.rows[row] = x.GetDuration()
}

func (t *events) setApproval(row int, x *eventv1.Approval) {
	t.approver.set(row, x.GetApprover())
	t.subjectEvent.set(row, fit(x.GetSubjectEvent(), idSize))
	t.call.set(row, x.GetCall())
	t.tool.set(row, x.GetTool())
	t.role.set(row, x.GetEscalatedTo())
}

func (t *events) setSystem(row int, x *eventv1.System) {
	if x.GetActor() != "" {
		t.principal.set(row, x.GetActor())
	}
	t.object.set(row, object(x))
}

// object is what a system event is about.
func object(x *eventv1.System) string {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Genesis:
		return d.Genesis.GetOrigin()
	case *eventv1.System_Instance:
		return d.Instance.GetInstance()
	case *eventv1.System_Manifest:
		return d.Manifest.GetInstance()
	case *eventv1.System_Key:
		return hex.EncodeToString(d.Key.GetKeyId())
	case *eventv1.System_Grant:
		return d.Grant.GetPrincipal()
	case *eventv1.System_Rule:
		return d.Rule.GetRule()
	}
	return deed(x)
}

// deed is the second half of object: what Custody did or found.
func deed(x *eventv1.System) string {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Containment:
		return d.Containment.GetTarget()
	case *eventv1.System_Hold:
		return d.Hold.GetScope()
	case *eventv1.System_Erasure:
		return d.Erasure.GetSubject()
	case *eventv1.System_Access:
		return d.Access.GetMethod()
	case *eventv1.System_Refusal:
		return d.Refusal.GetReason()
	case *eventv1.System_Finding:
		return d.Finding.GetVerdict()
	case *eventv1.System_Review:
		return d.Review.GetSubject()
	case *eventv1.System_Firing:
		return d.Firing.GetRule()
	case *eventv1.System_Approval:
		return d.Approval.GetCall()
	case *eventv1.System_Drill:
		return d.Drill.GetInstance()
	case *eventv1.System_Case:
		return d.Case.GetCase()
	case *eventv1.System_ExportKey:
		id := sha256.Sum256(d.ExportKey.GetPublicKey())
		return hex.EncodeToString(id[:])
	}
	return ""
}
