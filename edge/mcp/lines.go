package mcp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// errTooLong says that a message was longer than MaxMessage. It was read to its end and thrown away.
var errTooLong = errors.New("message is too long")

// lines reads messages: one a line.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) lines { return lines{bufio.NewReaderSize(r, 64<<10)} }

// next is the next line that is not empty. The error is errTooLong, or that of the stream.
func (l lines) next() ([]byte, error) {
	for {
		line, err := l.line()
		if len(bytes.TrimSpace(line)) > 0 || err != nil {
			return line, err
		}
	}
}

func (l lines) line() (line []byte, err error) {
	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		if line = append(line, part...); len(line) > MaxMessage+1 {
			line, tooLong = line[:0], true
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, errTooLong
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil // the last line needs no end
		}
		return line, err
	}
}

// writer writes whole messages. It may be used from any goroutine.
type writer struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *writer) write(line []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(line)
	return err
}
