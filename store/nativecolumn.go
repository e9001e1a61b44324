package store

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// The columns in the Native format, written and compared. A view has been read, so that all that it says is there is there; its values
// from a place on are compared with a run of rows of the column, and are at least as many.

// run is consecutive rows of a table.
type run struct{ from, to int }

func (c *text) write(w *nativeWriter) {
	if c.blank != "" {
		writeFixed(w, c.rows)
		return
	}
	for _, s := range c.rows {
		w.text(s)
	}
}

// writeFixed is for values of one size.
func writeFixed(w *nativeWriter, values []string) {
	for _, s := range values {
		w.b = append(w.b, s...)
		w.more()
	}
}

func (c *text) view(r *nativeReader, n int) view {
	if c.blank == "" {
		return r.texts(n)
	}
	return r.fixed(n, len(c.blank))
}

func (c *text) same(v *view, at int, r run) bool {
	if c.blank != "" {
		return equalFixed(v, at, c.rows[r.from:r.to])
	}
	for i, s := range c.rows[r.from:r.to] {
		if string(v.text(at+i)) != s {
			return false
		}
	}
	return true
}

func (c *number[T]) write(w *nativeWriter) {
	for rows := range slices.Chunk(c.rows, rowsAtOnce) {
		w.b = appendNumbers(w.b, rows)
		w.more()
	}
}

// rowsAtOnce is how many small values are appended before it is asked whether there is enough to write.
const rowsAtOnce = 4096

