package event

import (
	"bytes"
	"fmt"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Version of events, statements and stream batches.
const Version = 1

// Parse reads the canonical bytes of one valid event. The error is a *FieldError.
func Parse(b []byte) (*eventv1.Event, error) {
	e, err := parse(b, nil)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// parse reads an event that refers to b, or to a copy of it where the arena is nil.
func parse(b []byte, a *arena) (*eventv1.Event, *FieldError) {
	if err := checkSize("", len(b), 1, MaxEvent); err != nil {
		return nil, err
	}
	if a == nil {
		b, a = bytes.Clone(b), &alone
	}
	e := decodeEvent(b, a)
	if e == nil {
		e = new(eventv1.Event)
		if err := decode(b, e); err != nil {
			return nil, err
		}
	}
	if err := validate(e); err != nil {
		return nil, err
	}
	return e, nil
}

// Marshal returns the canonical bytes of e. The error is a *FieldError if e is not valid.
func Marshal(e *eventv1.Event) ([]byte, error) { return AppendMarshal(make([]byte, 0, usualEvent), e) }

// usualEvent is room for most events, in bytes.
const usualEvent = 512

// AppendMarshal is Marshal into the room behind dst. On an error it returns nothing of use.
func AppendMarshal(dst []byte, e *eventv1.Event) ([]byte, error) {
	if err := validate(e); err != nil {
		return dst, err
	}
	b, known := encodeEvent(dst, e)
	if !known {
		var err error
		if b, err = encoder.MarshalAppend(dst, e); err != nil {
			return dst, fmt.Errorf("encode event: %w", err)
		}
	}
	if err := checkSize("", len(b)-len(dst), 1, MaxEvent); err != nil {
		return dst, err
	}
	return b, nil
}

// Validate checks every field of e but the size of its encoding. The error is a *FieldError.
func Validate(e *eventv1.Event) error { return validate(e).err() }

func checkSize(field string, n, least, most int) *FieldError {
	switch {
	case n == 0 && least > 0:
		return &FieldError{field, "empty"}
	case n < least:
		return &FieldError{field, fmt.Sprintf("shorter than %d bytes", least)}
	case n > most:
		return &FieldError{field, fmt.Sprintf("longer than %d bytes", most)}
	}
	return nil
}
