package store

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Reading is every row of the messages First to Last of the stream, read once: a check puts the messages together from the bytes of
// the engine's answer, and compares what it derives with the same bytes. It is not safe for concurrent use, and refers to memory that
// the next Read into it uses again.
type Reading struct {
	First, Last uint64
	tables      []*table // empty: what the columns are called
	answers     []answer // of each table
	logs        [][]log  // of each table, in what was read
	parts       messageParts
}

// messageParts is what the parts of messages are kept in: each message has a run of each.
type messageParts struct {
	leaves, events [][]byte
	openings       []eventv1.EncryptedOpening
	pointers       []*eventv1.EncryptedOpening // to openings, in order
}

// opening has room for so many openings.
func (p *messageParts) opening(n int) {
	if n > len(p.openings) {
		p.openings, p.pointers = make([]eventv1.EncryptedOpening, n), make([]*eventv1.EncryptedOpening, n)
		for i := range p.openings {
			p.pointers[i] = &p.openings[i]
		}
	}
}

// answer is all rows of one table in the order of its key.
type answer struct {
	bytes  []byte
	blocks []nativeBlock
}

// NewReading returns an empty reading.
func NewReading() *Reading {
	r := &Reading{tables: NewBlock(1).tables()}
	r.answers = make([]answer, len(r.tables))
	return r
}

const (
	// tablesAtOnce is how many tables are read at once: one computes while another waits for the disk, and half of the embedded
	// engine's connections stay free.
	tablesAtOnce = 2
	// firstAnswer is room for an answer at first; it doubles as long as it is too small.
	firstAnswer = 1 << 20
)

// Read reads the rows of the messages first to last, of the named tenants or of all, into r. There is no such reading of a server: ok
// is false, and Messages and Compare read each for itself.
func (s *Store) Read(ctx context.Context, r *Reading, first, last uint64, tenants ...string) (ok bool, err error) {
	if s.engine == nil {
		return false, nil
	}
	r.First, r.Last, r.logs = first, last, nil
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tablesAtOnce)
	for i, t := range r.tables {
		group.Go(func() error {
			return wrap(s.answer(ctx, &r.answers[i], t, first, last, tenants), "read rows of %s", t.name)
		})
	}
	return true, group.Wait()
}

// Conditions of the rows that are compared.
const (
	ofBlock   = "stream_seq BETWEEN {first:UInt64} AND {last:UInt64}"
	ofTenants = " AND tenant IN {tenants:Array(String)}"
)

// selectInOrder reads with one thread, since the rows are sorted as they stand, and many rows at a time: a block of the answer is made
// column by column.
const selectInOrder = `
SELECT %s FROM ${db}.%s WHERE %s
ORDER BY %s
SETTINGS max_threads = 1, max_block_size = 8192, preferred_block_size_bytes = 8000000`

// answer asks the embedded engine for a table's rows.
func (s *Store) answer(ctx context.Context, a *answer, t *table, first, last uint64, tenants []string) error {
	condition := ofBlock
	params := map[string]string{"first": strconv.FormatUint(first, 10), "last": strconv.FormatUint(last, 10)}
	if len(tenants) > 0 {
		condition += ofTenants
		params["tenants"] = arrayText(tenants)
	}
	return s.native(ctx, a, t, condition, params)
}

// native reads the rows of a condition.
func (s *Store) native(ctx context.Context, a *answer, t *table, condition string, params map[string]string) error {
	query := fmt.Sprintf(selectInOrder, t.names(), t.name, condition, strings.Join(t.key, ", "))
	rows, err := s.engine.Select(ctx, s.sql(query), params)
	if err != nil {
		return err
	}
	defer rows.Close()
	return a.read(rows, t)
}

// read takes a whole answer. Its blocks are looked through as they come, while they are in the processor's caches.
func (a *answer) read(from io.Reader, t *table) error {
	a.bytes, a.blocks = slices.Grow(a.bytes[:0], firstAnswer), nil
	for known := 0; ; {
		if len(a.bytes) == cap(a.bytes) {
			a.bytes, a.blocks, known = slices.Grow(a.bytes, len(a.bytes)), nil, 0 // the blocks are elsewhere now
		}
		n, failed := from.Read(a.bytes[len(a.bytes):cap(a.bytes)])
		a.bytes = a.bytes[:len(a.bytes)+n]
		if failed != nil && failed != io.EOF {
			return failed
		}
		blocks, whole, err := t.wholeBlocks(a.blocks, a.bytes[known:])
		if a.blocks, known = blocks, known+whole; failed == io.EOF {
			return err
		}
	}
}

