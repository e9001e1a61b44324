package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

// A column holds the values of one column of one table for the rows of a
// block. The writer, the check and the list of names in the INSERT all work
// from the same columns, so that a value cannot be written under one rule and
// checked under another. Memory is kept between blocks.
type column interface {
	Name() string
	Type() string // ClickHouse's spelling of the type, as in system.columns
	read() string // the expression to select, of a type that dest takes
	grow(n int)   // appends n default values
	reset()
	load(l *loader, dst chcolumn.Interface) error // hands every value to the driver
	write(w *nativeWriter)                        // writes every value in the Native format
	view(r *nativeReader, n int) view             // reads so many values, at least one
	same(v *view, at int, r run) bool             // are the values from a place on those of the rows?
	dest() any                                    // where the driver scans one stored value
	take()                                        // appends the value scanned into dest
	encode(dst []byte, row int) []byte            // one encoding for each value
	show(row int) string                          // for a person; binary as hexadecimal
}

// field is a column's name and type.
type field struct {
	name string
	kind string
}

func (f *field) Name() string { return f.name }
func (f *field) Type() string { return f.kind }
func (f *field) read() string { return f.name }

// text is a String or FixedString column.
type text struct {
	field
	blank   string // the default: size zero bytes for a FixedString
	rows    []string
	scanned string
}

func (c *text) str(name string) column { c.field = field{name, "String"}; return c }

func (c *text) fixed(name string, size int) column {
	c.field = field{name, fmt.Sprintf("FixedString(%d)", size)}
	c.blank = strings.Repeat("\x00", size)
	return c
}

func (c *text) grow(n int) {
	for range n {
		c.rows = append(c.rows, c.blank)
	}
}

func (c *text) reset()                            { clear(c.rows); c.rows = c.rows[:0] }
func (c *text) dest() any                         { return &c.scanned }
func (c *text) take()                             { c.rows = append(c.rows, c.scanned) }
func (c *text) encode(dst []byte, row int) []byte { return appendText(dst, c.rows[row]) }
func (c *text) show(row int) string               { return showText(c.rows[row]) }

func (c *text) load(l *loader, dst chcolumn.Interface) error {
	if c.blank == "" {
		_, err := dst.Append(c.rows)
		return err
	}
	l.buf = nativeFixed(l.buf[:0], c.rows)
	return l.decode(dst, len(c.rows))
}

// set stores s, which must not change while the block lives. An empty s is the
// default.
func (c *text) set(row int, s string) {
	if s != "" {
		c.rows[row] = s
	}
}

// integer is what a number column can hold: unsigned and signed integers,
// enumerations (int8) and points in time (int64 nanoseconds).
type integer interface {
	~uint8 | ~uint32 | ~uint64 | ~int8 | ~int64
}

type number[T integer] struct {
	field
	rows    []T
	scanned T
}

func (c *number[T]) as(name, kind string) column { c.field = field{name, kind}; return c }

func (c *number[T]) grow(n int) {
	old := len(c.rows)
	c.rows = slices.Grow(c.rows, n)[:old+n]
	clear(c.rows[old:])
}

func (c *number[T]) reset()    { c.rows = c.rows[:0] }
func (c *number[T]) dest() any { return &c.scanned }
func (c *number[T]) take()     { c.rows = append(c.rows, c.scanned) }

func (c *number[T]) encode(dst []byte, row int) []byte {
	return binary.LittleEndian.AppendUint64(dst, uint64(c.rows[row]))
}

