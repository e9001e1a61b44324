package ingest

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
)

const (
	// ObjectPart is the size of every part of an object but the last: 32 of them are the longest one.
	ObjectPart = 512 << 10
	// objectMemory bounds the objects that are being taken, together: who comes when it is full is pushed back.
	objectMemory = 256 << 20
	// objectPatience is how long the next part may take before the sender must begin again: its memory is for others.
	objectPatience = 30 * time.Second
)

// Objects keeps sealed values that are too long for a batch. object.Store is one.
type Objects interface {
	// Room is object.ErrNoRoom if a value of so many bytes would eat into the disk reserve.
	Room(size uint64) error
	// Put makes a value durable whose commitment was checked.
	Put(r *object.Ref, notes *object.Notes, value []byte) error
	// Fresh returns what was noted with an object under the current key of its subject, and the generation of that, or
	// object.ErrMissing.
	Fresh(r *object.Ref) (notes object.Notes, generation uint32, err error)
	// Claim keeps objects for a batch that is about to be published, durably.
	Claim(refs []object.Ref) error
	// Discard removes objects that no batch has named and that none is to name.
	Discard(refs []object.Ref) error
}

// uploads is the memory of objects that are being taken. It is safe for concurrent use.
type uploads struct {
	mu   sync.Mutex
	used uint64
}

func (u *uploads) take(size uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.used+size > objectMemory {
		return false
	}
	u.used += size
	return true
}

func (u *uploads) free(size uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used -= size
}

// upload is one object on its way. Its timer and its session share it.
type upload struct {
	ref  object.Ref
	salt [event.SaltSize]byte
	key  uint32 // number of the fingerprint key
	all  *uploads

	whole []byte // the value when it is complete; the session's alone

	mu    sync.Mutex
	value []byte
	timer *time.Timer
	ended bool
}

// end gives the memory back. Ending twice is ending once.
func (u *upload) end() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return
	}
	u.timer.Stop()
	u.ended, u.value = true, nil
	u.all.free(u.ref.Size)
}

// takeObject takes one part of an object.
func (s *session) takeObject(ctx context.Context, part *apiv1.ObjectPart) *apiv1.EmitResponse {
	taken, r := s.objectPart(ctx, part)
	if r == nil {
		return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_ObjectTaken{ObjectTaken: taken}}
	}
	s.upload.end()
	s.upload = nil
	s.service.refused(&s.emitter, r)
	return r.answer(nil)
}

func (s *session) objectPart(ctx context.Context, part *apiv1.ObjectPart) (*apiv1.ObjectTaken, *refusal) {
	if s.service.cfg.Objects == nil {
		return nil, refuse(tooLarge, "object", "this server takes no values of more than %d bytes", event.MaxSealedInline)
	}
	if r := s.admitted(); r != nil {
		return nil, r
	}
	if part.GetHeader() != nil {
		return s.beginObject(part.GetHeader())
	}
	return s.continueObject(ctx, part)
}

// beginObject answers how much is there: all of it, or nothing yet.
func (s *session) beginObject(h *apiv1.ObjectHeader) (*apiv1.ObjectTaken, *refusal) {
	s.upload.end()
	s.upload = nil
	if r := checkHeader(h); r != nil {
		return nil, r
	}
	u := &upload{ref: s.refOf(h), salt: [event.SaltSize]byte(h.GetSalt()), key: h.GetFingerprintKeyId(), all: &s.service.uploads}
	if u.key == 0 {
		u.key, _ = s.prints.newest()
	}
	if s.prints.under(u.key) == nil {
		return nil, refuse(malformed, "object.fingerprint_key_id", "is not a key of this tenant")
	}
	if notes, _, err := s.service.cfg.Objects.Fresh(&u.ref); err == nil && notes.Salt == u.salt && notes.KeyID == u.key {
		return taken(u, h.GetSize()), nil
	}
	if s.pending+h.GetSize() > event.MaxBatchObjects {
		return nil, refuse(tooLarge, "object.size", "more than %d bytes of objects, and no batch that names them", event.MaxBatchObjects)
	}
	if r := s.roomFor(u); r != nil {
		return nil, r
	}
	u.timer = time.AfterFunc(objectPatience, u.end)
	s.upload = u
	return taken(u, 0), nil
}

// roomFor takes memory for an object, if there is room for it on disk and the ledger is not too far behind.
func (s *session) roomFor(u *upload) *refusal {
	if backlog := s.service.cfg.Ledger.Backlog(); backlog >= s.service.cfg.MaxBacklog {
		return pushedBack("the ledger is %d events behind", backlog)
	}
	if err := s.service.cfg.Objects.Room(u.ref.Size); err != nil {
		return s.objectFailed(err)
	}
	if !u.all.take(u.ref.Size) {
		return pushedBack("too many objects are on their way")
	}
	return nil
}

