package store

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// The columns in the Native format, written and compared. A view has been read, so that all that it says is there is there; it is
// compared with runs of rows of the column, which have as many rows together as the view.

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

func (c *text) same(v *view, runs []run) bool {
	if c.blank != "" {
		return equalFixed(v, runs, c.rows)
	}
	raw := v.raw
	for _, run := range runs {
		for _, s := range c.rows[run.from:run.to] {
			if string(cut(&raw)) != s {
				return false
			}
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

func (c *number[T]) same(v *view, runs []run) bool {
	raw, width := v.raw, c.width()
	for _, run := range runs {
		for _, own := range c.rows[run.from:run.to] {
			if valueOf[T](raw) != own {
				return false
			}
			raw = raw[width:]
		}
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

func (c *dict) same(v *view, runs []run) bool {
	ours, i := c.translate(v.values), 0
	for _, run := range runs {
		for _, own := range c.keys[run.from:run.to] {
			if k := v.key(i); int(k) >= len(ours) || ours[k] != own {
				return false
			}
			i++
		}
	}
	return true
}

// noKey is the key of a value that the column does not have.
const noKey = ^uint32(0)

// translate gives the column's own key of each value.
func (c *dict) translate(values [][]byte) []uint32 {
	keys := make([]uint32, len(values))
	for i, v := range values {
		if string(v) == c.values[0] {
			continue
		}
		key, known := c.index[string(v)]
		if keys[i] = key; !known {
			keys[i] = noKey
		}
	}
	return keys
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

func (c *list[T]) same(v *view, runs []run) bool {
	c.fill(len(c.ends) - 1)
	i, before := 0, uint64(0) // items of the view before the run
	var items []run
	for _, run := range runs {
		first := c.start(run.from)
		for _, end := range c.ends[run.from:run.to] {
			if v.uint64(i) != end-first+before {
				return false
			}
			i++
		}
		last := c.start(run.to)
		before += last - first
		items = append(items, newRun(first, last))
	}
	return uint64(v.count) == before && (before == 0 || c.equal(v.items, items, c.items))
}

func newRun(from, to uint64) run { return run{int(from), int(to)} }

// equalFixed is for values of one size.
func equalFixed(v *view, runs []run, own []string) bool {
	raw := v.raw
	for _, run := range runs {
		for _, s := range own[run.from:run.to] {
			if string(raw[:v.width]) != s {
				return false
			}
			raw = raw[v.width:]
		}
	}
	return true
}

func equalCodes(v *view, runs []run, own []int8) bool {
	raw := v.raw
	for _, run := range runs {
		for _, code := range own[run.from:run.to] {
			if int8(raw[0]) != code {
				return false
			}
			raw = raw[1:]
		}
	}
	return true
}

func equalLow(v *view, runs []run, own []string) bool {
	i := 0
	for _, run := range runs {
		for _, s := range own[run.from:run.to] {
			if int(v.key(i)) >= len(v.values) || string(v.looked(i)) != s {
				return false
			}
			i++
		}
	}
	return true
}

// sameRows reports whether blocks, which come in the order of the table's key, hold exactly the table's rows.
func (t *table) sameRows(blocks []nativeBlock) bool {
	total := 0
	for i := range blocks {
		total += blocks[i].rows
	}
	if total != t.rows {
		return false
	}
	rest := t.inOrder()
	for i := range blocks {
		var runs []run
		if runs, rest = split(rest, blocks[i].rows); !t.sameBlock(&blocks[i], runs) {
			return false
		}
	}
	return true
}

func (t *table) sameBlock(b *nativeBlock, runs []run) bool {
	for i, c := range t.columns {
		if !c.same(&b.columns[i], runs) {
			return false
		}
	}
	return true
}

// split takes the first n rows.
func split(runs []run, n int) (taken, rest []run) {
	for i, r := range runs {
		size := r.to - r.from
		switch {
		case size < n:
			n -= size
		case size == n:
			return runs[:i+1], runs[i+1:]
		default:
			taken = append(slices.Clone(runs[:i]), run{r.from, r.from + n})
			rest = append([]run{{r.from + n, r.to}}, runs[i+1:]...)
			return taken, rest
		}
	}
	return runs, nil
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
