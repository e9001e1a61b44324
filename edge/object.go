package edge

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// objectPart is what goes up at once of a value that is too long for a batch, as package ingest has it.
	objectPart = 512 << 10
	// maxRestarts is how often in a row an object, or all objects of a batch, are sent from the beginning before the
	// session gives up and comes back later.
	maxRestarts = 4
)

// longValue is a sealed value that becomes a file of the spool.
type longValue struct {
	opening int // place in the workspace's openings
	value   []byte
}

// scrub takes the secrets out of a value and holds it to the limits.
func (w *workspace) scrub(i int, c *Content) ([]byte, error) {
	if len(c.Value) <= event.MaxSealedInline {
		if value, _ := event.Scrub(c.Value); len(value) <= event.MaxSealedInline {
			return value, nil
		}
	}
	value, _ := event.ScrubObject(c.Value)
	most := min(event.MaxObject, int(w.emitter.spool.MaxObject()))
	if len(value) > most {
		return nil, fieldError(fmt.Sprintf("sealed[%d].value", i), "longer than %d bytes: cut it, see edge.Cut", most)
	}
	if len(value) > event.MaxSealedInline {
		w.longBytes += len(value)
	}
	if w.longBytes > min(event.MaxBatchObjects, int(w.emitter.spool.MaxObject())) {
		return nil, fieldError(fmt.Sprintf("sealed[%d].value", i), "makes %d bytes of long values in one event: cut them, see edge.Cut", w.longBytes)
	}
	return value, nil
}

// scrubbed is a value as it is sealed.
func scrubbed(value []byte) []byte {
	if len(value) <= event.MaxSealedInline {
		if v, _ := event.Scrub(value); len(v) <= event.MaxSealedInline {
			return v
		}
	}
	v, _ := event.ScrubObject(value)
	return v
}

// fingerprints appends those of a value.
func (w *workspace) fingerprints(path string, value []byte) []*eventv1.Fingerprint {
	if len(value) > event.MaxSealedInline {
		return w.finger.AppendObject(w.prints, path, value)
	}
	return w.finger.Lend(w.prints, path, value)
}

// setLongAside takes the long values out of the openings, which are in order by now.
func (w *workspace) setLongAside() {
	if w.longBytes == 0 {
		return
	}
	for i := range w.openings {
		if o := &w.openings[i]; len(o.Value) > event.MaxSealedInline {
			w.long = append(w.long, longValue{i, o.Value})
			o.SetAside()
		}
	}
}

// keepLong writes the long values into the spool, in room that was reserved for them and for their event. It returns the
// room that is left for the event.
func (w *workspace) keepLong(room spool.Room) (spool.Room, error) {
	for i, l := range w.long {
		if err := w.emitter.queue.PutObject(&w.openings[l.opening], l.value); err != nil {
			w.emitter.spool.Release(room - spool.Room(w.longUpTo(i)))
			return 0, errors.Join(err, w.dropLong(i))
		}
	}
	return room - spool.Room(w.longBytes), nil
}

func (w *workspace) longUpTo(n int) (size int) {
	for _, l := range w.long[:n] {
		size += len(l.value)
	}
	return size
}

// dropLong takes the first n long values from the spool again, because their event did not get there.
func (w *workspace) dropLong(n int) (err error) {
	for _, l := range w.long[:n] {
		err = errors.Join(err, w.emitter.queue.DropObject(&w.openings[l.opening], ""))
	}
	return err
}

func (w *workspace) forgetLong() {
	clear(w.long)
	w.long, w.longBytes = w.long[:0], 0
}

// place names an opening of a batch that stands for an object.
type place struct{ entry, opening int }

func (o *outgoing) opening(p place) *spool.Opening {
	return &o.batch.Entries[p.entry].Openings[p.opening]
}

// places are the openings of a batch that stand for objects.
func (o *outgoing) places() (all []place) {
	for i := range o.batch.Entries {
		for j := range o.batch.Entries[i].Openings {
			if _, ok := o.batch.Entries[i].Openings[j].Object(); ok {
				all = append(all, place{i, j})
			}
		}
	}
	return all
}

// fit is how many events of the loaded batch may go together: their objects have at most event.MaxBatchObjects bytes.
func (o *outgoing) fit() int {
	size := int64(0)
	for _, p := range o.places() {
		if size += o.queue.ObjectSize(o.opening(p)); size > event.MaxBatchObjects && p.entry > 0 {
			return p.entry
		}
	}
	return len(o.batch.Entries)
}

// upload is the objects of the batch in flight that the server does not have yet. The zero upload is none.
type upload struct {
	left     []place             // the first is on its way
	header   *apiv1.ObjectHeader // of the first; nil before it has begun
	have     uint64              // bytes of it that the server has
	asked    bool                // the server has said so
	restarts int                 // since the last progress
	again    int                 // times that the server asked for the objects of this batch again
	buf      [objectPart]byte    // of the part on its way
}

func (u *upload) restart() { u.header, u.have, u.asked = nil, 0, false }

// active says that an object is on its way.
func (s *session) uploading() bool { return s.upload != nil && len(s.upload.left) > 0 }

// beginUpload makes the objects of the batch in flight go up first.
func (s *session) beginUpload() {
	s.upload = nil
	if left := s.inflight.places(); len(left) > 0 {
		s.upload = &upload{left: left}
	}
}

// request is what goes up next for the batch in flight: a part of an object, or the batch.
func (s *session) request() *apiv1.EmitRequest {
	for s.uploading() {
		part, err := s.part()
		if err == nil {
			return &apiv1.EmitRequest{Message: &apiv1.EmitRequest_Object{Object: part}}
		}
		s.withhold(err)
	}
	return &apiv1.EmitRequest{Message: &apiv1.EmitRequest_Batch{Batch: s.inflight.message()}}
}