// number is that of a table.
func (r *Reading) number(name string) int {
	return slices.IndexFunc(r.tables, func(t *table) bool { return t.name == name })
}

// arrayText is the text of an Array(String).
func arrayText(values []string) string {
	escaped := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(strings.Join(values, "\x00"))
	return "['" + strings.ReplaceAll(escaped, "\x00", "','") + "']"
}

// Messages puts the messages together, in stream order. They refer to the reading's memory, and Data is that of messages that are
// kept whole.
// ok is false unless every row of leaves, events, openings and held events belongs to a message, and each message has as many leaves
// and events as it claims: then only Store.Messages can tell what there is.
func (r *Reading) Messages() (messages []*Stored, ok bool) {
	if messages = r.batches(); !r.fill(messages) {
		return nil, false
	}
	slices.SortStableFunc(messages, func(a, b *Stored) int { return cmp.Compare(a.StreamSeq, b.StreamSeq) })
	return messages, true
}

// batches are the messages without their parts, in the order of their logs.
func (r *Reading) batches() (messages []*Stored) {
	rows := r.rows(tableBatches)
	for statement, signature := rows.column("statement"), rows.column("signature"); rows.next(); {
		messages = append(messages, rows.message(rows.text(statement), rows.text(signature)))
	}
	return messages
}

// fill adds the parts.
func (r *Reading) fill(messages []*Stored) bool {
	return r.addLeaves(messages) && r.addEvents(messages) && r.addOpenings(messages) && r.addHeld(messages)
}

// Encode appends a message of a Reading as it was in the stream, or returns that of one that is kept whole. Whether it is that very
// message, its digest says. ok is false if its rows cannot be those of a message; if it is true, to parse the encoding gives Batch.
func (m *Stored) Encode(dst []byte) (data []byte, ok bool) {
	if m.Batch == nil {
		return m.Data, true
	}
	data, err := event.AppendStreamBatch(dst, m.Batch)
	return data, err == nil
}

func (r *Reading) addLeaves(messages []*Stored) bool {
	rows := r.rows(tableLeaves)
	leaf, leaves := rows.column("leaf"), slices.Grow(r.parts.leaves[:0], rowsOf(rows.blocks))
	for _, m := range messages {
		first := len(leaves)
		for idx := m.FirstIndex; idx < m.end; idx++ {
			if !rows.next() || !rows.at(m.Tenant, idx) {
				return false
			}
			leaves = append(leaves, rows.view(leaf).fixed(rows.row))
		}
		m.Leaves = slices.Clip(leaves[first:])
	}
	r.parts.leaves = leaves
	return !rows.next()
}

func (r *Reading) addEvents(messages []*Stored) bool {
	rows := r.rows(tableEvents)
	bytes, events := rows.column("bytes"), slices.Grow(r.parts.events[:0], rowsOf(rows.blocks))
	for _, m := range messages {
		first := len(events)
		for idx := m.FirstIndex; idx < m.end; idx++ {
			if !rows.next() || !rows.at(m.Tenant, idx) {
				return false
			}
			events = append(events, rows.text(bytes))
		}
		m.keep(slices.Clip(events[first:]))
	}
	r.parts.events = events
	return !rows.next()
}

// keep takes the events; of a message that is kept whole, itself.
func (m *Stored) keep(events [][]byte) {
	switch {
	case m.Batch != nil:
		m.Batch.Events = events
	case len(events) > 0:
		m.Data = slices.Clone(events[len(events)-1]) // it is kept beyond the reading
	}
}

func (r *Reading) addOpenings(messages []*Stored) bool {
	rows := r.rows(tableOpenings)
	path, subject, generation, ciphertext := rows.column("path"), rows.column("subject"), rows.column("generation"), rows.column("ciphertext")
	r.parts.opening(rowsOf(rows.blocks))
	all, n := r.parts.pointers, 0
	return rows.each(messages, func(m *Stored, position uint32) {
		o := all[n]
		o.Position, o.Path, o.Subject = position, rows.looked(path), rows.looked(subject)
		o.Generation, o.Ciphertext = rows.view(generation).uint32(rows.row), rows.text(ciphertext)
		n++
		m.Batch.Openings = all[n-1-len(m.Batch.Openings) : n : n] // those of a message come one after the other
	})
}

