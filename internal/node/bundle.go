package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/object"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
)

// admissionActions decide how later events are judged.
var admissionActions = []string{
	"system.genesis", "system.instance", "system.manifest", "system.key", "system.grant", "system.rule", "system.hold", "system.erasure",
}

// leavesPage is how many leaves are read by one query: about 12 MB.
const leavesPage = 1 << 16

// logReader is a tenant's committed log as an export reads it.
type logReader struct {
	chain.LeafNodes

	node       *Node
	tenant     string
	registry   *registry.State
	checkpoint store.Checkpoint
	tombstones map[string]registry.Erasure // by subject; see tombstone
}

func (n *Node) logReader(tenant event.TenantID, state *registry.State, checkpoint store.Checkpoint) *logReader {
	r := &logReader{node: n, tenant: string(tenant), registry: state, checkpoint: checkpoint, tombstones: map[string]registry.Erasure{}}
	r.LeafNodes = chain.LeafNodes{Leaves: leafHashes{n.store, string(tenant)}}
	return r
}

// leafHashes implements chain.LeafReader.
type leafHashes struct {
	store  *store.Store
	tenant string
}

func (l leafHashes) ReadLeafHashes(ctx context.Context, begin, end chain.Index) ([]chain.Hash, error) {
	return l.store.LeafHashes(ctx, l.tenant, uint64(begin), uint64(end))
}

// Checkpoint implements evidence.Reader.
func (r *logReader) Checkpoint(context.Context) ([]byte, error) { return r.checkpoint.Note, nil }

// Bounds implements evidence.Reader.
func (r *logReader) Bounds(ctx context.Context, from, to evidence.Instant, size chain.Index) (begin, end chain.Index, err error) {
	b, err := r.node.store.FirstAt(ctx, r.tenant, int64(from), uint64(size))
	if err != nil {
		return 0, 0, err
	}
	e, err := r.node.store.FirstAt(ctx, r.tenant, int64(to), uint64(size))
	return min(chain.Index(b), size), min(chain.Index(e), size), err
}

// Leaf implements evidence.Reader.
func (r *logReader) Leaf(ctx context.Context, index chain.Index) (leaf []byte, err error) {
	err = r.node.store.Leaves(ctx, r.tenant, uint64(index), uint64(index)+1, func(b []byte) { leaf = b })
	if err == nil && leaf == nil {
		err = fmt.Errorf("no leaf %d of %s", index, r.tenant)
	}
	return leaf, err
}

// Messages implements evidence.Reader.
func (r *logReader) Messages(ctx context.Context, begin, end chain.Index) iter.Seq2[*evidence.Message, error] {
	if begin >= end {
		return func(func(*evidence.Message, error) bool) {}
	}
	return r.upTo(ctx, ahead(r.node.store.Messages(ctx, r.tenant, uint64(begin)), messagesAhead), end)
}