// part is the next part of the object on its way: its header, then its value.
func (s *session) part() (*apiv1.ObjectPart, error) {
	u := s.upload
	o := s.inflight.opening(u.left[0])
	if u.header == nil {
		header, err := s.inflight.header(u.left[0])
		if err != nil {
			return nil, err
		}
		u.header = header
	}
	if !u.asked {
		return &apiv1.ObjectPart{Header: u.header}, nil
	}
	data := u.buf[:min(objectPart, u.header.GetSize()-u.have)]
	if err := s.inflight.queue.ReadObject(o, data, int64(u.have)); err != nil {
		return nil, err
	}
	return &apiv1.ObjectPart{Offset: u.have, Data: data}, nil
}

// header names the object of an opening, as its event has it.
func (o *outgoing) header(p place) (*apiv1.ObjectHeader, error) {
	e, err := event.Parse(o.batch.Entries[p.entry].Event)
	if err != nil {
		return nil, fmt.Errorf("object of an event that cannot be read: %w", err)
	}
	opening := o.opening(p)
	path, _ := opening.Object()
	i := slices.IndexFunc(e.GetSealed(), func(s *eventv1.Sealed) bool { return s.GetPath() == path })
	if i < 0 {
		return nil, fmt.Errorf("object of no sealed field: %q", event.Escape(path))
	}
	s := e.Sealed[i]
	if size := o.queue.ObjectSize(opening); uint64(size) != s.GetSize() {
		return nil, fmt.Errorf("object has %d bytes on disk, its event says %d", size, s.GetSize())
	}
	keyID := uint32(0)
	if prints := e.GetFingerprints(); len(prints) > 0 {
		keyID = prints[0].GetKeyId()
	}
	return &apiv1.ObjectHeader{
		EventId: e.GetId(), Path: path, FingerprintKeyId: keyID, MediaType: s.GetMediaType(), Subject: s.GetSubject(), Size: s.GetSize(), Digest: s.GetDigest(),
		Salt: opening.Salt[:],
	}, nil
}

// withhold gives an object up that the disk has lost, or that the server will never take: its event goes without it. Nothing
// else is lost, and what the event commits to can still be shown by whoever has it.
func (s *session) withhold(err error) {
	p := s.upload.left[0]
	o := s.inflight.opening(p)
	path, _ := o.Object()
	s.emitter.report(fmt.Errorf("sealed content %q of event %d in epoch %d is withheld: %w",
		event.Escape(path), s.inflight.statement.First+spool.Seq(p.entry), s.inflight.statement.Number, err))
	if err := s.inflight.queue.DropObject(o, s.emitter.withheldPath(o)); err != nil {
		s.emitter.report(err)
	}
	o.Path = "" // no field has this path: see addOpenings
	s.nextObject()
}

func (s *session) nextObject() {
	s.upload.left = s.upload.left[1:]
	s.upload.restart()
}

// taken goes on with the next part, the next object, or the batch.
func (s *session) taken(t *apiv1.ObjectTaken) error {
	u := s.upload
	switch {
	case !s.uploading() || u.header == nil || !bytes.Equal(t.GetDigest(), u.header.GetDigest()):
		return errors.New("an object was taken that was not sent")
	case t.GetBytes() > u.header.GetSize() || u.asked && t.GetBytes() <= u.have:
		return errors.New("an object was taken in another way than it was sent")
	}
	if u.have, u.asked = t.GetBytes(), true; u.have > 0 {
		u.restarts = 0
	}
	if u.have == u.header.GetSize() {
		s.nextObject()
	}
	return s.resend()
}

// objectRefused does what the reason asks for.
func (s *session) objectRefused(r *apiv1.Refused) error {
	reason := fmt.Errorf("refused (%s): %s: %s", reasonName(r.GetReason()), r.GetField(), r.GetMessage())
	switch r.GetReason() {
	case apiv1.RefusalReason_REFUSAL_REASON_PUSHBACK:
		s.upload.restart()
		return s.pushedBack(r)
	case apiv1.RefusalReason_REFUSAL_REASON_OBJECT:
		if s.upload.restarts++; s.upload.restarts > maxRestarts {
			return reason
		}
		s.upload.restart()
		return s.resend()
	case apiv1.RefusalReason_REFUSAL_REASON_KEY, apiv1.RefusalReason_REFUSAL_REASON_MANIFEST,
		apiv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED:
		return reason
	}
	s.withhold(reason)
	return s.resend()
}

// missing sends the objects of the batch in flight again: the server has lost them, or removed them because the batch was
// long in coming.
func (s *session) missing(r *apiv1.Refused) error {
	again := 1
	if s.upload != nil {
		again += s.upload.again
	}
	s.beginUpload()
	if s.upload == nil || again > maxRestarts {
		return fmt.Errorf("refused (%s): %s: %s", reasonName(r.GetReason()), r.GetField(), r.GetMessage())
	}
	s.upload.again = again
	return s.resend()
}

// pushedBack waits as long as the server asks for.
func (s *session) pushedBack(r *apiv1.Refused) error {
	s.resumeAt = time.Now().Add(patience(r))
	return nil
}

// dropObjects deletes the objects of a batch that has its receipt.
func (s *session) dropObjects(out *outgoing) (err error) {
	if s.upload == nil {
		return nil
	}
	s.upload = nil
	for _, p := range out.places() {
		err = errors.Join(err, out.queue.DropObject(out.opening(p), ""))
	}
	return err
}
