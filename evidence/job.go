package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// maxAhead is how far an agent's clock may be ahead of the log's, and how far behind what it has seen of it, without being
// counted: 5 minutes in nanoseconds.
const maxAhead = 5 * 60 * 1e9

// job is one message of the range. The feeder fills the first part, a worker the second; the judge uses both in order.
type job struct {
	record    batchRecord
	statement *eventv1.BatchStatement // nil for a malformed message
	digest    chain.Hash
	from, to  chain.Index // leaves in the range
	leafBytes []byte
	events    []eventRecord
	openings  []openingRecord
	runs      []runNumber // of the scope's run
	arena     []byte      // holds the records

	leafHashes []chain.Hash
	leaves     []chain.Leaf
	members    *event.Members
	parsed     []*eventv1.Event // one for each leaf of a batch; nil where it is not here, or wrong
	system     []systemEvent    // of Custody's own batches
	problems   []problem
	unread     error // the file could not be read
	dated      []datedEvent
	erasures   []erasureClaim
	count      Disclosure
	ahead      uint64 // events from the future
	arrivals   Arrivals
	signature  signatureState
	closes     bool
	done       chan struct{}
}

type systemEvent struct {
	index chain.Index
	event *eventv1.Event
}

type erasureClaim struct {
	erasure
	generation    uint32
	index         chain.Index
	instance, run string // of the event
}

// problem is a failure that a worker found.
type problem struct {
	check string
	index chain.Index
	err   error
}

type signatureState uint8

const (
	unchecked signatureState = iota // the worker did not know the key yet
	valid
	invalid
)

var (
	errLeafKind  = errors.New("kind and judgement of the leaf do not go together")
	errMessage   = errors.New("content is not the message of its leaf")
	errBlank     = errors.New("a message that could not be read is attributed to a producer")
	errHeldClear = errors.New("is said to be kept closed, and is not")
	errHeldOpen  = errors.New("is left out as kept closed, and the log says nothing of it")
	errOwn       = errors.New("one of Custody's own records is left out")
	errReason    = errors.New("reason that is not in the account")
	errField     = errors.New("a sealed field is not accounted for, or one too many is")
)

// reset makes the job ready for its next message.
func (j *job) reset() {
	*j = job{
		leafBytes: j.leafBytes[:0], events: j.events[:0], openings: j.openings[:0], arena: j.arena[:0], runs: j.runs[:0],
		leafHashes: j.leafHashes[:0], leaves: j.leaves[:0], members: j.members, parsed: j.parsed[:0], system: j.system[:0], problems: j.problems[:0], erasures: j.erasures[:0], dated: j.dated[:0],
		done: make(chan struct{}),
	}
}

func (j *job) problem(check string, index chain.Index, err error) {
	j.problems = append(j.problems, problem{check, index, err})
}

// size is the number of its leaves.
func (j *job) size() int { return int(j.to - j.from) }

func (j *job) index(i int) chain.Index { return j.from + chain.Index(i) }

// leaf is the i-th leaf, nil if it could not be read.
func (j *job) leaf(i int) *chain.Leaf {
	if i < len(j.leaves) {
		return &j.leaves[i]
	}
	return nil
}

// encodedLeaf is the i-th leaf as it stands in the bundle.
func (j *job) encodedLeaf(i int) []byte { return j.leafBytes[i*chain.LeafSize:][:chain.LeafSize] }

// worker does what needs no state of the log: parse, hash, verify signatures by keys that are known.
type worker struct {
	scope   *Scope
	keys    *sync.Map
	reasons int          // how many there are
	hashes  []chain.Hash // scratch space of root
	file    *container
	asked   map[event.ID]bool // whose times are wanted

	pair    *chain.Pair
	ahead   hashedEvent
	waiting []checkedOpening // fewer than two
	rooms   [2][]byte        // scratch space of openings that wait
}

// hashedEvent is an event that was hashed with the one before it.
type hashedEvent struct {
	place int // 0: none was
	hash  chain.Hash
}

// checkedOpening is an opening that waits for another, to be hashed with it.
type checkedOpening struct {
	event  *eventv1.Event
	sealed *eventv1.Sealed
	record *openingRecord
	bytes  []byte // what its digest is the hash of
}

