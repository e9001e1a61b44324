package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// world makes streams: tenants, emitters and their attacks. The same seed gives the same messages.
type world struct {
	t        testing.TB
	rnd      *rand.Rand
	now      int64
	system   *signer.Key
	log      *signer.Key
	tenants  map[string]*sender // Custody's own emitter of each tenant
	messages []stream.Message
}

// start is the time of a world's first message.
var start = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: start.UnixNano(), tenants: map[string]*sender{}}
	w.system, w.log = w.key(), w.key()
	return w
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rnd.Uint32())
	}
	return b
}

func (w *world) key() *signer.Key { return signer.FromSeed([32]byte(w.bytes(32))) }

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// add puts a message at the end of the stream.
func (w *world) add(subject string, data []byte) stream.Message {
	w.now += int64(time.Millisecond) * int64(1+w.rnd.IntN(100))
	m := stream.Message{Seq: uint64(len(w.messages) + 1), Time: w.now, Subject: subject, Data: data}
	w.messages = append(w.messages, m)
	return m
}

func (w *world) tick() { w.add(stream.TickSubject, nil) }

// sender is an emitter and its head.
type sender struct {
	w                *world
	key              *signer.Key
	tenant, instance string
	epochNo          uint64
	epoch            [16]byte
	last             uint64
	digest           Digest
	previous         *eventv1.EpochEnd
}

func (w *world) sender(tenant, instance string, key *signer.Key) *sender {
	return &sender{w: w, key: key, tenant: tenant, instance: instance, epochNo: 1, epoch: [16]byte(w.bytes(16))}
}

// tenant opens a log.
func (w *world) tenant(name string) *sender {
	s := w.sender(name, string(event.InstanceCustody), w.system)
	w.tenants[name] = s
	system, log := w.system.Public(), w.log.Public()
	s.sendEvents(s.systemEvent(&eventv1.System{Detail: &eventv1.System_Genesis{Genesis: &eventv1.Genesis{
		Origin: "example.com/custody/" + name, SystemKey: system[:], LogKey: log[:], SystemSalt: w.bytes(32),
	}}}))
	return s
}

// agent creates an instance if need be, and enrols a key for it.
func (w *world) agent(tenant, instance string) *sender {
	custody := w.tenants[tenant]
	a := w.sender(tenant, instance, w.key())
	create := custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Instance{Instance: &eventv1.InstanceChange{
		Instance: instance, Salt: w.bytes(32),
	}}})
	custody.sendEvents(create, custody.enrolment(a))
	return a
}

func (s *sender) enrolment(a *sender) *eventv1.Event {
	id, public := a.key.ID(), a.key.Public()
	agent := eventv1.ProducerClass_PRODUCER_CLASS_AGENT
	proof, err := a.key.Sign(registry.EnrolmentMessage(a.tenant, a.instance, agent, public[:]))
	s.w.check(err)
	return s.keyEvent(&eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public[:], Instance: a.instance,
		Producer: agent, Proof: proof,
	})
}

// revoke ends an agent's key.
func (w *world) revoke(a *sender) {
	id, custody := a.key.ID(), w.tenants[a.tenant]
	custody.sendEvents(custody.keyEvent(&eventv1.KeyChange{Action: eventv1.KeyAction_KEY_ACTION_REVOKED, KeyId: id[:]}))
}

func (s *sender) keyEvent(k *eventv1.KeyChange) *eventv1.Event {
	return s.systemEvent(&eventv1.System{Detail: &eventv1.System_Key{Key: k}})
}

func (s *sender) systemEvent(x *eventv1.System) *eventv1.Event {
	e := s.envelope()
	e.Body = &eventv1.Event_System{System: x}
	return e
}

func (s *sender) envelope() *eventv1.Event {
	id := event.NewID(time.Unix(0, s.w.now), randomReader{s.w})
	return &eventv1.Event{
		Version: event.Version, Id: id[:], Tenant: s.tenant, Instance: s.instance,
		OccurredAt: s.w.now, TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
	}
}

type randomReader struct{ w *world }

func (r randomReader) Read(p []byte) (int, error) { return copy(p, r.w.bytes(len(p))), nil }

