package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
)

// tail is a file of fixed size that is mapped into memory. It holds the newest frames of a queue until one write takes all of
// them to the segment, so that recording an event needs no system call: what is in a shared mapping is the kernel's, as what
// was written is. The zero tail takes nothing.
//
// Its disk space is allocated when it is made; a page that cannot be had later is an error, not the end of the process.
// The file sorts before the segments, so that whoever copies a folder in use copies it first and misses nothing.
type tail struct {
	path   string
	memory []byte // the mapping; nil if there is none
	used   int    // bytes of it
	base   base   // where its first frame goes
	frames []byte // what it holds, as it goes to the segment
	sealed []byte // see appendSealed; kept for its memory
}

// base is a place in a segment.
type base struct {
	segment uint64
	offset  int64
}

const (
	// tailName sorts before the names of segments.
	tailName = "0.tail"
	// tailBytes holds some 80 events of 800 bytes; a write of so many costs little more than a write of one.
	tailBytes = 64 << 10
	// tailHead is the version, the base and the checksum of both.
	tailHead = 1 + baseBytes + 4
	// baseBytes are segment and offset.
	baseBytes = 8 + 8
	// tailSeal is the checksum before each frame.
	tailSeal = 4
)

// errFault says that the disk did not give a page of the mapping.
var errFault = errors.New("the spool's tail cannot be written")

// newTail makes a tail, or none where there can be none: then every group of events is written by itself.
func newTail(path string) tail {
	memory, err := mapTail(path)
	if err != nil {
		return tail{}
	}
	return tail{path: path, memory: memory, frames: make([]byte, 0, tailBytes)}
}

// takes says whether frames of this size, with their seals, find room.
func (t *tail) takes(size int) bool {
	return t.memory != nil && max(t.used, tailHead)+size <= len(t.memory)
}

// sealedSize is what whole frames take in a tail.
func sealedSize(frames []byte) int {
	n := len(frames)
	for rest := frames; len(rest) > 0; rest = rest[frameLength(rest):] {
		n += tailSeal
	}
	return n
}

// frameLength is the length of the frame that b begins with, from its head.
func frameLength(b []byte) int { return frameHead + int(binary.BigEndian.Uint32(b)) }

func appendTailHead(dst []byte, at base) []byte {
	dst = append(dst, formatVersion)
	dst = appendBase(dst, at)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

func appendBase(dst []byte, at base) []byte {
	dst = binary.BigEndian.AppendUint64(dst, at.segment)
	return binary.BigEndian.AppendUint64(dst, uint64(at.offset))
}

// put adds frames that find room. Of an empty tail, the first frame goes to the given place.
func (t *tail) put(first base, frames []byte) (err error) {
	defer catch(&err, debug.SetPanicOnFault(true))
	at := t.used
	if at == 0 {
		t.base, at = first, copy(t.memory, appendTailHead(nil, first))
	}
	offset := t.base.offset + int64(len(t.frames))
	for rest := frames; len(rest) > 0; {
		n := frameLength(rest)
		t.sealed = appendSealed(t.sealed[:0], base{t.base.segment, offset}, rest)
		binary.BigEndian.PutUint32(t.memory[at:], crc32.Checksum(t.sealed, castagnoli))
		at += tailSeal + copy(t.memory[at+tailSeal:], rest[:n])
		rest, offset = rest[n:], offset+int64(n)
	}
	t.used, t.frames = at, append(t.frames, frames...)
	return nil
}

// appendSealed appends what a frame's seal is the checksum of. It binds the frame to its place: one that was in the tail before
// has another.
func appendSealed(dst []byte, at base, frame []byte) []byte {
	return append(appendBase(dst, at), frame[:frameHead]...)
}

// empty forgets what the segment has by now, and wipes it.
func (t *tail) empty() (err error) {
	defer catch(&err, debug.SetPanicOnFault(true))
	used := t.used
	t.used, t.frames = 0, t.frames[:0]
	clear(t.memory[:used])
	return nil
}

// catch turns the fault of a page that the disk does not give into errFault. before is what SetPanicOnFault was.
func catch(err *error, before bool) {
	debug.SetPanicOnFault(before)
	switch fault := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }:
		*err = fmt.Errorf("%w: fault at %#x", errFault, fault.Addr())
	default:
		panic(fault)
	}
}

// remove ends the tail and deletes its file. What it holds must be in the segment.
func (t *tail) remove() error {
	if t.memory == nil {
		return nil
	}
	err := errors.Join(unmapTail(t.memory), os.Remove(t.path))
	*t = tail{}
	return err
}

// parseTail returns the frames of a tail's file and where the first goes. It is as much as is whole.
func parseTail(data []byte) (at base, frames []byte) {
	if len(data) < tailHead || data[0] != formatVersion {
		return base{}, nil
	}
	r := reader{b: data[1:]}
	at = base{r.uint64(), int64(r.uint64())}
	if at.offset < 0 || !slices.Equal(data[:tailHead], appendTailHead(nil, at)) {
		return base{}, nil
	}
	for rest := data[tailHead:]; len(rest) >= tailSeal+frameHead; {
		body := rest[tailSeal:]
		_, _, n, err := nextFrame(body)
		if err != nil {
			break
		}
		sealed := appendSealed(nil, base{at.segment, at.offset + int64(len(frames))}, body)
		if crc32.Checksum(sealed, castagnoli) != binary.BigEndian.Uint32(rest) {
			break
		}
		frames, rest = append(frames, body[:n]...), body[n:]
	}
	return at, frames
}

// recoverTail moves what only the tail has to the newest segment. Frames that the segment has by now are the beginning of the
// tail; if the process dies on the way, the next one finds more of them.
func (q *Queue) recoverTail() error {
	path := filepath.Join(q.dir, tailName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if at, frames := parseTail(data); len(frames) > 0 && len(q.segments) > 0 {
		if err := q.takeTail(path, at, frames); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// takeTail appends frames, the first of which belongs at a given place, to the newest segment.
func (q *Queue) takeTail(path string, at base, frames []byte) error {
	newest := &q.segments[len(q.segments)-1]
	known := newest.size - at.offset
	switch {
	case at.segment != newest.no && at.segment < newest.no, known >= int64(len(frames)):
		return nil // the segment has them
	case at.segment != newest.no || known < 0:
		// The power was cut, and the disk never got what stood before them.
		q.damage = append(q.damage, Damage{File: path, Bytes: int64(len(frames)), Newest: true})
		return nil
	}
	rest := frames[known:]
	good := q.replay(rest)
	if err := appendFile(q.path(newest.no), rest[:good]); err != nil {
		return err
	}
	newest.size += good
	return nil
}

func appendFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
