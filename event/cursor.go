package event

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// cursor takes the fields of one message in ascending order, each in its one encoding. Asked for a field that does not stand next,
// it leaves the default value; so what is unknown, out of order, given twice or longer than needed stays behind, and done is false.
// What it takes refers to the message's bytes. It counts places rather than cutting slices, and writes only fields that stand
// there: a pointer that is written costs the garbage collector.
type cursor struct {
	b   []byte
	at  int // place of the next byte
	end int // of the message that is being read, at most len(b)
	bad bool
}

// newCursor begins at the start of a message.
func newCursor(b []byte) cursor { return cursor{b: b, end: len(b)} }

// Wire types (https://protobuf.dev/programming-guides/encoding).
const (
	varintType = 0
	bytesType  = 2
)

// done says that every byte was taken, and in its one encoding.
func (c *cursor) done() bool { return !c.bad && c.at == c.end }

// next takes the tag of a field if it stands next.
func (c *cursor) next(field, wire uint32) bool {
	tag := field<<3 | wire
	if tag >= 0x80 {
		return c.nextLong(tag)
	}
	if c.at >= c.end || c.b[c.at] != byte(tag) {
		return false
	}
	c.at++
	return true
}

// nextLong is next for a tag of two bytes.
func (c *cursor) nextLong(tag uint32) bool {
	if c.end-c.at < 2 || c.b[c.at] != byte(tag|0x80) || c.b[c.at+1] != byte(tag>>7) {
		return false
	}
	c.at += 2
	return true
}

// varint takes a number in as few bytes as possible.
func (c *cursor) varint() uint64 {
	if c.at < c.end && c.b[c.at] < 0x80 {
		c.at++
		return uint64(c.b[c.at-1])
	}
	return c.longVarint()
}

// longVarint is varint for more than one byte.
func (c *cursor) longVarint() uint64 {
	v, n := binary.Uvarint(c.b[c.at:c.end])
	if n <= 0 || c.b[c.at+n-1] == 0 {
		c.bad = true
		return 0
	}
	c.at += n
	return v
}

// number takes a number other than the default, 0 if the field does not stand next.
func (c *cursor) number(field uint32) uint64 {
	if !c.next(field, varintType) {
		return 0
	}
	v := c.varint()
	c.bad = c.bad || v == 0
	return v
}

func (c *cursor) uint64(field uint32) uint64 { return c.number(field) }

func (c *cursor) int64(field uint32) int64 { return int64(c.number(field)) }

func (c *cursor) uint32(field uint32) uint32 {
	v := c.number(field)
	c.bad = c.bad || v > math.MaxUint32
	return uint32(v)
}

// enum is a value of an enumeration, other than the default. Negative ones exist on the wire and in no enumeration.
func (c *cursor) enum(field uint32) int32 {
	v := c.number(field)
	c.bad = c.bad || v > math.MaxInt32
	return int32(v)
}

// size takes the length of what follows, which is all there. After a bad one there is nothing left to take.
func (c *cursor) size() int {
	n := c.varint()
	if c.bad || n > uint64(c.end-c.at) {
		c.bad, c.at = true, c.end
		return 0
	}
	return int(n)
}

// block takes a length and so many bytes.
func (c *cursor) block() []byte {
	n := c.size()
	c.at += n
	return c.b[c.at-n : c.at : c.at]
}

// bytes takes bytes, not empty.
func (c *cursor) bytes(into *[]byte, field uint32) {
	if c.next(field, bytesType) {
		b := c.block()
		c.bad = c.bad || len(b) == 0
		*into = b
	}
}

// string takes UTF-8, not empty.
func (c *cursor) string(into *string, field uint32) {
	if c.next(field, bytesType) {
		b := c.block()
		c.bad = c.bad || len(b) == 0 || !isText(view(b))
		*into = view(b)
	}
}

// view is bytes as a string, without a copy: nobody may change them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // see above

// enter begins a message that may be empty, if it stands next. It returns the end of the one around it, for leave.
func (c *cursor) enter(field uint32) (outer int, found bool) {
	if !c.next(field, bytesType) {
		return 0, false
	}
	n := c.size()
	outer, c.end = c.end, c.at+n
	return outer, true
}

// leave ends a message that was entered.
func (c *cursor) leave(outer int) {
	c.bad = c.bad || c.at != c.end
	c.at, c.end = c.end, outer
}

// count is how many values of a field stand next, at most most: with more the message is bad. It walks over them and goes back: a copy of
// the cursor, which was just written to in part, would wait for that.
func (c *cursor) count(field uint32, most int) (n int) {
	from := c.at
	for ; c.next(field, bytesType); n++ {
		c.at += c.size()
		if c.bad || n == most {
			c.bad = true
			return 0
		}
	}
	c.at = from
	return n
}

// blocks takes all values of a field of bytes; they may be empty.
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

// strings takes all values of a field of text; they may be empty.
func (c *cursor) strings(into *[]string, field uint32, most int) {
	n := c.count(field, most)
	if n == 0 {
		return
	}
	all := make([]string, n)
	for i := range all {
		c.next(field, bytesType)
		b := c.block()
		c.bad = c.bad || !isText(view(b))
		all[i] = view(b)
	}
	*into = all
}
