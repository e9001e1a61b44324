package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// Why a message is malformed, besides what package event finds.
var (
	errCount    = errors.New("statement.count: not the number of events")
	errRoot     = errors.New("statement.event_root: not the root of the events")
	errTenant   = errors.New("statement.tenant: not that of the subject")
	errSubject  = errors.New("statement.key_id: not that of the subject")
	errInstance = errors.New("statement.instance: not that of the key")
	errSystem   = errors.New("subject of Custody's own batches: not from its instance")
	errTick     = errors.New("tick that is not empty")
	errUnknown  = errors.New("statement.key_id: never enrolled")
	errGenesis  = errors.New("first message of a log: not its genesis")
	errNoLog    = errors.New("the tenant has no log")
)

// Keys holds every public key by its id, which is its hash: what was true once stays true. It is safe for
// concurrent use.
type Keys struct {
	byID     sync.Map
	verified *signer.Verified // signatures that this process has found good; nil remembers none
}

// Add remembers a key.
func (k *Keys) Add(public signer.PublicKey) { k.byID.Store(public.ID(), public) }

func (k *Keys) get(id signer.KeyID) (signer.PublicKey, bool) {
	public, found := k.byID.Load(id)
	if !found {
		return signer.PublicKey{}, false
	}
	return public.(signer.PublicKey), true
}

// Decoder does the part of the fold that needs no state. It is safe for concurrent use.
type Decoder struct{ Keys *Keys }

// Decoded is a message after the part of the fold that needs no state.
type Decoded struct {
	message stream.Message
	digest  Digest // SHA-256 of the data
	subject stream.Subject
	batch   *batch // nil for a tick and for what is malformed
	reason  error  // why it is malformed
	room    *room  // what it was decoded into; nil: memory of its own
}

// batch is a message that is right as far as it can be seen without state, except for its signature.
type batch struct {
	wire      *eventv1.StreamBatch
	statement *eventv1.BatchStatement
	digest    Digest
	key       signer.KeyID
	hashes    []chain.Hash
	kinds     []chain.Kind
	events    []*eventv1.Event // nil where held
	signature signature
}

// signature says whether a batch's signature was verified.
type signature uint8

const (
	unchecked signature = iota // the key was not known to the decoder
	valid
	invalid
)

// Seq is the message's sequence.
func (d *Decoded) Seq() uint64 { return d.message.Seq }

// Events is the number of events that the message claims, at least 1 unless it is a tick.
func (d *Decoded) Events() int {
	switch {
	case d.batch != nil:
		return len(d.batch.hashes)
	case d.reason != nil:
		return 1
	}
	return 0
}

// Decode never fails: what is wrong with the message is part of the result. The result refers to the message's
// data.
func (d *Decoder) Decode(m stream.Message) *Decoded {
	out := &Decoded{message: m, digest: sha256.Sum256(m.Data)}
	out.subject, out.reason = stream.ParseSubject(m.Subject)
	switch {
	case out.reason != nil:
	case out.subject.Class != stream.ClassTick:
		out.batch, out.reason = d.batch(&out.subject, m.Data)
	case len(m.Data) > 0:
		out.reason = errTick
	}
	return out
}

func (d *Decoder) batch(subject *stream.Subject, data []byte) (*batch, error) {
	wire, err := event.ParseStreamBatch(data)
	if err != nil {
		return nil, err
	}
	b, err := newBatch(subject, wire)
	if err != nil {
		return nil, err
	}
	if err := b.hash(); err != nil {
		return nil, err
	}
	if err := b.parse(); err != nil {
		return nil, err
	}
	d.verify(b)
	return b, nil
}

// newBatch parses the statement, which came under a subject.
func newBatch(subject *stream.Subject, wire *eventv1.StreamBatch) (*batch, error) {
	statement, err := event.ParseStatement(wire.GetStatement())
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	b := &batch{wire: wire, statement: statement, digest: event.BatchDigest(wire.GetStatement()), key: signer.KeyID(statement.GetKeyId())}
	return b, b.fits(subject)
}

// verify verifies the signature if the key is known.
func (d *Decoder) verify(b *batch) {
	if public, found := d.Keys.get(b.key); found {
		b.signature = b.verify(public, d.Keys.verified)
	}
}

// fits holds the statement to the subject that the message came under.
func (b *batch) fits(subject *stream.Subject) error {
	custody := b.statement.GetInstance() == string(event.InstanceCustody)
	switch {
	case b.statement.GetTenant() != subject.Tenant:
		return errTenant
	case subject.Class == stream.ClassEvents && b.key != subject.KeyID:
		return errSubject
	case subject.Class == stream.ClassSystem && !custody:
		return errSystem
	}
	return nil
}

// hash computes the event hashes, takes those of held events, and holds them to the root that was signed.
func (b *batch) hash() error {
	if int(b.statement.GetCount()) != len(b.wire.GetEvents()) {
		return errCount
	}
	b.hashes = make([]chain.Hash, len(b.wire.GetEvents()))
	for i, e := range b.wire.GetEvents() {
		b.hashes[i] = chain.EventHash(e)
	}
	for _, h := range b.wire.GetHeld() {
		b.hashes[h.GetPosition()] = chain.Hash(h.GetEventHash())
	}
	if root := chain.EventRoot(b.hashes); !bytes.Equal(root[:], b.statement.GetEventRoot()) {
		return errRoot
	}
	return nil
}

// parse reads the events that are not held.
func (b *batch) parse() (err error) {
	if b.events, err = event.ParseMembers(b.statement, b.wire.GetEvents()); err != nil {
		return err
	}
	b.kinds = make([]chain.Kind, len(b.hashes))
	for i, e := range b.events {
		b.kinds[i] = chain.Kind(event.Kind(e))
	}
	for _, h := range b.wire.GetHeld() {
		b.kinds[h.GetPosition()] = chain.Kind(h.GetKind())
	}
	return nil
}

// verify checks the batch's signature with the key that its key id is the hash of.
func (b *batch) verify(public signer.PublicKey, before *signer.Verified) signature {
	err := before.VerifyDSSE(public, signer.PayloadTypeBatch, b.wire.GetStatement(), b.wire.GetSignature())
	if err != nil {
		return invalid
	}
	return valid
}

// first, last are the sequence numbers of the batch's events.
func (b *batch) first() uint64 { return b.statement.GetFirstSeq() }
func (b *batch) last() uint64  { return b.first() + uint64(len(b.hashes)) - 1 }
