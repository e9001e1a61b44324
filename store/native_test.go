package store

import (
	"bytes"
	"io"
	"reflect"
	"slices"
	"testing"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// nativeTables are tables with every type of column, and values that are hard to hold apart.
func nativeTables() []*table {
	b := NewBlock(1)
	for i := range 300 {
		row := b.events.grow(1)
		b.events.place.set(row, []string{"acme", "globex", ""}[i%3], uint64(300-i), uint64(i))
		b.events.tool.set(row, string(rune('a'+i%40))+"tool")
		b.events.keyID.set(row, string(bytes.Repeat([]byte{byte(i % 2)}, hashSize)))
		b.events.run.set(row, string(bytes.Repeat([]byte("r"), i)))
		b.events.outcome.rows[row] = int8(i % 3)
		for k := range i % 4 {
			b.events.subjects.add(row, string(rune('s'+k)))
			b.events.fingerprints.add(row, string([]byte{byte(i), byte(k), 0, 0, 0, 0, 0, 0}))
			b.events.causeBases.add(row, int8(eventv1.CauseBasis_CAUSE_BASIS_RECORDED))
		}
	}
	b.heads.add(1, 5, [32]byte{1}, []Head{{Tenant: "globex", Size: 2}, {Tenant: "acme", Size: 1}})
	return b.tables()
}

// inOrder is a table as the engine returns it: in the order of its key, in blocks of so many rows.
func inOrder(t testing.TB, of *table, rows int) []byte {
	t.Helper()
	var out bytes.Buffer
	for chunk := range slices.Chunk(of.sorted(), rows) {
		part := newTable(of.name)
		for _, row := range chunk {
			part.copyRow(of, row)
		}
		if err := part.writeNative(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// sorted is the table's rows, each by itself, in the order of its key.
func (t *table) sorted() (rows []int) {
	for _, r := range t.inOrder() {
		rows = append(rows, count(r.from, r.to)...)
	}
	return rows
}

func newTable(name string) *table { return NewBlock(1).table(name) }

// copyRow appends a row of another table with the same columns.
func (t *table) copyRow(of *table, row int) {
	for i, c := range t.columns {
		switch from := of.columns[i].(type) {
		case *text:
			c.(*text).scanned = from.rows[row]
		case *dict:
			c.(*dict).scanned = from.value(row)
		case *number[uint64]:
			c.(*number[uint64]).scanned = from.rows[row]
		case *number[uint32]:
			c.(*number[uint32]).scanned = from.rows[row]
		case *number[int64]:
			c.(*number[int64]).scanned = from.rows[row]
		case *number[int8]:
			c.(*number[int8]).scanned = from.rows[row]
		case *list[string]:
			c.(*list[string]).scanned = from.values(row)
		case *list[int8]:
			c.(*list[int8]).scanned = from.values(row)
		}
	}
	t.take()
}

// isIn reports whether what the engine would return is the table's rows.
func (t *table) isIn(stored []byte) bool {
	blocks, err := t.nativeBlocks(stored)
	return err == nil && t.sameRows(blocks)
}

func TestNativeRowsAreRecognized(t *testing.T) {
	for _, of := range nativeTables() {
		for _, rows := range []int{1, 7, 1000} {
			if blocks, err := of.nativeBlocks(inOrder(t, of, rows)); err != nil || !of.sameRows(blocks) {
				t.Errorf("%s in blocks of %d: not the same, %v", of.name, rows, err)
			}
		}
	}
}

// TestAnswersInPieces: whatever pieces an answer comes in, and however often it must move to more room, its blocks are the same.
func TestAnswersInPieces(t *testing.T) {
	for _, of := range nativeTables() {
		stored := inOrder(t, of, 1)
		whole := bytes.Repeat(stored, 1+2*firstAnswer/(1+len(stored))) // moves at least once
		want, err := of.nativeBlocks(whole)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range []int{997, 64 << 10, firstAnswer, len(whole) + 1} {
			var a answer
			if err := a.read(&pieces{whole, piece}, of); err != nil {
				t.Errorf("%s in pieces of %d: %v", of.name, piece, err)
			}
			if !bytes.Equal(a.bytes, whole) || !reflect.DeepEqual(a.blocks, want) {
				t.Errorf("%s in pieces of %d: other rows", of.name, piece)
			}
			if of.rows > 0 && a.read(&pieces{whole[:len(whole)-1], piece}, of) == nil {
				t.Errorf("%s in pieces of %d: it ends early, and nobody notices", of.name, piece)
			}
		}
	}
}

// pieces reads so many bytes at a time.
type pieces struct {
	rest []byte
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(p.most, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

// TestEveryChangedByteIsNoticed flips each byte of what the engine would return.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	for _, of := range nativeTables() {
		good := inOrder(t, of, 1000)
		step := max(1, len(good)/2000)
		for at := 0; at < len(good); at += step {
			bad := bytes.Clone(good)
			bad[at] ^= 0x10
			if of.isIn(bad) {
				t.Fatalf("%s: byte %d of %d was changed and not noticed", of.name, at, len(good))
			}
		}
		for _, cut := range []int{0, 1, len(good) / 2, len(good) - 1} {
			if of.rows > 0 && of.isIn(good[:max(0, min(cut, len(good)))]) {
				t.Errorf("%s: cut at %d of %d bytes and not noticed", of.name, cut, len(good))
			}
		}
	}
}

func FuzzNative(f *testing.F) {
	for _, of := range nativeTables() {
		f.Add(of.name, inOrder(f, of, 100))
	}
	f.Fuzz(func(t *testing.T, name string, stored []byte) {
		for _, of := range nativeTables() {
			if of.name != name {
				continue
			}
			if of.isIn(stored) && of.rows > 0 && len(stored) == 0 {
				t.Error("nothing is taken for all")
			}
		}
	})
}
