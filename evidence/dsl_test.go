package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// day is the day of every test, in UTC.
var day = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

// at is a time of that day.
func at(clock string) Instant {
	t, err := time.Parse("15:04", clock)
	if err != nil {
		panic(err)
	}
	return Instant(day.Add(t.Sub(t.Truncate(24 * time.Hour))).UnixNano())
}

// world is one tenant's log in memory, with a small fold of its own, and everyone who writes to it. The same seed gives the
// same bytes. It is the Reader of its exports.
type world struct {
	t              testing.TB
	rnd            *rand.Rand
	now            Instant
	tenant, origin string
	system, log    *signer.Key
	export         signer.Exporter
	announced      signer.KeyID // the export key that the log names; zero: none but the log key
	time           *signer.Key  // cosigns checkpoints if not nil
	others                      // confirm checkpoints
	custody        *sender
	temp           string
	registry       *registry.State
	chain          *chain.Chain
	leaves         [][]byte
	messages       []*stored
	heads          map[signer.KeyID]*head
	openings       map[[2]string]*sealedValue // by event id and path
}

type sealedValue struct {
	Opening
	subject string
}

// stored is a message and what the reader needs to find it.
type stored struct {
	Message
	key     signer.KeyID
	system  bool
	verdict chain.Verdict
}

func newWorld(t testing.TB, tenant string) *world {
	seed := uint64(len(tenant))
	for _, c := range tenant {
		seed = seed*31 + uint64(c)
	}
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: at("08:00"), tenant: tenant, registry: registry.New(),
		heads: map[signer.KeyID]*head{}, openings: map[[2]string]*sealedValue{},
	}
	w.origin = "example.com/custody/" + tenant
	w.system, w.log, w.export = w.key(), w.key(), w.key()
	var err error
	w.chain, err = chain.New(w.origin)
	w.must(err)
	w.custody = w.sender(string(event.InstanceCustody), w.system)
	system, log := w.system.Public(), w.log.Public()
	w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Genesis{Genesis: &eventv1.Genesis{
		Origin: w.origin, SystemKey: system[:], LogKey: log[:], SystemSalt: w.bytes(32), DisplayName: tenant,
	}}}))
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rnd.Uint32())
	}
	return b
}

func (w *world) key() *signer.Key { return signer.FromSeed([32]byte(w.bytes(32))) }

// Read gives the world's randomness to event.NewID.
func (w *world) Read(p []byte) (int, error) { return copy(p, w.bytes(len(p))), nil }

// clock sets the time of what comes next.
func (w *world) clock(clock string) *world {
	w.now = at(clock)
	return w
}

// sender is an emitter.
type sender struct {
	w        *world
	key      *signer.Key
	instance string
	epochNo  uint64
	epoch    []byte
	last     uint64
	digest   []byte
	previous *eventv1.EpochEnd
	runSeq   uint64
}

func (w *world) sender(instance string, key *signer.Key) *sender {
	return &sender{w: w, key: key, instance: instance, epochNo: 1, epoch: w.bytes(16)}
}

// agent creates an instance with a manifest, and enrols a key for it.
func (w *world) agent(instance string) *sender {
	return w.producer(instance, eventv1.ProducerClass_PRODUCER_CLASS_AGENT)
}

func (w *world) producer(instance string, class eventv1.ProducerClass) *sender {
	c := w.custody
	c.say(
		c.systemEvent(&eventv1.System{Detail: &eventv1.System_Instance{Instance: &eventv1.InstanceChange{Instance: instance, Salt: w.bytes(32)}}}),
		c.systemEvent(&eventv1.System{Detail: &eventv1.System_Manifest{Manifest: &eventv1.ManifestChange{Instance: instance, Version: 1}}}),
	)
	return w.enrol(instance, class)
}

