package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Why a file ends early. Only errTooLong lets the reading go on.
var (
	errTooLong  = fmt.Errorf("longer than %d bytes", MaxRecord)
	errCut      = errors.New("cut short")
	errObject   = errors.New("not an object, nor a list of objects")
	errComma    = errors.New("no comma between two runs")
	errTrailing = errors.New("something follows the last run")
)

// splitting is a place in a file of runs.
type splitting struct {
	r     *bufio.Reader
	line  int  // from 1
	begun bool // the first byte has been seen
	list  bool // it was a bracket
}

// splitter returns a function that returns the next run and the line on which it begins, and io.EOF after the last.
func splitter(r io.Reader, lines bool) func() ([]byte, int, error) {
	s := &splitting{r: bufio.NewReaderSize(r, 256<<10), line: 1}
	if lines {
		return s.nextLine
	}
	return s.nextObject
}

// nextLine is the next line that is not blank.
func (s *splitting) nextLine() ([]byte, int, error) {
	for {
		at := s.line
		raw, err := s.readLine()
		if raw = bytes.TrimSpace(raw); err != nil || len(raw) > 0 {
			return raw, at, err
		}
	}
}

// readLine is the next line, which the caller may keep. Of one that is too long nothing is kept.
func (s *splitting) readLine() ([]byte, error) {
	var k keeper
	for {
		part, err := s.r.ReadSlice('\n')
		k.keep(part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil:
			s.line++
			return k.kept()
		case errors.Is(err, io.EOF) && k.size > 0:
			return k.kept()
		default:
			return nil, err
		}
	}
}

// nextObject is the next object of a file that is one object or a list of them.
func (s *splitting) nextObject() ([]byte, int, error) {
	c, err := s.first()
	at := s.line
	switch {
	case err != nil:
		return nil, at, err
	case c != '{':
		return nil, at, errObject
	}
	raw, err := s.object()
	return raw, at, err
}

// first is the first byte of the next object.
func (s *splitting) first() (byte, error) {
	c, err := s.next()
	switch {
	case errors.Is(err, io.EOF) && s.begun && !s.list:
		return 0, io.EOF
	case err != nil:
		return 0, cutShort(err)
	case !s.begun:
		return s.begin(c)
	case !s.list:
		return 0, errTrailing
	case c == ']':
		return 0, s.end()
	case c != ',':
		return 0, errComma
	}
	c, err = s.next()
	return c, cutShort(err)
}

func (s *splitting) begin(c byte) (byte, error) {
	s.begun, s.list = true, c == '['
	if !s.list {
		return c, nil
	}
	c, err := s.next()
	if err == nil && c == ']' {
		return 0, s.end()
	}
	return c, cutShort(err)
}

// end is io.EOF if nothing follows the list.
func (s *splitting) end() error {
	if _, err := s.next(); err != nil {
		return err
	}
	return errTrailing
}

// next is the next byte that is not space.
func (s *splitting) next() (byte, error) {
	for {
		c, err := s.r.ReadByte()
		switch {
		case err != nil:
			return 0, err
		case c == '\n':
			s.line++
		case c != ' ' && c != '\t' && c != '\r':
			return c, nil
		}
	}
}

// object reads to the bracket that closes the one just read. Whether what lies between is JSON, the decoder finds out.
func (s *splitting) object() ([]byte, error) {
	var k keeper
	k.keep('{')
	for n := nesting(1); n > 0; {
		c, err := s.r.ReadByte()
		switch {
		case err != nil:
			return nil, cutShort(err)
		case c == '"':
			k.keep(c)
			if err := s.text(&k); err != nil {
				return nil, cutShort(err)
			}
			continue
		case c == '\n':
			s.line++
		}
		k.keep(c)
		n.step(c)
	}
	return k.kept()
}

// text reads to the end of a string.
func (s *splitting) text(k *keeper) error {
	for escaped := false; ; {
		c, err := s.r.ReadByte()
		if err != nil {
			return err
		}
		k.keep(c)
		switch {
		case c == '\n':
			s.line++
		case c == '"' && !escaped:
			return nil
		}
		escaped = c == '\\' && !escaped
	}
}

// nesting is how many brackets are open.
type nesting int

func (n *nesting) step(c byte) {
	switch c {
	case '{', '[':
		*n++
	case '}', ']':
		*n--
	}
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

// keeper collects a run up to MaxRecord.
type keeper struct {
	raw  []byte
	size int
}

func (k *keeper) keep(part ...byte) {
	if k.size += len(part); k.size > MaxRecord {
		k.raw = nil
		return
	}
	k.raw = append(k.raw, part...)
}

func (k *keeper) kept() ([]byte, error) {
	if k.size > MaxRecord {
		return nil, errTooLong
	}
	return k.raw, nil
}
