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
	crc  uint32 // complete after finish, like sum
	sum  hash.Hash

	data   *bytes.Reader // a small file
	file   *os.File      // a large one
	room   []byte        // of a large one: what is not handed on yet
	behind *behind       // of a large one that did not fit the first room
}

// behind hashes and writes one room of a file while the next is filled: who makes records waits for no disk.
type behind struct {
	full    chan []byte
	written chan written // at most one
	done    chan struct{}
	err     error // the first; of whoever writes until done
}

// written is a room that can be filled again, and what came of writing.
type written struct {
	room []byte
	err  error
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

// flush hands the room on, and takes another when the one before is written.
func (s *staged) flush() error {
	if s.behind == nil {
		s.behind = &behind{full: make(chan []byte), written: make(chan written, 1), done: make(chan struct{})}
		s.behind.written <- written{}
		go s.run(s.behind)
	}
	s.behind.full <- s.room
	before := <-s.behind.written
	s.room = before.room[:0]
	return before.err
}

// run writes every room that is handed on. After an error it only gives them back.
func (s *staged) run(b *behind) {
	defer close(b.done)
	for room := range b.full {
		if b.err == nil {
			b.err = s.put(room)
		}
		b.written <- written{room, b.err}
	}
}

func (s *staged) put(room []byte) error {
	s.crc = crc32.Update(s.crc, crcTable, room)
	s.sum.Write(room)
	_, err := s.file.Write(room)
	return err
}

// finish writes and hashes the rest.
func (s *staged) finish() error {
	if s == nil || s.file == nil {
		return nil
	}
	if err := s.wait(); err != nil {
		return err
	}
	err := s.put(s.room)
	s.room = nil
	return err
}

// wait returns when everything that was handed on is written.
func (s *staged) wait() error {
	b := s.behind
	if b == nil {
		return nil
	}
	s.behind = nil
	close(b.full)
	<-b.done
	return b.err
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
	_ = s.wait() // of a bundle that was not finished, which is told already
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}
