package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Limits of one page of Messages: how many messages, and about how many bytes
// of them, are in memory at a time.
const (
	messagePage      = 512
	messagePageBytes = 16 << 20
)

// Stored is one committed stream message, put together again from its rows.
type Stored struct {
	StreamSeq     uint64
	MessageTime   int64 // ns UTC
	Subject       string
	Tenant        string
	FirstIndex    uint64
	MessageDigest [32]byte // as recorded
	StreamDigest  [32]byte // running digest, as recorded
	BatchDigest   [32]byte // as recorded
	Producer      eventv1.ProducerClass

	Leaves [][]byte             // leaf bytes, in order
	Batch  *eventv1.StreamBatch // nil for a message that is kept whole
	Data   []byte               // the exact message; nil if its content was expired
	// Intact says that Data has the recorded digest. It is false for an altered
	// message and for an expired one.
	Intact  bool
	Expired bool

	end  uint64 // index after its last leaf
	size uint64 // about the bytes of Data
}

// Messages returns the committed messages of a tenant's log in order, from the
// message that holds the leaf fromIndex. It reads what is there: whether the
// indices follow each other is for the caller to check.
func (s *Store) Messages(ctx context.Context, tenant string, fromIndex uint64) iter.Seq2[*Stored, error] {
	return s.messages(ctx, messageFilter{tenant: tenant}, fromIndex)
}

// MessagesOf does the same for those messages of one instance alone that begin before the index before, as their statements name it.
func (s *Store) MessagesOf(ctx context.Context, tenant, instance string, fromIndex, before uint64) iter.Seq2[*Stored, error] {
	return s.messages(ctx, messageFilter{tenant, instance, before}, fromIndex)
}

// messageFilter says which messages are read.
type messageFilter struct {
	tenant   string
	instance string // every one if empty
	before   uint64 // first index that is not read, with an instance
}

// where is the part of a query that the filter adds.
func (f *messageFilter) where() string {
	if f.instance == "" {
		return ""
	}
	return " AND instance = {instance:String} AND idx < {before:UInt64}"
}

// args are the filter's arguments beside the tenant.
func (f *messageFilter) args() []any {
	if f.instance == "" {
		return nil
	}
	return []any{named("instance", f.instance), named("before", f.before)}
}

func (s *Store) messages(ctx context.Context, f messageFilter, fromIndex uint64) iter.Seq2[*Stored, error] {
	return func(yield func(*Stored, error) bool) {
		next, err := s.messageStart(ctx, f.tenant, fromIndex)
		for err == nil {
			var page []*Stored
			if page, err = s.messagePage(ctx, f, next, messagePage); len(page) == 0 {
				break
			}
			for _, m := range page {
				if !yield(m, nil) {
					return
				}
			}
			next = page[len(page)-1].FirstIndex + 1
		}
		if err != nil {
			yield(nil, fmt.Errorf("read messages of %s: %w", f.tenant, err))
		}
	}
}

// Message returns the committed message that holds a leaf; ok is false if there is none.
func (s *Store) Message(ctx context.Context, tenant string, index uint64) (m *Stored, ok bool, err error) {
	start, err := s.messageStart(ctx, tenant, index)
	if err != nil {
		return nil, false, fmt.Errorf("read message of %s: %w", tenant, err)
	}
	page, err := s.messagePage(ctx, messageFilter{tenant: tenant}, start, 1)
	if err != nil || len(page) == 0 || index >= page[0].end {
		return nil, false, err
	}
	return page[0], true, nil
}

const selectMessageStart = `
SELECT max(idx) FROM ${db}.batches
WHERE tenant = {tenant:String} AND idx <= {idx:UInt64} AND stream_seq <= {head:UInt64}`

// messageStart is the first index of the message that holds a leaf.
func (s *Store) messageStart(ctx context.Context, tenant string, idx uint64) (uint64, error) {
	return s.number(ctx, selectMessageStart, append(s.headArgs(), named("tenant", tenant), named("idx", idx))...)
}

const selectBatches = `
SELECT stream_seq, toUnixTimestamp64Nano(message_time), subject, idx, leaves, bytes, message_digest, stream_digest,
       batch_digest, CAST(producer, 'Int8'), statement, signature
FROM ${db}.batches
WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND stream_seq <= {head:UInt64}%s
ORDER BY idx
LIMIT {limit:UInt64}`

// messagePage reads the next messages, at most the given number, and then
// their parts by one range of indices.
func (s *Store) messagePage(ctx context.Context, f messageFilter, from, most uint64) ([]*Stored, error) {
	page, err := s.readBatches(ctx, f, from, most)
	if err != nil || len(page) == 0 {
		return nil, err
	}
	page = cutPage(page, f.instance == "")
	p := assembly{page: page, of: f.instance, args: append(s.headArgs(), named("tenant", f.tenant),
		named("from", page[0].FirstIndex), named("to", page[len(page)-1].end))}
	for _, read := range []func(context.Context, *Store) error{p.readLeaves, p.readEvents, p.readOpenings, p.readHeld} {
		if err := read(ctx, s); err != nil {
			return nil, err
		}
	}
	expired, err := s.Expired(ctx)
	for _, m := range page {
		m.finish(expired[f.tenant])
	}
	return page, err
}

// cutPage sets where each message ends, which is where the next begins if every
// message is read, keeps at least one message and stops before
// messagePageBytes.
func cutPage(page []*Stored, every bool) []*Stored {
	var size uint64
	for i, m := range page {
		if every && i+1 < len(page) {
			m.end = page[i+1].FirstIndex
		}
		if size += m.size; size > messagePageBytes && i > 0 {
			return page[:i]
		}
	}
	return page
}

