package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

// ErrOrder says that a message is not the next one of the stream.
var ErrOrder = errors.New("message out of order")

// Fold is the state of the deterministic function; see the package comment. It is for one goroutine; only the
// keys are shared with decoders.
type Fold struct {
	system  signer.PublicKey // signs the genesis of every new log
	history History
	keys    *Keys

	seq     uint64 // of the last message
	digest  Digest // running digest after it
	tenants map[string]*tenant
	pending *pending
	dropped uint64 // messages without a log to put them in

	room *leafRoom // what the leaves of a message are made in; nil: each has memory of its own
}

// leafRoom is memory for the leaves of one message. The next one uses it again.
type leafRoom struct {
	leaves []store.Leaf
	bytes  []byte
}

// leafRoom has room for so many leaves.
func (f *Fold) leafRoom(n int) ([]store.Leaf, []byte) {
	r := f.room
	if r == nil {
		r = new(leafRoom)
	}
	r.leaves, r.bytes = slices.Grow(r.leaves[:0], n), slices.Grow(r.bytes[:0], n*chain.LeafSize)
	return r.leaves, r.bytes
}

// NewFold returns the fold before the first message. system is the key that a genesis must be signed with;
// history is asked for batches of messages that [Fold.Committed] was told of.
func NewFold(system signer.PublicKey, history History) *Fold {
	f := &Fold{system: system, history: history, keys: new(Keys), tenants: map[string]*tenant{}, pending: newPending()}
	f.keys.Add(system)
	return f
}

// Decoder returns a decoder that shares the fold's keys.
func (f *Fold) Decoder() *Decoder { return &Decoder{Keys: f.keys} }

// Seq is the sequence of the last message.
func (f *Fold) Seq() uint64 { return f.seq }

// Digest is the running digest after the last message.
func (f *Fold) Digest() [32]byte { return f.digest }

// Dropped is how many messages had no effect because neither their tenant nor the operator had a log.
func (f *Fold) Dropped() uint64 { return f.dropped }

// Heads returns the state of every log, by tenant.
func (f *Fold) Heads() []store.Head {
	heads := make([]store.Head, 0, len(f.tenants))
	for _, name := range slices.Sorted(maps.Keys(f.tenants)) {
		heads = append(heads, f.tenants[name].head())
	}
	return heads
}

// Head returns the state of one log.
func (f *Fold) Head(tenant string) (store.Head, bool) {
	t, found := f.tenants[tenant]
	if !found {
		return store.Head{}, false
	}
	return t.head(), true
}

// Committed says that history now knows every message up to seq.
func (f *Fold) Committed(seq uint64) { f.pending.forget(seq) }

// Message folds in the next message. The result is nil if it gets no leaves. An error is the history's, or
// ErrOrder; the fold is then as before, and the same message may be folded again.
func (f *Fold) Message(ctx context.Context, d *Decoded) (*store.Folded, error) {
	if d.message.Seq != f.seq+1 {
		return nil, fmt.Errorf("fold message %d after %d: %w", d.message.Seq, f.seq, ErrOrder)
	}
	ruling, err := f.judge(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("fold message %d: %w", d.message.Seq, err)
	}
	f.seq, f.digest = d.message.Seq, link(f.digest, &d.message, d.digest)
	if ruling == nil {
		return nil, nil
	}
	folded, err := ruling.execute(f)
	if err != nil {
		return nil, fmt.Errorf("fold message %d: %w", d.message.Seq, err)
	}
	return folded, nil
}

// ruling is the verdict on a message before anything is changed.
type ruling struct {
	decoded  *Decoded
	tenant   *tenant
	verdict  chain.Verdict // of the whole message; see leaves
	place    place
	tag      chain.Hash
	producer eventv1.ProducerClass
}

