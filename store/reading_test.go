package store

import (
	"bytes"
	"testing"
)

// readingOf is a reading that the engine might have given.
func readingOf(t testing.TB, tables []*table) *Reading {
	t.Helper()
	r := NewReading()
	for i, of := range tables {
		var b bytes.Buffer
		if err := of.writeNative(&b); err != nil {
			t.Fatal(err)
		}
		r.answers[i].bytes = b.Bytes()
		if err := r.parse(i); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *Reading) parse(i int) (err error) {
	r.answers[i].blocks, err = r.tables[i].nativeBlocks(r.answers[i].bytes)
	return err
}

// oneMessage is a block with a message of two events, an opening and a held event.
func oneMessage() *Block {
	b := NewBlock(1)
	row := b.batches.grow(1)
	b.batches.place.set(row, "acme", 7, 3)
	b.batches.leaves.rows[row] = 2
	b.batches.statement.set(row, "statement")
	b.batches.signature.set(row, "signature")
	for i := range uint64(2) {
		b.leaves.place.set(b.leaves.grow(1), "acme", 7+i, 3)
		row := b.events.grow(1)
		b.events.place.set(row, "acme", 7+i, 3)
		b.events.bytes.set(row, "event")
	}
	row = b.openings.grow(1)
	b.openings.place.set(row, "acme", 8, 3)
	b.openings.path.set(row, "data.text")
	row = b.held.grow(1)
	b.held.place.set(row, "acme", 7, 3)
	b.held.detector.set(row, "password")
	return b
}

func TestReadingPutsMessagesTogether(t *testing.T) {
	messages, ok := readingOf(t, oneMessage().tables()).Messages()
	if !ok || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), ok)
	}
	m := messages[0]
	if m.Tenant != "acme" || m.FirstIndex != 7 || m.StreamSeq != 3 || len(m.Leaves) != 2 || len(m.Batch.Events) != 2 {
		t.Errorf("message %+v", m)
	}
	if o, h := m.Batch.Openings, m.Batch.Held; len(o) != 1 || o[0].Position != 1 || o[0].Path != "data.text" || len(h) != 1 || h[0].Detector != "password" {
		t.Errorf("openings %v, held %v", o, h)
	}
	if _, ok := m.Encode(nil); ok {
		t.Error("a signature of 9 bytes is in the stream")
	}
}

// TestRowsOfNoMessage adds a row to each table, or takes one away.
func TestRowsOfNoMessage(t *testing.T) {
	tests := map[string]func(b *Block){
		"a leaf behind":        func(b *Block) { b.leaves.place.set(b.leaves.grow(1), "acme", 9, 3) },
		"a leaf of another":    func(b *Block) { b.leaves.place.set(b.leaves.grow(1), "globex", 1, 3) },
		"an event behind":      func(b *Block) { b.events.place.set(b.events.grow(1), "acme", 9, 3) },
		"an event twice":       func(b *Block) { b.events.place.set(1, "acme", 7, 3) },
		"an opening behind":    func(b *Block) { b.openings.place.set(b.openings.grow(1), "acme", 9, 3) },
		"an opening before":    func(b *Block) { b.openings.place.set(0, "acme", 6, 3) },
		"a held event behind":  func(b *Block) { b.held.place.set(0, "acme", 9, 3) },
		"openings of no batch": func(b *Block) { b.batches.statement.rows[0] = "" },
		"more leaves claimed":  func(b *Block) { b.batches.leaves.rows[0] = 3 },
		"fewer leaves claimed": func(b *Block) { b.batches.leaves.rows[0] = 1 },
		"the end of numbers":   func(b *Block) { b.batches.place.idx.rows[0] = ^uint64(0) },
	}
	for name, change := range tests {
		b := oneMessage()
		change(b)
		if _, ok := readingOf(t, b.tables()).Messages(); ok {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func FuzzReading(f *testing.F) {
	for i, a := range readingOf(f, oneMessage().tables()).answers {
		f.Add(i, a.bytes)
	}
	f.Fuzz(func(t *testing.T, table int, answer []byte) {
		r := readingOf(t, oneMessage().tables())
		i := int(uint(table) % uint(len(r.tables)))
		r.answers[i].bytes = answer
		if r.parse(i) != nil {
			return
		}
		messages, ok := r.Messages()
		if ok && r.tables[i].name == tableEvents && len(answer) == 0 {
			t.Error("messages without events")
		}
		for _, m := range messages {
			_, _ = m.Encode(nil)
		}
	})
}