func (c *number[T]) show(row int) string {
	if ns, ok := any(c.rows[row]).(int64); ok && c.kind == timeType {
		return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(c.rows[row])
}

func (c *number[T]) load(l *loader, dst chcolumn.Interface) error {
	if c.kind == timeType {
		return c.loadTimes(l, dst)
	}
	_, err := dst.Append(c.rows)
	return err
}

// loadTimes writes nanoseconds as they are: the driver takes an int64 that is
// appended to a DateTime64 for milliseconds.
func (c *number[T]) loadTimes(l *loader, dst chcolumn.Interface) error {
	l.buf = l.buf[:0]
	for row := range c.rows {
		l.buf = c.encode(l.buf, row)
	}
	return l.decode(dst, len(c.rows))
}

// timeType is nanoseconds UTC since the Unix epoch.
const timeType = "DateTime64(9, 'UTC')"

// dict is a LowCardinality column: each distinct value of the block once, and
// a number for each row.
type dict struct {
	field
	size    int // of a FixedString; 0 for a String
	keys    []uint32
	values  []string // values[0] is the default
	index   map[string]uint32
	last    uint32
	round   int // how often the values were forgotten
	scanned string
}

func (c *dict) low(name string) column {
	c.field = field{name, "LowCardinality(String)"}
	return c.init(0)
}

func (c *dict) lowFixed(name string, size int) column {
	c.field = field{name, fmt.Sprintf("LowCardinality(FixedString(%d))", size)}
	return c.init(size)
}

func (c *dict) init(size int) column {
	c.size, c.index = size, map[string]uint32{}
	c.values = []string{strings.Repeat("\x00", size)}
	return c
}

func (c *dict) grow(n int) {
	old := len(c.keys)
	c.keys = slices.Grow(c.keys, n)[:old+n]
	clear(c.keys[old:])
}

func (c *dict) reset() {
	clear(c.index)
	clear(c.values[1:])
	c.keys, c.values, c.last = c.keys[:0], c.values[:1], 0
	c.round++
}

func (c *dict) dest() any { return &c.scanned }

func (c *dict) take() { c.keys = append(c.keys, c.key(c.scanned)) }

func (c *dict) set(row int, s string) {
	if s != "" {
		c.keys[row] = c.key(s)
	}
}

// key numbers a value. Neighbouring rows are mostly equal, so the last value
// is tried before the map.
func (c *dict) key(s string) uint32 {
	if c.values[c.last] == s {
		return c.last
	}
	if s == c.values[0] {
		return 0
	}
	k, ok := c.index[s]
	if !ok {
		k = uint32(len(c.values))
		c.values = append(c.values, s)
		c.index[s] = k
	}
	c.last = k
	return k
}

func (c *dict) value(row int) string              { return c.values[c.keys[row]] }
func (c *dict) encode(dst []byte, row int) []byte { return appendText(dst, c.value(row)) }
func (c *dict) show(row int) string               { return showText(c.value(row)) }

// The head of a LowCardinality column in the Native format: the width of the
// keys, with the flag that the dictionary travels with them.
const (
	lowKey8  = 1 << 9
	lowKey16 = 1<<9 | 1
	lowKey32 = 1<<9 | 2
)

// load gives the driver the finished dictionary. Its Append would look each
// row up again through reflection, which costs more than all the rest.
func (c *dict) load(l *loader, dst chcolumn.Interface) error {
	l.buf = c.native(l.buf[:0])
	return l.decode(dst, len(c.keys))
}

func (c *dict) native(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, c.width())
	b = le.AppendUint64(b, uint64(len(c.values)))
	for _, v := range c.values {
		if c.size == 0 {
			b = binary.AppendUvarint(b, uint64(len(v)))
		}
		b = append(b, v...)
	}
	b = le.AppendUint64(b, uint64(len(c.keys)))
	return c.nativeKeys(b)
}

func (c *dict) width() uint64 {
	switch n := len(c.values); {
	case n <= 1<<8:
		return lowKey8
	case n <= 1<<16:
		return lowKey16
	}
	return lowKey32
}

func (c *dict) nativeKeys(b []byte) []byte {
	width := c.width()
	for _, k := range c.keys {
		switch width {
		case lowKey8:
			b = append(b, byte(k))
		case lowKey16:
			b = binary.LittleEndian.AppendUint16(b, uint16(k))
		default:
			b = binary.LittleEndian.AppendUint32(b, k)
		}
	}
	return b
}

// item is what a list can hold: text or the code of an enumeration.
type item interface{ string | int8 }

// list is an Array column. Rows are filled in order.
type list[T item] struct {
	field
	ends    []uint64 // ends[i] is the number of items up to and including row i
	filled  int      // ends of the rows below filled are final, but for the last
	items   []T
	native  func(dst []byte, items []T) []byte    // the items in the Native format
	open    func(r *nativeReader, n int) view     // reads so many items
	equal   func(v *view, at int, items []T) bool // are the items from a place on these?
	low     bool                                  // of a LowCardinality
	scanned []T
}

// lows is an Array(LowCardinality(String)).
func lows(c *list[string], name string) column {
	c.field, c.native, c.equal, c.low = field{name, "Array(LowCardinality(String))"}, nativeLow, equalLow, true
	c.open = func(r *nativeReader, n int) view { return r.low(n, 0) }
	return c
}