// judge decides and changes nothing. No ruling means no leaf.
func (f *Fold) judge(ctx context.Context, d *Decoded) (*ruling, error) {
	if d.batch == nil && d.reason == nil {
		return nil, nil // a tick
	}
	t := f.tenants[d.subject.Tenant]
	switch {
	case d.batch == nil:
		return f.malformed(t, d, d.reason), nil
	case t == nil:
		return f.judgeGenesis(d), nil
	}
	r, err := f.authenticate(t, d)
	if err != nil {
		return f.malformed(t, d, err), nil
	}
	return f.judgeNumbers(ctx, r)
}

// malformed rules one leaf in the tenant's log, or in the operator's if the tenant has none.
func (f *Fold) malformed(t *tenant, d *Decoded, reason error) *ruling {
	d.reason = reason
	if t == nil {
		t = f.tenants[string(event.TenantOperator)]
	}
	if t == nil {
		f.dropped++
		return nil
	}
	return &ruling{decoded: d, tenant: t, verdict: chain.Malformed}
}

// judgeGenesis rules on a message for a tenant without a log: it must open it.
func (f *Fold) judgeGenesis(d *Decoded) *ruling {
	b, s := d.batch, d.batch.statement
	genesis := b.events[0].GetSystem().GetGenesis()
	switch {
	case genesis == nil, s.GetEpochNo() != 1, b.first() != 1:
		return f.malformed(nil, d, errNoLog)
	case b.key != f.system.ID(), signer.PublicKey(genesis.GetSystemKey()) != f.system, b.signature != valid:
		return f.malformed(nil, d, errGenesis)
	}
	t, err := openTenant(s.GetTenant(), b.events[0])
	if err != nil {
		return f.malformed(nil, d, err)
	}
	tag, _ := t.tag(s.GetInstance())
	return &ruling{
		decoded: d, tenant: t, verdict: chain.Accepted, place: follows, tag: tag,
		producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY,
	}
}

// authenticate holds a batch to its key: enrolled in this log, of this instance, and the signature its own.
// Whether the key still counts is judged later.
func (f *Fold) authenticate(t *tenant, d *Decoded) (*ruling, error) {
	b := d.batch
	key, enrolled := t.registry.Key(b.key)
	if !enrolled {
		return nil, errUnknown
	}
	if b.signature == unchecked {
		b.signature = b.verify(signer.PublicKey(key.PublicKey), f.keys.verified)
	}
	tag, exists := t.tag(key.Instance)
	switch {
	case b.signature != valid:
		return nil, signer.ErrSignature
	case key.Instance != b.statement.GetInstance() || !exists:
		return nil, errInstance
	}
	r := &ruling{decoded: d, tenant: t, verdict: chain.Accepted, tag: tag, producer: key.Producer}
	if !key.ValidAt(t.size()) {
		r.verdict = chain.KeyInvalid
	}
	return r, nil
}

// judgeNumbers holds an authentic batch to its emitter's numbering.
func (f *Fold) judgeNumbers(ctx context.Context, r *ruling) (*ruling, error) {
	b := r.decoded.batch
	switch r.place = r.tenant.emitters[b.key].place(b); r.place {
	case isHead:
		return nil, nil
	case conflicts:
		return r.as(chain.Equivocation), nil
	case before:
		return f.judgeBefore(ctx, r)
	case leavesGap:
		return r.unlessKeyInvalid(chain.Gap), nil
	}
	return r, nil
}

// judgeBefore rules on a batch at or before the head: a duplicate, a second story, or one that was missing.
func (f *Fold) judgeBefore(ctx context.Context, r *ruling) (*ruling, error) {
	digest, found, err := f.lookup(ctx, r.tenant.name, r.decoded)
	switch {
	case err != nil:
		return nil, err
	case found && digest == r.decoded.batch.digest:
		return nil, nil
	case found:
		return r.as(chain.Equivocation), nil
	}
	return r.unlessKeyInvalid(chain.Late), nil
}

