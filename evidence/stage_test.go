package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/agentcustody/custody/chain"
)

// A file that is hashed and written beside its maker is what was written to it, whatever the sizes of the pieces.
func TestStagedFile(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, piece := range []int{1 << 10, stageBuffer, stageBuffer + 1, 3 * stageBuffer} {
		s, err := stageFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var want, got bytes.Buffer
		for i := range 5 {
			b := bytes.Repeat([]byte{byte(i + 1)}, piece+i)
			want.Write(b)
			if _, err := s.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(s.finish(), s.copyTo(&got)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want.Bytes()) || s.size != uint64(want.Len()) || s.crc != crc32.ChecksumIEEE(want.Bytes()) ||
			s.digest() != chain.Hash(sha256.Sum256(want.Bytes())) {
			t.Errorf("pieces of %d: %d bytes, want %d", piece, got.Len(), want.Len())
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}

// A disk that takes no more is told of by the next piece or by the end, and nothing is left behind.
func TestStagedFileThatCannotBeWritten(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, pieces := range []int{0, 1, 2, 9} {
		s, err := stageFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.file.Close(); err != nil {
			t.Fatal(err)
		}
		for range pieces {
			_, err = s.Write(make([]byte, stageBuffer))
		}
		if pieces == 9 && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := s.finish(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("finish after %d pieces: %v", pieces, err)
		}
		_ = s.close()
		if _, err := os.Stat(s.file.Name()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %d pieces the file is still there: %v", pieces, err)
		}
	}
}

// An export that ends early lets go of what it was writing.
func TestStagedFileThatIsGivenUp(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s, err := stageFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, 2*stageBuffer)); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// Whatever is written counts, and what is finished needs no room.
func TestStagedPieces(t *testing.T) {
	s, err := stageFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, stageBuffer - 2, 1, stageBuffer} {
		if got, err := s.Write(make([]byte, n)); got != n || err != nil {
			t.Errorf("%d of %d bytes: %v", got, n, err)
		}
	}
	if err := errors.Join(s.finish(), s.close()); err != nil || s.room != nil {
		t.Errorf("%v, %d bytes of room", err, len(s.room))
	}
}

// The first error of a disk is not forgotten when it takes more again, and nothing is written after it.
func TestStagedFileAfterAnError(t *testing.T) {
	for name, end := range map[string]func(*staged) error{
		"piece": func(s *staged) error { _, err := s.Write(make([]byte, stageBuffer)); return err },
		"end":   func(s *staged) error { return s.finish() },
	} {
		s, err := stageFile(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s.behind = &behind{full: make(chan []byte), written: make(chan written, 1), done: make(chan struct{}), err: fs.ErrClosed}
		go s.run(s.behind)
		s.behind.full <- make([]byte, 9)
		if err := end(s); name == "end" && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := s.file.Stat(); err != nil || info.Size() > 0 {
			t.Errorf("%s: %d bytes were written after an error: %v", name, info.Size(), err)
		}
		_ = s.close()
	}
}

// A file that is gone is told of.
func TestStagedFileThatIsGone(t *testing.T) {
	if _, err := stageFile(filepath.Join(t.TempDir(), "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stage: %v", err)
	}
	s, err := stageFile(t.TempDir())
	if err == nil {
		_, err = s.Write([]byte("a"))
	}
	if err := errors.Join(err, s.finish(), os.Remove(s.file.Name()), s.file.Close()); err != nil {
		t.Fatal(err)
	}
	if err := s.copyTo(io.Discard); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("copy: %v", err)
	}
	if err := s.close(); !errors.Is(err, fs.ErrClosed) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("close: %v", err)
	}
}