func (s *Store) readBatches(ctx context.Context, f messageFilter, from, most uint64) (page []*Stored, err error) {
	var m Stored
	var leaves uint32
	var producer int8
	var message, stream, batch, statement, signature string
	args := append(s.headArgs(), named("tenant", f.tenant), named("from", from), named("limit", most))
	err = s.each(ctx, fmt.Sprintf(selectBatches, f.where()), append(args, f.args()...), func() {
		stored := m
		stored.Tenant, stored.Producer = f.tenant, eventv1.ProducerClass(producer)
		stored.end = stored.FirstIndex + uint64(min(leaves, event.MaxBatchEvents))
		copy(stored.MessageDigest[:], message)
		copy(stored.StreamDigest[:], stream)
		copy(stored.BatchDigest[:], batch)
		if statement != "" {
			stored.Batch = &eventv1.StreamBatch{Version: event.Version, Statement: []byte(statement), Signature: []byte(signature)}
		}
		page = append(page, &stored)
	}, &m.StreamSeq, &m.MessageTime, &m.Subject, &m.FirstIndex, &leaves, &m.size, &message, &stream, &batch, &producer, &statement, &signature)
	return page, wrap(err, "read batches")
}

// finish encodes the message again and compares it with its digest.
func (m *Stored) finish(firstKept uint64) {
	m.Expired = m.FirstIndex < firstKept && m.Producer != producerKept
	if m.Expired {
		m.Data = nil
		return
	}
	if m.Batch != nil {
		data, err := event.MarshalStreamBatch(m.Batch)
		if err != nil {
			return // altered beyond what can be a message: not intact
		}
		m.Data = data
	}
	m.Intact = sha256.Sum256(m.Data) == m.MessageDigest
}

// assembly hands the rows of a range, which come in index order, to their
// messages.
type assembly struct {
	page []*Stored
	of   string // the only instance, whose events are enough; every one if empty
	args []any
	at   int
}

// message returns the message that holds idx, or nil for a row that belongs to
// none.
func (p *assembly) message(idx uint64) *Stored {
	for p.at < len(p.page) && idx >= p.page[p.at].end {
		p.at++
	}
	if p.at == len(p.page) || idx < p.page[p.at].FirstIndex {
		return nil
	}
	return p.page[p.at]
}

const ofRange = ` WHERE tenant = {tenant:String} AND idx >= {from:UInt64} AND idx < {to:UInt64} AND stream_seq <= {head:UInt64} ORDER BY idx`

func (p *assembly) read(ctx context.Context, s *Store, query string, add func(m *Stored), idx *uint64, dest ...any) error {
	p.at = 0
	return wrap(s.each(ctx, query, p.args, func() {
		if m := p.message(*idx); m != nil {
			add(m)
		}
	}, append([]any{idx}, dest...)...), "read parts of messages")
}

func (p *assembly) readLeaves(ctx context.Context, s *Store) error {
	var idx uint64
	var leaf string
	return p.read(ctx, s, "SELECT idx, leaf FROM ${db}.leaves"+ofRange, func(m *Stored) {
		m.Leaves = append(m.Leaves, []byte(leaf))
	}, &idx, &leaf)
}

func (p *assembly) readEvents(ctx context.Context, s *Store) error {
	var idx uint64
	var bytes string
	query := "SELECT idx, bytes FROM ${db}.events" + ofRange
	if p.of != "" {
		query = "SELECT idx, bytes FROM ${db}.events" + strings.Replace(ofRange, " ORDER", " AND instance = {instance:String} ORDER", 1)
		p.args = append(p.args, named("instance", p.of))
	}
	return p.read(ctx, s, query, func(m *Stored) {
		if m.Batch == nil {
			m.Data = []byte(bytes)
		} else {
			m.Batch.Events = append(m.Batch.Events, []byte(bytes))
		}
	}, &idx, &bytes)
}

func (p *assembly) readOpenings(ctx context.Context, s *Store) error {
	var idx uint64
	var path, subject, ciphertext string
	var generation uint32
	query := "SELECT idx, path, subject, generation, ciphertext FROM ${db}.openings" + ofRange + ", path"
	return p.read(ctx, s, query, func(m *Stored) {
		if m.Batch != nil {
			m.Batch.Openings = append(m.Batch.Openings, &eventv1.EncryptedOpening{
				Position: uint32(idx - m.FirstIndex), Path: path, Subject: subject, Generation: generation, Ciphertext: []byte(ciphertext),
			})
		}
	}, &idx, &path, &subject, &generation, &ciphertext)
}

func (p *assembly) readHeld(ctx context.Context, s *Store) error {
	var idx uint64
	var kind, generation uint32
	var hash, detector, ciphertext string
	query := "SELECT idx, kind, event_hash, generation, detector, ciphertext FROM ${db}.held" + ofRange
	return p.read(ctx, s, query, func(m *Stored) {
		if m.Batch != nil {
			m.Batch.Held = append(m.Batch.Held, &eventv1.HeldEvent{
				Position: uint32(idx - m.FirstIndex), EventHash: []byte(hash), Kind: kind,
				Generation: generation, Ciphertext: []byte(ciphertext), Detector: detector,
			})
		}
	}, &idx, &kind, &hash, &generation, &detector, &ciphertext)
}
