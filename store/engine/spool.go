package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// MaxInsertBytes bounds the rows of one insert, which are held in memory
	// until the engine has read them.
	MaxInsertBytes = 1 << 30
	// copyBuffer is large enough that the system calls do not matter and small
	// enough to stay in the processor's cache.
	copyBuffer = 256 << 10
)

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// spool is a file that the engine reads rows from: memory on Linux, a temporary
// file elsewhere.
type spool struct {
	file *os.File
	path string // what the engine opens
	size int64
}

// fill writes rows into a new spool, once.
func fill(rows io.WriterTo) (*spool, error) {
	s, err := newSpool()
	if err != nil {
		return nil, fmt.Errorf("spool insert: %w", err)
	}
	if _, err = rows.WriteTo(s); err != nil {
		return nil, errors.Join(fmt.Errorf("spool insert: %w", err), s.close())
	}
	return s, nil
}

// Write appends to the spool, up to MaxInsertBytes.
func (s *spool) Write(b []byte) (int, error) {
	if s.size+int64(len(b)) > MaxInsertBytes {
		return 0, raise(codeTooLarge, "TOO_MANY_BYTES", "an insert of more than %d bytes", MaxInsertBytes)
	}
	n, err := s.file.Write(b)
	s.size += int64(n)
	return n, err
}
