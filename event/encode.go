package event

import (
	"encoding/binary"
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// encodeEvent appends the one encoding of a valid event to dst, as the general encoder does in a fifth of the time. Unknown fields
// are left out. It reports false, and nothing else, for an event that it does not know: a system event, or one without a body.
func encodeEvent(dst []byte, e *eventv1.Event) ([]byte, bool) {
	w := writer(dst)
	w.uint(1, uint64(e.GetVersion()))
	w.bytes(2, e.GetId())
	w.string(3, e.GetTenant())
	w.string(4, e.GetInstance())
	w.string(5, e.GetRun())
	w.uint(6, e.GetRunSeq())
	w.string(7, e.GetPrincipal())
	w.strings(8, e.GetOnBehalfOf())
	w.uint(9, uint64(e.GetOccurredAt()))
	w.uint(10, uint64(e.GetTimeBasis()))
	w.uint(11, uint64(e.GetTrust()))
	for _, x := range e.GetCauses() {
		w.cause(x)
	}
	for _, x := range e.GetSealed() {
		w.sealed(x)
	}
	for _, x := range e.GetFingerprints() {
		w.fingerprint(x)
	}
	known := w.body(e)
	return w, known
}

// body reports false for one that is not written here.
func (w *writer) body(e *eventv1.Event) bool {
	switch body := e.GetBody().(type) {
	case *eventv1.Event_Identity:
		w.identity(body.Identity)
	case *eventv1.Event_Data:
		w.data(body.Data)
	case *eventv1.Event_Execution:
		w.execution(body.Execution)
	case *eventv1.Event_Approval:
		w.approval(body.Approval)
	default:
		return false
	}
	return true
}

func (w *writer) cause(x *eventv1.Cause) {
	at := w.open(12)
	w.bytes(1, x.GetId())
	w.uint(2, uint64(x.GetRelation()))
	w.uint(3, uint64(x.GetBasis()))
	w.close(at)
}

func (w *writer) sealed(x *eventv1.Sealed) {
	at := w.open(13)
	w.string(1, x.GetPath())
	w.string(2, x.GetMediaType())
	w.uint(3, x.GetSize())
	w.string(4, x.GetSubject())
	w.bytes(5, x.GetDigest())
	w.close(at)
}

func (w *writer) fingerprint(x *eventv1.Fingerprint) {
	at := w.open(14)
	w.string(1, x.GetPath())
	w.uint(2, uint64(x.GetKeyId()))
	w.uint(3, uint64(x.GetNormaliser()))
	w.bytes(4, x.GetValue())
	w.close(at)
}

func (w *writer) identity(x *eventv1.Identity) {
	at := w.open(20)
	w.uint(1, uint64(x.GetAction()))
	w.bytes(2, x.GetEpoch())
	w.uint(3, x.GetLastSeq())
	w.uint(4, uint64(x.GetInterval()))
	w.string(5, x.GetWorkflow())
	w.string(6, x.GetModel())
	w.string(7, x.GetAgentVersion())
	w.bytes(8, x.GetSystemPromptDigest())
	w.bytes(9, x.GetToolListDigest())
	w.runtime(x.GetRuntime())
	w.uint(11, x.GetLastRunSeq())
	w.uint(12, uint64(x.GetOutcome()))
	w.credential(x.GetCredential())
	w.string(14, x.GetDelegate())
	w.string(15, x.GetRole())
	w.string(16, x.GetSession())
	w.close(at)
}

func (w *writer) runtime(x *eventv1.RuntimeBoundary) {
	if x == nil {
		return
	}
	at := w.open(10)
	w.string(1, x.GetHost())
	w.string(2, x.GetContainer())
	w.string(3, x.GetImage())
	w.close(at)
}

func (w *writer) credential(x *eventv1.Credential) {
	if x == nil {
		return
	}
	at := w.open(13)
	w.bytes(1, x.GetFingerprint())
	w.strings(2, x.GetScopes())
	w.uint(3, uint64(x.GetExpiresAt()))
	w.string(4, x.GetConnector())
	w.close(at)
}

func (w *writer) data(x *eventv1.Data) {
	at := w.open(21)
	w.uint(1, uint64(x.GetAction()))
	w.string(2, x.GetSource())
	w.string(3, x.GetResource())
	w.string(4, x.GetDomain())
	w.string(5, x.GetDataClass())
	w.bytes(6, x.GetContentDigest())
	w.uint(7, x.GetBytes())
	w.uint(8, uint64(x.GetDirection()))
	w.string(9, x.GetMemoryKey())
	w.string(10, x.GetDetector())
	w.string(11, x.GetDetectorVersion())
	w.uint(12, uint64(x.GetScore()))
	w.string(13, x.GetLabel())
	w.close(at)
}

func (w *writer) execution(x *eventv1.Execution) {
	at := w.open(22)
	w.uint(1, uint64(x.GetAction()))
	w.string(2, x.GetCall())
	w.string(3, x.GetTool())
	w.string(4, x.GetOperation())
	w.string(5, x.GetConnector())
	w.uint(6, uint64(x.GetConsequence()))
	w.bytes(7, x.GetArgumentsDigest())
	w.string(8, x.GetDestination())
	w.uint(9, uint64(x.GetAttempt()))
	w.uint(10, uint64(x.GetDecision()))
	w.string(11, x.GetPolicy())
	w.string(12, x.GetReason())
	w.uint(13, uint64(x.GetOutcome()))
	w.uint(14, x.GetCostMicrounits())
	w.string(15, x.GetCostUnit())
	w.uint(16, uint64(x.GetDuration()))
	w.close(at)
}

func (w *writer) approval(x *eventv1.Approval) {
	at := w.open(23)
	w.uint(1, uint64(x.GetAction()))
	w.string(2, x.GetApprover())
	w.bytes(3, x.GetShownDigest())
	w.bytes(4, x.GetSubjectEvent())
	w.uint(5, uint64(x.GetShownAt()))
	w.uint(6, uint64(x.GetValidUntil()))
	w.string(7, x.GetCall())
	w.string(8, x.GetTool())
	w.string(9, x.GetReason())
	w.string(10, x.GetEscalatedTo())
	w.close(at)
}

// encodeStreamBatch appends the one encoding of a valid stream batch to dst. Unknown fields are left out.
func encodeStreamBatch(dst []byte, sb *eventv1.StreamBatch) []byte {
	w := writer(slices.Grow(dst, streamBatchRoom(sb)))
	w.uint(1, uint64(sb.GetVersion()))
	w.bytes(2, sb.GetStatement())
	w.bytes(3, sb.GetSignature())
	for _, e := range sb.GetEvents() {
		w.item(4, view(e))
	}
	for _, x := range sb.GetOpenings() {
		w.encryptedOpening(x)
	}
	for _, x := range sb.GetHeld() {
		w.heldEvent(x)
	}
	return w
}

// itemRoom is more than the tags, lengths and numbers of one item take.
const itemRoom = 48

// streamBatchRoom is at least the length of the encoding.
func streamBatchRoom(sb *eventv1.StreamBatch) int {
	n := len(sb.GetStatement()) + len(sb.GetSignature()) + itemRoom
	for _, e := range sb.GetEvents() {
		n += len(e) + itemRoom
	}
	for _, x := range sb.GetOpenings() {
		n += len(x.GetPath()) + len(x.GetSubject()) + len(x.GetCiphertext()) + itemRoom
	}
	for _, x := range sb.GetHeld() {
		n += len(x.GetEventHash()) + len(x.GetCiphertext()) + len(x.GetDetector()) + itemRoom
	}
	return n
}

func (w *writer) encryptedOpening(x *eventv1.EncryptedOpening) {
	at := w.open(5)
	w.uint(1, uint64(x.GetPosition()))
	w.string(2, x.GetPath())
	w.string(3, x.GetSubject())
	w.uint(4, uint64(x.GetGeneration()))
	w.bytes(5, x.GetCiphertext())
	w.close(at)
}

func (w *writer) heldEvent(x *eventv1.HeldEvent) {
	at := w.open(6)
	w.uint(1, uint64(x.GetPosition()))
	w.bytes(2, x.GetEventHash())
	w.uint(3, uint64(x.GetKind()))
	w.uint(4, uint64(x.GetGeneration()))
	w.bytes(5, x.GetCiphertext())
	w.string(6, x.GetDetector())
	w.close(at)
}

// writer appends fields. Default values are not written. Enumerations are never negative in a valid event.
type writer []byte

func (w *writer) uint(field uint32, v uint64) {
	if v != 0 {
		*w = binary.AppendUvarint(appendTag(*w, field, varintType), v)
	}
}

func (w *writer) string(field uint32, s string) {
	if s != "" {
		w.item(field, s)
	}
}

// item writes text or bytes, also if they are empty.
func (w *writer) item(field uint32, s string) {
	b := appendTag(*w, field, bytesType)
	if len(s) < 0x80 {
		b = append(b, byte(len(s)))
	} else {
		b = binary.AppendUvarint(b, uint64(len(s)))
	}
	*w = append(b, s...)
}

func appendTag(b []byte, field, wire uint32) []byte {
	if tag := field<<3 | wire; tag < 0x80 {
		return append(b, byte(tag))
	}
	return binary.AppendUvarint(b, uint64(field<<3|wire))
}

func (w *writer) bytes(field uint32, b []byte) {
	if len(b) > 0 {
		w.item(field, view(b))
	}
}

func (w *writer) strings(field uint32, all []string) {
	for _, s := range all {
		w.item(field, s)
	}
}

// open begins a message and returns where it begins, after one byte for its length.
func (w *writer) open(field uint32) (at int) {
	*w = append(appendTag(*w, field, bytesType), 0)
	return len(*w)
}

// close writes the length of the message that began at at, and makes room for a length of more than one byte.
func (w *writer) close(at int) {
	size := uint64(len(*w) - at)
	if size < 0x80 {
		(*w)[at-1] = byte(size)
		return
	}
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], size)
	*w = slices.Insert(*w, at, length[1:n]...)
	(*w)[at-1] = length[0]
}
