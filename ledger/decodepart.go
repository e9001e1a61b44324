package ledger

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// A check has messages in parts, as rows gave them. It encodes each as it was in the stream, since that is what the recorded digest is of.
// To parse that encoding would give the parts again, so they are decoded as they are; the encoder holds them to the same limits.

// part is a message in parts, and the memory to decode it in.
type part struct {
	stored *store.Stored
	room   *room
}

// room is what one message is decoded into. It is used again when nothing refers to that message any more.
type room struct {
	members *event.Members
	events  []*eventv1.Event
	hashes  []chain.Hash
	kinds   []chain.Kind
}

// rooms are those that are free.
type rooms struct {
	mu   sync.Mutex
	free []*room
}

func (r *rooms) take() *room {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) == 0 {
		return new(room)
	}
	last := len(r.free) - 1
	taken := r.free[last]
	r.free = r.free[:last]
	return taken
}

func (r *rooms) give(back []*room) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, room := range back {
		if room != nil {
			r.free = append(r.free, room)
		}
	}
}

// encodings are what messages are encoded in until their digest is known, with the hashes to compute beside.
var encodings = sync.Pool{New: func() any { return &encoding{pair: chain.NewPair()} }}

type encoding struct {
	data  []byte
	pair  *chain.Pair
	nodes []chain.Hash
}

// part decodes a message as Decode would decode what it was in the stream. What has a digest other than the recorded one is not that.
func (d *Decoder) part(p part) *Decoded {
	scratch := encodings.Get().(*encoding)
	defer encodings.Put(scratch)
	m := p.stored
	data, ok := m.Encode(scratch.data[:0])
	switch {
	case m.Batch == nil:
		return d.Decode(stream.Message{Seq: m.StreamSeq, Time: m.MessageTime, Subject: m.Subject, Data: data})
	case !ok:
		return &Decoded{reason: errDoubt}
	}
	scratch.data = data
	out := &Decoded{
		message: stream.Message{Seq: m.StreamSeq, Time: m.MessageTime, Subject: m.Subject}, digest: sha256.Sum256(data), room: p.room,
	}
	if out.subject, out.reason = stream.ParseSubject(m.Subject); out.reason == nil {
		out.batch, out.reason = d.partBatch(&out.subject, m.Batch, p.room, scratch)
	}
	return out
}

// partBatch is batch for what needs no parsing.
func (d *Decoder) partBatch(subject *stream.Subject, wire *eventv1.StreamBatch, r *room, scratch *encoding) (*batch, error) {
	if subject.Class == stream.ClassTick {
		return nil, errTick
	}
	b, err := newBatch(subject, wire)
	if err != nil {
		return nil, err
	}
	if err := b.hashIn(r, scratch); err != nil {
		return nil, err
	}
	if err := b.parseIn(r); err != nil {
		return nil, err
	}
	d.verify(b)
	return b, nil
}

// hashIn is hash in the room, two events at a time.
func (b *batch) hashIn(r *room, scratch *encoding) error {
	events := b.wire.GetEvents()
	if int(b.statement.GetCount()) != len(events) {
		return errCount
	}
	r.hashes = slices.Grow(r.hashes[:0], len(events))[:len(events)]
	for i := 0; i+1 < len(events); i += 2 {
		r.hashes[i], r.hashes[i+1] = scratch.pair.LeafHashes(events[i], events[i+1])
	}
	if last := len(events) - 1; last%2 == 0 {
		r.hashes[last] = chain.EventHash(events[last])
	}
	for _, h := range b.wire.GetHeld() {
		r.hashes[h.GetPosition()] = chain.Hash(h.GetEventHash())
	}
	b.hashes, scratch.nodes = r.hashes, append(scratch.nodes[:0], r.hashes...)
	if root := scratch.pair.EventRoot(scratch.nodes); !bytes.Equal(root[:], b.statement.GetEventRoot()) {
		return errRoot
	}
	return nil
}

// parseIn is parse in the room.
func (b *batch) parseIn(r *room) error {
	encoded := b.wire.GetEvents()
	r.begin(b.statement, len(encoded))
	for i, e := range encoded {
		if len(e) == 0 {
			continue
		}
		parsed, err := r.members.Parse(e)
		if err != nil {
			return err
		}
		r.events[i], r.kinds[i] = parsed, chain.Kind(event.Kind(parsed))
	}
	for _, h := range b.wire.GetHeld() {
		r.kinds[h.GetPosition()] = chain.Kind(h.GetKind())
	}
	b.events, b.kinds = r.events, r.kinds
	return nil
}

// begin makes room for the events of another message.
func (r *room) begin(statement *eventv1.BatchStatement, events int) {
	if r.members == nil {
		r.members = event.NewMembers(statement, events)
	}
	r.members.Reset(statement, events)
	r.events = slices.Grow(r.events[:0], events)[:events]
	clear(r.events)
	r.kinds = slices.Grow(r.kinds[:0], events)[:events]
	clear(r.kinds)
}
