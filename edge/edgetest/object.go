package edgetest

import (
	"bytes"
	"errors"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// objects are the sealed values that came before their batches.
type objects struct {
	whole map[string][]byte // by digest
	part  *apiv1.ObjectHeader
	value []byte
	parts int
	judge func(n int, part *apiv1.ObjectPart) Verdict
}

// JudgeParts decides on each part of an object from now on; n counts them from 1 over all connections.
func (s *Server) JudgeParts(judge func(n int, part *apiv1.ObjectPart) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects.judge = judge
}

// Objects is the number of objects that are there.
func (s *Server) Objects() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects.whole)
}

// ForgetObjects makes the server lose every object.
func (s *Server) ForgetObjects() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects.whole = nil
}

// takePart takes a part of an object as ingest does, asks the judge and answers.
func (s *Server) takePart(stream emitStream, m *member, part *apiv1.ObjectPart) error {
	answer, verdict := s.decidePart(m, part)
	switch {
	case verdict.Refuse != nil:
		return stream.Send(&apiv1.EmitResponse{Message: &apiv1.EmitResponse_Refused{Refused: verdict.Refuse}})
	case verdict.Cut, verdict.Lose:
		return status.Error(codes.Unavailable, "cut by the test")
	}
	return stream.Send(&apiv1.EmitResponse{Message: &apiv1.EmitResponse_ObjectTaken{ObjectTaken: answer}})
}

func (s *Server) decidePart(m *member, part *apiv1.ObjectPart) (*apiv1.ObjectTaken, Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.objects
	if o.parts++; o.judge != nil {
		if v := o.judge(o.parts, part); v.Refuse != nil || v.Cut {
			return nil, v
		}
	}
	if h := part.GetHeader(); h != nil {
		o.part, o.value = h, bytes.Clone(o.whole[string(h.GetDigest())])
		return &apiv1.ObjectTaken{Digest: h.GetDigest(), Bytes: uint64(len(o.value))}, Verdict{}
	}
	if o.part == nil || part.GetOffset() != uint64(len(o.value)) {
		s.t.Errorf("the emitter of %s sent a part out of order", m.instance)
	}
	if o.value = append(o.value, part.GetData()...); uint64(len(o.value)) == o.part.GetSize() {
		if o.whole == nil {
			o.whole = map[string][]byte{}
		}
		o.whole[string(o.part.GetDigest())] = o.value
	}
	return &apiv1.ObjectTaken{Digest: o.part.GetDigest(), Bytes: uint64(len(o.value))}, Verdict{}
}

var errNoObject = errors.New("object is not there")

// fill gives an opening that stands for an object its value.
func (o *objects) fill(e *eventv1.Event, opening *eventv1.Opening) (*eventv1.Opening, error) {
	for _, sealed := range e.GetSealed() {
		if sealed.GetPath() != opening.GetPath() || !event.StandsForObject(sealed, opening) {
			continue
		}
		value := o.whole[string(sealed.GetDigest())]
		if value == nil {
			return nil, errNoObject
		}
		return &eventv1.Opening{Position: opening.GetPosition(), Path: opening.GetPath(), Salt: opening.GetSalt(), Value: value}, nil
	}
	return opening, nil
}

// of are the objects of a batch that was checked.
func (o *objects) of(signed *eventv1.SignedBatch, events []*eventv1.Event) map[string][]byte {
	found := map[string][]byte{}
	for _, opening := range signed.GetOpenings() {
		e := events[opening.GetPosition()]
		if whole, err := o.fill(e, opening); err == nil && whole != opening {
			found[opening.GetPath()+string(e.GetId())] = whole.GetValue()
		}
	}
	return found
}
