package event

import (
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// explain names the first field of b that is not in the one accepted encoding of m's type. It is called when b is
// already known to be wrong, so speed does not matter.
func explain(b []byte, m proto.Message) *FieldError {
	if err := walk(b, m.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	return &FieldError{"", "not the canonical encoding"}
}

// walk checks the wire form of one message: ascending field numbers, each singular field once, minimal varints, no
// default value, no unknown field (https://protobuf.dev/programming-guides/encoding).
func walk(b []byte, md protoreflect.MessageDescriptor) *FieldError {
	w := walker{md: md}
	for len(b) > 0 {
		n, err := w.field(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// walker is the state of a walk through one message.
type walker struct {
	md    protoreflect.MessageDescriptor
	last  protowire.Number             // the field before
	count int                          // its values so far
	oneof protoreflect.OneofDescriptor // the oneof that is set, if any
}

// field checks one tag and value and returns their length.
func (w *walker) field(b []byte) (int, *FieldError) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, &FieldError{"", "cut or malformed tag"}
	}
	fd := w.md.Fields().ByNumber(num)
	if fd == nil {
		return 0, &FieldError{"", fmt.Sprintf("unknown field %d", num)}
	}
	if err := w.place(fd, typ, n); err != nil {
		return 0, err
	}
	m, err := value(fd, b[n:])
	if err != nil {
		return 0, err.under(w.name(fd))
	}
	return n + m, nil
}

// place checks that the field may stand here.
func (w *walker) place(fd protoreflect.FieldDescriptor, typ protowire.Type, tagSize int) *FieldError {
	repeats := fd.Number() == w.last
	switch {
	case tagSize != protowire.SizeTag(fd.Number()):
		return &FieldError{string(fd.Name()), "tag is not a minimal varint"}
	case typ != wireType(fd):
		return &FieldError{string(fd.Name()), "wrong wire type"}
	case fd.Number() < w.last:
		return &FieldError{string(fd.Name()), "out of order"}
	case repeats && !fd.IsList():
		return &FieldError{string(fd.Name()), "given twice"}
	case fd.ContainingOneof() != nil && fd.ContainingOneof() == w.oneof:
		return &FieldError{string(fd.Name()), "a second " + string(w.oneof.Name())}
	}
	if w.count++; !repeats {
		w.last, w.count = fd.Number(), 1
	}
	if fd.ContainingOneof() != nil {
		w.oneof = fd.ContainingOneof()
	}
	return nil
}

// name is the field with its place in a list.
func (w *walker) name(fd protoreflect.FieldDescriptor) string {
	if fd.IsList() {
		return fmt.Sprintf("%s[%d]", fd.Name(), w.count-1)
	}
	return string(fd.Name())
}

// wireType is varint or bytes: the messages use no other.
func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// value checks one value and returns its length.
func value(fd protoreflect.FieldDescriptor, b []byte) (int, *FieldError) {
	if wireType(fd) == protowire.VarintType {
		return number(fd, b)
	}
	v, n := protowire.ConsumeBytes(b)
	switch {
	case n < 0:
		return 0, &FieldError{"", "cut short"}
	case n != protowire.SizeBytes(len(v)):
		return 0, &FieldError{"", "length is not a minimal varint"}
	case fd.Kind() == protoreflect.MessageKind:
		return n, walk(v, fd.Message())
	case len(v) == 0 && !fd.IsList():
		return 0, &FieldError{"", "empty value written out"}
	case fd.Kind() == protoreflect.StringKind && !utf8.Valid(v):
		return 0, &FieldError{"", "not UTF-8"}
	}
	return n, nil
}

func number(fd protoreflect.FieldDescriptor, b []byte) (int, *FieldError) {
	v, n := protowire.ConsumeVarint(b)
	switch {
	case n < 0:
		return 0, &FieldError{"", "cut or overlong varint"}
	case n != protowire.SizeVarint(v):
		return 0, &FieldError{"", "not a minimal varint"}
	case v == 0 && !fd.IsList():
		return 0, &FieldError{"", "zero written out"}
	case !fits(fd.Kind(), v):
		return 0, &FieldError{"", "out of range"}
	}
	return n, nil
}

// fits reports whether the varint is one that an encoder of the kind writes.
func fits(k protoreflect.Kind, v uint64) bool {
	switch k {
	case protoreflect.BoolKind:
		return v <= 1
	case protoreflect.Uint32Kind:
		return v <= math.MaxUint32
	case protoreflect.EnumKind, protoreflect.Int32Kind:
		return uint64(int64(int32(v))) == v
	}
	return true
}