func taken(u *upload, bytes uint64) *apiv1.ObjectTaken {
	return &apiv1.ObjectTaken{Digest: u.ref.Digest[:], Bytes: bytes}
}

func (s *session) refOf(h *apiv1.ObjectHeader) object.Ref {
	return object.Ref{
		Tenant: s.tenant, Event: event.ID(h.GetEventId()), Path: h.GetPath(), MediaType: h.GetMediaType(), Subject: h.GetSubject(),
		Size: h.GetSize(), Digest: [event.DigestSize]byte(h.GetDigest()),
	}
}

func checkHeader(h *apiv1.ObjectHeader) *refusal {
	_, err := event.IDFromBytes(h.GetEventId())
	switch {
	case err != nil:
		return refuse(malformed, "object.event_id", "is not a UUIDv7")
	case h.GetPath() == "" || len(h.GetPath()) > event.MaxID:
		return refuse(malformed, "object.path", "must have 1 to %d bytes", event.MaxID)
	case h.GetMediaType() == "" || len(h.GetMediaType()) > event.MaxID:
		return refuse(malformed, "object.media_type", "must have 1 to %d bytes", event.MaxID)
	case len(h.GetSubject()) > event.MaxID:
		return refuse(malformed, "object.subject", "longer than %d bytes", event.MaxID)
	case h.GetSize() <= event.MaxSealedInline:
		return refuse(malformed, "object.size", "a value of up to %d bytes travels in its batch", event.MaxSealedInline)
	case h.GetSize() > event.MaxObject:
		return refuse(tooLarge, "object.size", "longer than %d bytes", event.MaxObject)
	case len(h.GetDigest()) != event.DigestSize:
		return refuse(malformed, "object.digest", "must have %d bytes", event.DigestSize)
	case len(h.GetSalt()) != event.SaltSize:
		return refuse(malformed, "object.salt", "must have %d bytes", event.SaltSize)
	}
	return nil
}

// continueObject takes the next part, and stores the object when it is the last.
func (s *session) continueObject(ctx context.Context, part *apiv1.ObjectPart) (*apiv1.ObjectTaken, *refusal) {
	u := s.upload
	if u == nil {
		return nil, refuse(noObject, "object", "begin again: the server does not have the parts before this one")
	}
	have, r := u.add(part)
	if r != nil || have < u.ref.Size {
		return taken(u, have), r
	}
	if r := s.finishObject(ctx, u); r != nil {
		return nil, r
	}
	u.end()
	s.upload = nil
	s.pending += u.ref.Size
	s.service.accepted.objects.Add(1)
	return taken(u, have), nil
}

// add appends a part.
func (u *upload) add(part *apiv1.ObjectPart) (uint64, *refusal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	have, data := uint64(len(u.value)), part.GetData()
	switch {
	case u.ended:
		return 0, refuse(noObject, "object", "begin again: the next part took longer than %s", objectPatience)
	case part.GetOffset() != have:
		return 0, refuse(malformed, "object.offset", "is not the number of bytes that the server has")
	case uint64(len(data)) != min(ObjectPart, u.ref.Size-have):
		return 0, refuse(malformed, "object.data", "must have %d bytes, or be the rest", ObjectPart)
	}
	u.timer.Reset(objectPatience)
	if u.value == nil {
		u.value = make([]byte, 0, u.ref.Size)
	}
	if u.value = append(u.value, data...); uint64(len(u.value)) == u.ref.Size {
		u.whole = u.value
	}
	return have + uint64(len(data)), nil
}

// finishObject checks the value against its commitment, looks through it and makes it durable.
func (s *session) finishObject(ctx context.Context, u *upload) *refusal {
	notes, r := s.examine(ctx, u)
	if r != nil {
		return r
	}
	if err := s.service.cfg.Objects.Put(&u.ref, notes, u.whole); err != nil {
		return s.objectFailed(err)
	}
	return nil
}

// examine computes at most cfg.Workers at a time, like the checks of a batch.
func (s *session) examine(ctx context.Context, u *upload) (*object.Notes, *refusal) {
	w := s.service.hire(ctx)
	if w == nil {
		return nil, pushedBack("the stream has ended")
	}
	defer s.service.dismiss(w)
	if !u.ref.Matches(&u.salt, u.whole) {
		return nil, refuse(commitment, "object.digest", "does not match the value")
	}
	notes := &object.Notes{Salt: u.salt, KeyID: u.key, Fingerprints: s.prints.under(u.key).ChooseObject(u.whole)}
	notes.Detector, _ = event.ScanSecrets(u.whole)
	return notes, nil
}