func (w *world) enrol(instance string, class eventv1.ProducerClass) *sender {
	s := w.sender(instance, w.key())
	id, public := s.key.ID(), s.key.Public()
	proof, err := s.key.Sign(registry.EnrolmentMessage(w.tenant, instance, class, public[:]))
	w.must(err)
	w.custody.say(w.custody.keyEvent(&eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public[:], Instance: instance, Producer: class, Proof: proof,
	}))
	return s
}

func (w *world) revoke(s *sender, suspectFrom uint64) {
	id := s.key.ID()
	w.custody.say(w.custody.keyEvent(&eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_REVOKED, KeyId: id[:], SuspectFrom: suspectFrom,
	}))
}

// erase destroys a subject's key and returns the tombstone's leaf.
func (w *world) erase(subject string) chain.Index {
	index := w.chain.Size()
	w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Erasure{Erasure: &eventv1.Erasure{Subject: subject, Generation: 1}}}))
	for _, o := range w.openings {
		if o.subject == subject {
			o.Opening = Opening{Path: o.Path, Erased: true, Tombstone: index, Generation: 1}
		}
	}
	return index
}

// access is the record of a read; an export makes one before it reads.
func (w *world) access() {
	w.custody.say(w.custody.systemEvent(&eventv1.System{Actor: "auditor", Detail: &eventv1.System_Access{Access: &eventv1.Access{Method: "Export"}}}))
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
	id := event.NewID(time.Unix(0, int64(s.w.now)), s.w)
	return &eventv1.Event{
		Version: event.Version, Id: id[:], Tenant: s.w.tenant, Instance: s.instance,
		OccurredAt: int64(s.w.now), TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
	}
}

// call is a tool call of about 300 bytes with one sealed field about a subject.
func (s *sender) call(subject, arguments string) *eventv1.Event {
	e := s.envelope()
	s.runSeq++
	e.Run, e.RunSeq, e.Principal, e.Trust = "run-1", s.runSeq, "user-17", eventv1.Trust_TRUST_TRUSTED
	e.Body = &eventv1.Event_Execution{Execution: &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_STARTED, Call: "call-1", Tool: "send_email", Connector: "gmail",
		Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Destination: "example.net", Attempt: 1,
	}}
	s.seal(e, "arguments", subject, arguments)
	return e
}

func (s *sender) seal(e *eventv1.Event, path, subject, value string) {
	salt := [32]byte(s.w.bytes(32))
	digest := event.SealedDigest(event.ID(e.Id), path, "application/json", &salt, []byte(value))
	e.Sealed = append(e.Sealed, &eventv1.Sealed{
		Path: path, MediaType: "application/json", Size: uint64(len(value)), Subject: subject, Digest: digest[:],
	})
	s.w.openings[[2]string{string(e.Id), path}] = &sealedValue{Opening{Path: path, Salt: salt, Value: []byte(value)}, subject}
}

func (s *sender) closing() *eventv1.Event {
	e := s.envelope()
	e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED, Epoch: s.epoch, LastSeq: s.last,
	}}
	return e
}

// send is a batch of n calls.
func (s *sender) send(n int, edits ...func(*draft)) *sender {
	events := make([]*eventv1.Event, n)
	for i := range events {
		events[i] = s.call("customer", fmt.Sprintf(`{"to":"%d@example.net"}`, i))
	}
	return s.batch(events, edits...)
}

func (s *sender) say(events ...*eventv1.Event) *sender { return s.batch(events) }

// draft is a batch before it is in the log.
type draft struct {
	statement *eventv1.BatchStatement
	events    []*eventv1.Event
	held      map[int]bool
	bytes     [][]byte // of the events, after they were signed
	signer    *signer.Key
	verdict   chain.Verdict      // if not 0, the fold's, right or wrong
	lost      bool               // never reaches the log
	repeated  bool               // of numbers that were used: the head stays
	payload   string             // DSSE payload type
	leaf      func(*chain.Entry) // changes a leaf before it is chained
	receipt   func([]byte)       // is given the statement, which Custody has taken
}