func appendNumbers[T integer](b []byte, values []T) []byte {
	var zero T
	switch unsafe.Sizeof(zero) {
	case 1:
		for _, v := range values {
			b = append(b, byte(v))
		}
	case 4:
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
	default:
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

func (c *number[T]) view(r *nativeReader, n int) view { return r.fixed(n, c.width()) }

func (c *number[T]) width() int {
	var zero T
	return int(unsafe.Sizeof(zero))
}

func (c *number[T]) same(v *view, at int, r run) bool {
	width := c.width()
	raw := v.raw[at*width:]
	for _, own := range c.rows[r.from:r.to] {
		if valueOf[T](raw) != own {
			return false
		}
		raw = raw[width:]
	}
	return true
}

// valueOf is the first value in little-endian bytes.
func valueOf[T integer](raw []byte) T {
	var zero T
	switch unsafe.Sizeof(zero) {
	case 1:
		return T(raw[0])
	case 4:
		return T(binary.LittleEndian.Uint32(raw))
	}
	return T(binary.LittleEndian.Uint64(raw))
}

func (c *dict) write(w *nativeWriter) {
	if len(c.keys) == 0 {
		return
	}
	w.uint64(lowVersion)
	w.b = c.native(w.b)
}

func (c *dict) view(r *nativeReader, n int) view {
	r.version()
	return r.low(n, c.size)
}

func (c *dict) same(v *view, at int, r run) bool {
	own := v.known.of(c, len(v.values))
	for i, key := range c.keys[r.from:r.to] {
		k := int(v.key(at + i))
		if k >= len(own) || own[k] != key && !c.equal(v, k, key) {
			return false
		}
	}
	return true
}

// equal compares a value of a dictionary with one of the column's own, and remembers that they are the same.
func (c *dict) equal(v *view, k int, key uint32) bool {
	if string(v.values[k]) != c.values[key] {
		return false
	}
	v.known.own[k] = key
	return true
}

// known is what is known of a dictionary: which value is which of a column's own. The column must not have forgotten its own since.
type known struct {
	column *dict
	round  int
	own    []uint32
}

// noKey is the key of a value of which it is not known yet.
const noKey = ^uint32(0)

// of is what is known for a column, of so many values.
func (k *known) of(c *dict, values int) []uint32 {
	if k.column == c && k.round == c.round {
		return k.own
	}
	k.column, k.round, k.own = c, c.round, slices.Grow(k.own[:0], values)[:values]
	for i := range k.own {
		k.own[i] = noKey
	}
	return k.own
}

func (c *list[T]) write(w *nativeWriter) {
	if len(c.ends) == 0 {
		return
	}
	if c.low {
		w.uint64(lowVersion)
	}
	c.fill(len(c.ends) - 1)
	for ends := range slices.Chunk(c.ends, rowsAtOnce) {
		w.b = appendNumbers(w.b, ends)
		w.more()
	}
	if c.low { // a dictionary is written as one
		w.b = c.native(w.b, c.items)
		return
	}
	for items := range slices.Chunk(c.items, rowsAtOnce) {
		w.b = c.native(w.b, items)
		w.more()
	}
}

// view reads the ends, and as many items as the last says, if they ascend.
func (c *list[T]) view(r *nativeReader, n int) view {
	if c.low {
		r.version()
	}
	v := r.fixed(n, 8)
	if r.err != nil {
		return v
	}
	last := v.uint64(n - 1)
	if v.count = int(min(last, maxRows)); v.count == 0 {
		return v
	}
	items := c.open(r, v.count)
	v.items = &items
	return v
}

func (c *list[T]) same(v *view, at int, r run) bool {
	c.fill(len(c.ends) - 1)
	first, last := c.start(r.from), c.start(r.to)
	before := uint64(0) // items of the view before the run
	if at > 0 {
		before = v.uint64(at - 1)
	}
	if count := uint64(v.count); before > count || last-first > count-before {
		return false
	}
	for i, end := range c.ends[r.from:r.to] {
		if v.uint64(at+i)-before != end-first {
			return false
		}
	}
	return first == last || c.equal(v.items, int(before), c.items[first:last])
}

// equalFixed is for values of one size.
func equalFixed(v *view, at int, own []string) bool {
	raw := v.raw[at*v.width:]
	for _, s := range own {
		if string(raw[:v.width]) != s {
			return false
		}
		raw = raw[v.width:]
	}
	return true
}

func equalCodes(v *view, at int, own []int8) bool {
	for i, code := range own {
		if int8(v.raw[at+i]) != code {
			return false
		}
	}
	return true
}

func equalLow(v *view, at int, own []string) bool {
	for i, s := range own {
		if int(v.key(at+i)) >= len(v.values) || string(v.looked(at+i)) != s {
			return false
		}
	}
	return true
}

// sameRows reports whether blocks, which come in the order of the table's key, hold exactly the table's rows.
func (t *table) sameRows(blocks []nativeBlock) bool {
	if rowsOf(blocks) != t.rows {
		return false
	}
	at := 0
	for _, r := range t.inOrder() {
		if !t.sameRun(blocks, at, r) {
			return false
		}
		at += r.to - r.from
	}
	return true
}

func rowsOf(blocks []nativeBlock) (n int) {
	for i := range blocks {
		n += blocks[i].rows
	}
	return n
}

// sameRun reports whether the rows of blocks from a place on are those of a run; there are as many.
func (t *table) sameRun(blocks []nativeBlock, at int, r run) bool {
	for ; r.from < r.to; blocks = blocks[1:] {
		n := min(blocks[0].rows-at, r.to-r.from)
		if n <= 0 {
			at -= blocks[0].rows
			continue
		}
		if !t.sameBlock(&blocks[0], at, run{r.from, r.from + n}) {
			return false
		}
		r.from, at = r.from+n, 0
	}
	return true
}

func (t *table) sameBlock(b *nativeBlock, at int, r run) bool {
	for i, c := range t.columns {
		if !c.same(&b.columns[i], at, r) {
			return false
		}
	}
	return true
}

// inOrder is the table's rows in the order of its key. Rows of a message come in order, so that it is mostly whole runs that are put
// in order.
func (t *table) inOrder() []run {
	compare := t.compareRows()
	runs := ascending(t.rows, compare)
	slices.SortFunc(runs, func(a, b run) int { return compare(a.from, b.from) })
	for i := 1; i < len(runs); i++ {
		if compare(runs[i-1].to-1, runs[i].from) > 0 {
			return t.rowByRow(compare)
		}
	}
	return runs
}

// ascending cuts rows where one is before the row in front of it.
func ascending(rows int, compare func(a, b int) int) (runs []run) {
	from := 0
	for row := 1; row < rows; row++ {
		if compare(row-1, row) > 0 {
			runs, from = append(runs, run{from, row}), row
		}
	}
	if rows > 0 {
		runs = append(runs, run{from, rows})
	}
	return runs
}

// rowByRow is for runs that overlap.
func (t *table) rowByRow(compare func(a, b int) int) []run {
	rows := count(0, t.rows)
	slices.SortFunc(rows, compare)
	runs := make([]run, len(rows))
	for i, row := range rows {
		runs[i] = run{row, row + 1}
	}
	return runs
}

// compareRows orders two rows as the engine does, and equal ones as they stand.
func (t *table) compareRows() func(a, b int) int {
	key := make([]column, len(t.key))
	for i, name := range t.key {
		key[i] = t.column(name)
	}
	return func(a, b int) int {
		for _, c := range key {
			if d := compareValues(c, a, b); d != 0 {
				return d
			}
		}
		return a - b
	}
}

// compareValues orders two values of a column as the engine does.
func compareValues(c column, a, b int) int {
	switch c := c.(type) {
	case *number[uint64]:
		return cmp.Compare(c.rows[a], c.rows[b])
	case *dict:
		if c.keys[a] == c.keys[b] {
			return 0
		}
		return strings.Compare(c.value(a), c.value(b))
	case *text:
		return strings.Compare(c.rows[a], c.rows[b])
	}
	return 0
}
