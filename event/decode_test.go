package event

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// agree holds the decoders that are written out to the general one: what they accept is what it accepts, and means the same.
func agree[M proto.Message](t interface{ Fatalf(string, ...any) }, b []byte, got M, found bool, want M) {
	fault := decode(b, want)
	switch {
	case found && fault != nil:
		t.Fatalf("%x: accepted, although %v", b, fault)
	case found && !proto.Equal(got, want):
		t.Fatalf("%x: read as\n%v\nwant\n%v", b, got, want)
	}
}

func agreeOnEvent(t interface{ Fatalf(string, ...any) }, b []byte) (found bool) {
	e := decodeEvent(b, &alone)
	agree(t, b, e, e != nil, new(eventv1.Event))
	return e != nil
}

func agreeOnStreamBatch(t interface{ Fatalf(string, ...any) }, b []byte) (found bool) {
	sb := decodeStreamBatch(b)
	agree(t, b, sb, sb != nil, new(eventv1.StreamBatch))
	return sb != nil
}

func agreeOnSignedBatch(t interface{ Fatalf(string, ...any) }, b []byte) (found bool) {
	sb := decodeSignedBatch(b)
	agree(t, b, sb, sb != nil, new(eventv1.SignedBatch))
	return sb != nil
}

// drawMessage fills any of the fields of m, at random and without regard to what is valid.
func drawMessage(t *rapid.T, m protoreflect.Message) {
	list := m.Descriptor().Fields()
	for i := range list.Len() {
		fd := list.Get(i)
		switch {
		case fd.Message() != nil && fd.Message().Name() == "System", rapid.Bool().Draw(t, "absent"):
		case fd.IsList():
			for range rapid.IntRange(1, 3).Draw(t, "items") {
				drawItem(t, m.Mutable(fd).List(), fd)
			}
		case fd.Kind() == protoreflect.MessageKind:
			drawMessage(t, m.Mutable(fd).Message())
		default:
			m.Set(fd, drawValue(t, fd))
		}
	}
}

func drawItem(t *rapid.T, list protoreflect.List, fd protoreflect.FieldDescriptor) {
	if fd.Kind() == protoreflect.MessageKind {
		drawMessage(t, list.AppendMutable().Message())
		return
	}
	list.Append(drawValue(t, fd))
}

func drawValue(t *rapid.T, fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.String().Draw(t, "text"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rapid.Int32Range(0, 1<<20).Draw(t, "enum")))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(t, "uint32"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
	default:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
	}
}

// TestWrittenOutCodecsAgreeWithTheGeneralOne: for any event and any stream batch, valid or not, both read and write the same, and
// the fast ones leave none to the general ones but system events.
func TestWrittenOutCodecsAgreeWithTheGeneralOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := new(eventv1.Event)
		drawMessage(t, e.ProtoReflect())
		want, err := encoder.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, known := encodeEvent([]byte("before"), e)
		if known != (e.GetBody() != nil) || known && string(got) != "before"+string(want) {
			t.Fatalf("%v encodes as %x (%v), want %x", e, got, known, want)
		}
		if found := agreeOnEvent(t, want); found != known {
			t.Fatalf("%v: read %v, written %v", e, found, known)
		}
		signed := new(eventv1.SignedBatch)
		drawMessage(t, signed.ProtoReflect())
		if want, err = encoder.Marshal(signed); err != nil || !agreeOnSignedBatch(t, want) {
			t.Fatalf("%v is not read (%v)", signed, err)
		}
		sb := new(eventv1.StreamBatch)
		drawMessage(t, sb.ProtoReflect())
		want, err = encoder.Marshal(sb)
		if err != nil || !agreeOnStreamBatch(t, want) {
			t.Fatalf("%v is not read (%v)", sb, err)
		}
		if got := encodeStreamBatch(nil, sb); !bytes.Equal(got, want) || len(got) > streamBatchRoom(sb) {
			t.Fatalf("%v encodes as %x in room for %d, want %x", sb, got, streamBatchRoom(sb), want)
		}
	})
}

// TestExamplesAreReadAndWrittenFast: otherwise the fast path would be one in name only.
func TestExamplesAreReadAndWrittenFast(t *testing.T) {
	for _, action := range Actions() {
		e := Example(action)
		if e.GetSystem() != nil {
			continue
		}
		b, known := encodeEvent(nil, e)
		if !known || !agreeOnEvent(t, b) {
			t.Errorf("%s is left to the general codec", action)
		}
	}
}

// TestMutatedMessagesAgree flips, cuts and inserts bytes.
func TestMutatedMessagesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, err := encoder.Marshal(Example(rapid.SampledFrom(Actions()).Draw(t, "action")))
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			b[at] = rapid.Byte().Draw(t, "byte")
		case 1:
			b = append(b[:at:at], b[at+1:]...)
		case 2:
			b = bytes.Join([][]byte{b[:at], rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "insert"), b[at:]}, nil)
		}
		agreeOnEvent(t, b)
	})
}

func FuzzDecodeEvent(f *testing.F) {
	for _, action := range Actions() {
		b, err := Marshal(Example(action))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agreeOnEvent(t, b) })
}

func FuzzDecodeBatch(f *testing.F) {
	b, err := encoder.Marshal(&eventv1.StreamBatch{
		Version: Version, Statement: []byte("statement"), Signature: make([]byte, SignatureSize), Events: [][]byte{[]byte("event"), {}},
		Openings: []*eventv1.EncryptedOpening{{Position: 1, Path: "arguments", Subject: "s", Generation: 300, Ciphertext: make([]byte, 200)}},
		Held:     []*eventv1.HeldEvent{{Position: 1, EventHash: make([]byte, DigestSize), Kind: 3, Generation: 1, Ciphertext: []byte("c"), Detector: "d"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = encoder.Marshal(&eventv1.SignedBatch{
		Statement: []byte("statement"), Signature: make([]byte, SignatureSize), Events: [][]byte{[]byte("event")},
		Openings: []*eventv1.Opening{{Path: "arguments", Salt: make([]byte, SaltSize), Value: []byte("value")}},
	}); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		agreeOnStreamBatch(t, b)
		agreeOnSignedBatch(t, b)
	})
}