func (r *Reading) addHeld(messages []*Stored) bool {
	rows := r.rows(tableHeld)
	kind, hash, generation, detector, ciphertext := rows.column("kind"), rows.column("event_hash"), rows.column("generation"),
		rows.column("detector"), rows.column("ciphertext")
	return rows.each(messages, func(m *Stored, position uint32) {
		m.Batch.Held = append(m.Batch.Held, &eventv1.HeldEvent{
			Position: position, EventHash: rows.view(hash).fixed(rows.row), Kind: rows.view(kind).uint32(rows.row),
			Generation: rows.view(generation).uint32(rows.row), Ciphertext: rows.text(ciphertext), Detector: rows.looked(detector),
		})
	})
}

// reader goes through the rows of an answer. Every table of a reading has the columns of a place.
type reader struct {
	table  *table
	blocks []nativeBlock // the first is that of the row
	row    int           // in the block

	tenant, idx int // columns
}

func (r *Reading) rows(name string) *reader {
	i := r.number(name)
	rows := &reader{table: r.tables[i], blocks: r.answers[i].blocks, row: -1}
	rows.tenant, rows.idx = rows.column("tenant"), rows.column("idx")
	return rows
}

// column is the number of a column.
func (r *reader) column(name string) int {
	return slices.IndexFunc(r.table.columns, func(c column) bool { return c.Name() == name })
}

func (r *reader) view(column int) *view { return &r.blocks[0].columns[column] }

// next goes to the next row, if there is one.
func (r *reader) next() bool {
	r.row++
	if len(r.blocks) > 0 && r.row == r.blocks[0].rows {
		r.blocks, r.row = r.blocks[1:], 0
	}
	return len(r.blocks) > 0
}

// at reports whether the row is of a leaf.
func (r *reader) at(tenant string, idx uint64) bool {
	return r.view(r.idx).uint64(r.row) == idx && r.looked(r.tenant) == tenant
}

// looked is the value of a dictionary, in the reading's memory.
func (r *reader) looked(column int) string { return str(r.view(column).looked(r.row)) }

// text is the row's value of a column of texts.
func (r *reader) text(column int) []byte { return r.view(column).text(r.row) }

// each calls add for every row with its message, which is kept as a batch, and its position there. It is false if a row belongs to none.
func (r *reader) each(messages []*Stored, add func(m *Stored, position uint32)) bool {
	for r.next() {
		idx, tenant := r.view(r.idx).uint64(r.row), r.looked(r.tenant)
		for len(messages) > 0 && (messages[0].Tenant != tenant || idx >= messages[0].end) {
			messages = messages[1:]
		}
		if len(messages) == 0 || messages[0].Batch == nil || idx < messages[0].FirstIndex {
			return false
		}
		add(messages[0], uint32(idx-messages[0].FirstIndex))
	}
	return true
}

// message is the message of a row of batches.
func (r *reader) message(statement, signature []byte) *Stored {
	u64 := func(name string) uint64 { return r.view(r.column(name)).uint64(r.row) }
	fixed := func(name string) [hashSize]byte { return [hashSize]byte(r.view(r.column(name)).fixed(r.row)) }
	m := &Stored{
		StreamSeq: u64("stream_seq"), MessageTime: int64(u64("message_time")), FirstIndex: u64("idx"),
		Subject: strings.Clone(r.looked(r.column("subject"))), Tenant: strings.Clone(r.looked(r.tenant)),
		Producer:      eventv1.ProducerClass(int8(r.view(r.column("producer")).raw[r.row])),
		MessageDigest: fixed("message_digest"), StreamDigest: fixed("stream_digest"), BatchDigest: fixed("batch_digest"),
	}
	leaves := r.view(r.column("leaves")).uint32(r.row)
	m.end, m.size = m.FirstIndex+uint64(min(leaves, event.MaxBatchEvents)), u64("bytes")
	if len(statement) > 0 {
		m.Batch = &eventv1.StreamBatch{Version: event.Version, Statement: statement, Signature: signature}
	}
	return m
}
