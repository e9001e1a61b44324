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

// fill copies rows into a new spool, once.
func fill(rows io.Reader) (*spool, error) {
	s, err := newSpool()
	if err != nil {
		return nil, fmt.Errorf("spool insert: %w", err)
	}
	buffer := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buffer)
	s.size, err = io.CopyBuffer(struct{ io.Writer }{s.file}, io.LimitReader(rows, MaxInsertBytes+1), *buffer)
	if err == nil && s.size > MaxInsertBytes {
		err = raise(codeTooLarge, "TOO_MANY_BYTES", "an insert of more than %d bytes", MaxInsertBytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool insert: %w", err), s.close())
	}
	return s, nil
}
