package event

import (
	"crypto/sha256"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const batchDomain = "custody/batch/v1\x00"

// BatchDigest is SHA-256("custody/batch/v1\0" ‖ statement).
func BatchDigest(statement []byte) [DigestSize]byte {
	buf := make([]byte, 0, len(batchDomain)+MaxStatement)
	return sha256.Sum256(append(append(buf, batchDomain...), statement...))
}

// ParseStatement reads the canonical bytes of one valid batch statement. The error is a *FieldError.
func ParseStatement(b []byte) (*eventv1.BatchStatement, error) {
	s, err := parseStatement(b)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func parseStatement(b []byte) (*eventv1.BatchStatement, *FieldError) {
	if err := checkSize("", len(b), 1, MaxStatement); err != nil {
		return nil, err
	}
	s := new(eventv1.BatchStatement)
	if err := decode(b, s); err != nil {
		return nil, err
	}
	if err := statement(s); err != nil {
		return nil, err
	}
	return s, nil
}

// MarshalStatement returns the canonical bytes of s. The error is a *FieldError if s is not valid.
func MarshalStatement(s *eventv1.BatchStatement) ([]byte, error) {
	if err := statement(s); err != nil {
		return nil, err
	}
	return encode(s)
}

func statement(s *eventv1.BatchStatement) *FieldError {
	return first(
		version("version", s.GetVersion(), Version),
		name("tenant", s.GetTenant()),
		name("instance", s.GetInstance()),
		exactly("key_id", s.GetKeyId(), DigestSize),
		positive("epoch_no", s.GetEpochNo()),
		exactly("epoch", s.GetEpoch(), EpochSize),
		previousEpoch(s).under("previous_epoch"),
		positive("first_seq", s.GetFirstSeq()),
		positive("count", uint64(s.GetCount())),
		atMost("count", int(s.GetCount()), MaxBatchEvents),
		exactlyIf("prev_batch", s.GetPrevBatch(), DigestSize),
		prevBatch(s),
		exactly("event_root", s.GetEventRoot(), DigestSize),
		instantGiven("created_at", s.GetCreatedAt()),
		lastSeen(s.GetLastSeen()).under("last_seen"),
	)
}

// previousEpoch is absent in the first epoch. Later batches may repeat it.
func previousEpoch(s *eventv1.BatchStatement) *FieldError {
	p := s.GetPreviousEpoch()
	switch {
	case p == nil:
		return nil
	case s.EpochNo == 1:
		return &FieldError{"", "given in the first epoch"}
	}
	return first(
		positive("last_seq", p.LastSeq),
		exactly("last_digest", p.LastDigest, DigestSize),
	)
}

// prevBatch is absent exactly in the first batch of an epoch.
func prevBatch(s *eventv1.BatchStatement) *FieldError {
	switch begins := s.GetFirstSeq() == 1; {
	case begins && len(s.GetPrevBatch()) > 0:
		return &FieldError{"prev_batch", "given at the start of an epoch"}
	case !begins && len(s.GetPrevBatch()) == 0:
		return &FieldError{"prev_batch", "missing"}
	}
	return nil
}

func lastSeen(l *eventv1.LastSeen) *FieldError {
	if l == nil {
		return nil
	}
	return first(
		counter("index", l.Index),
		exactly("leaf_hash", l.LeafHash, DigestSize),
	)
}

// ParseSignedBatch reads the canonical bytes of a signed batch and holds it to the limits. It parses neither the statement
// nor the events: see CheckBatch. The batch refers to b, which must not change. The error is a *FieldError.
func ParseSignedBatch(b []byte) (*eventv1.SignedBatch, error) {
	if err := checkSize("", len(b), 1, MaxBatch); err != nil {
		return nil, err
	}
	sb := decodeSignedBatch(b)
	if sb == nil {
		sb = new(eventv1.SignedBatch)
		if err := decodeCounted(b, sb, limit{3, "events", MaxBatchEvents}, limit{4, "openings", MaxOpenings}); err != nil {
			return nil, err
		}
	}
	if err := signedBatch(sb); err != nil {
		return nil, err
	}
	return sb, nil
}

// MarshalSignedBatch returns the canonical bytes of sb. The error is a *FieldError if sb is over a limit.
func MarshalSignedBatch(sb *eventv1.SignedBatch) ([]byte, error) {
	if err := signedBatch(sb); err != nil {
		return nil, err
	}
	b, err := encode(sb)
	if err != nil {
		return nil, err
	}
	return b, checkSize("", len(b), 1, MaxBatch).err()
}

func signedBatch(sb *eventv1.SignedBatch) *FieldError {
	if err := first(
		checkSize("statement", len(sb.GetStatement()), 1, MaxStatement),
		exactly("signature", sb.GetSignature(), SignatureSize),
		positive("events", uint64(len(sb.GetEvents()))),
		atMost("events", len(sb.GetEvents()), MaxBatchEvents),
		atMost("openings", len(sb.GetOpenings()), MaxOpenings),
	); err != nil {
		return err
	}
	for i, e := range sb.Events {
		if err := checkSize("", len(e), 1, MaxEvent); err != nil {
			return err.under(at("events", i))
		}
	}
	return openings(sb)
}

// BatchSize is the length of the encoding of a signed batch.
func BatchSize(sb *eventv1.SignedBatch) int {
	if len(sb.ProtoReflect().GetUnknown()) > 0 {
		return proto.Size(sb)
	}
	size := fieldSize(len(sb.GetStatement())) + fieldSize(len(sb.GetSignature()))
	for _, e := range sb.GetEvents() {
		size += itemSize(len(e))
	}
	for _, o := range sb.GetOpenings() {
		size += itemSize(openingSize(o))
	}
	return size
}

func openingSize(o *eventv1.Opening) int {
	if len(o.ProtoReflect().GetUnknown()) > 0 {
		return proto.Size(o)
	}
	size := fieldSize(len(o.GetPath())) + fieldSize(len(o.GetSalt())) + fieldSize(len(o.GetValue()))
	if p := o.GetPosition(); p > 0 {
		size += 1 + protowire.SizeVarint(uint64(p))
	}
	return size
}

// fieldSize is what text or bytes take, nothing if there are none, under a tag of one byte.
func fieldSize(n int) int {
	if n == 0 {
		return 0
	}
	return itemSize(n)
}

// itemSize is what a value of a list takes, also if it is empty, under a tag of one byte.
func itemSize(n int) int { return 1 + protowire.SizeBytes(n) }

// openings are in strictly ascending order of position and path.
func openings(sb *eventv1.SignedBatch) *FieldError {
	var before *eventv1.Opening
	for i, o := range sb.Openings {
		if err := opening(o, before, len(sb.Events)); err != nil {
			return err.under(at("openings", i))
		}
		before = o
	}
	return nil
}

func opening(o, before *eventv1.Opening, events int) *FieldError {
	if before != nil && !ascending(before, o) {
		return &FieldError{"", "not in ascending order of position and path"}
	}
	return first(
		position(o.GetPosition(), events),
		given("path", o.GetPath(), MaxID),
		exactly("salt", o.GetSalt(), SaltSize),
		checkSize("value", len(o.GetValue()), 0, MaxSealedInline),
	)
}

// placed is an opening, in the clear or encrypted.
type placed interface {
	GetPosition() uint32
	GetPath() string
}

func ascending[T placed](a, b T) bool {
	if p, q := a.GetPosition(), b.GetPosition(); p != q {
		return p < q
	}
	return a.GetPath() < b.GetPath()
}

func position(p uint32, events int) *FieldError {
	if int(p) >= events {
		return &FieldError{"position", "after the last event"}
	}
	return nil
}

// CheckBatch parses the statement and every event of a signed batch and holds them together: count, tenant, instance, and
// openings of fields that the events seal. Root, signature and digests are checked by those who hold the keys. What it returns
// refers to the batch. The error is a *FieldError: "events[3].execution.tool: …".
func CheckBatch(sb *eventv1.SignedBatch) (*eventv1.BatchStatement, []*eventv1.Event, error) {
	return new(Checker).Check(sb)
}

// Checker is CheckBatch for one batch after the other. It reuses its memory and is not safe for concurrent use.
type Checker struct {
	arena  arena
	events []*eventv1.Event
}

// Check is CheckBatch. What it returns is valid until the next call of Check or Forget.
func (c *Checker) Check(sb *eventv1.SignedBatch) (*eventv1.BatchStatement, []*eventv1.Event, error) {
	c.Forget()
	stmt, events, err := c.check(sb)
	if err != nil {
		return nil, nil, err
	}
	return stmt, events, nil
}

// Forget lets go of the last batch.
func (c *Checker) Forget() {
	c.arena.reset()
	clear(c.events)
}

func (c *Checker) check(sb *eventv1.SignedBatch) (*eventv1.BatchStatement, []*eventv1.Event, *FieldError) {
	if err := first(signedBatch(sb), checkSize("", BatchSize(sb), 1, MaxBatch)); err != nil {
		return nil, nil, err
	}
	stmt, err := parseStatement(sb.Statement)
	if err != nil {
		return nil, nil, err.under("statement")
	}
	c.events = slices.Grow(c.events[:0], len(sb.Events))[:len(sb.Events)]
	c.arena.sized(max(c.arena.events.size, len(sb.Events)))
	if err := batchEvents(c.events, stmt, sb.Events, &c.arena); err != nil {
		return nil, nil, err
	}
	return stmt, c.events, opened(sb, c.events)
}

func batchEvents(into []*eventv1.Event, stmt *eventv1.BatchStatement, encoded [][]byte, a *arena) *FieldError {
	if int(stmt.Count) != len(encoded) {
		return &FieldError{"statement.count", "not the number of events"}
	}
	return parseMembers(into, stmt, encoded, a)
}

// ParseMembers parses the events of one batch and holds them to its tenant and instance. An event without bytes, which is held in
// a stream batch, stays nil. The events refer to the bytes, which must not change. The error is a *FieldError.
func ParseMembers(stmt *eventv1.BatchStatement, encoded [][]byte) ([]*eventv1.Event, error) {
	events := make([]*eventv1.Event, len(encoded))
	if err := parseMembers(events, stmt, encoded, newArena(len(encoded))); err != nil {
		return nil, err
	}
	return events, nil
}

func parseMembers(into []*eventv1.Event, stmt *eventv1.BatchStatement, encoded [][]byte, a *arena) *FieldError {
	for i, b := range encoded {
		if len(b) == 0 {
			continue
		}
		e, err := parseMember(stmt, b, a)
		if err != nil {
			return err.under(at("events", i))
		}
		into[i] = e
	}
	return nil
}

// Members parses the events of one batch one by one, and makes them many at a time: they live and die together.
type Members struct {
	statement *eventv1.BatchStatement
	arena     *arena
}

// NewMembers is for a batch of so many events.
func NewMembers(stmt *eventv1.BatchStatement, events int) *Members {
	return &Members{statement: stmt, arena: newArena(events)}
}

// Reset begins with another batch, in the same memory: the events of the one before are no more.
func (m *Members) Reset(stmt *eventv1.BatchStatement, events int) {
	m.statement = stmt
	m.arena.reset()
	m.arena.sized(max(m.arena.events.size, events))
	m.arena.fingerprints.size = 2 * m.arena.sealed.size // so that the usual batch finds all that it needs
}

// Parse is ParseMember, but the event refers to b, which must not change. A system event has memory of its own, and outlives both.
func (m *Members) Parse(b []byte) (*eventv1.Event, error) {
	e, err := m.parse(b)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (m *Members) parse(b []byte) (*eventv1.Event, *FieldError) {
	return parseMember(m.statement, b, m.arena)
}

// ParseMember parses one event and holds it to the tenant and the instance of its batch. The error is a *FieldError.
func ParseMember(stmt *eventv1.BatchStatement, b []byte) (*eventv1.Event, error) {
	e, err := parseMember(stmt, b, nil)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func parseMember(stmt *eventv1.BatchStatement, b []byte, a *arena) (*eventv1.Event, *FieldError) {
	e, err := parse(b, a)
	switch {
	case err != nil:
		return nil, err
	case e.Tenant != stmt.GetTenant():
		return nil, &FieldError{"tenant", "not that of the batch"}
	case e.Instance != stmt.GetInstance():
		return nil, &FieldError{"instance", "not that of the batch"}
	}
	return e, nil
}

// opened: each opening is of a field that its event seals, with the size that the event states, or stands for an object.
func opened(sb *eventv1.SignedBatch, events []*eventv1.Event) *FieldError {
	objects := uint64(0)
	for i, o := range sb.Openings {
		s := sealedAt(events[o.Position], o.Path)
		switch {
		case s == nil:
			return &FieldError{at("openings", i) + ".path", "not a sealed field of the event"}
		case StandsForObject(s, o):
			if objects += s.Size; s.Size > MaxObject || objects > MaxBatchObjects {
				return tooManyObjects(i, s.Size)
			}
		case s.Size != uint64(len(o.Value)):
			return &FieldError{at("openings", i) + ".value", "not of the size that the event states"}
		}
	}
	return nil
}

func sealedAt(e *eventv1.Event, path string) *eventv1.Sealed {
	for _, s := range e.GetSealed() {
		if s.GetPath() == path {
			return s
		}
	}
	return nil
}

// limit is how often a field of a message may stand.
type limit struct {
	field protowire.Number
	name  string
	most  int
}

// decodeCounted is decode for a message whose lists are limited.
func decodeCounted(b []byte, m proto.Message, limits ...limit) *FieldError {
	if err := countFields(b, limits...); err != nil {
		return err
	}
	return decode(b, m)
}

// countFields refuses a message that repeats a field too often before decoding allocates for each. Bytes that are not a
// message are left to the decoder.
func countFields(b []byte, limits ...limit) *FieldError {
	counts := make([]int, len(limits))
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		for i, l := range limits {
			if num != l.field {
				continue
			}
			if counts[i]++; counts[i] > l.most {
				return atMost(l.name, counts[i], l.most)
			}
		}
	}
	return nil
}