func (w *worker) run(j *job) {
	w.hashLeaves(j)
	if !w.parseLeaves(j) {
		return
	}
	switch j.record.form {
	case formWhole:
		w.whole(j)
	case formEvents:
		w.batch(j)
	case formOthers:
	}
	if j.statement != nil {
		w.verify(j)
	}
}

// hashLeaves hashes two at a time.
func (w *worker) hashLeaves(j *job) {
	n := j.size()
	j.leafHashes = slices.Grow(j.leafHashes, n)[:n]
	for i := 0; i+1 < n; i += 2 {
		j.leafHashes[i], j.leafHashes[i+1] = w.pair.LeafHashes(j.encodedLeaf(i), j.encodedLeaf(i+1))
	}
	if n%2 == 1 {
		j.leafHashes[n-1] = chain.LeafHash(j.encodedLeaf(n - 1))
	}
}

func (w *worker) parseLeaves(j *job) bool {
	for i := range j.size() {
		j.leaves = append(j.leaves, chain.Leaf{})
		if err := j.leaves[i].UnmarshalBinary(j.encodedLeaf(i)); err != nil {
			j.leaves = j.leaves[:i]
			j.problem(CheckChain, j.index(i), err)
			return false
		}
	}
	return true
}

// whole checks a message that has one leaf.
func (w *worker) whole(j *job) {
	l, e := &j.leaves[0], &j.events[0]
	if l.Kind != chain.KindNone || l.Position != 0 || l.Verdict != chain.Malformed && l.Verdict != chain.Equivocation {
		j.problem(CheckVerdict, j.from, errLeafKind)
	}
	if (l.Verdict == chain.Equivocation) != (j.statement != nil) || j.statement == nil && !(l.Batch.IsZero() && l.Instance.IsZero()) {
		j.problem(CheckVerdict, j.from, errBlank)
	}
	if j.statement != nil && l.Batch != j.digest {
		j.problem(CheckBatch, j.from, errLeafBatch)
	}
	w.present(j, 0)
	if e.state == stateHere && chain.EventHash(e.bytes) != l.Event {
		j.problem(CheckContent, j.from, errMessage)
	}
	if e.state == stateHere && j.statement != nil && !holds(e.bytes, j.record.statement) {
		j.problem(CheckEvent, j.from, errMessage)
	}
	if e.state == stateHeld {
		j.problem(CheckEvent, j.from, errHeldOpen)
	}
	if len(j.openings) > 0 {
		j.problem(CheckRedactions, j.from, errField)
	}
}

// holds reports whether a raw message is the batch of the statement.
func holds(raw, statement []byte) bool {
	b, err := event.ParseStreamBatch(raw)
	return err == nil && bytes.Equal(b.GetStatement(), statement)
}

// batch checks a batch with one leaf an event.
func (w *worker) batch(j *job) {
	w.root(j)
	rest := j.openings
	j.expect(len(j.events))
	w.ahead.place = 0
	for i := range j.events {
		if l := &j.leaves[i]; !fits(l) {
			j.problem(CheckVerdict, l.Index, errLeafKind)
		}
		w.present(j, i)
		e := w.event(j, i)
		j.parsed = append(j.parsed, e)
		rest = w.fields(j, i, e, rest)
	}
	w.openWaiting(j)
	if len(rest) > 0 {
		j.problem(CheckRedactions, rest[0].index, errField)
	}
}

// expect makes room for so many events.
func (j *job) expect(events int) {
	if j.members == nil {
		j.members = event.NewMembers(j.statement, events)
	}
	j.members.Reset(j.statement, events)
}

// fits reports whether kind and verdict are those of an event, and a gap stands at the beginning of its batch.
func fits(l *chain.Leaf) bool {
	return l.Kind != chain.KindNone && l.Verdict <= chain.Held && (l.Verdict != chain.Gap || l.Position == 0)
}

// root holds the leaves to their batch: its digest, their places, and the root of all event hashes.
func (w *worker) root(j *job) {
	hashes := w.hashes[:0]
	ahead := int(j.from - j.record.first)
	hashes = append(hashes, j.record.outside[:ahead]...)
	for i := range j.leaves {
		l := &j.leaves[i]
		if hashes = append(hashes, l.Event); l.Batch != j.digest || l.Position != uint32(ahead+i) {
			j.problem(CheckBatch, j.index(i), errLeafBatch)
		}
	}
	hashes = append(hashes, j.record.outside[ahead:]...)
	w.hashes = hashes
	if root := w.pair.EventRoot(hashes); !bytes.Equal(root[:], j.statement.GetEventRoot()) {
		j.problem(CheckBatch, j.from, errRoot)
	}
}

