package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"

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
	"system.expiry", "system.export_key",
}

// leavesPage is how many leaves are read by one query: about 12 MB.
const leavesPage = 1 << 16

// logReader is a tenant's committed log as an export reads it.
type logReader struct {
	chain.NodeReader

	node       *Node
	tenant     string
	registry   *registry.State
	checkpoint store.Checkpoint
	batches    map[beside]map[[32]byte]uint64 // of every key at once; one window on either side of a range

	mu         sync.Mutex                  // guards what follows while a message is made: one is read ahead while another is asked for
	tombstones map[string]registry.Erasure // by subject; see tombstone
	keys       map[keyName]*vault.Key      // at most keptKeys; one whose content is erased says so itself
	data       []byte                      // scratch space for what a ciphertext is bound to
}

// beside is where a batch of each key is looked for, and whether it is the last or the first.
type beside struct {
	begin, end chain.Index
	last       bool
}

// keyName names a subject's data key.
type keyName struct {
	subject    string
	generation uint32
}

// keptKeys bounds the data keys that are looked up once: some 200 bytes each.
const keptKeys = 4096

func (n *Node) logReader(tenant event.TenantID, state *registry.State, checkpoint store.Checkpoint) *logReader {
	return &logReader{
		NodeReader: n.nodes(string(tenant)), node: n, tenant: string(tenant), registry: state, checkpoint: checkpoint,
		batches: map[beside]map[[32]byte]uint64{}, tombstones: map[string]registry.Erasure{}, keys: map[keyName]*vault.Key{},
	}
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
	pages := ahead(r.node.store.Contents(ctx, r.tenant, uint64(begin), uint64(end)), pagesAhead)
	return ahead(r.upTo(ctx, each(pages), end), messagesAhead)
}

// each yields one after the other what comes some at a time.
func each[T any](pages iter.Seq2[[]T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page, err := range pages {
			for _, value := range page {
				if !yield(value, nil) {
					return
				}
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
		}
	}
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
	of := beside{begin, end, last}
	if r.batches[of] == nil {
		batches, err := r.node.store.EmitterBatches(ctx, r.tenant, uint64(begin), uint64(end), last)
		if err != nil {
			return nil, err
		}
		r.batches[of] = batches
	}
	first, ok := r.batches[of][key]
	if !ok {
		return nil, nil
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
	r.mu.Lock()
	defer r.mu.Unlock()
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

// open parses the events of a message and decrypts their openings. One that cannot be opened is left out, and so withheld.
func (r *logReader) open(ctx context.Context, m *evidence.Message, openings []*eventv1.EncryptedOpening) error {
	parse(m)
	room := roomFor(openings)
	for _, o := range openings {
		if int(o.GetPosition()) >= len(m.Events) {
			continue
		}
		e := &m.Events[o.GetPosition()]
		opening, ok, err := r.opening(ctx, &room, e, m.First+chain.Index(o.GetPosition()), o)
		if err != nil {
			return err
		}
		if ok {
			e.Openings = append(e.Openings, opening)
		}
	}
	return nil
}

// parse reads the events of a message that are here. What is wrong with the others the verifier says.
func parse(m *evidence.Message) {
	statement, err := event.ParseStatement(m.Statement)
	if err != nil {
		return
	}
	members := event.NewMembers(statement, len(m.Events))
	for i := range m.Events {
		if e := &m.Events[i]; e.Missing == evidence.NotMissing && e.Bytes != nil {
			e.Parsed, _ = members.Parse(e.Bytes)
		}
	}
}

// roomFor is room for what the openings hold.
func roomFor(openings []*eventv1.EncryptedOpening) []byte {
	n := 0
	for _, o := range openings {
		n += max(0, len(o.GetCiphertext())-vault.Overhead)
	}
	return make([]byte, 0, n)
}

func (r *logReader) opening(ctx context.Context, room *[]byte, e *evidence.Event, index chain.Index, o *eventv1.EncryptedOpening) (out evidence.Opening, ok bool, err error) {
	out.Path = o.GetPath()
	if gone, err := r.erased(ctx, &out, o, index); gone || err != nil {
		return out, out.Erased, err
	}
	key := r.key(o.GetSubject(), o.GetGeneration())
	if key == nil || e.Parsed == nil {
		return out, false, nil // the key cannot be had, or the event is held or expired: there is nothing that the opening belongs to
	}
	r.data = content.AppendOpeningData(r.data[:0], event.TenantID(r.tenant), event.ID(e.Parsed.GetId()), out.Path)
	at := len(*room)
	if *room, err = vault.AppendOpened(*room, key, r.data, o.GetCiphertext()); err != nil {
		return out, false, nil //nolint:nilerr // an altered ciphertext is withheld here and reported by a check
	}
	out.Salt, out.Value, err = content.SplitOpening((*room)[at:len(*room):len(*room)])
	if s := sealedField(e.Parsed, out.Path); err == nil && s != nil && event.StandsForObject(s, &eventv1.Opening{Value: out.Value}) {
		ref, salt := object.RefOf(e.Parsed, s), out.Salt
		out.Load = func() []byte { return r.node.loadObject(&ref, &salt) }
	}
	return out, err == nil, nil
}

// key is a data key, nil if it cannot be had: that leaves a field withheld, which the bundle says.
func (r *logReader) key(subject string, generation uint32) *vault.Key {
	if key, known := r.keys[keyName{subject, generation}]; known {
		return key
	}
	key, err := r.node.vault.Get(r.tenant, content.SubjectKey(subject), generation)
	if err != nil {
		return nil
	}
	if len(r.keys) == keptKeys {
		clear(r.keys)
	}
	r.keys[keyName{strings.Clone(subject), generation}] = key
	return key
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
