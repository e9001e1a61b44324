package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
)

// The Native format of the engine (https://clickhouse.com/docs/interfaces/formats/Native): a block is the number of its columns
// and rows, then for each column its name, its type and its values one after the other. Integers are little endian; text has its
// length before it; an array column is the end of each row's items, then all items; a LowCardinality column is a dictionary and a
// number for each row.
//
// The embedded engine is written to and compared with in this format directly. The driver would keep a second copy of every
// column, grow it as it goes, and read back row by row through reflection. A server is spoken to through the driver.

// nativeBuffer is how much is written at once.
const nativeBuffer = 256 << 10

// lowVersion begins every LowCardinality column: dictionaries travel with their keys.
const lowVersion = 1

// nativeWriter collects what columns are made of, and writes it when there is enough. The first error stays.
type nativeWriter struct {
	to  io.Writer
	b   []byte // columns append to it, and call more now and then
	err error
}

// nativeBuffers are used again: a block has eight tables, and a second one or two blocks.
var nativeBuffers = sync.Pool{New: func() any { return &nativeWriter{b: make([]byte, 0, nativeBuffer+nativeBuffer/8)} }}

// writeTo has do write to a writer with a buffer.
func writeTo(to io.Writer, do func(w *nativeWriter)) error {
	w := nativeBuffers.Get().(*nativeWriter)
	w.to, w.b, w.err = to, w.b[:0], nil
	do(w)
	w.flush()
	err := w.err
	w.to = nil
	if cap(w.b) <= 2*nativeBuffer { // a value may have been longer
		nativeBuffers.Put(w)
	}
	return err
}

func (w *nativeWriter) flush() {
	if w.err == nil && len(w.b) > 0 {
		_, w.err = w.to.Write(w.b)
	}
	w.b = w.b[:0]
}

// more makes room when there is much.
func (w *nativeWriter) more() {
	if len(w.b) >= nativeBuffer {
		w.flush()
	}
}

func (w *nativeWriter) uvarint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

func (w *nativeWriter) uint64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }

func (w *nativeWriter) text(s string) {
	w.b = appendText(w.b, s)
	w.more()
}

// writeNative writes all rows as one block.
func (t *table) writeNative(to io.Writer) error { return writeTo(to, t.writeRows) }

func (t *table) writeRows(w *nativeWriter) {
	w.uvarint(uint64(len(t.columns)))
	w.uvarint(uint64(t.rows))
	for _, c := range t.columns {
		w.text(c.Name())
		w.text(c.Type())
		c.write(w)
		w.more()
	}
}

// writeNames writes a block without rows: the names and the types of the columns.
func (t *table) writeNames(w *nativeWriter) {
	w.uvarint(uint64(len(t.columns)))
	w.uvarint(0)
	for _, c := range t.columns {
		w.text(c.Name())
		w.text(c.Type())
	}
}

// inserted is a table's rows on their way into the engine.
type inserted struct{ *table }

// WriteTo writes the names of the columns and then the rows. To know what an insert has, the engine reads its first block and drops
// it: of a block of 40,000 events that took it a sixth of the time of the insert.
func (t inserted) WriteTo(to io.Writer) (int64, error) {
	counted := &counter{to: to}
	err := writeTo(counted, func(w *nativeWriter) {
		t.writeNames(w)
		t.writeRows(w)
	})
	return counted.n, err
}

// counter counts what is written.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}

// errNative says that the engine's answer is not what was asked for.
var errNative = errors.New("malformed native block")

// nativeBlock is one block, column by column. It refers to the bytes that it was read from.
type nativeBlock struct {
	rows    int
	columns []view // in the order of the table's
}

// view is the values of one column of a block.
type view struct {
	raw    []byte   // the values one after the other; of a dictionary the keys, of a list the end of each row's items
	values [][]byte // of a dictionary
	width  int      // of a key, or of each value if all have one size
	texts  []extent // of texts of any length: where in raw each is
	known  known    // of a dictionary
	items  *view    // of a list, nil if it has none
	count  int      // of a list's items
}

// extent is a part of some bytes.
type extent struct{ from, to uint32 }

// nativeBlocks reads all blocks of a table's columns.
func (t *table) nativeBlocks(b []byte) ([]nativeBlock, error) {
	blocks, _, err := t.wholeBlocks(nil, b)
	if err != nil {
		return nil, err
	}
	return blocks, nil
}

// wholeBlocks appends the blocks that b begins with, and returns how many bytes they take. The error says what is after them, if anything is.
func (t *table) wholeBlocks(blocks []nativeBlock, b []byte) (all []nativeBlock, n int, err error) {
	r := &nativeReader{rest: b}
	for len(r.rest) > 0 {
		next := r.block(t.columns)
		if r.err != nil {
			return blocks, n, fmt.Errorf("%w after %d bytes of %s: %w", errNative, len(b)-len(r.rest), t.name, r.err)
		}
		if n = len(b) - len(r.rest); next.rows > 0 {
			blocks = append(blocks, next)
		}
	}
	return blocks, n, nil
}