// present counts what there is of a leaf.
func (w *worker) present(j *job, i int) {
	j.count.Records++
	switch e := &j.events[i]; e.state {
	case stateHere:
		j.count.Clear++
	case stateHeld:
		j.count.Held++
	case stateExpired:
		j.count.Expired++
	case stateOutside:
		j.count.Outside++
		if w.scope.Run == "" {
			j.problem(CheckSelection, j.index(i), errHidden)
		}
	case stateWithheld:
		j.count.Withheld++
		if int(e.reason) >= w.reasons {
			j.problem(CheckRedactions, j.index(i), errReason)
		}
	}
}

// event checks what there is of an event against its leaf, and returns it if it is here and right.
func (w *worker) event(j *job, i int) *eventv1.Event {
	l, record := &j.leaves[i], &j.events[i]
	if record.state != stateHere {
		w.absent(j, i)
		return nil
	}
	if w.eventHash(j, i) != l.Event {
		j.problem(CheckContent, l.Index, errEventBytes)
		return nil
	}
	e, err := j.members.Parse(record.bytes) // lives as long as its message; one of Custody's own, from which the log's state follows, lives on
	switch {
	case err == nil && chain.Kind(event.Kind(e)) != l.Kind:
		err = errKind
	case err == nil && l.Verdict == chain.Held:
		err = errHeldClear
	}
	if err != nil {
		j.problem(CheckEvent, l.Index, err)
		return nil
	}
	w.note(j, l, e)
	return e
}

// eventHash is the hash of an event that is here. That of the one behind it is computed with it.
func (w *worker) eventHash(j *job, i int) chain.Hash {
	if i > 0 && w.ahead.place == i {
		return w.ahead.hash
	}
	if i+1 == len(j.events) || j.events[i+1].state != stateHere {
		return chain.EventHash(j.events[i].bytes)
	}
	w.ahead.place = i + 1
	hash, next := w.pair.LeafHashes(j.events[i].bytes, j.events[i+1].bytes)
	w.ahead.hash = next
	return hash
}

// absent checks that an event may be absent.
func (w *worker) absent(j *job, i int) {
	l, state := &j.leaves[i], j.events[i].state
	switch {
	case state == stateHeld && l.Verdict == chain.Accepted:
		j.problem(CheckEvent, l.Index, errHeldOpen)
	case state != stateHeld && l.Verdict == chain.Held && state != stateExpired && state != stateOutside:
		j.problem(CheckEvent, l.Index, errHeldClear)
	case isSystem(j.statement) && l.Verdict == chain.Accepted:
		j.problem(CheckAdmission, l.Index, errOwn)
	}
}

// dateOf is what there is to say about the time of an event. It outlives the message.
func (j *job) dateOf(l *chain.Leaf, e *eventv1.Event) datedEvent {
	s := datedEvent{
		id: event.ID(e.GetId()), index: l.Index, received: Instant(l.Time), claimed: Instant(e.GetOccurredAt()), instance: strings.Clone(e.GetInstance()),
		made: e.GetTimeBasis() == eventv1.TimeBasis_TIME_BASIS_MADE,
	}
	if seen := j.statement.GetLastSeen(); seen != nil {
		index := chain.Index(seen.GetIndex())
		s.seen = &index
	}
	return s
}

// note remembers what the judge needs of an event.
func (w *worker) note(j *job, l *chain.Leaf, e *eventv1.Event) {
	if len(w.asked) > 0 && w.asked[event.ID(e.GetId())] {
		j.dated = append(j.dated, j.dateOf(l, e))
	}
	if e.GetOccurredAt() > l.Time && e.GetOccurredAt()-l.Time > maxAhead {
		j.ahead++
	}
	if l.Position+1 == j.statement.GetCount() {
		j.closes = closesEpoch(e)
	}
	if isSystem(j.statement) && l.Verdict == chain.Accepted {
		j.system = append(j.system, systemEvent{l.Index, e})
	}
	w.selected(j, l, e)
	w.arrived(j, l, e)
}

