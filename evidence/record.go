package evidence

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// ErrRecord says that a file of records is not in its format.
var ErrRecord = errors.New("malformed record")

// form says what a record of batches/range.bin stands for.
type form uint8

const (
	formEvents form = 1 // a batch with one leaf an event
	formWhole  form = 2 // a message that has one leaf as a whole: malformed or an equivocation
	formOthers form = 0 // no record: leaves of others than the scope's, which have none
)

// state says whether content is in the bundle.
type state uint8

const (
	stateHere     state = 1 // event bytes, or a whole message; of a field: disclosed
	stateHeld     state = 2 // kept closed because it holds a secret
	stateWithheld state = 3 // left out by the exporter, with a reason
	stateExpired  state = 4 // no longer kept
	stateErased   state = 5 // of a field: its key is destroyed
	stateOutside  state = 6 // of the instance of the scope, and not of its run
)

// batchRecord is one message with a leaf in the range.
type batchRecord struct {
	first     chain.Index // leaf of the first event
	form      form
	statement []byte       // exact bytes; empty for a malformed message
	signature []byte       // SignatureSize bytes, none without a statement
	outside   []chain.Hash // hashes of the events before and after the range, in order
}

func (r *batchRecord) append(b []byte) []byte {
	b = append(binary.BigEndian.AppendUint64(b, uint64(r.first)), byte(r.form))
	b = appendStatement(b, r.statement, r.signature)
	return appendHashes(b, r.outside)
}

func appendStatement(b, statement, signature []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(statement)))
	return append(append(b, statement...), signature...)
}

func appendHashes(b []byte, hashes []chain.Hash) []byte {
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

func parseBatchRecord(b []byte) (r batchRecord, err error) {
	c := cursor{b: b}
	r.first, r.form = chain.Index(c.uint64()), form(c.uint8())
	r.statement, r.signature = c.statement()
	r.outside = c.hashes(len(c.b) / chain.HashSize)
	switch {
	case c.end() != nil:
		return r, c.end()
	case r.form != formEvents && r.form != formWhole,
		r.form == formEvents && len(r.statement) == 0,
		r.form == formWhole && len(r.outside) > 0,
		r.first >= chain.MaxSize:
		return r, ErrRecord
	}
	return r, nil
}

// eventRecord is what the bundle has of one leaf of the range.
type eventRecord struct {
	state  state
	bytes  []byte // stateHere: exact bytes
	reason uint16 // stateWithheld: place in the reasons of redactions.json
}

func (r *eventRecord) append(b []byte) []byte {
	b = append(b, byte(r.state))
	if r.state == stateWithheld {
		return binary.BigEndian.AppendUint16(b, r.reason)
	}
	return append(b, r.bytes...)
}

// parse reads a record into one that is empty.
func (r *eventRecord) parse(b []byte) error {
	c := cursor{b: b}
	switch r.state = state(c.uint8()); r.state {
	case stateHere:
		r.bytes = c.rest()
	case stateWithheld:
		r.reason = c.uint16()
	case stateHeld, stateExpired, stateOutside:
	default:
		return ErrRecord
	}
	return c.end()
}

// openingRecord is what the bundle has of one sealed field of an event that is here.
type openingRecord struct {
	index      chain.Index // leaf of the event
	field      uint16      // place in the event's sealed fields, from 0
	state      state       // stateHere, stateWithheld or stateErased
	salt       []byte      // stateHere: SaltSize bytes
	value      []byte      // stateHere, unless long
	long       bool        // stateHere: the value is an object, and stays in the file
	at, size   int64       // long: where it stands in openings/range.bin, and its length in bytes
	reason     uint16      // stateWithheld: place in the reasons of redactions.json
	tombstone  chain.Index // stateErased: leaf of the erasure
	generation uint32      // stateErased: of the key that the field was under
}

func (r *openingRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.index))
	b = append(binary.BigEndian.AppendUint16(b, r.field), byte(r.state))
	switch r.state {
	case stateHere:
		return append(append(b, r.salt...), r.value...)
	case stateWithheld:
		return binary.BigEndian.AppendUint16(b, r.reason)
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(r.tombstone)), r.generation)
}

