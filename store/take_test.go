package store

import (
	"bytes"
	"slices"
	"testing"
)

// takes reports whether a reading of what is stored has exactly the rows of the block, taken a few at a time.
func takes(t testing.TB, stored []*table, rows int, blocks ...*Block) bool {
	t.Helper()
	r := NewReading()
	for i, of := range stored {
		r.answers[i].bytes = inOrder(t, of, rows)
		if err := r.parse(i); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range blocks {
		if !r.Take(b) {
			return false
		}
		if b.events.rows+b.leaves.rows > 0 {
			t.Error("rows that were taken are still there")
		}
	}
	none := NewBlock(1).tables()
	return !slices.ContainsFunc(none, func(t *table) bool { return t.ofMessages() && !r.has(t) })
}

// messagesOf is a block with messages of two tenants in turns, from one index on.
func messagesOf(b *Block, from, to uint64) *Block {
	for idx := from; idx < to; idx++ {
		for _, tenant := range []string{"acme", "globex"} {
			row := b.events.grow(2)
			for i := range 2 {
				b.events.place.set(row+i, tenant, 2*idx+uint64(i), idx)
				b.events.tool.set(row+i, "tool-"+tenant)
				b.events.subjects.add(row+i, tenant)
				b.events.bytes.set(row+i, string(bytes.Repeat([]byte("e"), int(idx*7+uint64(i)))))
			}
			b.leaves.place.set(b.leaves.grow(1), tenant, idx, idx)
		}
	}
	return b
}

func TestTake(t *testing.T) {
	all := messagesOf(NewBlock(1), 0, 30)
	for _, rows := range []int{1, 7, 1000} {
		if !takes(t, all.tables(), rows, messagesOf(NewBlock(1), 0, 10), messagesOf(NewBlock(1), 10, 11), messagesOf(NewBlock(1), 11, 30)) {
			t.Errorf("in blocks of %d: not the same", rows)
		}
	}
	same := NewBlock(1) // as a check does: one block that is emptied
	r := readingOf(t, all.tables())
	for i, of := range all.tables() {
		r.answers[i].bytes = inOrder(t, of, 7)
		if err := r.parse(i); err != nil {
			t.Fatal(err)
		}
	}
	for idx := range uint64(30) {
		if !r.Take(messagesOf(same, idx, idx+1)) {
			t.Errorf("message %d is not the same", idx)
		}
	}
}

// TestTakeNotices changes what is derived, or leaves it out.
func TestTakeNotices(t *testing.T) {
	tests := map[string]func(b *Block){
		"another tool":      func(b *Block) { b.events.tool.set(5, "other") },
		"another subject":   func(b *Block) { b.events.subjects.items[7] = "other" },
		"one subject more":  func(b *Block) { b.events.subjects.add(b.events.rows-1, "other") },
		"other bytes":       func(b *Block) { b.events.bytes.rows[9] = "other" },
		"another tenant":    func(b *Block) { b.leaves.place.tenant.set(3, "other") },
		"another's leaf":    func(b *Block) { b.leaves.place.tenant.set(2, "globex") },
		"another message":   func(b *Block) { b.leaves.place.streamSeq.rows[1] = 9 },
		"a leaf more":       func(b *Block) { b.leaves.place.set(b.leaves.grow(1), "acme", 30, 30) },
		"a key of no event": func(b *Block) { b.keys.place.set(b.keys.grow(1), "acme", 3, 3) },
	}
	all := messagesOf(NewBlock(1), 0, 30)
	for name, change := range tests {
		changed := messagesOf(NewBlock(1), 10, 30)
		change(changed)
		if takes(t, all.tables(), 7, messagesOf(NewBlock(1), 0, 10), changed) {
			t.Errorf("%s: not noticed", name)
		}
	}
	if takes(t, all.tables(), 7, messagesOf(NewBlock(1), 0, 29)) {
		t.Error("rows are left, and not noticed")
	}
	if takes(t, all.tables(), 7, messagesOf(NewBlock(1), 1, 30)) {
		t.Error("the first rows are left out, and not noticed")
	}
}