// fields checks that there is exactly one record for each sealed field of an event that is here, and returns those that follow.
func (w *worker) fields(j *job, i int, e *eventv1.Event, rest []openingRecord) []openingRecord {
	for field, s := range e.GetSealed() {
		if len(rest) == 0 || rest[0].index != j.index(i) || int(rest[0].field) != field {
			j.problem(CheckRedactions, j.index(i), errField)
			break
		}
		w.field(j, e, s, &rest[0])
		rest = rest[1:]
	}
	if e == nil { // what is wrong with the event was said
		for len(rest) > 0 && rest[0].index == j.index(i) && j.events[i].state == stateHere {
			rest = rest[1:]
		}
	}
	return rest
}

func (w *worker) field(j *job, e *eventv1.Event, s *eventv1.Sealed, o *openingRecord) {
	switch o.state {
	case stateHere:
		if o.long {
			w.object(j, e, s, o)
			return
		}
		w.opening(j, e, s, o)
	case stateErased:
		// The claim outlives the job, whose bytes the event refers to.
		j.erasures = append(j.erasures, erasureClaim{
			erasure{o.tombstone, strings.Clone(s.GetSubject())}, o.generation, o.index, strings.Clone(e.GetInstance()), strings.Clone(e.GetRun()),
		})
	case stateWithheld:
		if int(o.reason) >= w.reasons {
			j.problem(CheckRedactions, o.index, errReason)
		}
	}
}

// opening has a disclosed value wait for the next one.
func (w *worker) opening(j *job, e *eventv1.Event, s *eventv1.Sealed, o *openingRecord) {
	if len(o.value) != int(s.GetSize()) || len(o.salt) != event.SaltSize {
		w.openWaiting(j)
		j.opens(e, s, o)
		return
	}
	room := &w.rooms[len(w.waiting)]
	*room = event.AppendCommitment((*room)[:0], event.ID(e.GetId()), s.GetPath(), s.GetMediaType(), (*[event.SaltSize]byte)(o.salt), o.value)
	w.waiting = append(w.waiting, checkedOpening{e, s, o, *room})
	if len(w.waiting) == len(w.rooms) {
		w.openWaiting(j)
	}
}

// openWaiting holds the values that wait against what the events commit to.
func (w *worker) openWaiting(j *job) {
	var digests [2]chain.Hash
	switch len(w.waiting) {
	case 1:
		digests[0] = sha256.Sum256(w.waiting[0].bytes)
	case 2:
		digests[0], digests[1] = w.pair.Sums(w.waiting[0].bytes, w.waiting[1].bytes)
	}
	for i, c := range w.waiting {
		if !bytes.Equal(digests[i][:], c.sealed.GetDigest()) {
			j.opens(c.event, c.sealed, c.record)
		}
	}
	w.waiting = w.waiting[:0]
}

// opens says what is wrong with a disclosed value.
func (j *job) opens(e *eventv1.Event, s *eventv1.Sealed, o *openingRecord) {
	if err := opens(e, s, o); err != nil {
		j.problem(CheckOpening, o.index, err)
	}
}

// opens is event.CheckOpening for a field that is at hand: its word is asked where this one is not yes.
func opens(e *eventv1.Event, s *eventv1.Sealed, o *openingRecord) error {
	if len(o.value) == int(s.GetSize()) && len(o.salt) == event.SaltSize {
		digest := event.SealedDigest(event.ID(e.GetId()), s.GetPath(), s.GetMediaType(), (*[event.SaltSize]byte)(o.salt), o.value)
		if bytes.Equal(digest[:], s.GetDigest()) {
			return nil
		}
	}
	return event.CheckOpening(e, &eventv1.Opening{Path: s.GetPath(), Salt: o.salt, Value: o.value}, nil, 0)
}

// verify checks the signature if the key is known already.
func (w *worker) verify(j *job) {
	if public, known := w.keys.Load(signer.KeyID(j.statement.GetKeyId())); known {
		j.verify(public.(signer.PublicKey))
	}
}

func (j *job) verify(key signer.PublicKey) {
	j.signature = valid
	if err := signer.VerifyDSSE(key, signer.PayloadTypeBatch, j.record.statement, j.record.signature); err != nil {
		j.signature = invalid
	}
}

// feeder reads the messages of the range, one after the other, from four files.
type feeder struct {
	scope    *Scope
	leaves   *leafFile
	batches  *records
	events   *records
	openings *records
	next     chain.Index
}