// objectFailed is a fault of ours, or a full disk: the sender keeps the value and tries again.
func (s *session) objectFailed(err error) *refusal {
	if errors.Is(err, object.ErrNoRoom) {
		return pushedBack("there is no room for objects")
	}
	s.service.cfg.Log.Error("object not taken", slog.String("tenant", string(s.tenant)), slog.Any("error", err))
	return pushedBack("store object: %v", publicCause(err))
}

// named is an object that an opening of a batch stands for.
type named struct {
	opening    int
	event      *eventv1.Event
	ref        object.Ref
	generation uint32 // of the data key that it is under
}

// nameObject notes the object that an opening stands for, and reports whether it stands for one.
func (b *batch) nameObject(i int, o *eventv1.Opening) bool {
	e := b.events[o.GetPosition()]
	for _, s := range e.GetSealed() {
		if s.GetPath() == o.GetPath() && event.StandsForObject(s, o) {
			b.objects = append(b.objects, named{opening: i, event: e, ref: object.RefOf(e, s)})
			return true
		}
	}
	return false
}

// checkObjects holds every object that the batch names to the event that commits to it.
func (s *session) checkObjects(b *batch) *refusal {
	for i := range b.objects {
		if r := s.checkObject(b, &b.objects[i]); r != nil {
			return r
		}
	}
	return nil
}

func (s *session) checkObject(b *batch, n *named) *refusal {
	field := indexed("openings", n.opening)
	if s.service.cfg.Objects == nil {
		return refuse(tooLarge, field+".value", "this server takes no values of more than %d bytes", event.MaxSealedInline)
	}
	notes, generation, err := s.service.cfg.Objects.Fresh(&n.ref)
	if err != nil {
		return s.objectMissing(field, err)
	}
	n.generation = generation
	if string(notes.Salt[:]) != string(b.signed.GetOpenings()[n.opening].GetSalt()) {
		return refuse(commitment, field+".salt", "is not that of the object")
	}
	if r := s.checkChosen(n, &notes, indexed("events", int(b.signed.GetOpenings()[n.opening].GetPosition()))); r != nil {
		return r
	}
	if notes.Detector != "" {
		b.secrets = append(b.secrets, secret{n.event.GetId(), n.ref.Path, notes.Detector})
	}
	return nil
}

// checkChosen holds the event's fingerprints to those of the object. If they were made under another key, it is asked for again.
func (s *session) checkChosen(n *named, notes *object.Notes, place string) *refusal {
	printer := s.prints.of(n.event)
	if printer == nil {
		return refuse(commitment, place+".fingerprints[0].key_id", "is not a key of this tenant")
	}
	if all := n.event.GetFingerprints(); len(all) > 0 && all[0].GetKeyId() != notes.KeyID && len(notes.Fingerprints) > 0 {
		return refuse(noObject, indexed("openings", n.opening), "its object came with another fingerprint key: send it, then the batch again")
	}
	if err := printer.CheckChosen(n.event, n.ref.Path, notes.Fingerprints); err != nil {
		return fieldRefusal(commitment, place, err)
	}
	return nil
}

// objectMissing asks the sender for an object that is not there, or that is no use.
func (s *session) objectMissing(field string, err error) *refusal {
	for _, gone := range []error{object.ErrMissing, object.ErrDamaged, vault.ErrErased, vault.ErrUnknownKey} {
		if errors.Is(err, gone) {
			return refuse(noObject, field, "its object is not there: send it, then the batch again")
		}
	}
	return s.objectFailed(err)
}

// errStale says that a data key has changed since an object of the batch was looked up.
var errStale = errors.New("an object is under an earlier key: send it, then the batch again")

// drop leaves out the object of an opening that is dropped.
func (b *batch) drop(opening int) {
	b.objects = slices.DeleteFunc(b.objects, func(n named) bool {
		if n.opening == opening {
			b.dropped = append(b.dropped, n.ref)
		}
		return n.opening == opening
	})
}

// under reports whether every object of the batch is under the key that its opening is under: they go together.
func (b *batch) under(key func(opening int) *vault.Key) bool {
	return !slices.ContainsFunc(b.objects, func(n named) bool { return n.generation != key(n.opening).Generation() })
}

// claimObjects keeps the objects of a batch from now on. If the batch is not published after all, its sender sends it
// again and they are there.
func (s *session) claimObjects(b *batch) *refusal {
	if len(b.dropped) > 0 {
		if err := s.service.cfg.Objects.Discard(b.dropped); err != nil {
			return s.objectFailed(err)
		}
	}
	if len(b.objects) == 0 {
		return nil
	}
	refs := make([]object.Ref, len(b.objects))
	for i := range b.objects {
		refs[i] = b.objects[i].ref
	}
	if err := s.service.cfg.Objects.Claim(refs); err != nil {
		return s.objectMissing(indexed("openings", b.objects[0].opening), err)
	}
	return nil
}
