package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ParseStreamBatch reads the canonical bytes of a stream message and holds it to the limits. It parses neither the
// statement nor the events. The batch refers to b, which must not change. The error is a *FieldError.
func ParseStreamBatch(b []byte) (*eventv1.StreamBatch, error) {
	if err := checkSize("", len(b), 1, MaxStreamBatch); err != nil {
		return nil, err
	}
	sb := decodeStreamBatch(b)
	if sb == nil {
		sb = new(eventv1.StreamBatch)
		if err := decodeCounted(b, sb, limit{4, "events", MaxBatchEvents}, limit{5, "openings", MaxOpenings}, limit{6, "held", MaxBatchEvents}); err != nil {
			return nil, err
		}
	}
	if err := streamBatch(sb); err != nil {
		return nil, err
	}
	return sb, nil
}

// MarshalStreamBatch returns the canonical bytes of sb. The error is a *FieldError if sb is over a limit.
func MarshalStreamBatch(sb *eventv1.StreamBatch) ([]byte, error) { return AppendStreamBatch(nil, sb) }

// AppendStreamBatch is MarshalStreamBatch into the room behind dst. On an error it returns nothing of use.
func AppendStreamBatch(dst []byte, sb *eventv1.StreamBatch) ([]byte, error) {
	if err := streamBatch(sb); err != nil {
		return nil, err
	}
	b := encodeStreamBatch(dst, sb)
	return b, checkSize("", len(b)-len(dst), 1, MaxStreamBatch).err()
}

func streamBatch(sb *eventv1.StreamBatch) *FieldError {
	if err := first(
		version("version", sb.GetVersion(), Version),
		checkSize("statement", len(sb.GetStatement()), 1, MaxStatement),
		exactly("signature", sb.GetSignature(), SignatureSize),
		positive("events", uint64(len(sb.GetEvents()))),
		atMost("events", len(sb.GetEvents()), MaxBatchEvents),
		atMost("openings", len(sb.GetOpenings()), MaxOpenings),
		atMost("held", len(sb.GetHeld()), MaxBatchEvents),
	); err != nil {
		return err
	}
	return first(held(sb), present(sb), encryptedOpenings(sb))
}

// held events are in strictly ascending order of position.
func held(sb *eventv1.StreamBatch) *FieldError {
	next := uint32(0)
	for i, h := range sb.Held {
		if h.GetPosition() < next {
			return &FieldError{at("held", i), "not in ascending order of position"}
		}
		if err := heldEvent(h, len(sb.Events)); err != nil {
			return err.under(at("held", i))
		}
		next = h.GetPosition() + 1
	}
	return nil
}

func heldEvent(h *eventv1.HeldEvent, events int) *FieldError {
	if k := h.GetKind(); k < uint32(KindIdentity) || k > uint32(KindSystem) {
		return &FieldError{"kind", "not a kind of event"}
	}
	return first(
		position(h.GetPosition(), events),
		exactly("event_hash", h.GetEventHash(), DigestSize),
		checkSize("ciphertext", len(h.GetCiphertext()), sealOverhead+1, sealOverhead+MaxEvent),
		given("detector", h.GetDetector(), MaxName),
	)
}

// present: an event stands in the clear exactly if it is not held.
func present(sb *eventv1.StreamBatch) *FieldError {
	rest := sb.Held
	for i, e := range sb.Events {
		isHeld := len(rest) > 0 && rest[0].GetPosition() == uint32(i)
		switch {
		case isHeld && len(e) > 0:
			return &FieldError{at("events", i), "held, but in the clear"}
		case !isHeld && len(e) == 0:
			return &FieldError{at("events", i), "empty"}
		case len(e) > MaxEvent:
			return checkSize(at("events", i), len(e), 1, MaxEvent)
		case isHeld:
			rest = rest[1:]
		}
	}
	return nil
}

// encryptedOpenings are in strictly ascending order of position and path.
func encryptedOpenings(sb *eventv1.StreamBatch) *FieldError {
	var before *eventv1.EncryptedOpening
	for i, o := range sb.Openings {
		if err := encryptedOpening(o, before, len(sb.Events)); err != nil {
			return err.under(at("openings", i))
		}
		before = o
	}
	return nil
}

func encryptedOpening(o, before *eventv1.EncryptedOpening, events int) *FieldError {
	if before != nil && !ascending(before, o) {
		return &FieldError{"", "not in ascending order of position and path"}
	}
	least := sealOverhead + SaltSize
	return first(
		position(o.GetPosition(), events),
		given("path", o.GetPath(), MaxID),
		text("subject", o.GetSubject(), MaxID),
		checkSize("ciphertext", len(o.GetCiphertext()), least, least+MaxSealedInline),
	)
}

// CheckStreamBatch parses the statement and every event of a stream batch and holds them together, as CheckBatch does. The
// place of a held event is nil. An opening is of a field that its event seals, under the subject that the event names; of a
// held event that is not to be seen. The error is a *FieldError.
func CheckStreamBatch(sb *eventv1.StreamBatch) (*eventv1.BatchStatement, []*eventv1.Event, error) {
	stmt, events, err := checkStreamBatch(sb)
	if err != nil {
		return nil, nil, err
	}
	return stmt, events, nil
}

func checkStreamBatch(sb *eventv1.StreamBatch) (*eventv1.BatchStatement, []*eventv1.Event, *FieldError) {
	if err := streamBatch(sb); err != nil {
		return nil, nil, err
	}
	stmt, err := parseStatement(sb.Statement)
	if err != nil {
		return nil, nil, err.under("statement")
	}
	events := make([]*eventv1.Event, len(sb.Events))
	if err := batchEvents(events, stmt, sb.Events, newArena(len(sb.Events))); err != nil {
		return nil, nil, err
	}
	return stmt, events, ofSubjects(sb, events)
}

func ofSubjects(sb *eventv1.StreamBatch, events []*eventv1.Event) *FieldError {
	for i, o := range sb.Openings {
		e := events[o.Position]
		if e == nil {
			continue
		}
		switch s := sealedAt(e, o.Path); {
		case s == nil:
			return &FieldError{at("openings", i) + ".path", "not a sealed field of the event"}
		case s.Subject != o.Subject:
			return &FieldError{at("openings", i) + ".subject", "not that of the sealed field"}
		}
	}
	return nil
}