// upTo turns messages into what a bundle shows, as far as they begin before end.
func (r *logReader) upTo(ctx context.Context, messages iter.Seq2[*store.Stored, error], end chain.Index) iter.Seq2[*evidence.Message, error] {
	return func(yield func(*evidence.Message, error) bool) {
		for stored, err := range messages {
			if err != nil {
				yield(nil, err)
				return
			}
			if stored.FirstIndex >= uint64(end) {
				return
			}
			m, err := r.message(ctx, stored)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// MessagesOf implements evidence.Reader.
func (r *logReader) MessagesOf(ctx context.Context, begin, end chain.Index, instance string) iter.Seq2[*evidence.Message, error] {
	return r.upTo(ctx, ahead(r.node.store.MessagesOf(ctx, r.tenant, instance, uint64(begin), uint64(end)), messagesAhead), end)
}

// Leaves implements evidence.Reader.
func (r *logReader) Leaves(ctx context.Context, begin, end chain.Index, yield func([]byte) error) (err error) {
	for at := begin; at < end && err == nil; at += leavesPage {
		failed := error(nil)
		err = r.node.store.Leaves(ctx, r.tenant, uint64(at), uint64(min(at+leavesPage, end)), func(leaf []byte) {
			if failed == nil {
				failed = yield(leaf)
			}
		})
		err = errors.Join(err, failed)
	}
	return err
}

// Admission implements evidence.Reader.
func (r *logReader) Admission(ctx context.Context, begin, end chain.Index) iter.Seq2[*evidence.Message, error] {
	return func(yield func(*evidence.Message, error) bool) {
		firsts, err := r.node.store.SystemMessages(ctx, r.tenant, uint64(begin), uint64(end), admissionActions)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, first := range firsts {
			m, err := r.messageAt(ctx, first)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// Before implements evidence.Reader.
func (r *logReader) Before(ctx context.Context, key signer.KeyID, index chain.Index) (*evidence.Message, error) {
	return r.batchOf(ctx, key, 0, index, true)
}

// After implements evidence.Reader.
func (r *logReader) After(ctx context.Context, key signer.KeyID, begin, end chain.Index) (*evidence.Message, error) {
	return r.batchOf(ctx, key, begin, end, false)
}

func (r *logReader) batchOf(ctx context.Context, key signer.KeyID, begin, end chain.Index, last bool) (*evidence.Message, error) {
	first, ok, err := r.node.store.EmitterBatch(ctx, r.tenant, key, uint64(begin), uint64(end), last)
	if err != nil || !ok {
		return nil, err
	}
	return r.messageAt(ctx, first)
}

// messageAt is the message that holds a leaf.
func (r *logReader) messageAt(ctx context.Context, index uint64) (*evidence.Message, error) {
	stored, ok, err := r.node.store.Message(ctx, r.tenant, index)
	if err == nil && !ok {
		err = fmt.Errorf("no message with leaf %d of %s", index, r.tenant)
	}
	if err != nil {
		return nil, err
	}
	return r.message(ctx, stored)
}

// message turns what the store holds into what a bundle shows.
func (r *logReader) message(ctx context.Context, m *store.Stored) (*evidence.Message, error) {
	out := &evidence.Message{First: chain.Index(m.FirstIndex), Leaves: m.Leaves}
	if m.Batch == nil {
		out.Events = []evidence.Event{{Bytes: m.Data, Missing: expired(m)}}
		if whole, err := event.ParseStreamBatch(m.Data); err == nil && len(m.Leaves) == 1 && isEquivocation(m.Leaves[0]) {
			out.Statement, out.Signature = whole.GetStatement(), whole.GetSignature()
		}
		return out, nil
	}
	out.Statement, out.Signature = m.Batch.GetStatement(), m.Batch.GetSignature()
	out.Events = make([]evidence.Event, len(m.Leaves))
	for i := range out.Events {
		out.Events[i].Missing = expired(m)
		if i < len(m.Batch.GetEvents()) && !m.Expired {
			out.Events[i].Bytes = m.Batch.GetEvents()[i]
		}
	}
	for _, h := range m.Batch.GetHeld() {
		out.Events[h.GetPosition()] = evidence.Event{Missing: evidence.Held}
	}
	return out, r.open(ctx, out, m.Batch.GetOpenings())
}

func expired(m *store.Stored) evidence.Missing {
	if m.Expired {
		return evidence.Expired
	}
	return evidence.NotMissing
}

func isEquivocation(leaf []byte) bool {
	l, err := chain.ParseLeaf(leaf)
	return err == nil && l.Verdict == chain.Equivocation
}

// open decrypts the openings of a message. One that cannot be opened is left out, and so withheld.
func (r *logReader) open(ctx context.Context, m *evidence.Message, openings []*eventv1.EncryptedOpening) error {
	parsed := parsedEvents{m: m}
	for _, o := range openings {
		if int(o.GetPosition()) >= len(m.Events) {
			continue
		}
		e := &m.Events[o.GetPosition()]
		opening, ok, err := r.opening(ctx, &parsed, o)
		if err != nil {
			return err
		}
		if ok {
			e.Openings = append(e.Openings, opening)
		}
	}
	return nil
}

// parsedEvents parses each event of a message once, however many openings it has.
type parsedEvents struct {
	m        *evidence.Message
	position uint32
	event    *eventv1.Event // of position; nil if none was parsed or it cannot be
}

// at is the event at a position, nil if it is held or expired.
func (p *parsedEvents) at(position uint32) *eventv1.Event {
	if p.event == nil || p.position != position {
		p.position = position
		p.event, _ = event.Parse(p.m.Events[position].Bytes) // the verifier says what is wrong with it
	}
	return p.event
}

func (r *logReader) opening(ctx context.Context, events *parsedEvents, o *eventv1.EncryptedOpening) (out evidence.Opening, ok bool, err error) {
	out.Path = o.GetPath()
	if gone, err := r.erased(ctx, &out, o, events.m.First+chain.Index(o.GetPosition())); gone || err != nil {
		return out, out.Erased, err
	}
	name := content.SubjectKey(o.GetSubject())
	key, err := r.node.vault.Get(r.tenant, name, o.GetGeneration())
	if err != nil {
		return out, false, nil //nolint:nilerr // a key that cannot be had leaves the field withheld, which the bundle says
	}
	e := events.at(o.GetPosition())
	if e == nil {
		return out, false, nil // held or expired: there is nothing that the opening belongs to
	}
	plaintext, err := vault.Open(key, content.AppendOpeningData(nil, event.TenantID(r.tenant), event.ID(e.GetId()), out.Path), o.GetCiphertext())
	if err != nil {
		return out, false, nil //nolint:nilerr // an altered ciphertext is withheld here and reported by a check
	}
	salt, value, err := content.SplitOpening(plaintext)
	out.Salt, out.Value = salt, bytes.Clone(value)
	if s := sealedField(e, out.Path); err == nil && s != nil && event.StandsForObject(s, &eventv1.Opening{Value: value}) {
		ref := object.RefOf(e, s)
		out.Load = func() []byte { return r.node.loadObject(&ref, &salt) }
	}
	return out, err == nil, nil
}

// loadObject is the value of an object for a bundle: nil if it is not there, and not the value if it is damaged, which the
// bundle says and a check reports.
func (n *Node) loadObject(ref *object.Ref, salt *[event.SaltSize]byte) []byte {
	var value bytes.Buffer
	value.Grow(int(ref.Size))
	err := n.objects.CopyTo(&value, ref, salt)
	switch {
	case errors.Is(err, object.ErrDamaged):
		return []byte{}
	case err != nil:
		return nil
	}
	return value.Bytes()
}
