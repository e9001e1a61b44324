package sidecar

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// MaxLine is the longest line in bytes: the longest sealed value in base64, and room for the event.
const MaxLine = 24 << 20

// Line is one line, read. What it asks of the gate stands in the execution of its event: see the verbs.
type Line struct {
	Verb       Verb
	Event      *edge.Event
	WriteAhead bool
}

// Verb is what a line wants.
type Verb string

// Verbs.
const (
	Record Verb = ""      // to record an event
	Ask    Verb = "ask"   // to begin a call: call, tool, operation, connector, consequence, destination and attempt
	Done   Verb = "done"  // to end one: call and outcome
	Watch  Verb = "watch" // to be told what is contained, and what must stop
)

// ParseLine reads one line. The error is an *event.FieldError. What it does not check, Record does.
func ParseLine(line []byte) (*Line, error) {
	switch {
	case len(line) > MaxLine:
		return nil, wrong("", "line is too long")
	case !utf8.Valid(line):
		return nil, wrong("", "line is not valid UTF-8")
	}
	d := decoder{reader: reader{b: line}, line: Line{Event: &edge.Event{Plain: new(eventv1.Event)}}}
	if err := d.object("", d.key); err != nil {
		return nil, err
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if d.line.Event.Plain.Body == nil && d.line.Verb != Watch {
		return nil, wrong("", "has none of identity, data, execution, approval, ask, done, watch")
	}
	return &d.line, d.line.check()
}

type decoder struct {
	reader
	line Line
}

// key reads one member of the line.
func (d *decoder) key(key string) (err error) {
	switch key {
	case "sealed":
		return d.object(key, d.sealed)
	case "write_ahead":
		d.line.WriteAhead, err = d.boolean(key)
		return err
	case "version", "tenant", "instance", "run_seq", "fingerprints", "system":
		return wrong(key, "is set by the sidecar")
	case "identity", "data", "execution", "approval":
		if d.hasBody() {
			return wrong(key, "is a second body")
		}
	case string(Ask), string(Done), string(Watch):
		return d.verb(Verb(key))
	}
	return d.member("", key, d.line.Event.Plain.ProtoReflect())
}

func (d *decoder) hasBody() bool { return d.line.Event.Plain.Body != nil || d.line.Verb != Record }

// verb reads what is for the gate.
func (d *decoder) verb(v Verb) error {
	if d.hasBody() {
		return wrong(string(v), "is a second body")
	}
	d.line.Verb = v
	if v == Watch {
		on, err := d.boolean(string(v))
		if err == nil && !on {
			err = wrong(string(v), "cannot be taken back")
		}
		return err
	}
	x := &eventv1.Execution{}
	d.line.Event.Plain.Body = &eventv1.Event_Execution{Execution: x}
	return d.message(string(v), x.ProtoReflect())
}

// sealed reads one content.
func (d *decoder) sealed(path string) error {
	content := edge.Content{Path: path}
	at := join("sealed", path)
	var err error
	if d.next() == '{' {
		err = d.content(at, &content)
	} else {
		var text string
		text, err = d.text(at)
		content.Value = []byte(text)
	}
	d.line.Event.Sealed = append(d.line.Event.Sealed, content)
	return err
}

// content reads the long form.
func (d *decoder) content(at string, c *edge.Content) error {
	values := 0
	err := d.object(at, func(key string) error {
		text, err := d.text(join(at, key))
		switch key {
		case "value":
			c.Value = []byte(text)
			values++
		case "base64":
			if c.Value, err = decoded(join(at, key), text, err); err != nil {
				return err
			}
			values++
		case "media_type":
			c.MediaType = text
		case "subject":
			c.Subject = text
		default:
			return wrong(join(at, key), "unknown key")
		}
		return err
	})
	if err == nil && values != 1 {
		return wrong(at, "needs one of value and base64")
	}
	return err
}

// decoded is padded standard base64.
func decoded(at, text string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	value, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, wrong(at, "not base64")
	}
	return value, nil
}

