package event

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// shape is what ScanEvent needs to know of a message, by field number.
type shape [64]struct {
	name  string
	text  bool   // a string
	inner *shape // a message
}

var eventShape = shapeOf(new(eventv1.Event).ProtoReflect().Descriptor())

func shapeOf(md protoreflect.MessageDescriptor) *shape {
	s := new(shape)
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		f := &s[fd.Number()]
		f.name, f.text = string(fd.Name()), fd.Kind() == protoreflect.StringKind
		if fd.Kind() == protoreflect.MessageKind {
			f.inner = shapeOf(fd.Message())
		}
	}
	return s
}

// ScanEvent scans every text field of the canonical bytes of an event and names the first that holds a secret. The encoding
// itself must not be scanned: the byte before a text can run into its first word.
func ScanEvent(b []byte) (field, detector string, found bool) { return eventShape.scan(b) }

func (s *shape) scan(b []byte) (field, detector string, found bool) {
	for c := newCursor(b); c.at < c.end && !c.bad; {
		tag := c.varint()
		if tag&7 == varintType {
			c.varint()
			continue
		}
		v := c.block()
		if c.bad || tag&7 != bytesType || tag>>3 >= uint64(len(s)) {
			return "", "", false // not canonical
		}
		if field, detector, found = s.scanField(tag>>3, v); found {
			return field, detector, true
		}
	}
	return "", "", false
}

func (s *shape) scanField(num uint64, v []byte) (field, detector string, found bool) {
	switch f := &s[num]; {
	case f.text:
		detector, found = ScanSecrets(v)
		return f.name, detector, found
	case f.inner != nil:
		if field, detector, found = f.inner.scan(v); found {
			return f.name + "." + field, detector, true
		}
	}
	return "", "", false
}

// ScrubEvent replaces the secrets in every text field of e but its names (tenant, instance) and sealed paths, and counts
// them. An emitter calls it before it signs.
func ScrubEvent(e *eventv1.Event) int { return scrubMessage(e.ProtoReflect()) }

func scrubMessage(m protoreflect.Message) (n int) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Name() == "path" || fd.Name() == "tenant" || fd.Name() == "instance" && fd.Kind() == protoreflect.StringKind:
		case fd.Kind() == protoreflect.StringKind && !fd.IsList():
			s, found := scrubText(v.String())
			if n += found; found > 0 {
				m.Set(fd, protoreflect.ValueOfString(s))
			}
		case fd.IsList():
			n += scrubList(fd, v.List())
		case fd.Kind() == protoreflect.MessageKind:
			n += scrubMessage(v.Message())
		}
		return true
	})
	return n
}

func scrubList(fd protoreflect.FieldDescriptor, list protoreflect.List) (n int) {
	for i := range list.Len() {
		switch fd.Kind() {
		case protoreflect.MessageKind:
			n += scrubMessage(list.Get(i).Message())
		case protoreflect.StringKind:
			s, found := scrubText(list.Get(i).String())
			if n += found; found > 0 {
				list.Set(i, protoreflect.ValueOfString(s))
			}
		}
	}
	return n
}

func scrubText(s string) (string, int) {
	out, n := Scrub([]byte(s))
	return string(out), n
}