// fixeds is an Array(FixedString(size)); every item has that size.
func fixeds(c *list[string], name string, size int) column {
	c.field, c.native, c.equal = field{name, fmt.Sprintf("Array(FixedString(%d))", size)}, nativeFixed, equalFixed
	c.open = func(r *nativeReader, n int) view { return r.fixed(n, size) }
	return c
}

// codes is an Array of an enumeration.
func codes(c *list[int8], name, enum string) column {
	c.field, c.native, c.equal = field{name, "Array(" + enum + ")"}, nativeCodes, equalCodes
	c.open = func(r *nativeReader, n int) view { return r.fixed(n, 1) }
	return c
}

func nativeLow(dst []byte, items []string) []byte {
	if len(items) == 0 {
		return dst
	}
	var d dict
	d.init(0)
	for _, s := range items {
		d.keys = append(d.keys, d.key(s))
	}
	return d.native(dst)
}

func nativeFixed(dst []byte, items []string) []byte {
	for _, s := range items {
		dst = append(dst, s...)
	}
	return dst
}

func nativeCodes(dst []byte, items []int8) []byte {
	for _, code := range items {
		dst = append(dst, byte(code))
	}
	return dst
}

func (c *list[T]) grow(n int) {
	old := len(c.ends)
	c.ends = slices.Grow(c.ends, n)[:old+n]
}

func (c *list[T]) reset() {
	clear(c.items)
	c.ends, c.items, c.filled = c.ends[:0], c.items[:0], 0
}

func (c *list[T]) dest() any { return &c.scanned }

// read asks for numbers: the driver scans an array of an enumeration as names.
func (c *list[T]) read() string {
	if _, ok := any(c.items).([]int8); ok {
		return "CAST(" + c.name + ", 'Array(Int8)')"
	}
	return c.name
}

func (c *list[T]) take() {
	c.grow(1)
	for _, v := range c.scanned {
		c.add(len(c.ends)-1, v)
	}
}

func (c *list[T]) add(row int, v T) {
	c.fill(row)
	c.items = append(c.items, v)
	c.ends[row]++
}

// fill ends every row up to and including row.
func (c *list[T]) fill(row int) {
	for ; c.filled <= row; c.filled++ {
		c.ends[c.filled] = uint64(len(c.items))
	}
}

func (c *list[T]) values(row int) []T {
	c.fill(row)
	return c.items[c.start(row):c.ends[row]]
}

// start is the number of items before a row, or in all if there is no such row.
func (c *list[T]) start(row int) uint64 {
	if row == 0 {
		return 0
	}
	return c.ends[row-1]
}

func (c *list[T]) encode(dst []byte, row int) []byte {
	values := c.values(row)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for _, v := range values {
		switch v := any(v).(type) {
		case string:
			dst = appendText(dst, v)
		case int8:
			dst = append(dst, byte(v))
		}
	}
	return dst
}

func (c *list[T]) show(row int) string {
	parts := make([]string, 0, 8)
	for _, v := range c.values(row) {
		if s, ok := any(v).(string); ok {
			parts = append(parts, showText(s))
		} else {
			parts = append(parts, fmt.Sprint(v))
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func (c *list[T]) load(l *loader, dst chcolumn.Interface) error {
	c.fill(len(c.ends) - 1)
	l.buf = l.buf[:0]
	for _, end := range c.ends {
		l.buf = binary.LittleEndian.AppendUint64(l.buf, end)
	}
	l.buf = c.native(l.buf, c.items)
	return l.decode(dst, len(c.ends))
}

// loader decodes native bytes into the driver's columns, with one buffer for
// all columns of an INSERT.
type loader struct {
	buf    []byte
	source bytes.Reader
	reader *proto.Reader
}

func (l *loader) decode(dst chcolumn.Interface, rows int) error {
	if l.reader == nil {
		l.reader = proto.NewReader(&l.source)
	}
	l.source.Reset(l.buf)
	return dst.Decode(l.reader, rows)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// showText shows plain text as it is, anything else in hexadecimal.
func showText(s string) string {
	const most = 64 // bytes shown of one value
	cut := ""
	if len(s) > most {
		s, cut = s[:most], "…"
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return fmt.Sprintf("%x%s", s, cut)
		}
	}
	return fmt.Sprintf("%q%s", s, cut)
}
