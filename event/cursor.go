package event

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
	"unsafe"
)

// cursor takes the fields of one message in ascending order, each in its one encoding. Asked for a field that does not stand next,
// it gives the default value; so what is unknown, out of order, given twice or longer than needed stays behind, and done is false.
// What it takes refers to the message's bytes.
type cursor struct {
	b   []byte // the rest
	bad bool
}

// Wire types (https://protobuf.dev/programming-guides/encoding).
const (
	varintType = 0
	bytesType  = 2
)

// done says that every byte was taken, and in its one encoding.
func (c *cursor) done() bool { return !c.bad && len(c.b) == 0 }

// next takes the tag of a field if it stands next.
func (c *cursor) next(field, wire uint32) bool {
	if tag := field<<3 | wire; tag < 0x80 {
		if len(c.b) == 0 || c.b[0] != byte(tag) {
			return false
		}
		c.b = c.b[1:]
		return true
	}
	return c.nextLong(field<<3 | wire)
}

// nextLong is next for a tag of two bytes.
func (c *cursor) nextLong(tag uint32) bool {
	if len(c.b) < 2 || c.b[0] != byte(tag|0x80) || c.b[1] != byte(tag>>7) {
		return false
	}
	c.b = c.b[2:]
	return true
}

// varint takes a number in as few bytes as possible.
func (c *cursor) varint() uint64 {
	if len(c.b) > 0 && c.b[0] < 0x80 {
		v := c.b[0]
		c.b = c.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(c.b)
	if n <= 0 || c.b[n-1] == 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// uint64 is a number other than the default.
func (c *cursor) uint64(field uint32) uint64 {
	if !c.next(field, varintType) {
		return 0
	}
	v := c.varint()
	c.bad = c.bad || v == 0
	return v
}

func (c *cursor) int64(field uint32) int64 { return int64(c.uint64(field)) }

func (c *cursor) uint32(field uint32) uint32 {
	v := c.uint64(field)
	c.bad = c.bad || v > math.MaxUint32
	return uint32(v)
}

// enum is a value of an enumeration, other than the default. Negative ones exist on the wire and in no enumeration.
func (c *cursor) enum(field uint32) int32 {
	v := c.uint64(field)
	c.bad = c.bad || v > math.MaxInt32
	return int32(v)
}

// block takes a length and so many bytes.
func (c *cursor) block() []byte {
	n := c.varint()
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

// bytes are bytes, not empty.
func (c *cursor) bytes(field uint32) []byte {
	if !c.next(field, bytesType) {
		return nil
	}
	b := c.block()
	c.bad = c.bad || len(b) == 0
	return b
}

// string is UTF-8, not empty.
func (c *cursor) string(field uint32) string {
	b := c.bytes(field)
	c.bad = c.bad || !utf8.Valid(b)
	return view(b)
}

// view is bytes as a string, without a copy: nobody may change them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // see above

// message takes a message that may be empty.
func (c *cursor) message(field uint32) (inner cursor, found bool) {
	if !c.next(field, bytesType) {
		return cursor{}, false
	}
	return cursor{b: c.block()}, true
}

// close ends a message that was taken.
func (c *cursor) close(inner *cursor) { c.bad = c.bad || !inner.done() }

// count is how many values of a field stand next, at most most: with more the message is bad.
func (c *cursor) count(field uint32, most int) (n int) {
	for ahead := *c; ahead.next(field, bytesType); n++ {
		ahead.block()
		if ahead.bad || n == most {
			c.bad = true
			return 0
		}
	}
	return n
}

// blocks are all values of a field of bytes; they may be empty.
func (c *cursor) blocks(field uint32, most int) [][]byte {
	n := c.count(field, most)
	if n == 0 {
		return nil
	}
	all := make([][]byte, n)
	for i := range all {
		c.next(field, bytesType)
		all[i] = c.block()
	}
	return all
}

// strings are all values of a field of text; they may be empty.
func (c *cursor) strings(field uint32, most int) []string {
	blocks := c.blocks(field, most)
	if blocks == nil {
		return nil
	}
	all := make([]string, len(blocks))
	for i, b := range blocks {
		c.bad = c.bad || !utf8.Valid(b)
		all[i] = view(b)
	}
	return all
}

// messages are all values of a field of messages, in one allocation or from the list's.
func messages[T any](c *cursor, field uint32, most int, read func(*cursor, *T), from *list[T]) []*T {
	n := c.count(field, most)
	if n == 0 {
		return nil
	}
	values, all := from.take(n)
	for i := range all {
		all[i] = &values[i]
		inner, _ := c.message(field)
		read(&inner, all[i])
		c.close(&inner)
	}
	return all
}