// nativeReader takes what columns are made of from the beginning of rest. After the first error it gives nothing.
type nativeReader struct {
	rest []byte
	err  error
}

func (r *nativeReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// maxRows is more than any answer has, and small enough to be multiplied by the size of a value.
const maxRows = 1 << 40

func (r *nativeReader) block(columns []column) nativeBlock {
	if n := r.uvarint(); n != uint64(len(columns)) {
		r.fail("%d columns, want %d", n, len(columns))
	}
	b := nativeBlock{rows: r.size(), columns: make([]view, len(columns))}
	for i, c := range columns {
		if r.header(c); r.err != nil {
			break
		}
		if b.rows > 0 {
			b.columns[i] = c.view(r, b.rows)
		}
	}
	return b
}

// header reads the name and the type of a column.
func (r *nativeReader) header(c column) {
	if name := r.text(); string(name) != c.Name() {
		r.fail("column %q, want %q", name, c.Name())
	}
	if kind := r.text(); string(kind) != c.Type() {
		r.fail("column %s is %s, want %s", c.Name(), kind, c.Type())
	}
}

func (r *nativeReader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // as most are
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("no number")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// size is a number of rows, values or bytes.
func (r *nativeReader) size() int {
	n := r.uvarint()
	if n > maxRows {
		r.fail("%d of something", n)
		return 0
	}
	return int(n)
}

func (r *nativeReader) bytes(n int) []byte {
	if r.err != nil || n > len(r.rest) {
		r.fail("it ends early")
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *nativeReader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *nativeReader) text() []byte { return r.bytes(r.size()) }

// longest is more than a block ever has of texts: places in it are numbers of 32 bits.
const longest = math.MaxUint32

// texts reads so many texts of any length.
func (r *nativeReader) texts(n int) view {
	begin, at := r.rest, 0
	texts := make([]extent, 0, min(n, len(begin)))
	for ; n > 0 && r.err == nil; n-- {
		from, to, ok := nextText(begin, at)
		if !ok {
			r.fail("it ends early, or after more than %d bytes", longest)
			break
		}
		texts, at = append(texts, extent{uint32(from), uint32(to)}), to
	}
	r.rest = begin[at:]
	return view{raw: begin[:at], texts: texts}
}

// nextText finds the text whose length stands at a place.
func nextText(b []byte, at int) (from, to int, ok bool) {
	size, n := uint64(0), 1
	if at < len(b) && b[at] < 0x80 { // as most are
		size = uint64(b[at])
	} else if size, n = binary.Uvarint(b[at:]); n <= 0 {
		return 0, 0, false
	}
	from = at + n
	if size > uint64(len(b)-from) || uint64(from)+size > longest {
		return 0, 0, false
	}
	return from, from + int(size), true
}

// fixed reads so many values of one size.
func (r *nativeReader) fixed(n, size int) view { return view{raw: r.bytes(n * size), width: size} }

// low reads a dictionary of texts, or of texts of the given size, and so many keys.
func (r *nativeReader) low(n, size int) (v view) {
	flags, values := r.uint64(), r.uint64()
	if v.width = 1 << (flags & 3); flags&^lowFlags != 0 || v.width > 4 {
		r.fail("a dictionary with the flags %x", flags)
	}
	for ; values > 0 && r.err == nil; values-- {
		if size > 0 {
			v.values = append(v.values, r.bytes(size))
		} else {
			v.values = append(v.values, r.text())
		}
	}
	if keys := r.uint64(); keys != uint64(n) {
		r.fail("%d keys for %d rows", keys, n)
	}
	v.raw = r.bytes(n * v.width)
	return v
}

// version reads what stands before a LowCardinality column.
func (r *nativeReader) version() {
	if v := r.uint64(); v != lowVersion {
		r.fail("dictionaries of version %d", v)
	}
}

// lowFlags are the bits that a dictionary's head may have: the width of keys, additional keys, and that the dictionary is new.
const lowFlags = 3 | 1<<9 | 1<<10

// key is one key of a dictionary.
func (v *view) key(i int) uint32 {
	switch v.width {
	case 1:
		return uint32(v.raw[i])
	case 2:
		return uint32(binary.LittleEndian.Uint16(v.raw[2*i:]))
	}
	return binary.LittleEndian.Uint32(v.raw[4*i:])
}

// looked is the value of a dictionary's row; nil if its key has none.
func (v *view) looked(i int) []byte {
	if k := v.key(i); int(k) < len(v.values) {
		return v.values[k]
	}
	return nil
}

// uint64 is one value of a column of that type.
func (v *view) uint64(i int) uint64 { return binary.LittleEndian.Uint64(v.raw[8*i:]) }

// uint32 is one value of a column of that type.
func (v *view) uint32(i int) uint32 { return binary.LittleEndian.Uint32(v.raw[4*i:]) }

// fixed is one value of a column whose values have one size.
func (v *view) fixed(i int) []byte { return v.raw[i*v.width : (i+1)*v.width : (i+1)*v.width] }

// text is one value of a column of texts.
func (v *view) text(i int) []byte {
	at := v.texts[i]
	return v.raw[at.from:at.to:at.to]
}