// lookup finds the batch before this one that holds any of its numbers.
func (f *Fold) lookup(ctx context.Context, name string, d *Decoded) (digest Digest, found bool, err error) {
	b := d.batch
	key := pendingKey{name, b.key, b.statement.GetEpochNo()}
	if s, found := f.pending.overlapping(key, b.first(), b.last()); found {
		return s.digest, true, nil
	}
	return f.history.BatchOverlapping(ctx, Range{
		Tenant: name, KeyID: b.key, EpochNo: key.epochNo, First: b.first(), Last: b.last(), Before: d.message.Seq,
	})
}

func (r *ruling) as(v chain.Verdict) *ruling {
	r.verdict = v
	return r
}

func (r *ruling) unlessKeyInvalid(v chain.Verdict) *ruling {
	if r.verdict == chain.KeyInvalid {
		return r
	}
	return r.as(v)
}

// execute changes the state as ruled. It fails only if a log is full.
func (r *ruling) execute(f *Fold) (*store.Folded, error) {
	d := r.decoded
	out := &store.Folded{
		StreamSeq: d.message.Seq, MessageTime: d.message.Time, MessageDigest: d.digest, StreamDigest: f.digest,
		Subject: d.message.Subject, Tenant: r.tenant.name, FirstIndex: r.tenant.size(), Producer: r.producer,
	}
	if r.verdict == chain.Malformed || r.verdict == chain.Equivocation {
		return out, r.keepWhole(out)
	}
	return out, r.keepEvents(f, out)
}

// keepWhole makes one leaf over the raw message. Only what is authentic names its emitter.
func (r *ruling) keepWhole(out *store.Folded) error {
	d := r.decoded
	out.Raw = d.message.Data
	if out.Raw == nil {
		out.Raw = []byte{}
	}
	entry := chain.Entry{Kind: chain.KindNone, Verdict: r.verdict, Event: chain.EventHash(out.Raw)}
	if r.verdict == chain.Equivocation {
		b := d.batch
		entry.Instance, entry.Batch = r.tag, b.digest
		out.Statement, out.StatementBytes, out.Signature = b.statement, b.wire.GetStatement(), b.wire.GetSignature()
		out.BatchDigest = b.digest
	}
	if err := r.append(out, make([]byte, 0, chain.LeafSize), entry, nil, nil); err != nil {
		return err
	}
	var err error
	out.State, err = r.tenant.changed(nil)
	return err
}

// keepEvents makes one leaf an event, applies what Custody decided, and moves the emitter's head.
func (r *ruling) keepEvents(f *Fold, out *store.Folded) error {
	b := r.decoded.batch
	out.Statement, out.StatementBytes, out.Signature = b.statement, b.wire.GetStatement(), b.wire.GetSignature()
	out.BatchDigest, out.Openings, out.Held = b.digest, b.wire.GetOpenings(), b.wire.GetHeld()
	var leaves []byte
	out.Leaves, leaves = f.leafRoom(len(b.hashes))
	for i := range b.hashes {
		entry := chain.Entry{
			Instance: r.tag, Batch: b.digest, Position: uint32(i), Kind: b.kinds[i], Verdict: r.verdictOf(i), Event: b.hashes[i],
		}
		if err := r.append(out, leaves, entry, b.wire.GetEvents()[i], b.events[i]); err != nil {
			return err
		}
		leaves = leaves[:len(leaves)+chain.LeafSize]
		r.apply(f, &out.Leaves[i])
	}
	f.tenants[r.tenant.name] = r.tenant
	return r.moveHead(f, out)
}

// verdictOf is the verdict of one event of the batch.
func (r *ruling) verdictOf(i int) chain.Verdict {
	switch {
	case r.verdict == chain.KeyInvalid, r.verdict == chain.Late, r.verdict == chain.Gap && i == 0:
		return r.verdict
	case r.decoded.batch.events[i] == nil:
		return chain.Held
	}
	return chain.Accepted
}

