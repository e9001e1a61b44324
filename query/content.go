package query

import (
	"bytes"
	"context"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// contentChunk is the size of the pieces in which content is sent.
const contentChunk = 256 << 10

// Content implements apiv1.QueryServiceServer.
func (s *Service) Content(req *apiv1.ContentRequest, stream grpc.ServerStreamingServer[apiv1.ContentResponse]) error {
	ctx := stream.Context()
	tenant, err := tenantOf(ctx, req.GetTenant())
	if err != nil {
		return err
	}
	id, err := event.IDFromBytes(req.GetEvent())
	if err != nil {
		return invalid("event", "not the id of an event")
	}
	row, found, err := s.event(ctx, string(tenant), id, req.Index)
	if err != nil {
		return readError(err)
	}
	e, sealed := sealedField(row, found, req.GetPath())
	if sealed == nil {
		return status.Errorf(codes.NotFound, "no committed event %s with a sealed field %q", id, event.Escape(req.GetPath()))
	}
	openings, err := s.store.OpeningsOf(ctx, string(tenant), row.Index)
	if err != nil {
		return readError(err)
	}
	return s.view(tenant, true).sendContent(row.Index, e, sealed, openings, stream)
}

// event is the event with an id, at an index if one is given: an agent may use the id of another event again.
func (s *Service) event(ctx context.Context, tenant string, id event.ID, index *uint64) (*store.Row, bool, error) {
	if index == nil {
		return s.store.EventByID(ctx, tenant, id)
	}
	for row, err := range s.store.Search(ctx, store.Filter{Tenant: tenant, FromIndex: *index, Limit: 1}) {
		return row, err == nil && row.Index == *index && row.ID == id, err
	}
	return nil, false, nil
}

// sealedField is a field of a row's event, nil if there is none to be seen.
func sealedField(row *store.Row, found bool, path string) (*eventv1.Event, *eventv1.Sealed) {
	if !found {
		return nil, nil
	}
	e, err := event.Parse(row.Bytes)
	if err != nil {
		return nil, nil // held, expired or no event
	}
	i := slices.IndexFunc(e.GetSealed(), func(s *eventv1.Sealed) bool { return s.GetPath() == path })
	if i < 0 {
		return nil, nil
	}
	return e, e.Sealed[i]
}

// sendContent sends the state of a field and, if it is disclosed, its content. All of an object is held against its digest
// before any of it is sent.
func (v *view) sendContent(index uint64, e *eventv1.Event, s *eventv1.Sealed, openings []store.Opening, to grpc.ServerStreamingServer[apiv1.ContentResponse]) error {
	f := v.field(index, e, s, openings)
	if err := to.Send(&apiv1.ContentResponse{State: f.GetState(), MediaType: f.GetMediaType(), Size: f.GetSize()}); err != nil {
		return err
	}
	out := chunks{to}
	if f.GetState() != disclosed || uint64(len(f.GetValue())) == s.GetSize() {
		_, err := out.Write(f.GetValue())
		return err
	}
	at := slices.IndexFunc(openings, func(o store.Opening) bool { return o.Path == s.GetPath() })
	salt, _, err := v.split(e, &openings[at])
	if err != nil {
		return status.Errorf(codes.Unavailable, "open %q: %v", event.Escape(s.GetPath()), err)
	}
	ref := object.RefOf(e, s)
	if err := v.service.objects.CopyTo(out, &ref, &salt); err != nil {
		return status.Errorf(codes.Unavailable, "read %q: %v", event.Escape(s.GetPath()), err)
	}
	return nil
}

// chunks sends what is written to it.
type chunks struct {
	to grpc.ServerStreamingServer[apiv1.ContentResponse]
}

func (c chunks) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, contentChunk) {
		if err := c.to.Send(&apiv1.ContentResponse{Chunk: piece}); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

var _ io.Writer = chunks{}

// beginning is what a row has of an object: as much as a sealed value in a batch may have. It is shown only if the whole
// object is what was committed to.
func (v *view) beginning(e *eventv1.Event, s *eventv1.Sealed, salt *[event.SaltSize]byte) ([]byte, error) {
	ref := object.RefOf(e, s)
	first := &firstBytes{left: event.MaxSealedInline}
	if err := v.service.objects.CopyTo(first, &ref, salt); err != nil {
		return nil, err
	}
	return first.kept.Bytes(), nil
}

// firstBytes keeps the first bytes that are written to it.
type firstBytes struct {
	kept bytes.Buffer
	left int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	f.kept.Write(p[:n])
	return len(p), nil
}