// parse reads a record into one that is empty.
func (r *openingRecord) parse(b []byte) error {
	c := cursor{b: b}
	r.index, r.field, r.state = chain.Index(c.uint64()), c.uint16(), state(c.uint8())
	switch r.state {
	case stateHere:
		r.salt, r.value = c.take(event.SaltSize), c.rest()
	case stateWithheld:
		r.reason = c.uint16()
	case stateErased:
		r.tombstone, r.generation = chain.Index(c.uint64()), c.uint32()
	default:
		return ErrRecord
	}
	return c.end()
}

func parseOpeningRecord(b []byte) (r openingRecord, err error) {
	err = r.parse(b)
	return r, err
}

// provenRecord is a batch outside the range, or some of its events, each with its leaf and the proof that the log holds it.
type provenRecord struct {
	first     chain.Index // leaf of the first event
	statement []byte
	signature []byte
	hashes    []chain.Hash // of every event, or none if no event is shown
	shown     []provenLeaf // in order, at least one
}

// provenLeaf is one leaf outside the range.
type provenLeaf struct {
	position uint32
	leaf     []byte // LeafSize bytes
	path     []chain.Hash
	event    []byte // exact bytes, or none
}

func (r *provenRecord) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.first))
	b = appendStatement(b, r.statement, r.signature)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.hashes)))
	b = appendHashes(b, r.hashes)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.shown)))
	for i := range r.shown {
		b = r.shown[i].append(b)
	}
	return b
}

func (l *provenLeaf) append(b []byte) []byte {
	b = append(binary.BigEndian.AppendUint32(b, l.position), l.leaf...)
	b = appendHashes(append(b, byte(len(l.path))), l.path)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(l.event))), l.event...)
}

func parseProvenRecord(b []byte) (r provenRecord, err error) {
	c := cursor{b: b}
	r.first = chain.Index(c.uint64())
	r.statement, r.signature = c.statement()
	r.hashes = c.hashes(int(c.uint16()))
	for range c.uint16() {
		if c.bad {
			break
		}
		r.shown = append(r.shown, c.provenLeaf())
	}
	switch {
	case c.end() != nil:
		return r, c.end()
	case r.first >= chain.MaxSize, len(r.statement) == 0, len(r.hashes) > event.MaxBatchEvents, !r.ordered():
		return r, ErrRecord
	}
	return r, nil
}

func (c *cursor) provenLeaf() (l provenLeaf) {
	l.position, l.leaf = c.uint32(), c.take(chain.LeafSize)
	l.path = c.hashes(min(int(c.uint8()), maxPath+1))
	l.event = c.take(int(c.uint32()))
	return l
}

// ordered: at least one leaf, by position, with short proofs, and events only where every hash is there.
func (r *provenRecord) ordered() bool {
	for i := range r.shown {
		l := &r.shown[i]
		if i > 0 && l.position <= r.shown[i-1].position || l.position >= event.MaxBatchEvents || len(l.path) > maxPath ||
			len(l.event) > 0 && int(l.position) >= len(r.hashes) {
			return false
		}
	}
	return len(r.shown) > 0
}

// cursor takes fields off a record. Past the end it gives zeros and remembers.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) rest() []byte { return c.take(len(c.b)) }

