package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// decodeEvent reads an event in its one encoding as the general decoder does, in a sixth of the time. If it cannot, which is no
// verdict, it returns nil: the general decoder then reads the event and says what is wrong with it. System events are left to
// that. The event refers to b.
func decodeEvent(b []byte, a *arena) *eventv1.Event {
	c := cursor{b: b}
	e := a.events.one()
	readHeader(&c, e, a)
	if !readBody(&c, e, a) || !c.done() {
		return nil
	}
	return e
}

func readHeader(c *cursor, e *eventv1.Event, a *arena) {
	e.Version = c.uint32(1)
	e.Id = c.bytes(2)
	e.Tenant = c.string(3)
	e.Instance = c.string(4)
	e.Run = c.string(5)
	e.RunSeq = c.uint64(6)
	e.Principal = c.string(7)
	e.OnBehalfOf = c.strings(8, MaxDelegation)
	e.OccurredAt = c.int64(9)
	e.TimeBasis = eventv1.TimeBasis(c.enum(10))
	e.Trust = eventv1.Trust(c.enum(11))
	e.Causes = messages(c, 12, MaxCauses, readCause, &a.causes)
	e.Sealed = messages(c, 13, MaxSealed, readSealed, &a.sealed)
	e.Fingerprints = messages(c, 14, MaxFingerprints, readFingerprint, &a.fingerprints)
}

func readCause(c *cursor, x *eventv1.Cause) {
	x.Id = c.bytes(1)
	x.Relation = eventv1.Relation(c.enum(2))
	x.Basis = eventv1.CauseBasis(c.enum(3))
}

func readSealed(c *cursor, x *eventv1.Sealed) {
	x.Path = c.string(1)
	x.MediaType = c.string(2)
	x.Size = c.uint64(3)
	x.Subject = c.string(4)
	x.Digest = c.bytes(5)
}

func readFingerprint(c *cursor, x *eventv1.Fingerprint) {
	x.Path = c.string(1)
	x.KeyId = c.uint32(2)
	x.Normaliser = c.uint32(3)
	x.Value = c.bytes(4)
}

// readBody reads the one body, and reports whether there is one that is read here.
func readBody(c *cursor, e *eventv1.Event, a *arena) bool {
	if inner, found := c.message(20); found {
		x := new(eventv1.Identity)
		e.Body = &eventv1.Event_Identity{Identity: x}
		readIdentity(&inner, x)
		return inner.done()
	}
	if inner, found := c.message(21); found {
		body := a.datas.one()
		body.of.Data, e.Body = &body.message, &body.of
		readData(&inner, &body.message)
		return inner.done()
	}
	if inner, found := c.message(22); found {
		body := a.executions.one()
		body.of.Execution, e.Body = &body.message, &body.of
		readExecution(&inner, &body.message)
		return inner.done()
	}
	if inner, found := c.message(23); found {
		x := new(eventv1.Approval)
		e.Body = &eventv1.Event_Approval{Approval: x}
		readApproval(&inner, x)
		return inner.done()
	}
	return false
}

func readIdentity(c *cursor, x *eventv1.Identity) {
	x.Action = eventv1.IdentityAction(c.enum(1))
	x.Epoch = c.bytes(2)
	x.LastSeq = c.uint64(3)
	x.Interval = c.int64(4)
	x.Workflow = c.string(5)
	x.Model = c.string(6)
	x.AgentVersion = c.string(7)
	x.SystemPromptDigest = c.bytes(8)
	x.ToolListDigest = c.bytes(9)
	if inner, found := c.message(10); found {
		x.Runtime = &eventv1.RuntimeBoundary{Host: inner.string(1), Container: inner.string(2), Image: inner.string(3)}
		c.close(&inner)
	}
	x.LastRunSeq = c.uint64(11)
	x.Outcome = eventv1.Outcome(c.enum(12))
	if inner, found := c.message(13); found {
		x.Credential = new(eventv1.Credential)
		readCredential(&inner, x.Credential)
		c.close(&inner)
	}
	x.Delegate = c.string(14)
	x.Role = c.string(15)
	x.Session = c.string(16)
}

