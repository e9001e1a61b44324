package ingest

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the codec under Codec
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Codec is gRPC's own for everything but the batches of emitters: of these it keeps the received bytes whole and lets the batch refer
// to them, rather than copy each event and opening out of them.
type Codec struct{ encoding.CodecV2 }

// NewCodec returns the codec for the server that serves Service.
func NewCodec() Codec { return Codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal reads one message. What is not a batch in its one encoding is left to gRPC's codec. A message of an emitter
// that cannot be read at all becomes one whose bytes are all unknown: an error here would end the stream with Internal, as
// if the fault were ours, where the door refuses the message, counts it and goes on.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	request, ok := v.(*apiv1.EmitRequest)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	received := data.Materialize()
	if batch := readBatch(received); batch != nil {
		request.Message = &apiv1.EmitRequest_Batch{Batch: batch}
		return nil
	}
	if err := c.CodecV2.Unmarshal(data, v); err != nil {
		request.Reset()
		request.ProtoReflect().SetUnknown(received)
	}
	return nil
}

// notBatch says why a message is not the batch that it should be.
func notBatch(request *apiv1.EmitRequest) *refusal {
	if err := protobuf.Unmarshal(request.ProtoReflect().GetUnknown(), new(apiv1.EmitRequest)); err != nil {
		return refuse(malformed, "message", "cannot be read: %v", err)
	}
	return refuse(malformed, "message", "after the handshake every message is a batch")
}

// batchField is the field of EmitRequest that holds a batch.
const batchField = 3

// readBatch reads an EmitRequest that holds one batch and nothing else, or returns nil.
func readBatch(b []byte) *eventv1.SignedBatch {
	field, wire, n := protowire.ConsumeTag(b)
	if n < 0 || field != batchField || wire != protowire.BytesType {
		return nil
	}
	inner, size := protowire.ConsumeBytes(b[n:])
	if size != len(b)-n {
		return nil
	}
	batch, err := event.ParseSignedBatch(inner)
	if err != nil {
		return nil // the door's checks say what is wrong with it
	}
	return batch
}