func lost(d *draft)                       { d.lost = true }
func held(i int) func(*draft)             { return func(d *draft) { d.held = map[int]bool{i: true} } }
func judged(v chain.Verdict) func(*draft) { return func(d *draft) { d.verdict = v } }
func signedBy(k *signer.Key) func(*draft) { return func(d *draft) { d.signer = k } }
func stating(f func(*eventv1.BatchStatement)) func(*draft) {
	return func(d *draft) { f(d.statement) }
}

func (s *sender) batch(events []*eventv1.Event, edits ...func(*draft)) *sender {
	d := &draft{statement: s.statement(len(events)), events: events, signer: s.key, payload: signer.PayloadTypeBatch}
	for _, edit := range edits {
		edit(d)
	}
	for _, e := range d.events {
		b, err := event.Marshal(e)
		s.w.must(err)
		d.bytes = append(d.bytes, b)
	}
	if d.statement.EventRoot == nil {
		var hashes []chain.Hash
		for _, b := range d.bytes {
			hashes = append(hashes, chain.EventHash(b))
		}
		root := chain.EventRoot(hashes)
		d.statement.EventRoot = root[:]
	}
	statement, err := event.MarshalStatement(d.statement)
	s.w.must(err)
	signature, err := signer.SignDSSE(d.signer, d.payload, statement)
	s.w.must(err)
	if !d.repeated {
		digest := event.BatchDigest(statement)
		s.last, s.digest = d.statement.FirstSeq+uint64(d.statement.Count)-1, digest[:]
	}
	if d.receipt != nil {
		d.receipt(statement)
	}
	if !d.lost {
		s.w.fold(d, statement, signature)
	}
	return s
}

func (s *sender) statement(n int) *eventv1.BatchStatement {
	id := s.key.ID()
	st := &eventv1.BatchStatement{
		Version: event.Version, Tenant: s.w.tenant, Instance: s.instance, KeyId: id[:], EpochNo: s.epochNo, Epoch: s.epoch,
		FirstSeq: s.last + 1, Count: uint32(n), CreatedAt: int64(s.w.now),
	}
	if s.last > 0 {
		st.PrevBatch = s.digest
	} else {
		st.PreviousEpoch = s.previous
	}
	if size := s.w.chain.Size(); size > 0 {
		hash := chain.LeafHash(s.w.leaves[size-1])
		st.LastSeen = &eventv1.LastSeen{Index: uint64(size - 1), LeafHash: hash[:]}
	}
	return st
}

// newEpoch begins a new numbering.
func (s *sender) newEpoch() *sender {
	s.previous = &eventv1.EpochEnd{LastSeq: s.last, LastDigest: s.digest}
	s.epochNo, s.epoch, s.last = s.epochNo+1, s.w.bytes(16), 0
	return s
}

// fold is the log's judgement of a batch, and its leaves.
func (w *world) fold(d *draft, statement, signature []byte) {
	key := signer.KeyID(d.statement.KeyId)
	m := &stored{key: key, system: d.statement.Instance == string(event.InstanceCustody)}
	m.First, m.Statement, m.Signature = w.chain.Size(), statement, signature
	n := &numbered{statement: d.statement, digest: event.BatchDigest(statement)}
	m.verdict = w.judge(d, n)
	if m.verdict == chain.Equivocation {
		w.keepWhole(m, d)
		return
	}
	if m.verdict != chain.Late {
		w.heads[key] = headOf(n)
	}
	for i, b := range d.bytes {
		w.keepEvent(m, d, i, b, n.digest)
	}
	w.messages = append(w.messages, m)
}

