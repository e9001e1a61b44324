package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
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
