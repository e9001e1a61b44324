package ingest

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// TestCodecReadsWhatGRPCReads: batches, right and wrong, and the other messages of the stream.
func TestCodecReadsWhatGRPCReads(t *testing.T) {
	batch := &eventv1.SignedBatch{
		Statement: []byte("statement"), Signature: make([]byte, 64), Events: [][]byte{[]byte("one"), []byte("two")},
		Openings: []*eventv1.Opening{{Position: 1, Path: "arguments", Salt: make([]byte, 32), Value: []byte("value")}},
	}
	short := proto.CloneOf(batch)
	short.Signature = []byte("short")
	for name, m := range map[string]*apiv1.EmitRequest{
		"batch":        {Message: &apiv1.EmitRequest_Batch{Batch: batch}},
		"over a limit": {Message: &apiv1.EmitRequest_Batch{Batch: short}},
		"empty batch":  {Message: &apiv1.EmitRequest_Batch{Batch: &eventv1.SignedBatch{}}},
		"hello":        {Message: &apiv1.EmitRequest_Hello{Hello: &apiv1.Hello{Tenant: "acme"}}},
		"nothing":      {},
	} {
		wire, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got := new(apiv1.EmitRequest)
		if err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(wire)}, got); err != nil || !proto.Equal(got, m) {
			t.Errorf("%s: read as %v, %v", name, got, err)
		}
		// A second batch behind the first: the last counts, as everywhere in protobuf.
		twice := append(slices.Clip(wire), wire...)
		want := new(apiv1.EmitRequest)
		if err := proto.Unmarshal(twice, want); err != nil {
			t.Fatal(err)
		}
		got = new(apiv1.EmitRequest)
		if err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(twice)}, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s, twice: read as %v, %v", name, got, err)
		}
	}
}

// TestCodecLeavesWhatCannotBeRead: the door refuses it and says why. Messages of other services are gRPC's.
func TestCodecLeavesWhatCannotBeRead(t *testing.T) {
	for bytes, want := range map[string]string{
		"\x1a\xff":             "wire-format", // cut
		"\x0a\x03\x12\x01\xff": "UTF-8",       // a hello whose tenant is no text
	} {
		data := mem.BufferSlice{mem.SliceBuffer(bytes)}
		got := new(apiv1.EmitRequest)
		if err := NewCodec().Unmarshal(data, got); err != nil || got.GetMessage() != nil {
			t.Errorf("%x: read as %v, %v", bytes, got, err)
		}
		if r := notBatch(got); r.reason != malformed || !strings.Contains(r.message, want) {
			t.Errorf("%x: refused with %v", bytes, r)
		}
	}
	if err := NewCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer("\x1a\xff")}, new(apiv1.Hello)); err == nil {
		t.Error("a cut message of another service is read")
	}
}