func (w *world) judge(d *draft, n *numbered) chain.Verdict {
	if d.verdict != 0 {
		return d.verdict
	}
	key, known := w.registry.Key([32]byte(d.statement.KeyId))
	if known && !key.ValidAt(uint64(w.chain.Size())) {
		return chain.KeyInvalid
	}
	h := w.heads[signer.KeyID(d.statement.KeyId)]
	switch {
	case h == nil && d.statement.EpochNo == 1 && d.statement.FirstSeq == 1:
		return chain.Accepted
	case h == nil:
		return chain.Gap
	}
	switch h.place(n) {
	case leavesGap:
		return chain.Gap
	case before:
		return chain.Late
	case conflicts, isHead:
		return chain.Equivocation
	}
	return chain.Accepted
}

func (w *world) tag(instance string) chain.Hash {
	i, _ := w.registry.Instance(instance)
	return chain.InstanceTag(i.Salt, instance)
}

func (w *world) keepEvent(m *stored, d *draft, i int, b []byte, digest chain.Hash) {
	e, err := event.Parse(b)
	w.must(err)
	verdict := m.verdict
	if verdict == chain.Gap && i > 0 {
		verdict = chain.Accepted
	}
	if d.held[i] && verdict == chain.Accepted {
		verdict = chain.Held
	}
	system := m.system && verdict == chain.Accepted
	if system && w.registry.Genesis() == nil {
		w.must(w.registry.Apply(0, e))
	}
	entry := chain.Entry{
		Time: int64(w.now), Instance: w.tag(d.statement.Instance), Batch: digest, Position: uint32(i),
		Kind: chain.Kind(event.Kind(e)), Verdict: verdict, Event: chain.EventHash(b),
	}
	if d.leaf != nil {
		d.leaf(&entry)
	}
	m.Leaves = append(m.Leaves, w.append(entry))
	kept := Event{Bytes: b}
	if d.held[i] {
		kept = Event{Missing: Held}
	}
	m.Events = append(m.Events, kept)
	if system && w.chain.Size() > 1 {
		_ = w.registry.Apply(uint64(w.chain.Size()-1), e)
	}
}

func (w *world) append(entry chain.Entry) []byte {
	leaf, _, err := w.chain.Append(nil, entry)
	w.must(err)
	w.leaves = append(w.leaves, leaf)
	return leaf
}

// keepWhole keeps a second story as one leaf.
func (w *world) keepWhole(m *stored, d *draft) {
	raw, err := event.MarshalStreamBatch(&eventv1.StreamBatch{
		Version: event.Version, Statement: m.Statement, Signature: m.Signature, Events: d.bytes,
	})
	w.must(err)
	m.Leaves = [][]byte{w.append(chain.Entry{
		Time: int64(w.now), Instance: w.tag(d.statement.Instance), Batch: event.BatchDigest(m.Statement), Kind: chain.KindNone,
		Verdict: chain.Equivocation, Event: chain.EventHash(raw),
	})}
	m.Events = []Event{{Bytes: raw}}
	w.messages = append(w.messages, m)
}

// malformed is a message that nobody can read.
func (w *world) malformed(raw []byte) {
	m := &stored{verdict: chain.Malformed}
	m.First = w.chain.Size()
	m.Leaves = [][]byte{w.append(chain.Entry{Time: int64(w.now), Kind: chain.KindNone, Verdict: chain.Malformed, Event: chain.EventHash(raw)})}
	m.Events = []Event{{Bytes: raw}}
	w.messages = append(w.messages, m)
}

// The Reader.

func (w *world) Checkpoint(context.Context) ([]byte, error) {
	if w.confirmed != nil && w.confirmed.size == w.chain.Size() {
		return w.confirmed.Note, nil
	}
	return w.checkpoint()
}

func (w *world) checkpoint() ([]byte, error) {
	c, err := w.chain.Checkpoint(w.origin)
	w.must(err)
	s, err := signer.NoteSigner(w.log, w.origin)
	w.must(err)
	signers := []note.Signer{s}
	if w.time != nil {
		cosigner, err := signer.CosignatureSigner(w.time, "time.example.com", int64(w.now)/1e9)
		w.must(err)
		signers = append(signers, cosigner)
	}
	return signer.SignCheckpoint(c, signers...)
}

