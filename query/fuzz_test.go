package query

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// FuzzFilter: a request is refused with a status that names one of its fields, or gives a filter that is within the limits and
// asks for what can be.
func FuzzFilter(f *testing.F) {
	for _, req := range []*apiv1.SearchRequest{
		{},
		{Kind: "data", Action: "input_received", Limit: 10},
		{Page: true, AfterIndex: 1<<64 - 1},
		{Follow: true},
		{Newest: true, Follow: true},
		{From: 2, To: 1},
		{Fingerprint: make([]byte, 8)},
		{Decision: -1},
		{Trust: 300},
	} {
		b, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		req := new(apiv1.SearchRequest)
		if proto.Unmarshal(b, req) != nil {
			return
		}
		filter, err := filterOf(req)
		switch {
		case err != nil:
			if status.Code(err) != codes.InvalidArgument || !namesField(req, status.Convert(err).Message()) {
				t.Errorf("%v: %v", req, err)
			}
		case filter.Limit > MaxRows, filter.Limit == 0 && !req.GetFollow():
			t.Errorf("%v: limit %d", req, filter.Limit)
		case req.GetPage() && filter.FromIndex <= req.GetAfterIndex():
			t.Errorf("%v: begins at %d", req, filter.FromIndex)
		case req.GetKind() != "" && event.KindName(uint8(filter.Kind)) != req.GetKind():
			t.Errorf("%v: kind %d", req, filter.Kind)
		}
	})
}

// namesField reports whether a message begins with a field of the request.
func namesField(m proto.Message, message string) bool {
	name, _, _ := strings.Cut(message, ": ")
	return m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name)) != nil
}
