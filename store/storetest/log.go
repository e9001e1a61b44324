package storetest

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// Log makes stream messages as a fold would hand them to the store: real
// chains, real event bytes, made-up signatures. The same seed gives the same
// messages.
type Log struct {
	tb      testing.TB
	rnd     *rand.Rand
	now     int64 // ns UTC of the last message
	seq     uint64
	digest  [32]byte
	tenants map[string]*tenantLog
	touched map[string]bool
}

type tenantLog struct {
	chain   *chain.Chain
	key     [32]byte
	seq     uint64
	recent  [][]byte // ids of the last events
	started int
}

// Start is the time of the first message.
var Start = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC)

// NewLog returns an empty stream.
func NewLog(tb testing.TB, seed uint64) *Log {
	return &Log{
		tb: tb, now: Start.UnixNano(),
		rnd:     rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // tests repeat
		tenants: map[string]*tenantLog{}, touched: map[string]bool{},
	}
}

// Seq is the stream sequence of the last message.
func (l *Log) Seq() uint64 { return l.seq }

// Now is the time of the last message.
func (l *Log) Now() time.Time { return time.Unix(0, l.now).UTC() }

// Wait lets time pass before the next message.
func (l *Log) Wait(d time.Duration) { l.now += int64(d) }

func (l *Log) tenant(name string) *tenantLog {
	t, ok := l.tenants[name]
	if !ok {
		c, err := chain.New("example.com/custody/" + name)
		l.check(err)
		t = &tenantLog{chain: c}
		l.fill(t.key[:])
		l.tenants[name] = t
	}
	return t
}

func (l *Log) check(err error) {
	l.tb.Helper()
	if err != nil {
		l.tb.Fatal(err)
	}
}

func (l *Log) fill(b []byte) []byte {
	for i := range b {
		b[i] = byte(l.rnd.Uint32())
	}
	return b
}

func (l *Log) bytes(n int) []byte { return l.fill(make([]byte, n)) }

// message begins the next message and advances the running digest. It stands
// for the digest of the fold, which the store keeps but does not interpret.
func (l *Log) message(tenant string, data []byte) *store.Folded {
	l.seq++
	l.now += int64(time.Millisecond) * int64(1+l.rnd.IntN(200))
	sum := sha256.Sum256(data)
	l.digest = sha256.Sum256(append(l.digest[:], sum[:]...))
	l.touched[tenant] = true
	return &store.Folded{
		StreamSeq: l.seq, MessageTime: l.now, MessageDigest: sum, StreamDigest: l.digest,
		Subject: fmt.Sprintf("custody.ev.%s.%x", tenant, l.tenant(tenant).key), Tenant: tenant,
		FirstIndex: uint64(l.tenant(tenant).chain.Size()),
	}
}

// Batch is a signed batch of events, each with an opening for every sealed
// field. A nil event is held.
func (l *Log) Batch(tenant string, producer eventv1.ProducerClass, events ...*eventv1.Event) *store.Folded {
	t := l.tenant(tenant)
	batch := &eventv1.StreamBatch{Version: event.Version, Signature: l.bytes(event.SignatureSize)}
	hashes := make([]chain.Hash, len(events))
	for i, e := range events {
		hashes[i] = l.put(batch, uint32(i), e)
	}
	s := l.statement(tenant, t, events, hashes)
	var err error
	batch.Statement, err = event.MarshalStatement(s)
	l.check(err)
	data, err := event.MarshalStreamBatch(batch)
	l.check(err)
	f := l.message(tenant, data)
	f.Statement, f.StatementBytes, f.Signature = s, batch.Statement, batch.Signature
	f.BatchDigest, f.Producer = event.BatchDigest(batch.Statement), producer
	f.Openings, f.Held = batch.Openings, batch.Held
	for i, e := range events {
		l.leaf(f, uint32(i), e, batch.Events[i], hashes[i])
	}
	l.state(f, t)
	return f
}

