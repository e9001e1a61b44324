package evidence

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/agentcustody/custody/chain"
)

// stageBuffer is how much of a staged file is written at a time.
const stageBuffer = 256 << 10

// staged is one file of a bundle before the bundle is written: in memory, or in a temporary file that is removed by close.
type staged struct {
	size uint64
	crc  uint32
	sum  hash.Hash

	data *bytes.Reader // a small file
	file *os.File      // a large one
	room []byte        // of a large one: what is not written yet
}

// stageBytes stages a small file.
func stageBytes(b []byte) *staged {
	s := &staged{size: uint64(len(b)), crc: crc32.Checksum(b, crcTable), sum: sha256.New(), data: bytes.NewReader(b)}
	s.sum.Write(b)
	return s
}

// stageFile stages a large file in a folder, os.TempDir if it is empty. Only its owner may read it.
func stageFile(dir string) (*staged, error) {
	f, err := os.CreateTemp(dir, "custody-evidence-*")
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return &staged{sum: sha256.New(), file: f}, nil
}

// Write appends to a large file. It is hashed as it is written, many records at a time.
func (s *staged) Write(b []byte) (int, error) {
	s.size += uint64(len(b))
	if s.room = append(s.room, b...); len(s.room) < stageBuffer {
		return len(b), nil
	}
	return len(b), s.flush()
}

// record appends one record to a large file.
func (s *staged) record(encode func([]byte) []byte) error {
	at := len(s.room)
	s.room = appendRecord(s.room, encode)
	if s.size += uint64(len(s.room) - at); len(s.room) < stageBuffer {
		return nil
	}
	return s.flush()
}

func (s *staged) flush() error {
	s.crc = crc32.Update(s.crc, crcTable, s.room)
	s.sum.Write(s.room)
	_, err := s.file.Write(s.room)
	s.room = s.room[:0]
	return err
}

// finish writes and hashes the rest.
func (s *staged) finish() error {
	if s == nil || s.file == nil {
		return nil
	}
	return s.flush()
}

// digest is that of all that was written. A large file is finished before.
func (s *staged) digest() chain.Hash { return chain.Hash(s.sum.Sum(nil)) }

func (s *staged) copyTo(w io.Writer) error {
	if s.data != nil {
		_, err := s.data.WriteTo(w)
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := io.Copy(w, io.LimitReader(s.file, int64(s.size)))
	return err
}

func (s *staged) close() error {
	if s == nil || s.file == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
