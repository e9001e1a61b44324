package query

import (
	"bytes"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// beginning is what a row has of an object: as much as a sealed value in a batch may have.
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
