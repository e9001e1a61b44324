package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/agentcustody/custody/event"
)

// MaxFrame is the length of the longest frame's type and body: one event with openings that together fill a batch,
// and what this format adds to them.
const MaxFrame = event.MaxBatch + 64<<10

// frameHead is the length and the checksum.
const frameHead = 8

type frameType byte

const (
	headerFrame    frameType = 1
	eventFrame     frameType = 2
	statementFrame frameType = 3
	ackFrame       frameType = 4
	epochFrame     frameType = 5
)

var (
	// errTorn says that the bytes at hand are not a whole frame.
	errTorn = errors.New("torn or damaged frame")
	// errBody says that a frame is whole but does not hold what its type says.
	errBody = errors.New("malformed record")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Opening is the salt and value of one sealed field, in the clear.
type Opening struct {
	Path  string
	Salt  [event.SaltSize]byte
	Value []byte
}

// Entry is one event as it is sent. Its slices belong to the buffer it was read into.
type Entry struct {
	Event    []byte
	Openings []Opening
}

// Size is an upper bound of what the entry adds to an encoded batch, in bytes.
func (e *Entry) Size() int {
	n := len(e.Event) + 8
	for i := range e.Openings {
		n += len(e.Openings[i].Path) + len(e.Openings[i].Value) + openingOverhead
	}
	return n
}

// openingOverhead is salt, tags and lengths of an opening in a batch: 34 bytes for the salt, 3 for the position, at
// most 6 each for path, value and the whole.
const openingOverhead = 60

// beginFrame appends room for a frame's head. endFrame fills it in.
func beginFrame(dst []byte, t frameType) []byte {
	return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(t))
}

// endFrame completes the frame that begins at start and ends with dst.
func endFrame(dst []byte, start int) []byte {
	body := dst[start+frameHead:]
	binary.BigEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(dst[start+4:], crc32.Checksum(body, castagnoli))
	return dst
}

// AppendEvent appends the frame of one event to dst. The result goes to [Queue.Enqueue].
func AppendEvent(dst, ev []byte, openings []Opening) []byte {
	start := len(dst)
	dst = beginFrame(dst, eventFrame)
	dst = appendBytes(dst, ev)
	for i := range openings {
		dst = appendBytes(dst, []byte(openings[i].Path))
		dst = append(dst, openings[i].Salt[:]...)
		dst = appendBytes(dst, openings[i].Value)
	}
	return endFrame(dst, start)
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// nextFrame returns the first frame of b and the length it takes. The error is errTorn.
func nextFrame(b []byte) (frameType, []byte, int, error) {
	if len(b) < frameHead+1 {
		return 0, nil, 0, errTorn
	}
	n := int(binary.BigEndian.Uint32(b))
	if n < 1 || n > MaxFrame || n > len(b)-frameHead {
		return 0, nil, 0, errTorn
	}
	body := b[frameHead : frameHead+n]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[4:]) {
		return 0, nil, 0, errTorn
	}
	return frameType(body[0]), body[1:], frameHead + n, nil
}

// parseEvent reads the body of an event frame.
func parseEvent(body []byte) (Entry, error) { return new(shelf).event(body) }

// shelf is the memory of many entries' openings.
type shelf struct {
	openings []Opening
	paths    []string // that have occurred: there are few, and they repeat
}

// maxPaths bounds how many paths are compared before one is copied.
const maxPaths = 8

// event is parseEvent. The entry's openings stay valid when the shelf is used again.
func (s *shelf) event(body []byte) (Entry, error) {
	r := reader{b: body}
	e, begin := Entry{Event: r.bytes()}, len(s.openings)
	for len(r.b) > 0 && !r.bad {
		o := Opening{Path: s.path(r.bytes())}
		copy(o.Salt[:], r.take(len(o.Salt)))
		o.Value = r.bytes()
		s.openings = append(s.openings, o)
	}
	if end := len(s.openings); end > begin {
		e.Openings = s.openings[begin:end:end]
	}
	return e, r.err("event")
}

func (s *shelf) path(b []byte) string {
	for _, known := range s.paths {
		if known == string(b) {
			return known
		}
	}
	if len(s.paths) < maxPaths {
		s.paths = append(s.paths, string(b))
		return s.paths[len(s.paths)-1]
	}
	return string(b)
}

// reader takes a body apart. After the first mistake it stays bad and returns zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) bytes() []byte {
	n, size := binary.Uvarint(r.b)
	if r.bad || size <= 0 || n > uint64(len(r.b)-size) {
		r.bad = true
		return nil
	}
	r.b = r.b[size:]
	return r.take(int(n))
}

func (r *reader) uint64() uint64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *reader) uint32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// end is err, and also refuses what is left over.
func (r *reader) end(what string) error {
	if len(r.b) != 0 {
		r.bad = true
	}
	return r.err(what)
}

func (r *reader) err(what string) error {
	if r.bad {
		return fmt.Errorf("read %s: %w", what, errBody)
	}
	return nil
}