func newFeeder(c *container, s *Scope) *feeder {
	return &feeder{
		scope: s, leaves: newLeafFile(c, s), next: s.Begin,
		batches:  newOnceRecords(c, fileBatches, maxBatchRecord),
		events:   newOnceRecords(c, fileEvents, maxEventRecord),
		openings: newOnceRecords(c, fileOpenings, maxOpeningRecord),
	}
}

// read fills the job with the next message. It returns false at the end of the range. The errors are ErrRecord and those of
// the files.
func (f *feeder) read(j *job) (bool, error) {
	if more, err := f.others(j); more || err != nil {
		return more, err
	}
	b, arena, err := f.batches.next(j.arena)
	j.arena = arena
	if b == nil {
		return false, errors.Join(err, f.end(err))
	}
	if j.record, err = parseBatchRecord(b); err != nil {
		return false, f.batches.fail(err)
	}
	if err := f.bounds(j); err != nil {
		return false, f.batches.fail(err)
	}
	if j.leafBytes, err = f.leaves.read(j.leafBytes, int(j.to-j.from)); err != nil {
		return false, err
	}
	if err := f.readEvents(j); err != nil {
		return false, err
	}
	return true, f.readOpenings(j)
}

// end holds every file to the end of the range.
func (f *feeder) end(err error) error {
	if err != nil {
		return nil
	}
	if f.next != f.scope.End {
		return fmt.Errorf("%s: ends before record %d: %w", fileBatches, f.scope.End, ErrRecord)
	}
	return errors.Join(f.events.atEnd(), f.openings.atEnd())
}

// bounds says which leaves of the range are the message's: they follow those of the message before.
func (f *feeder) bounds(j *job) error {
	count := chain.Index(1)
	if len(j.record.statement) > 0 {
		statement, err := event.ParseStatement(j.record.statement)
		if err != nil {
			return fmt.Errorf("%w: statement: %w", ErrRecord, err)
		}
		j.statement, j.digest = statement, event.BatchDigest(j.record.statement)
	}
	if j.record.form == formEvents {
		count = chain.Index(j.statement.GetCount())
	}
	j.from, j.to = max(j.record.first, f.scope.Begin), min(j.record.first+count, f.scope.End)
	if j.from != f.next || j.to <= j.from || len(j.record.outside) != int(count-(j.to-j.from)) {
		return fmt.Errorf("leaves [%d, %d) after %d: %w", j.record.first, j.record.first+count, f.next, ErrRecord)
	}
	f.next = j.to
	return nil
}

func (f *feeder) readEvents(j *job) error {
	for i := j.from; i < j.to; i++ {
		b, arena, err := f.events.next(j.arena)
		if j.arena = arena; err != nil {
			return err
		}
		j.events = append(j.events, eventRecord{})
		err = j.events[len(j.events)-1].parse(b) // of nothing there is none
		if len(arena) > maxMessage {
			err = ErrRecord
		}
		if err != nil {
			return f.events.fail(err)
		}
	}
	return nil
}

// readOpenings reads the records up to the last leaf of the message.
func (f *feeder) readOpenings(j *job) error {
	for {
		b, err := f.openings.peek(4 + 8)
		if b == nil {
			return err
		}
		c := cursor{b: b[4:]}
		if chain.Index(c.uint64()) >= j.to {
			return nil
		}
		if n := binary.BigEndian.Uint32(b); n > maxOpeningRecord && n <= maxObjectRecord {
			if err := f.readObject(j, int(n)); err != nil {
				return err
			}
			continue
		}
		b, arena, err := f.openings.next(j.arena)
		if j.arena = arena; err != nil {
			return err
		}
		if j.opening(b) != nil || len(arena) > maxMessage {
			return f.openings.fail(ErrRecord)
		}
	}
}

// opening reads the next record where it is kept.
func (j *job) opening(b []byte) error {
	before := j.openings
	j.openings = append(before, openingRecord{})
	o := &j.openings[len(before)]
	if err := o.parse(b); err != nil {
		return err
	}
	if !j.after(before, o) {
		return ErrRecord
	}
	return nil
}

// after: openings are of the message's leaves, in strictly ascending order of leaf and field.
func (j *job) after(before []openingRecord, o *openingRecord) bool {
	if len(before) == 0 {
		return o.index >= j.from
	}
	last := &before[len(before)-1]
	return o.index > last.index || o.index == last.index && o.field > last.field
}