func readCredential(c *cursor, x *eventv1.Credential) {
	x.Fingerprint = c.bytes(1)
	x.Scopes = c.strings(2, MaxScopes)
	x.ExpiresAt = c.int64(3)
	x.Connector = c.string(4)
}

func readData(c *cursor, x *eventv1.Data) {
	x.Action = eventv1.DataAction(c.enum(1))
	x.Source = c.string(2)
	x.Resource = c.string(3)
	x.Domain = c.string(4)
	x.DataClass = c.string(5)
	x.ContentDigest = c.bytes(6)
	x.Bytes = c.uint64(7)
	x.Direction = eventv1.Direction(c.enum(8))
	x.MemoryKey = c.string(9)
	x.Detector = c.string(10)
	x.DetectorVersion = c.string(11)
	x.Score = c.uint32(12)
	x.Label = c.string(13)
}

func readExecution(c *cursor, x *eventv1.Execution) {
	x.Action = eventv1.ExecutionAction(c.enum(1))
	x.Call = c.string(2)
	x.Tool = c.string(3)
	x.Operation = c.string(4)
	x.Connector = c.string(5)
	x.Consequence = eventv1.Consequence(c.enum(6))
	x.ArgumentsDigest = c.bytes(7)
	x.Destination = c.string(8)
	x.Attempt = c.uint32(9)
	x.Decision = eventv1.Decision(c.enum(10))
	x.Policy = c.string(11)
	x.Reason = c.string(12)
	x.Outcome = eventv1.Outcome(c.enum(13))
	x.CostMicrounits = c.uint64(14)
	x.CostUnit = c.string(15)
	x.Duration = c.int64(16)
}

func readApproval(c *cursor, x *eventv1.Approval) {
	x.Action = eventv1.ApprovalAction(c.enum(1))
	x.Approver = c.string(2)
	x.ShownDigest = c.bytes(3)
	x.SubjectEvent = c.bytes(4)
	x.ShownAt = c.int64(5)
	x.ValidUntil = c.int64(6)
	x.Call = c.string(7)
	x.Tool = c.string(8)
	x.Reason = c.string(9)
	x.EscalatedTo = c.string(10)
}

// decodeSignedBatch is decodeEvent for a batch as it is sent. The batch refers to b.
func decodeSignedBatch(b []byte) *eventv1.SignedBatch {
	c, x := cursor{b: b}, new(eventv1.SignedBatch)
	x.Statement = c.bytes(1)
	x.Signature = c.bytes(2)
	x.Events = c.blocks(3, MaxBatchEvents)
	x.Openings = messages(&c, 4, MaxOpenings, readOpening, new(list[eventv1.Opening]))
	if !c.done() {
		return nil
	}
	return x
}

func readOpening(c *cursor, x *eventv1.Opening) {
	x.Position = c.uint32(1)
	x.Path = c.string(2)
	x.Salt = c.bytes(3)
	x.Value = c.bytes(4)
}

// decodeStreamBatch is decodeEvent for a stream message. The batch refers to b.
func decodeStreamBatch(b []byte) *eventv1.StreamBatch {
	c, x := cursor{b: b}, new(eventv1.StreamBatch)
	x.Version = c.uint32(1)
	x.Statement = c.bytes(2)
	x.Signature = c.bytes(3)
	x.Events = c.blocks(4, MaxBatchEvents)
	x.Openings = messages(&c, 5, MaxOpenings, readEncryptedOpening, new(list[eventv1.EncryptedOpening]))
	x.Held = messages(&c, 6, MaxBatchEvents, readHeldEvent, new(list[eventv1.HeldEvent]))
	if !c.done() {
		return nil
	}
	return x
}

func readEncryptedOpening(c *cursor, x *eventv1.EncryptedOpening) {
	x.Position = c.uint32(1)
	x.Path = c.string(2)
	x.Subject = c.string(3)
	x.Generation = c.uint32(4)
	x.Ciphertext = c.bytes(5)
}

func readHeldEvent(c *cursor, x *eventv1.HeldEvent) {
	x.Position = c.uint32(1)
	x.EventHash = c.bytes(2)
	x.Kind = c.uint32(3)
	x.Generation = c.uint32(4)
	x.Ciphertext = c.bytes(5)
	x.Detector = c.string(6)
}