// call is an ordinary event of an agent, about 300 bytes.
func (s *sender) call() *eventv1.Event {
	e := s.envelope()
	e.Run, e.RunSeq, e.Principal, e.Trust = "run-"+s.instance, 1+uint64(s.w.rnd.IntN(99)), "user-17", eventv1.Trust_TRUST_TRUSTED
	cause := event.NewID(time.Unix(0, s.w.now), randomReader{s.w})
	e.Causes = []*eventv1.Cause{{Id: cause[:], Relation: eventv1.Relation_RELATION_INPUT, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED}}
	e.Sealed = []*eventv1.Sealed{{Path: "arguments", MediaType: "application/json", Size: 120, Subject: "person-1", Digest: s.w.bytes(32)}}
	e.Fingerprints = []*eventv1.Fingerprint{{Path: "arguments", KeyId: 1, Normaliser: 1, Value: s.w.bytes(8)}}
	e.Body = &eventv1.Event_Execution{Execution: &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_STARTED, Call: "call-1", Tool: "send_email", Connector: "gmail",
		Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Destination: "example.net", Attempt: 1,
	}}
	return e
}

// draft is a batch before it is published. Edits of the statement and the events are signed, those of the
// wire are not.
type draft struct {
	sender    *sender
	key       *signer.Key
	statement *eventv1.BatchStatement
	events    []*eventv1.Event
	held      []int
	wire      *eventv1.StreamBatch
	subject   string
	stay      bool // the sender's head does not move
	sign      []func(*draft)
	send      []func(*draft)
}

// signed and sent make edits before and after the signature.
func signed(edit func(*draft)) func(*draft) {
	return func(d *draft) { d.sign = append(d.sign, edit) }
}

func sent(edit func(*draft)) func(*draft) { return func(d *draft) { d.send = append(d.send, edit) } }

// send publishes a batch of n ordinary events.
func (s *sender) send(n int, edits ...func(*draft)) stream.Message {
	events := make([]*eventv1.Event, n)
	for i := range events {
		events[i] = s.call()
	}
	return s.publish(events, edits...)
}

func (s *sender) sendEvents(events ...*eventv1.Event) stream.Message { return s.publish(events) }

func (s *sender) publish(events []*eventv1.Event, edits ...func(*draft)) stream.Message {
	d := &draft{sender: s, key: s.key, events: events, subject: s.subject()}
	d.statement = s.statement(len(events))
	for _, edit := range edits {
		edit(d)
	}
	return d.publish()
}

func (s *sender) subject() string {
	if s.instance == string(event.InstanceCustody) {
		return stream.SystemSubject(s.tenant)
	}
	return stream.EventSubject(s.tenant, s.key.ID())
}

func (s *sender) statement(n int) *eventv1.BatchStatement {
	id := s.key.ID()
	st := &eventv1.BatchStatement{
		Version: event.Version, Tenant: s.tenant, Instance: s.instance, KeyId: id[:], EpochNo: s.epochNo, Epoch: s.epoch[:],
		FirstSeq: s.last + 1, Count: uint32(n), CreatedAt: s.w.now,
	}
	if s.last > 0 {
		st.PrevBatch = s.digest[:]
	} else {
		st.PreviousEpoch = s.previous
	}
	return st
}

func (d *draft) publish() stream.Message {
	w := d.sender.w
	d.wire = &eventv1.StreamBatch{Version: event.Version}
	for _, edit := range d.sign {
		edit(d)
	}
	hashes := d.encode()
	if d.statement.EventRoot == nil {
		root := chain.EventRoot(hashes)
		d.statement.EventRoot = root[:]
	}
	statement, err := event.MarshalStatement(d.statement)
	w.check(err)
	d.wire.Statement = statement
	d.wire.Signature, err = signer.SignDSSE(d.key, signer.PayloadTypeBatch, statement)
	w.check(err)
	for _, edit := range d.send {
		edit(d)
	}
	data, err := event.MarshalStreamBatch(d.wire)
	w.check(err)
	if !d.stay {
		d.sender.moveTo(d.statement, event.BatchDigest(statement))
	}
	return w.add(d.subject, data)
}

