package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrContainer says that a file is not a bundle in its one encoding.
var ErrContainer = errors.New("not a well-formed bundle")

// container is a bundle whose every byte outside the files' contents has been compared with the one encoding.
type container struct {
	r       io.ReaderAt
	entries []entry // in the order of layout
	begun   map[string]*once
}

// openContainer reads the directory of a file of size bytes and holds the whole structure to the one encoding: the names of
// layout in their order, stored, without extra fields, comments, gaps or trailing data, and equal headers on both sides. Contents are
// not read. The error is ErrContainer or that of r.
func openContainer(r io.ReaderAt, size int64) (*container, error) {
	c := &container{r: r}
	end, err := c.readTail(size)
	if err != nil {
		return nil, err
	}
	if c.entries, err = readDirectory(end); err != nil {
		return nil, err
	}
	start := place(c.entries)
	again := tail(c.entries, start)
	if start+uint64(len(again)) != uint64(size) || !bytes.HasSuffix(end, again) {
		return nil, fmt.Errorf("directory is not in its one encoding: %w", ErrContainer)
	}
	return c, c.compareHeaders()
}

// readTail reads the last bytes of the file, at most maxTail.
func (c *container) readTail(size int64) ([]byte, error) {
	if size < lenEnd {
		return nil, fmt.Errorf("%d bytes: %w", size, ErrContainer)
	}
	b := make([]byte, min(size, maxTail))
	if err := readAt(c.r, b, size-int64(len(b))); err != nil {
		return nil, err
	}
	return b, nil
}

// readAt reads all of b.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("read %d bytes at %d: %w", len(b), at, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}

// readDirectory takes names, sizes and checksums from the directory at the end of b. It looks at nothing else: the caller
// compares the whole with the encoding of what was taken.
func readDirectory(b []byte) ([]entry, error) {
	end := b[len(b)-lenEnd:]
	size := int(binary.LittleEndian.Uint32(end[12:]))
	rest := b[:len(b)-lenEnd]
	if binary.LittleEndian.Uint32(end[16:]) == maxUint32Size && len(rest) >= lenEnd64+lenLocator64 {
		rest = rest[:len(rest)-lenEnd64-lenLocator64]
	}
	if size > len(rest) {
		return nil, fmt.Errorf("no directory at the end: %w", ErrContainer)
	}
	rest = rest[len(rest)-size:]
	entries := make([]entry, len(layout))
	for i, m := range layout {
		n, err := entries[i].take(rest, m)
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("more files than a bundle has: %w", ErrContainer)
	}
	return entries, nil
}

// take reads one entry of the directory, which must be of the file m, and returns its length.
func (e *entry) take(b []byte, m member) (n int, err error) {
	if len(b) < lenCentral {
		return 0, fmt.Errorf("%s: missing: %w", m.name, ErrContainer)
	}
	name, extra := int(binary.LittleEndian.Uint16(b[28:])), int(binary.LittleEndian.Uint16(b[30:]))
	if len(b) < lenCentral+name+extra || string(b[lenCentral:lenCentral+name]) != m.name {
		return 0, fmt.Errorf("%s: missing, or not in its place: %w", m.name, ErrContainer)
	}
	e.name, e.crc = m.name, binary.LittleEndian.Uint32(b[16:])
	e.size = uint64(binary.LittleEndian.Uint32(b[24:]))
	if numbers := b[lenCentral+name:][:extra]; large(e.size) && len(numbers) >= 12 {
		e.size = binary.LittleEndian.Uint64(numbers[4:])
	}
	if e.size > m.limit {
		return 0, fmt.Errorf("%s: %d bytes, limit %d: %w", m.name, e.size, m.limit, ErrContainer)
	}
	return lenCentral + name + extra, nil
}

// compareHeaders compares each local header with its one encoding.
func (c *container) compareHeaders() error {
	for i := range c.entries {
		want := c.entries[i].localHeader()
		got := make([]byte, len(want))
		if err := readAt(c.r, got, int64(c.entries[i].offset)); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s: header differs from the directory: %w", c.entries[i].name, ErrContainer)
		}
	}
	return nil
}

// open returns the contents of a file, which layout must name.
func (c *container) open(name string) *io.SectionReader {
	for i := range c.entries {
		if e := &c.entries[i]; e.name == name {
			return io.NewSectionReader(c.r, int64(e.offset)+int64(len(e.localHeader())), int64(e.size))
		}
	}
	panic("evidence: no file " + name) // a name of layout.go that is missing from layout
}

// read returns the contents of a file whose limit in layout is maxSmallFile.
func (c *container) read(name string) ([]byte, error) {
	f := c.open(name)
	b := make([]byte, f.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// writeContainer writes the files of layout, in their order, as one container.
func writeContainer(w io.Writer, files []*staged) error {
	entries := make([]entry, len(files))
	for i, f := range files {
		entries[i] = entry{name: layout[i].name, size: f.size, crc: f.crc}
	}
	start := place(entries)
	for i, f := range files {
		if _, err := w.Write(entries[i].localHeader()); err != nil {
			return fmt.Errorf("write %s: %w", entries[i].name, err)
		}
		if err := f.copyTo(w); err != nil {
			return fmt.Errorf("write %s: %w", entries[i].name, err)
		}
	}
	if _, err := w.Write(tail(entries, start)); err != nil {
		return fmt.Errorf("write directory: %w", err)
	}
	return nil
}

var crcTable = crc32.IEEETable