// member reads one field of a message.
func (d *decoder) member(path, key string, m protoreflect.Message) error {
	f := m.Descriptor().Fields().ByName(protoreflect.Name(key))
	path = join(path, key)
	switch {
	case f == nil:
		return wrong(path, "unknown key")
	case f.IsList():
		list := m.Mutable(f).List()
		return d.array(path, func(path string) error { return d.element(path, f, list) })
	case f.Kind() == protoreflect.MessageKind:
		return d.message(path, m.Mutable(f).Message())
	}
	v, err := d.scalar(path, f)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

// mostElements is more than any list of an event may hold.
const mostElements = 1024

func (d *decoder) element(path string, f protoreflect.FieldDescriptor, list protoreflect.List) error {
	if list.Len() >= mostElements {
		return wrong(path, "too many elements")
	}
	if f.Kind() == protoreflect.MessageKind {
		return d.message(path, list.AppendMutable().Message())
	}
	v, err := d.scalar(path, f)
	if err == nil {
		list.Append(v)
	}
	return err
}

func (d *decoder) message(path string, m protoreflect.Message) error {
	err := d.object(path, func(key string) error { return d.member(path, key, m) })
	if c, isCause := m.Interface().(*eventv1.Cause); isCause && c.Basis == 0 {
		c.Basis = eventv1.CauseBasis_CAUSE_BASIS_RECORDED
	}
	return err
}

func (d *decoder) scalar(path string, f protoreflect.FieldDescriptor) (v protoreflect.Value, err error) {
	switch f.Kind() {
	case protoreflect.EnumKind:
		return d.enum(path, f.Enum())
	case protoreflect.BytesKind:
		b, err := d.bytes(path, f)
		return protoreflect.ValueOfBytes(b), err
	case protoreflect.StringKind:
		s, err := d.text(path)
		return protoreflect.ValueOfString(s), err
	case protoreflect.BoolKind:
		b, err := d.boolean(path)
		return protoreflect.ValueOfBool(b), err
	case protoreflect.Uint32Kind:
		n, err := d.unsigned(path, math.MaxUint32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind:
		n, err := d.unsigned(path, math.MaxUint64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.Int64Kind:
		n, err := d.signed(path)
		return protoreflect.ValueOfInt64(n), err
	}
	return v, wrong(path, "cannot be given")
}

// enum reads the short name: "untrusted" for TRUST_UNTRUSTED.
func (d *decoder) enum(path string, e protoreflect.EnumDescriptor) (v protoreflect.Value, err error) {
	word, err := d.text(path)
	if err != nil {
		return v, err
	}
	prefix := strings.TrimSuffix(string(e.Values().Get(0).Name()), "UNSPECIFIED")
	value := e.Values().ByName(protoreflect.Name(prefix + strings.ToUpper(word)))
	if value == nil || value.Number() == 0 || word != strings.ToLower(word) {
		return v, wrong(path, "none of "+strings.Join(words(e, prefix), ", "))
	}
	return protoreflect.ValueOfEnum(value.Number()), nil
}

func words(e protoreflect.EnumDescriptor, prefix string) (all []string) {
	for i := 1; i < e.Values().Len(); i++ {
		all = append(all, strings.ToLower(strings.TrimPrefix(string(e.Values().Get(i).Name()), prefix)))
	}
	return all
}

// bytes reads event ids as UUIDs and everything else as lower-case hexadecimal.
func (d *decoder) bytes(path string, f protoreflect.FieldDescriptor) ([]byte, error) {
	text, err := d.text(path)
	if err != nil {
		return nil, err
	}
	if f.Name() == "id" || f.Name() == "subject_event" {
		id, err := event.ParseID(text)
		if err != nil {
			return nil, wrong(path, "not a UUIDv7 in lower case")
		}
		return id[:], nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || text != strings.ToLower(text) {
		return nil, wrong(path, "not lower-case hexadecimal")
	}
	return b, nil
}
