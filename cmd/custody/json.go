package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/event"
)

// The JSON of -o json and -o jsonl has the names of the .proto files. Enumerated values are the lower-case words of the
// sidecar's lines, event ids are UUIDs, other bytes are hexadecimal, times are RFC 3339 in UTC, and 64-bit numbers are
// numbers. An answer has all of its fields; an event has those that it was recorded with.

// eventPackage is the package whose messages omit what is not set.
const eventPackage = "custody.event.v1"

// result prints an answer: as JSON if asked for, otherwise as a person reads it. In jsonl, an answer that is a list is one
// line for each element.
func (a *app) result(m proto.Message, text func(io.Writer)) error {
	if a.format == formatTable {
		text(a.out)
		return nil
	}
	if list := onlyList(m.ProtoReflect()); a.format == formatJSONL && list != nil {
		for i := range list.Len() {
			if err := a.printJSON(messageJSON(list.Get(i).Message())); err != nil {
				return err
			}
		}
		return nil
	}
	return a.printJSON(messageJSON(m.ProtoReflect()))
}

// onlyList is the list that a message consists of, nil if it is not one.
func onlyList(m protoreflect.Message) protoreflect.List {
	fields := m.Descriptor().Fields()
	if fields.Len() != 1 || !fields.Get(0).IsList() || fields.Get(0).Kind() != protoreflect.MessageKind {
		return nil
	}
	return m.Get(fields.Get(0)).List()
}

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%s", name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// marshal is json.Marshal without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// messageJSON is a message, its fields in the order of the .proto file.
func messageJSON(m protoreflect.Message) object {
	complete := string(m.Descriptor().ParentFile().Package()) != eventPackage
	out := object{}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if complete && f.ContainingOneof() == nil || m.Has(f) {
			out = append(out, member{string(f.Name()), fieldJSON(m, f)})
		}
	}
	return out
}

func fieldJSON(m protoreflect.Message, f protoreflect.FieldDescriptor) any {
	v := m.Get(f)
	switch {
	case f.IsMap():
		return mapJSON(v.Map(), f.MapValue())
	case f.IsList():
		out := make([]any, v.List().Len())
		for i := range out {
			out[i] = valueJSON(v.List().Get(i), f)
		}
		return out
	case f.Kind() == protoreflect.MessageKind && !m.Has(f):
		return nil
	}
	return valueJSON(v, f)
}

func mapJSON(m protoreflect.Map, f protoreflect.FieldDescriptor) object {
	out := object{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		out = append(out, member{k.String(), valueJSON(v, f)})
		return true
	})
	slices.SortFunc(out, func(x, y member) int { return strings.Compare(x.name, y.name) })
	return out
}

func valueJSON(v protoreflect.Value, f protoreflect.FieldDescriptor) any {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return messageJSON(v.Message())
	case protoreflect.EnumKind:
		return enumJSON(v.Enum(), f.Enum())
	case protoreflect.BytesKind:
		return bytesJSON(v.Bytes(), f)
	case protoreflect.Int64Kind:
		if isTime(f) {
			return timeJSON(v.Int())
		}
	}
	return v.Interface()
}

// enumJSON is the short name: "untrusted" for TRUST_UNTRUSTED, and "" for the unspecified value.
func enumJSON(n protoreflect.EnumNumber, e protoreflect.EnumDescriptor) string {
	prefix := strings.TrimSuffix(string(e.Values().Get(0).Name()), "UNSPECIFIED")
	value := e.Values().ByNumber(n)
	if n == 0 || value == nil {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(string(value.Name()), prefix))
}

func bytesJSON(b []byte, f protoreflect.FieldDescriptor) string {
	if isID(f.Name()) && len(b) == event.IDSize {
		return event.ID(b).String()
	}
	return hex.EncodeToString(b)
}

// isID reports whether a field is an event's or a firing's id, by its name.
func isID(name protoreflect.Name) bool {
	return slices.Contains([]protoreflect.Name{"id", "subject_event", "event", "events", "firings"}, name)
}

// isTime reports whether a field is nanoseconds since the Unix epoch: by its name, which buf does not check but people read.
func isTime(f protoreflect.FieldDescriptor) bool {
	return strings.HasSuffix(string(f.Name()), "_at") || f.Name() == "valid_until"
}

// timeJSON is exact: RFC 3339 with nanoseconds, or null.
func timeJSON(ns int64) any {
	if ns == 0 {
		return nil
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}