// encode fills the wire's events and returns their hashes.
func (d *draft) encode() []chain.Hash {
	hashes := make([]chain.Hash, len(d.events))
	for i, e := range d.events {
		b, err := event.Marshal(e)
		d.sender.w.check(err)
		hashes[i] = chain.EventHash(b)
		if slices.Contains(d.held, i) {
			d.wire.Held = append(d.wire.Held, &eventv1.HeldEvent{
				Position: uint32(i), EventHash: hashes[i][:], Kind: uint32(event.Kind(e)), Generation: 1,
				Ciphertext: d.sender.w.bytes(60), Detector: "test-token",
			})
			b = nil
		}
		d.wire.Events = append(d.wire.Events, b)
	}
	return hashes
}

func (s *sender) moveTo(st *eventv1.BatchStatement, digest Digest) {
	s.epochNo, s.epoch = st.EpochNo, [16]byte(st.Epoch)
	s.last, s.digest = st.FirstSeq+uint64(st.Count)-1, digest
}

// newEpoch ends the epoch, and says so in the next batch.
func (s *sender) newEpoch() {
	s.previous = &eventv1.EpochEnd{LastSeq: s.last, LastDigest: slices.Clone(s.digest[:])}
	s.epochNo, s.epoch, s.last = s.epochNo+1, [16]byte(s.w.bytes(16)), 0
}

// fold folds the world's messages and returns what each became.
func (w *world) fold() []*store.Folded {
	w.t.Helper()
	out, _ := foldAll(w.t, w.messages, w.system.Public())
	return out
}

func foldAll(t testing.TB, messages []stream.Message, system signer.PublicKey) ([]*store.Folded, *Fold) {
	t.Helper()
	f := NewFold(system, new(memory))
	decoder := f.Decoder()
	out := make([]*store.Folded, len(messages))
	for i, m := range messages {
		folded, err := f.Message(context.Background(), decoder.Decode(m))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = folded
	}
	return out, f
}

// verdicts describes a message's leaves: "gap accepted×2", or "-" for none.
func verdicts(f *store.Folded) string {
	if f == nil {
		return "-"
	}
	var words []string
	for i := 0; i < len(f.Leaves); {
		v, n := f.Leaves[i].Verdict, 0
		for ; i < len(f.Leaves) && f.Leaves[i].Verdict == v; i++ {
			n++
		}
		if n == 1 {
			words = append(words, v.String())
		} else {
			words = append(words, fmt.Sprintf("%s×%d", v, n))
		}
	}
	return strings.Join(words, " ")
}

// memory is a History and a place for state, in memory.
type memory struct {
	batches []memoryBatch
	state   map[[2]string]store.TenantEntry
}

type memoryBatch struct {
	tenant      string
	key         [32]byte
	epochNo     uint64
	first, last uint64
	digest      [32]byte
	seq         uint64
}

func (m *memory) keep(f *store.Folded) {
	if m.state == nil {
		m.state = map[[2]string]store.TenantEntry{}
	}
	for _, e := range f.State {
		m.state[[2]string{f.Tenant, e.Key}] = store.TenantEntry{Tenant: f.Tenant, Key: e.Key, Value: slices.Clone(e.Value)}
	}
	if s := f.Statement; f.Raw == nil {
		m.batches = append(m.batches, memoryBatch{
			f.Tenant, [32]byte(s.KeyId), s.EpochNo, s.FirstSeq, s.FirstSeq + uint64(s.Count) - 1, f.BatchDigest, f.StreamSeq,
		})
	}
}

func (m *memory) entries() []store.TenantEntry {
	var all []store.TenantEntry
	for _, e := range m.state { // in map order on purpose: loading must not depend on it
		all = append(all, e)
	}
	return all
}

func (m *memory) BatchOverlapping(_ context.Context, r Range) (digest [32]byte, found bool, err error) {
	greatest := uint64(0)
	for _, b := range m.batches {
		same := b.tenant == r.Tenant && b.key == r.KeyID && b.epochNo == r.EpochNo && b.seq < r.Before
		if same && b.first <= r.Last && b.last >= r.First && b.first > greatest {
			digest, found, greatest = b.digest, true, b.first
		}
	}
	return digest, found, nil
}

// sum is a digest of anything, for tests that need one.
func sum(v any) [32]byte { return sha256.Sum256(fmt.Append(binary.BigEndian.AppendUint16(nil, 1), v)) }
