package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestLongFile: whatever goes to the disk early is there afterwards.
func TestLongFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "long")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	rnd, f, want := rand.NewChaCha8([32]byte{1}), &longFile{File: file}, []byte(nil)
	for len(want) < 3*longStep+1000 {
		part := make([]byte, 1+rnd.Uint64()%(longStep/3))
		_, _ = rnd.Read(part)
		if n, err := f.Write(part); n != len(part) || err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(part), err)
		}
		want = append(want, part...)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); !bytes.Equal(got, want) || err != nil {
		t.Errorf("%d of %d bytes are there: %v", len(got), len(want), err)
	}
	if f.begun != 3*longStep {
		t.Errorf("the kernel was told of %d bytes", f.begun)
	}
}
