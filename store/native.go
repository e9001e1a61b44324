package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/agentcustody/custody/event"
)

// The Native format of the engine (https://clickhouse.com/docs/interfaces/formats/Native): a block is the number of its columns
// and rows, then for each column its name, its type and its values one after the other. Integers are little endian; text has its
// length before it; an array column is the end of each row's items, then all items; a LowCardinality column is a dictionary and a
// number for each row.
//
// The embedded engine is written to and compared with in this format directly. The driver would keep a second copy of every
// column, grow it as it goes, and read back row by row through reflection. A server is spoken to through the driver.

// nativeBuffer is how much is written or read at once.
const nativeBuffer = 256 << 10

// lowVersion begins every LowCardinality column: dictionaries travel with their keys.
const lowVersion = 1

// nativeWriter writes what columns are made of. The first error stays.
type nativeWriter struct{ *bufio.Writer }

func newNativeWriter(w io.Writer) nativeWriter {
	return nativeWriter{bufio.NewWriterSize(w, nativeBuffer)}
}

func (w nativeWriter) uvarint(v uint64) {
	_, _ = w.Write(binary.AppendUvarint(w.AvailableBuffer(), v)) // the error is that of Flush
}

func (w nativeWriter) uint64(v uint64) {
	_, _ = w.Write(binary.LittleEndian.AppendUint64(w.AvailableBuffer(), v))
}

func (w nativeWriter) text(s string) {
	w.uvarint(uint64(len(s)))
	_, _ = w.WriteString(s)
}

// writeNative writes all rows as one block.
func (t *table) writeNative(to io.Writer) error {
	w := newNativeWriter(to)
	w.uvarint(uint64(len(t.columns)))
	w.uvarint(uint64(t.rows))
	for _, c := range t.columns {
		w.text(c.Name())
		w.text(c.Type())
		c.write(w)
	}
	return w.Flush()
}

// nativeReader reads what columns are made of. After the first error it gives zeros.
type nativeReader struct {
	*bufio.Reader
	err  error
	room []byte
}

func newNativeReader(r io.Reader) *nativeReader {
	return &nativeReader{Reader: bufio.NewReaderSize(r, nativeBuffer)}
}

// errNative says that the engine's answer is not what was asked for.
var errNative = errors.New("malformed native block")

func (r *nativeReader) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = errNative
	}
	if r.err == nil {
		r.err = err
	}
}

func (r *nativeReader) uvarint() uint64 {
	v, err := binary.ReadUvarint(r.Reader)
	if err != nil {
		r.fail(err)
		return 0
	}
	return v
}

// bytes are the next n bytes, valid until the next call.
func (r *nativeReader) bytes(n int) []byte {
	if r.err != nil {
		return make([]byte, n)
	}
	if n <= nativeBuffer {
		b, err := r.Peek(n)
		if err == nil {
			_, _ = r.Discard(n) // they are in the buffer
			return b
		}
		r.fail(err)
		return make([]byte, n)
	}
	if cap(r.room) < n {
		r.room = make([]byte, n)
	}
	if _, err := io.ReadFull(r.Reader, r.room[:n]); err != nil {
		r.fail(err)
	}
	return r.room[:n]
}

func (r *nativeReader) uint64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

// maxText bounds what is believed of a length: more than a whole stream message.
const maxText = 2 * event.MaxStreamBatch

// text is valid until the next call.
func (r *nativeReader) text() []byte {
	n := r.uvarint()
	if n > maxText {
		r.fail(errNative)
		return nil
	}
	return r.bytes(int(n))
}

// head reads the beginning of a block; more is false at the end of the stream.
func (r *nativeReader) head(columns int) (rows int, more bool) {
	if _, err := r.Peek(1); errors.Is(err, io.EOF) || r.err != nil {
		return 0, false
	}
	if n := r.uvarint(); n != uint64(columns) {
		r.fail(fmt.Errorf("%w: %d columns, want %d", errNative, n, columns))
	}
	rows = int(min(r.uvarint(), maxText))
	return rows, r.err == nil
}

// column reads the name and the type of a column.
func (r *nativeReader) column(c column) {
	if name := string(r.text()); name != c.Name() {
		r.fail(fmt.Errorf("%w: column %q, want %q", errNative, name, c.Name()))
	}
	if kind := string(r.text()); kind != c.Type() {
		r.fail(fmt.Errorf("%w: column %s is %s, want %s", errNative, c.Name(), kind, c.Type()))
	}
}

// low reads a dictionary of texts, or of texts of the given size, and as many keys as asked for. The texts are copies.
func (r *nativeReader) low(size, rows int) (dictionary []string, keys []byte, width int) {
	flags, values := r.uint64(), r.uint64()
	if width = 1 << (flags & 3); flags&^lowFlags != 0 || width > 4 {
		r.fail(errNative)
	}
	for ; values > 0 && r.err == nil; values-- {
		if size > 0 {
			dictionary = append(dictionary, string(r.bytes(size)))
		} else {
			dictionary = append(dictionary, string(r.text()))
		}
	}
	if r.uint64() != uint64(rows) {
		r.fail(errNative)
	}
	if r.err != nil {
		return nil, nil, 0
	}
	return dictionary, r.bytes(rows * width), width
}

// lowFlags are the bits that a dictionary's head may have: the width of keys, additional keys, and that the dictionary is new.
const lowFlags = 3 | 1<<9 | 1<<10

// lowKey is one key.
func lowKey(keys []byte, width, i int) uint32 {
	switch width {
	case 1:
		return uint32(keys[i])
	case 2:
		return uint32(binary.LittleEndian.Uint16(keys[2*i:]))
	}
	return binary.LittleEndian.Uint32(keys[4*i:])
}
