package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// decodeEvent reads an event in its one encoding as the general decoder does, in a tenth of the time. If it cannot, which is no
// verdict, it returns nil: the general decoder then reads the event and says what is wrong with it. System events are left to
// that. The event refers to b.
func decodeEvent(b []byte, a *arena) *eventv1.Event {
	c := newCursor(b)
	e := a.events.one()
	readHeader(&c, e, a)
	if !readBody(&c, e, a) || !c.done() {
		return nil
	}
	return e
}

func readHeader(c *cursor, e *eventv1.Event, a *arena) {
	e.Version = c.uint32(1)
	c.bytes(&e.Id, 2)
	c.string(&e.Tenant, 3)
	c.string(&e.Instance, 4)
	c.string(&e.Run, 5)
	e.RunSeq = c.uint64(6)
	c.string(&e.Principal, 7)
	c.strings(&e.OnBehalfOf, 8, MaxDelegation)
	e.OccurredAt = c.int64(9)
	e.TimeBasis = eventv1.TimeBasis(c.enum(10))
	e.Trust = eventv1.Trust(c.enum(11))
	readCauses(c, e, a)
	readSealedFields(c, e, a)
	readFingerprints(c, e, a)
}

// The lists are read by a loop each: through a function value the cursor would be on the heap.

func readCauses(c *cursor, e *eventv1.Event, a *arena) {
	if n := c.count(12, MaxCauses); n > 0 {
		e.Causes = a.causes.take(n)
		for _, x := range e.Causes {
			outer, _ := c.enter(12)
			readCause(c, x)
			c.leave(outer)
		}
	}
}

func readSealedFields(c *cursor, e *eventv1.Event, a *arena) {
	if n := c.count(13, MaxSealed); n > 0 {
		e.Sealed = a.sealed.take(n)
		for _, x := range e.Sealed {
			outer, _ := c.enter(13)
			readSealed(c, x)
			c.leave(outer)
		}
	}
}

func readFingerprints(c *cursor, e *eventv1.Event, a *arena) {
	if n := c.count(14, MaxFingerprints); n > 0 {
		e.Fingerprints = a.fingerprints.take(n)
		for _, x := range e.Fingerprints {
			outer, _ := c.enter(14)
			readFingerprint(c, x)
			c.leave(outer)
		}
	}
}

func readCause(c *cursor, x *eventv1.Cause) {
	c.bytes(&x.Id, 1)
	x.Relation = eventv1.Relation(c.enum(2))
	x.Basis = eventv1.CauseBasis(c.enum(3))
}

func readSealed(c *cursor, x *eventv1.Sealed) {
	c.string(&x.Path, 1)
	c.string(&x.MediaType, 2)
	x.Size = c.uint64(3)
	c.string(&x.Subject, 4)
	c.bytes(&x.Digest, 5)
}

func readFingerprint(c *cursor, x *eventv1.Fingerprint) {
	c.string(&x.Path, 1)
	x.KeyId = c.uint32(2)
	x.Normaliser = c.uint32(3)
	c.bytes(&x.Value, 4)
}

// readBody reads the one body, and reports whether there is one that is read here.
func readBody(c *cursor, e *eventv1.Event, a *arena) bool {
	if outer, found := c.enter(20); found {
		x := new(eventv1.Identity)
		e.Body = &eventv1.Event_Identity{Identity: x}
		readIdentity(c, x)
		c.leave(outer)
		return true
	}
	if outer, found := c.enter(21); found {
		body := a.datas.one()
		body.of.Data, e.Body = &body.message, &body.of
		readData(c, &body.message)
		c.leave(outer)
		return true
	}
	if outer, found := c.enter(22); found {
		body := a.executions.one()
		body.of.Execution, e.Body = &body.message, &body.of
		readExecution(c, &body.message)
		c.leave(outer)
		return true
	}
	return readApprovalBody(c, e)
}

func readApprovalBody(c *cursor, e *eventv1.Event) bool {
	outer, found := c.enter(23)
	if found {
		x := new(eventv1.Approval)
		e.Body = &eventv1.Event_Approval{Approval: x}
		readApproval(c, x)
		c.leave(outer)
	}
	return found
}

func readIdentity(c *cursor, x *eventv1.Identity) {
	x.Action = eventv1.IdentityAction(c.enum(1))
	c.bytes(&x.Epoch, 2)
	x.LastSeq = c.uint64(3)
	x.Interval = c.int64(4)
	c.string(&x.Workflow, 5)
	c.string(&x.Model, 6)
	c.string(&x.AgentVersion, 7)
	c.bytes(&x.SystemPromptDigest, 8)
	c.bytes(&x.ToolListDigest, 9)
	if outer, found := c.enter(10); found {
		x.Runtime = new(eventv1.RuntimeBoundary)
		c.string(&x.Runtime.Host, 1)
		c.string(&x.Runtime.Container, 2)
		c.string(&x.Runtime.Image, 3)
		c.leave(outer)
	}
	x.LastRunSeq = c.uint64(11)
	x.Outcome = eventv1.Outcome(c.enum(12))
	if outer, found := c.enter(13); found {
		x.Credential = new(eventv1.Credential)
		readCredential(c, x.Credential)
		c.leave(outer)
	}
	c.string(&x.Delegate, 14)
	c.string(&x.Role, 15)
	c.string(&x.Session, 16)
}