// put adds one event to the batch, encrypted if it is nil.
func (l *Log) put(batch *eventv1.StreamBatch, position uint32, e *eventv1.Event) chain.Hash {
	if e == nil {
		hash := chain.EventHash(l.bytes(100))
		batch.Events = append(batch.Events, nil)
		batch.Held = append(batch.Held, &eventv1.HeldEvent{
			Position: position, EventHash: hash[:], Kind: uint32(event.KindExecution),
			Generation: 1, Ciphertext: l.bytes(150), Detector: "aws-access-key",
		})
		return hash
	}
	b, err := event.Marshal(e)
	l.check(err)
	batch.Events = append(batch.Events, b)
	for _, s := range e.GetSealed() {
		batch.Openings = append(batch.Openings, &eventv1.EncryptedOpening{
			Position: position, Path: s.GetPath(), Subject: s.GetSubject(), Generation: 1, Ciphertext: l.bytes(100 + int(s.GetSize())),
		})
	}
	return chain.EventHash(b)
}

func (l *Log) statement(tenant string, t *tenantLog, events []*eventv1.Event, hashes []chain.Hash) *eventv1.BatchStatement {
	root := chain.EventRoot(hashes)
	instance := "support-1"
	for _, e := range events {
		if e != nil {
			instance = e.GetInstance()
		}
	}
	s := &eventv1.BatchStatement{
		Version: event.Version, Tenant: tenant, Instance: instance, KeyId: t.key[:], EpochNo: 1, Epoch: t.key[:16],
		FirstSeq: t.seq + 1, Count: uint32(len(events)), EventRoot: root[:], CreatedAt: l.now,
	}
	if t.seq > 0 {
		s.PrevBatch = l.bytes(event.DigestSize)
	}
	t.seq += uint64(len(events))
	return s
}

func (l *Log) leaf(f *store.Folded, position uint32, e *eventv1.Event, b []byte, hash chain.Hash) {
	leaf := store.Leaf{Position: position, Kind: event.KindExecution, Verdict: chain.Held, EventHash: hash}
	if e != nil {
		leaf.Kind, leaf.Verdict = event.Kind(e), chain.Accepted
		leaf.Event, leaf.EventBytes = e, b
	}
	l.append(f, leaf)
}

// append chains one leaf.
func (l *Log) append(f *store.Folded, leaf store.Leaf) {
	c := l.tenant(f.Tenant).chain
	leaf.Index, leaf.Time = uint64(c.Size()), f.MessageTime
	instance := ""
	if f.Statement != nil {
		instance = f.Statement.GetInstance()
	}
	b, hash, err := c.Append(nil, chain.Entry{
		Time: f.MessageTime, Instance: chain.InstanceTag([32]byte{1}, instance), Batch: f.BatchDigest,
		Position: leaf.Position, Kind: chain.Kind(leaf.Kind), Verdict: leaf.Verdict, Event: leaf.EventHash,
	})
	l.check(err)
	leaf.Bytes, leaf.Hash = b, hash
	f.Leaves = append(f.Leaves, leaf)
}

func (l *Log) state(f *store.Folded, t *tenantLog) {
	chained, err := t.chain.MarshalBinary()
	l.check(err)
	emitter := binary.BigEndian.AppendUint64(append([]byte{1}, t.key[:]...), t.seq)
	f.State = []store.StateEntry{{Key: "chain", Value: chained}, {Key: fmt.Sprintf("emitter/%x", t.key), Value: emitter}}
}

// Whole is a message that is kept as it came: malformed or an equivocation.
func (l *Log) Whole(tenant string, verdict chain.Verdict, data []byte) *store.Folded {
	f := l.message(tenant, data)
	f.Raw = data
	l.append(f, store.Leaf{Kind: event.KindNone, Verdict: verdict, EventHash: chain.EventHash(data)})
	l.state(f, l.tenant(tenant))
	return f
}

// Block puts messages into a block and closes it at the last message made.
func (l *Log) Block(b *store.Block, messages ...*store.Folded) *store.Block {
	if b == nil {
		b = store.NewBlock(messages[0].StreamSeq)
	}
	for _, f := range messages {
		b.Add(f)
	}
	b.Close(l.seq, l.digest, l.Heads())
	return b
}

// Heads are the heads of the tenants touched since the last call.
func (l *Log) Heads() (heads []store.Head) {
	for _, name := range sortedKeys(l.touched) {
		c := l.tenants[name].chain
		heads = append(heads, store.Head{Tenant: name, Size: uint64(c.Size()), Root: c.Root(), LeafHash: c.Prev(), Time: c.Time()})
	}
	clear(l.touched)
	return heads
}