func (w *world) Bounds(_ context.Context, from, to Instant, size chain.Index) (begin, end chain.Index, err error) {
	first := func(edge Instant) chain.Index {
		for i := range size {
			if leaf, _ := chain.ParseLeaf(w.leaves[i]); Instant(leaf.Time) >= edge {
				return i
			}
		}
		return size
	}
	return first(from), first(to), nil
}

func (w *world) Leaf(_ context.Context, index chain.Index) ([]byte, error) {
	return w.leaves[index], nil
}

func (w *world) ReadLeafHashes(_ context.Context, begin, end chain.Index) (hashes []chain.Hash, err error) {
	for _, leaf := range w.leaves[begin:end] {
		hashes = append(hashes, chain.LeafHash(leaf))
	}
	return hashes, nil
}

func (w *world) ReadNodes(ctx context.Context, nodes []chain.Node) ([]chain.Hash, error) {
	return chain.LeafNodes{Leaves: w}.ReadNodes(ctx, nodes)
}

func (w *world) Messages(_ context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return w.yield(func(m *stored) bool { return m.end() > begin && m.First < end })
}

func (w *world) MessagesOf(_ context.Context, begin, end chain.Index, instance string) iter.Seq2[*Message, error] {
	return w.yield(func(m *stored) bool {
		s, err := event.ParseStatement(m.Statement)
		return m.end() > begin && m.First < end && err == nil && s.Instance == instance
	})
}

func (w *world) Leaves(_ context.Context, begin, end chain.Index, yield func(leaf []byte) error) error {
	for _, leaf := range w.leaves[begin:end] {
		if err := yield(leaf); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) Admission(_ context.Context, begin, end chain.Index) iter.Seq2[*Message, error] {
	return w.yield(func(m *stored) bool { return m.system && m.end() > begin && m.First < end })
}

func (m *stored) end() chain.Index { return m.First + chain.Index(len(m.Leaves)) }

func (w *world) yield(chosen func(*stored) bool) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for _, m := range w.messages {
			if chosen(m) && !yield(w.opened(m), nil) {
				return
			}
		}
	}
}

// opened is the message with what its openings have become.
func (w *world) opened(m *stored) *Message {
	out := m.Message
	out.Events = nil
	for _, e := range m.Events {
		if parsed, err := event.Parse(e.Bytes); err == nil {
			for _, s := range parsed.GetSealed() {
				if o, found := w.openings[[2]string{string(parsed.Id), s.Path}]; found {
					e.Openings = append(e.Openings, o.Opening)
				}
			}
		}
		out.Events = append(out.Events, e)
	}
	return &out
}

func (m *stored) moves() bool {
	return len(m.Statement) > 0 && m.verdict != chain.Late && m.verdict != chain.Equivocation
}

func (w *world) Before(_ context.Context, key signer.KeyID, index chain.Index) (found *Message, err error) {
	var greatest [2]uint64
	for _, m := range w.messages {
		if m.key != key || m.verdict == chain.Equivocation || m.end() > index {
			continue
		}
		s, err := event.ParseStatement(m.Statement)
		w.must(err)
		if number := [2]uint64{s.EpochNo, s.FirstSeq}; slices.Compare(number[:], greatest[:]) > 0 {
			found, greatest = &m.Message, number
		}
	}
	return found, nil
}

func (w *world) After(_ context.Context, key signer.KeyID, begin, end chain.Index) (*Message, error) {
	for _, m := range w.messages {
		if m.key == key && m.moves() && m.First >= begin && m.First < end {
			return &m.Message, nil
		}
	}
	return nil, nil
}

// Exports and verdicts.

func (w *world) scope(from, to string) Scope {
	return Scope{
		Tenant: w.tenant, Origin: w.origin, From: at(from), To: at(to), Requester: "auditor", Purpose: "yearly review",
		ExportedAt: at("12:00"),
	}
}

