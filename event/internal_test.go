package event

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestSetsAgreeWithReflection: the written-out sets of fields name every field of their message.
func TestSetsAgreeWithReflection(t *testing.T) {
	check(t, identitySet)
	check(t, dataSet)
	check(t, executionSet)
	check(t, approvalSet)
	check(t, keySet)
	check(t, caseSet)
}

func check[M interface {
	*E
	proto.Message
}, E any](t *testing.T, set func(M) fields) {
	t.Helper()
	list := M(new(E)).ProtoReflect().Descriptor().Fields()
	for i := range list.Len() {
		x, fd := M(new(E)), list.Get(i)
		if fd.Name() == "action" {
			continue
		}
		m := x.ProtoReflect()
		switch kind := fd.Kind(); {
		case fd.IsList():
			m.Mutable(fd).List().Append(m.NewField(fd).List().NewElement())
		case kind == protoreflect.BoolKind:
			m.Set(fd, protoreflect.ValueOfBool(true))
		case kind == protoreflect.StringKind:
			m.Set(fd, protoreflect.ValueOfString("x"))
		case kind == protoreflect.BytesKind:
			m.Set(fd, protoreflect.ValueOfBytes([]byte{1}))
		case kind == protoreflect.EnumKind:
			m.Set(fd, protoreflect.ValueOfEnum(1))
		case kind == protoreflect.MessageKind:
			m.Mutable(fd)
		case kind == protoreflect.Uint64Kind:
			m.Set(fd, protoreflect.ValueOfUint64(1))
		case kind == protoreflect.Uint32Kind:
			m.Set(fd, protoreflect.ValueOfUint32(1))
		default:
			m.Set(fd, protoreflect.ValueOfInt64(1))
		}
		if got, want := set(x), fields(1)<<fd.Number(); got != want {
			t.Errorf("%s: set %b, want %b", fd.FullName(), got, want)
		}
	}
}

// TestWalkAgreesWithEncodingAgain: the slow path that explains finds fault with exactly the bytes that do not survive
// decoding and encoding.
func TestWalkAgreesWithEncodingAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, err := Marshal(Example(rapid.SampledFrom(Actions()).Draw(t, "action")))
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		if rapid.Bool().Draw(t, "cut") {
			b = append(b[:at:at], b[at+1:]...)
		} else {
			b[at] = rapid.Byte().Draw(t, "byte")
		}
		e := new(eventv1.Event)
		same := false
		if decoder.Unmarshal(b, e) == nil {
			again, err := encoder.Marshal(e)
			same = err == nil && bytes.Equal(b, again)
		}
		if fault := walk(b, e.ProtoReflect().Descriptor()); (fault == nil) != same {
			t.Fatalf("walk says %v, encoding again %v", fault, same)
		}
	})
}

func TestMessagesUseTwoWireTypes(t *testing.T) {
	for _, m := range []proto.Message{new(eventv1.Event), new(eventv1.BatchStatement), new(eventv1.SignedBatch), new(eventv1.StreamBatch)} {
		twoWireTypes(t, m.ProtoReflect().Descriptor())
	}
}

// twoWireTypes holds what the walk and the scan of events assume: varints and bytes only, no packed lists, no maps, no
// explicit presence, field numbers below 64, messages that do not hold themselves.
func twoWireTypes(t *testing.T, md protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		switch fd.Kind() {
		case protoreflect.MessageKind:
			twoWireTypes(t, fd.Message())
		case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.EnumKind,
			protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Int64Kind:
		default:
			t.Errorf("%s is a %s", fd.FullName(), fd.Kind())
		}
		if fd.IsMap() || fd.IsPacked() || fd.HasOptionalKeyword() || fd.Number() >= 64 {
			t.Errorf("%s is a map, packed, optional or numbered above 63", fd.FullName())
		}
	}
}