func readCredential(c *cursor, x *eventv1.Credential) {
	c.bytes(&x.Fingerprint, 1)
	c.strings(&x.Scopes, 2, MaxScopes)
	x.ExpiresAt = c.int64(3)
	c.string(&x.Connector, 4)
}

func readData(c *cursor, x *eventv1.Data) {
	x.Action = eventv1.DataAction(c.enum(1))
	c.string(&x.Source, 2)
	c.string(&x.Resource, 3)
	c.string(&x.Domain, 4)
	c.string(&x.DataClass, 5)
	c.bytes(&x.ContentDigest, 6)
	x.Bytes = c.uint64(7)
	x.Direction = eventv1.Direction(c.enum(8))
	c.string(&x.MemoryKey, 9)
	c.string(&x.Detector, 10)
	c.string(&x.DetectorVersion, 11)
	x.Score = c.uint32(12)
	c.string(&x.Label, 13)
}

func readExecution(c *cursor, x *eventv1.Execution) {
	x.Action = eventv1.ExecutionAction(c.enum(1))
	c.string(&x.Call, 2)
	c.string(&x.Tool, 3)
	c.string(&x.Operation, 4)
	c.string(&x.Connector, 5)
	x.Consequence = eventv1.Consequence(c.enum(6))
	c.bytes(&x.ArgumentsDigest, 7)
	c.string(&x.Destination, 8)
	x.Attempt = c.uint32(9)
	x.Decision = eventv1.Decision(c.enum(10))
	c.string(&x.Policy, 11)
	c.string(&x.Reason, 12)
	x.Outcome = eventv1.Outcome(c.enum(13))
	x.CostMicrounits = c.uint64(14)
	c.string(&x.CostUnit, 15)
	x.Duration = c.int64(16)
}

func readApproval(c *cursor, x *eventv1.Approval) {
	x.Action = eventv1.ApprovalAction(c.enum(1))
	c.string(&x.Approver, 2)
	c.bytes(&x.ShownDigest, 3)
	c.bytes(&x.SubjectEvent, 4)
	x.ShownAt = c.int64(5)
	x.ValidUntil = c.int64(6)
	c.string(&x.Call, 7)
	c.string(&x.Tool, 8)
	c.string(&x.Reason, 9)
	c.string(&x.EscalatedTo, 10)
}

// decodeSignedBatch is decodeEvent for a batch as it is sent. The batch refers to b.
func decodeSignedBatch(b []byte) *eventv1.SignedBatch {
	c, x := newCursor(b), new(eventv1.SignedBatch)
	c.bytes(&x.Statement, 1)
	c.bytes(&x.Signature, 2)
	x.Events = c.blocks(3, MaxBatchEvents)
	readOpenings(&c, x)
	if !c.done() {
		return nil
	}
	return x
}

func readOpenings(c *cursor, sb *eventv1.SignedBatch) {
	if n := c.count(4, MaxOpenings); n > 0 {
		sb.Openings = new(list[eventv1.Opening]).take(n)
		for _, x := range sb.Openings {
			outer, _ := c.enter(4)
			readOpening(c, x)
			c.leave(outer)
		}
	}
}

func readOpening(c *cursor, x *eventv1.Opening) {
	x.Position = c.uint32(1)
	c.string(&x.Path, 2)
	c.bytes(&x.Salt, 3)
	c.bytes(&x.Value, 4)
}

// decodeStreamBatch is decodeEvent for a stream message. The batch refers to b.
func decodeStreamBatch(b []byte) *eventv1.StreamBatch {
	c, x := newCursor(b), new(eventv1.StreamBatch)
	x.Version = c.uint32(1)
	c.bytes(&x.Statement, 2)
	c.bytes(&x.Signature, 3)
	x.Events = c.blocks(4, MaxBatchEvents)
	readEncryptedOpenings(&c, x)
	readHeldEvents(&c, x)
	if !c.done() {
		return nil
	}
	return x
}

func readEncryptedOpenings(c *cursor, sb *eventv1.StreamBatch) {
	if n := c.count(5, MaxOpenings); n > 0 {
		sb.Openings = new(list[eventv1.EncryptedOpening]).take(n)
		for _, x := range sb.Openings {
			outer, _ := c.enter(5)
			readEncryptedOpening(c, x)
			c.leave(outer)
		}
	}
}

func readHeldEvents(c *cursor, sb *eventv1.StreamBatch) {
	if n := c.count(6, MaxBatchEvents); n > 0 {
		sb.Held = new(list[eventv1.HeldEvent]).take(n)
		for _, x := range sb.Held {
			outer, _ := c.enter(6)
			readHeldEvent(c, x)
			c.leave(outer)
		}
	}
}

func readEncryptedOpening(c *cursor, x *eventv1.EncryptedOpening) {
	x.Position = c.uint32(1)
	c.string(&x.Path, 2)
	c.string(&x.Subject, 3)
	x.Generation = c.uint32(4)
	c.bytes(&x.Ciphertext, 5)
}

func readHeldEvent(c *cursor, x *eventv1.HeldEvent) {
	x.Position = c.uint32(1)
	c.bytes(&x.EventHash, 2)
	x.Kind = c.uint32(3)
	x.Generation = c.uint32(4)
	c.bytes(&x.Ciphertext, 5)
	c.string(&x.Detector, 6)
}
