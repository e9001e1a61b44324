package event

import (
	"bytes"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
)

var (
	decoder = proto.UnmarshalOptions{DiscardUnknown: true}
	encoder = proto.MarshalOptions{Deterministic: true}
)

// buffers are reused to encode a message again after it was decoded.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// decode reads b into m and refuses every encoding but the one that encode writes.
func decode(b []byte, m proto.Message) *FieldError {
	if err := decoder.Unmarshal(b, m); err != nil {
		return explain(b, m)
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	again, err := encoder.MarshalAppend((*buf)[:0], m)
	if err != nil {
		return explain(b, m)
	}
	*buf = again
	if !bytes.Equal(b, again) {
		return explain(b, m)
	}
	return nil
}

// encode is the one encoding of m.
func encode(m proto.Message) ([]byte, error) {
	b, err := encoder.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}
