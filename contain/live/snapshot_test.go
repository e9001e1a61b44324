package live

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
)

// asFile is a snapshot of parts.
func asFile(tb testing.TB, list ...[]byte) []byte {
	tb.Helper()
	var file bytes.Buffer
	p := newParts(&file)
	_, err := io.WriteString(p, snapshotMagic)
	p.begun = p.size
	for _, part := range list {
		err = errors.Join(err, p.part(part))
	}
	if err = errors.Join(err, p.close()); err != nil {
		tb.Fatal(err)
	}
	return file.Bytes()
}

// FuzzSplit: what has the right hash and no parts is refused, and parts are those that make the file.
func FuzzSplit(f *testing.F) {
	f.Add(asFile(f))
	f.Add(asFile(f, []byte("a"), nil, []byte("source"), make([]byte, 8)))
	f.Add(asFile(f, nil, nil, nil, make([]byte, 8), []byte("acme"), []byte("rules"), []byte("book")))
	f.Fuzz(func(t *testing.T, file []byte) {
		if body := len(file) - sha256.Size; body > 0 {
			sum := sha256.Sum256(file[:body])
			file = append(file[:body:body], sum[:]...)
		}
		list, err := split(file)
		if err != nil {
			return
		}
		if !bytes.Equal(asFile(t, list...), file) {
			t.Fatal("another file came back")
		}
	})
}

// TestSnapshotIsBounded: more than may be read is not written.
func TestSnapshotIsBounded(t *testing.T) {
	p := newParts(io.Discard)
	part, err := make([]byte, 64<<20), error(nil)
	for range MaxSnapshot / len(part) {
		err = errors.Join(err, p.part(part))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.part([]byte{1}); !errors.Is(err, errLarge) {
		t.Errorf("got %v", err)
	}
}
