package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// The columns in the Native format, written and compared. What is compared comes in the order of the rows given.

func (c *text) write(w nativeWriter) {
	for _, s := range c.rows {
		if c.blank == "" {
			w.text(s)
		} else {
			_, _ = w.WriteString(s)
		}
	}
}

func (c *text) same(r *nativeReader, rows []int) bool {
	for _, row := range rows {
		var stored []byte
		if c.blank == "" {
			stored = r.text()
		} else {
			stored = r.bytes(len(c.blank))
		}
		if string(stored) != c.rows[row] {
			return false
		}
	}
	return true
}

func (c *number[T]) write(w nativeWriter) {
	for _, v := range c.rows {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(v))
		_, _ = w.Write(b[:unsafe.Sizeof(v)])
	}
}

func (c *number[T]) same(r *nativeReader, rows []int) bool {
	var zero T
	width := int(unsafe.Sizeof(zero))
	stored := r.bytes(width * len(rows))
	for i, row := range rows {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(c.rows[row]))
		if !bytes.Equal(stored[i*width:(i+1)*width], b[:width]) {
			return false
		}
	}
	return true
}

func (c *dict) write(w nativeWriter) {
	if len(c.keys) == 0 {
		return
	}
	w.uint64(lowVersion)
	_, _ = w.Write(c.native(nil))
}

func (c *dict) same(r *nativeReader, rows []int) bool {
	if r.uint64() != lowVersion {
		return false
	}
	values, keys, width := r.low(c.size, len(rows))
	if r.err != nil {
		return false
	}
	ours := c.translate(values)
	for i, row := range rows {
		if k := lowKey(keys, width, i); int(k) >= len(ours) || ours[k] != c.keys[row] {
			return false
		}
	}
	return true
}

// noKey is the key of a value that the column does not have.
const noKey = ^uint32(0)

// translate gives the column's own key of each value.
func (c *dict) translate(values []string) []uint32 {
	keys := make([]uint32, len(values))
	for i, v := range values {
		if v == c.values[0] {
			continue
		}
		key, known := c.index[v]
		if keys[i] = key; !known {
			keys[i] = noKey
		}
	}
	return keys
}

func (c *list[T]) write(w nativeWriter) {
	if len(c.ends) == 0 {
		return
	}
	if c.low {
		w.uint64(lowVersion)
	}
	c.fill(len(c.ends) - 1)
	for _, end := range c.ends {
		w.uint64(end)
	}
	_, _ = w.Write(c.native(nil, c.items))
}

func (c *list[T]) same(r *nativeReader, rows []int) bool {
	if c.low && r.uint64() != lowVersion {
		return false
	}
	ends := r.bytes(8 * len(rows))
	var items []T
	for i, row := range rows {
		items = append(items, c.values(row)...)
		if binary.LittleEndian.Uint64(ends[8*i:]) != uint64(len(items)) {
			return false
		}
	}
	return len(items) == 0 || c.equal(r, items)
}

func equalFixed(r *nativeReader, items []string) bool {
	for _, s := range items {
		if string(r.bytes(len(s))) != s {
			return false
		}
	}
	return true
}

func equalCodes(r *nativeReader, items []int8) bool {
	stored := r.bytes(len(items))
	return slices.EqualFunc(stored, items, func(b byte, code int8) bool { return int8(b) == code })
}

func equalLow(r *nativeReader, items []string) bool {
	values, keys, width := r.low(0, len(items))
	if r.err != nil {
		return false
	}
	for i, s := range items {
		if k := lowKey(keys, width, i); int(k) >= len(values) || values[k] != s {
			return false
		}
	}
	return true
}

// sorted is the table's rows in the order of its key.
func (t *table) sorted() []int {
	rows, key := count(0, t.rows), make([]column, len(t.key))
	for i, name := range t.key {
		key[i] = t.column(name)
	}
	compare := func(a, b int) int {
		for _, c := range key {
			if d := compareValues(c, a, b); d != 0 {
				return d
			}
		}
		return a - b
	}
	if !slices.IsSortedFunc(rows, compare) {
		slices.SortFunc(rows, compare)
	}
	return rows
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