// append makes one leaf in the room behind leaves.
func (r *ruling) append(out *store.Folded, leaves []byte, entry chain.Entry, encoded []byte, e *eventv1.Event) error {
	c, at := r.tenant.chain, len(leaves)
	entry.Time = max(r.decoded.message.Time, 0)
	index := c.Size()
	leaves, hash, err := c.Append(leaves, entry)
	if err != nil {
		return err
	}
	if e == nil {
		encoded = nil
	}
	out.Leaves = append(out.Leaves, store.Leaf{
		Index: uint64(index), Bytes: leaves[at:], Hash: hash, Time: c.Time(), Position: entry.Position,
		Kind: uint8(entry.Kind), Verdict: entry.Verdict, EventHash: entry.Event, EventBytes: encoded, Event: e,
	})
	return nil
}

// apply lets an accepted event of Custody's own change who may do what from the next leaf on. An event that
// does not apply changes nothing; the genesis was applied when the log was opened.
func (r *ruling) apply(f *Fold, l *store.Leaf) {
	custody := r.producer == eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY
	if !custody || l.Verdict != chain.Accepted || l.Event.GetSystem() == nil || l.Index == 0 {
		return
	}
	if err := r.tenant.registry.Apply(l.Index, l.Event); err != nil {
		return
	}
	if key := l.Event.GetSystem().GetKey(); len(key.GetPublicKey()) > 0 {
		f.keys.Add(signer.PublicKey(key.GetPublicKey()))
	}
}

// moveHead remembers the batch, and makes it the emitter's head unless it is from before.
func (r *ruling) moveHead(f *Fold, out *store.Folded) (err error) {
	b, t := r.decoded.batch, r.tenant
	f.pending.add(pendingKey{t.name, b.key, b.statement.GetEpochNo()}, span{b.first(), b.last(), b.digest, f.seq})
	if r.place == before {
		out.State, err = t.changed(nil)
		return err
	}
	t.emitters[b.key] = t.emitters[b.key].after(b, r.place)
	out.State, err = t.changed(&b.key)
	return err
}

// stateDomain separates state hashes from every other use of SHA-256.
const stateDomain = "custody/state/v1\x00"

// StateHash is SHA-256 over the domain, the sequence, the running digest and every entry of every tenant, by
// tenant and key; names, keys and values each after their length as a big-endian uint32.
func (f *Fold) StateHash() ([32]byte, error) {
	b := binary.BigEndian.AppendUint64([]byte(stateDomain), f.seq)
	b = append(b, f.digest[:]...)
	for _, name := range slices.Sorted(maps.Keys(f.tenants)) {
		saved, err := f.tenants[name].save()
		if err != nil {
			return [32]byte{}, err
		}
		entries := saved.entries()
		slices.SortFunc(entries, func(x, y store.StateEntry) int { return strings.Compare(x.Key, y.Key) })
		b = appendPart(b, []byte(name))
		for _, e := range entries {
			b = appendPart(appendPart(b, []byte(e.Key)), e.Value)
		}
	}
	return sha256.Sum256(b), nil
}

func appendPart(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// Load sets a new fold to the state after message seq, from every tenant's entries there.
func (f *Fold) Load(seq uint64, digest [32]byte, entries []store.TenantEntry) error {
	for _, e := range entries {
		t := f.tenants[e.Tenant]
		if t == nil {
			t = newTenant(e.Tenant)
			f.tenants[e.Tenant] = t
		}
		if len(e.Value) == 0 {
			continue // the entry is gone
		}
		if err := t.load(store.StateEntry{Key: e.Key, Value: e.Value}); err != nil {
			return err
		}
	}
	for _, t := range f.tenants {
		if err := t.loaded(); err != nil {
			return err
		}
		for _, k := range t.registry.Keys() {
			f.keys.Add(signer.PublicKey(k.PublicKey))
		}
	}
	f.seq, f.digest = seq, digest
	return nil
}