func (c *cursor) number(size int) (n uint64) {
	for _, b := range c.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (c *cursor) uint8() uint8   { return uint8(c.number(1)) }
func (c *cursor) uint16() uint16 { return uint16(c.number(2)) }
func (c *cursor) uint32() uint32 { return uint32(c.number(4)) }

func (c *cursor) uint64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// statement takes a statement after its length, and the signature if there is a statement.
func (c *cursor) statement() (statement, signature []byte) {
	n := int(c.uint16())
	if n > event.MaxStatement {
		c.bad = true
	}
	if statement = c.take(n); n > 0 {
		signature = c.take(event.SignatureSize)
	}
	return statement, signature
}

func (c *cursor) hashes(n int) []chain.Hash {
	b := c.take(n * chain.HashSize)
	if len(b) == 0 {
		return nil
	}
	hashes := make([]chain.Hash, n)
	for i := range hashes {
		hashes[i] = chain.Hash(b[i*chain.HashSize:])
	}
	return hashes
}

// end is an error if a field was missing or anything is left.
func (c *cursor) end() error {
	if c.bad || len(c.b) > 0 {
		return ErrRecord
	}
	return nil
}

// appendRecord appends a record after its length as a uint32.
func appendRecord(b []byte, encode func([]byte) []byte) []byte {
	at := len(b)
	b = encode(append(b, 0, 0, 0, 0))
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// records reads a file of records.
type records struct {
	name  string
	r     *bufio.Reader
	limit int // greatest length of one record
	count uint64
	pos   int64 // of the next record in the file
}

func newRecords(c *container, name string, limit int) *records {
	f := c.open(name)
	return &records{name: name, r: bufio.NewReaderSize(f, bufferFor(f)), limit: limit}
}

// newOnceRecords is newRecords for one of the files that are read once.
func newOnceRecords(c *container, name string, limit int) *records {
	return &records{name: name, r: c.once(name).r, limit: limit}
}

// bufferFor is the size of a buffer to read a file with.
func bufferFor(f *io.SectionReader) int { return int(min(max(f.Size(), 512), stageBuffer)) }

// next appends the next record to room, whose spare capacity it uses. It returns nil at the end of the file. The errors
// are ErrRecord and those of the file.
func (r *records) next(room []byte) (record, grown []byte, err error) {
	length, err := r.peek(4)
	if length == nil {
		return nil, room, err
	}
	n := int(binary.BigEndian.Uint32(length))
	if n == 0 || n > r.limit {
		return nil, room, r.fail(ErrRecord)
	}
	room, record = grow(room, n)
	if err := r.take(record); err != nil {
		return nil, room, r.fail(cutOff(err))
	}
	r.count++
	r.pos += 4 + int64(n)
	return record, room, nil
}

// take reads a record behind its length. Most stand in the buffer.
func (r *records) take(record []byte) error {
	if n := 4 + len(record); n <= r.r.Buffered() {
		b, _ := r.r.Peek(n)
		copy(record, b[4:])
		_, err := r.r.Discard(n)
		return err
	}
	_, _ = r.r.Discard(4)
	_, err := io.ReadFull(r.r, record)
	return err
}

// skip leaves out the next n bytes.
func (r *records) skip(n int) error {
	if _, err := r.r.Discard(n); err != nil {
		return r.fail(cutOff(err))
	}
	r.pos += int64(n)
	return nil
}

// peek returns the next n bytes without taking them, nil at the end of the file.
func (r *records) peek(n int) ([]byte, error) {
	b, err := r.r.Peek(n)
	switch {
	case len(b) == 0 && errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, r.fail(cutOff(err))
	}
	return b, nil
}

// cutOff says that a record is cut where its file ends. A file that cannot be read is nobody's record.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.Join(ErrRecord, err)
	}
	return err
}

func (r *records) fail(err error) error {
	return fmt.Errorf("%s: record %d: %w", r.name, r.count, err)
}

// atEnd is an error unless every record was read.
func (r *records) atEnd() error {
	b, err := r.peek(1)
	if b != nil {
		return r.fail(ErrRecord)
	}
	return err
}

// grow cuts n bytes off the spare capacity of room, or of a new one twice as large as what is needed.
func grow(room []byte, n int) (grown, cut []byte) {
	if cap(room)-len(room) < n {
		room = make([]byte, 0, max(2*n, 2*cap(room), 64<<10))
	}
	end := len(room) + n
	return room[:end], room[len(room):end:end]
}