func (w *world) policy() *Policy {
	p := &Policy{
		Version: PolicyVersion, Tenant: w.tenant, Origin: w.origin, LogKey: signer.VKey(w.origin, w.log.Public()),
		SystemKey: w.system.Public(), ExportKey: exportKeyOf(w.export),
	}
	if w.time != nil {
		p.TimeKey = signer.CosignatureVKey("time.example.com", w.time.Public())
	}
	w.trust(p)
	return p
}

// bundle is what the tenant's auditor gets.
func (w *world) bundle(from, to string, options ...ExportOptions) []byte {
	w.t.Helper()
	o := ExportOptions{Tool: Tool{Name: "custody test"}, Dir: w.t.TempDir(), Frameworks: noFrameworks}
	for _, given := range options {
		given.Tool, given.Dir = o.Tool, o.Dir
		if given.Frameworks == nil {
			given.Frameworks = o.Frameworks
		}
		o = given
	}
	if w.stamps {
		o.Stamp = w.stampExport
	}
	var b bytes.Buffer
	_, err := Export(context.Background(), &b, w, w.scope(from, to), w.export, o)
	w.must(err)
	return b.Bytes()
}

// verify exports a scope and verifies the bundle.
func (w *world) verify(t testing.TB, s Scope) Verdict {
	t.Helper()
	var b bytes.Buffer
	_, err := Export(context.Background(), &b, w, s, w.export, ExportOptions{Dir: w.dir()})
	w.must(err)
	return verify(t, b.Bytes(), w.policy())
}

// dir is one folder for all exports of a test.
func (w *world) dir() string {
	if w.temp == "" {
		w.temp = w.t.TempDir()
	}
	return w.temp
}

func verify(t testing.TB, bundle []byte, p *Policy) Verdict {
	t.Helper()
	v, err := Verify(context.Background(), bytes.NewReader(bundle), int64(len(bundle)), p, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// repack changes files of a bundle and makes everything around them right again, as a dishonest exporter with the export key would.
func repack(t testing.TB, key signer.Exporter, bundle []byte, edit func(files map[string][]byte)) []byte {
	t.Helper()
	files := unpack(t, bundle)
	files[fileReport] = []byte("<!DOCTYPE html>\n") // nothing holds it to the records, and vectors are many
	edit(files)
	return pack(t, key, files)
}

func unpack(t testing.TB, bundle []byte) map[string][]byte {
	t.Helper()
	c, err := openContainer(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range c.entries {
		if files[e.name], err = io.ReadAll(c.open(e.name)); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func pack(t testing.TB, key signer.Exporter, files map[string][]byte) []byte {
	t.Helper()
	s := new(Scope)
	err := json.Unmarshal(files[fileScope], s)
	s.ExportedAt = at("12:00")
	custody, err2 := makeCustodyFile(key, s, sha256Of(files[fileScope]), Tool{Name: "custody test"})
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return packAs(t, key, files, custody)
}

// packAs is pack with another custody.jsonl.
func packAs(t testing.TB, key signer.Exporter, files map[string][]byte, custody []byte) []byte {
	t.Helper()
	files[fileCustody] = custody
	list := make([]*staged, len(layout))
	for i, l := range layout {
		list[i] = stageBytes(files[l.name])
	}
	return sealed(t, key, list, files)
}

// sealed makes manifest and statement for the files and packs them.
func sealed(t testing.TB, key signer.Exporter, list []*staged, files map[string][]byte) []byte {
	t.Helper()
	old, s := new(manifest), new(Scope)
	err := errors.Join(unmarshalJSON(files[fileManifest], old), json.Unmarshal(files[fileScope], s))
	m, err2 := makeManifest(list, old.Claims)
	list[placeOf(fileManifest)] = stageBytes(m)
	statement, err3 := makeStatementFile(key, sha256Of(m), s)
	list[placeOf(fileStatement)] = stageBytes(statement)
	var out bytes.Buffer
	if err := errors.Join(err, err2, err3, writeContainer(&out, list)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
