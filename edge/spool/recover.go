package spool

import (
	"fmt"
	"os"
	"path/filepath"
)

// Damage is what recovery could not read of one segment.
type Damage struct {
	File   string
	Offset int64 // of the first bad frame
	Bytes  int64 // that were cut off
	Newest bool  // the queue's newest segment: the record that was being written when the process died
}

// String is for the log.
func (d Damage) String() string {
	return fmt.Sprintf("%s: cut off %d bytes from offset %d", d.File, d.Bytes, d.Offset)
}

// damagedSuffix is added to the name of a folder or segment in which no header can be read.
const damagedSuffix = ".damaged"

// firstFrames is more than the header and epoch that begin a queue take.
const firstFrames = 4 << 10

// recoverQueue reads a queue back. It returns nil if the queue never held an event.
func recoverQueue(s *Spool, no uint64) (*Queue, error) {
	q := newQueue(s, no)
	numbers, err := q.listSegments()
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", q.dir, err)
	}
	for i, n := range numbers {
		if err := q.recoverSegment(n, i == len(numbers)-1); err != nil {
			return nil, fmt.Errorf("recover %s: %w", q.path(n), err)
		}
	}
	if err := q.recoverTail(); err != nil {
		return nil, fmt.Errorf("recover %s: %w", filepath.Join(q.dir, tailName), err)
	}
	q.sealed = true
	if len(q.segments) == 0 || q.state.Epoch == (Epoch{}) {
		return nil, q.abandon()
	}
	return q, nil
}

// abandon removes a queue without an epoch: its process died before it could record anything. If there are more bytes
// than a first header and epoch take, they are kept under another name.
func (q *Queue) abandon() error {
	for _, d := range q.damage {
		if d.Bytes > firstFrames {
			return os.Rename(q.dir, q.dir+damagedSuffix)
		}
	}
	return os.RemoveAll(q.dir)
}

func (q *Queue) listSegments() (numbers []uint64, err error) {
	entries, err := os.ReadDir(q.dir)
	for _, entry := range entries {
		name, isSegment := trimSuffix(entry.Name(), ".seg")
		if n, ok := parseNumber(name, segmentDigits); ok && isSegment {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

func trimSuffix(name, suffix string) (string, bool) {
	return name[:max(0, len(name)-len(suffix))], filepath.Ext(name) == suffix
}

// recoverSegment applies the frames of one segment and cuts off what is not a frame.
func (q *Queue) recoverSegment(no uint64, newest bool) error {
	data, err := os.ReadFile(q.path(no))
	if err != nil {
		return err
	}
	header, n := readHeader(data)
	if header == nil {
		return q.dropSegment(no, int64(len(data)), newest)
	}
	q.join(header)
	q.segments = append(q.segments, segment{no: no, before: q.state.Last, size: int64(n)})
	good := int64(n) + q.replay(data[n:])
	q.segments[len(q.segments)-1].size = good
	return q.cut(no, good, int64(len(data)), newest)
}

func readHeader(data []byte) (*State, int) {
	kind, body, n, err := nextFrame(data)
	if err != nil || kind != headerFrame {
		return nil, 0
	}
	header, err := parseHeader(body)
	if err != nil {
		return nil, 0
	}
	return &header, n
}

// dropSegment puts a segment without a header out of the way. If it is the newest, the process died before it could
// record anything in it.
func (q *Queue) dropSegment(no uint64, bytes int64, newest bool) error {
	q.damage = append(q.damage, Damage{File: q.path(no), Bytes: bytes, Newest: newest})
	return os.Rename(q.path(no), q.path(no)+damagedSuffix)
}

// join goes on from a header. What the segment before should have said and did not is missing.
func (q *Queue) join(header *State) {
	if len(q.segments) > 0 && header.Last > q.state.Last {
		q.missing = append(q.missing, Span{q.state.Last + 1, header.Last})
	}
	if header.Epoch == q.state.Epoch {
		header.waiting = q.state.waiting
	}
	q.state = *header
	_ = q.state.ack(q.state.Acked) // drops statements that the header knows to be acknowledged
}

// replay applies frames and returns the length of those that could be applied.
func (q *Queue) replay(data []byte) (good int64) {
	for {
		kind, body, n, err := nextFrame(data[good:])
		if err != nil || q.apply(kind, body) != nil {
			return good
		}
		good += int64(n)
	}
}

func (q *Queue) apply(kind frameType, body []byte) error {
	switch kind {
	case eventFrame:
		return q.applyEvent(body)
	case statementFrame:
		return applyTo(parseStatement, q.state.sign)(body)
	case ackFrame:
		return applyTo(parseAck, q.state.ack)(body)
	case epochFrame:
		return applyTo(parseEpoch, q.state.open)(body)
	}
	return fmt.Errorf("frame type %d: %w", kind, errBody)
}

func (q *Queue) applyEvent(body []byte) error {
	if _, err := parseEvent(body); err != nil {
		return err
	}
	q.state.Last++
	return nil
}

func applyTo[T any](parse func([]byte) (T, error), apply func(T) error) func([]byte) error {
	return func(body []byte) error {
		record, err := parse(body)
		if err != nil {
			return err
		}
		return apply(record)
	}
}

// cut truncates a segment after its last good frame. An older segment is left as it is, for whoever wants to look.
func (q *Queue) cut(no uint64, good, size int64, newest bool) error {
	if good == size {
		return nil
	}
	q.damage = append(q.damage, Damage{File: q.path(no), Offset: good, Bytes: size - good, Newest: newest})
	if !newest {
		return nil
	}
	return os.Truncate(q.path(no), good)
}
