package spool

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/agentcustody/custody/event"
)

// Batch is events read back in order. It is reused from one Load to the next.
type Batch struct {
	First   Seq
	Entries []Entry
	Frames  int64 // bytes of the events' frames

	size     int
	openings int
	memory   [][]byte // chunks of the file
	chunks   int      // of memory that are in use
	held     int      // of those, that entries point into
	shelf    shelf
}

// batchOverhead is what a batch holds beside its entries: statement and signature.
const batchOverhead = event.MaxStatement + 128

// fits says whether e may still join the batch.
func (b *Batch) fits(e *Entry) bool {
	return len(b.Entries) < event.MaxBatchEvents &&
		b.size+e.Size() <= event.MaxBatch-batchOverhead &&
		b.openings+len(e.Openings) <= event.MaxOpenings
}

// Fits says whether an event can be sent at all.
func Fits(e *Entry) bool { return new(Batch).fits(e) }

func (b *Batch) add(e Entry, frame int) {
	b.Entries = append(b.Entries, e)
	b.size += e.Size()
	b.openings += len(e.Openings)
	b.Frames += int64(frame)
}

// Bytes is an upper bound of the batch's size when it is sent.
func (b *Batch) Bytes() int { return b.size + batchOverhead }

// cursor is where the event after the last one read stands.
type cursor struct {
	segment uint64
	offset  int64
	place   Place // of the next event frame
}

// Load reads events from number first on into b: at most most, no more than fit in one batch, and none from two
// segments. It returns with no entries if there is nothing yet, and ErrMissing if the events are gone.
func (q *Queue) Load(first Seq, most int, b *Batch) error {
	*b = Batch{First: first, Entries: b.Entries[:0], memory: b.memory, shelf: b.shelf}
	b.shelf.openings = b.shelf.openings[:0]
	state, segments, err := q.snapshot()
	if err != nil {
		return fmt.Errorf("load events: %w", err)
	}
	next := first
	if first == 1 {
		b.add(Entry{Event: state.opened}, 0)
		next++
	}
	if next > state.LastSeq() || len(b.Entries) >= most {
		return nil
	}
	err = q.loadFrom(&state, segments, state.PlaceOf(next), most, b)
	if err != nil && len(b.Entries) > 0 {
		return nil // the epoch's first event can go alone
	}
	return err
}

// snapshot returns what is committed, all of it in segments. The files up to there do not change.
func (q *Queue) snapshot() (State, []segment, error) {
	q.write.Lock()
	defer q.write.Unlock()
	if len(q.tail.frames) == 0 {
		return q.state, slices.Clone(q.segments), nil
	}
	err := q.flush()
	return q.state, slices.Clone(q.segments), err
}

// loadFrom reads from the segment that holds place p.
func (q *Queue) loadFrom(state *State, segments []segment, p Place, most int, b *Batch) error {
	i := len(segments) - 1
	for i > 0 && segments[i].before >= p {
		i--
	}
	if segments[i].before >= p {
		return fmt.Errorf("load place %d: %w", p, ErrMissing)
	}
	file, err := os.Open(q.path(segments[i].no))
	if err != nil {
		return fmt.Errorf("load events: %w", err)
	}
	defer file.Close()
	at := q.cursor
	if at.segment != segments[i].no || at.place > p {
		at = cursor{segment: segments[i].no, place: segments[i].before + 1}
	}
	return q.scan(file, segments[i].size, at, state, p, most, b)
}

// scan reads the segment's frames from at on, skips to place p and loads from there.
func (q *Queue) scan(file io.ReaderAt, size int64, at cursor, state *State, p Place, most int, b *Batch) error {
	for done := false; at.offset < size && !done; {
		buf := b.chunk(int(min(size-at.offset, MaxFrame+frameHead)))
		if _, err := file.ReadAt(buf, at.offset); err != nil {
			return fmt.Errorf("load events: %w", err)
		}
		var err error
		if done, err = b.loadChunk(buf, &at, state, p, most); err != nil {
			return err
		}
	}
	q.cursor = at
	if len(b.Entries) == 0 {
		return fmt.Errorf("load place %d: %w", p, ErrMissing)
	}
	return nil
}

// loadChunk moves at over the whole frames of buf. It is done when the batch is.
func (b *Batch) loadChunk(buf []byte, at *cursor, state *State, p Place, most int) (done bool, err error) {
	for rest := buf; len(rest) > 0; {
		kind, body, n, err := nextFrame(rest)
		if err != nil && len(rest) < len(buf) {
			return false, nil // the frame continues in the next chunk
		}
		if err != nil {
			return false, fmt.Errorf("load events at %d of segment %d: %w", at.offset, at.segment, err)
		}
		if kind == eventFrame {
			if at.place >= p && !state.isRemoved(at.place) {
				full, err := b.take(body, n, most)
				if err != nil || full {
					return true, err
				}
			}
			at.place++
		}
		at.offset += int64(n)
		rest = rest[n:]
	}
	return false, nil
}

// take adds an event; full says that it did not fit.
func (b *Batch) take(body []byte, frame, most int) (full bool, err error) {
	if len(b.Entries) >= most {
		return true, nil
	}
	e, err := b.shelf.event(body)
	if err != nil {
		return false, err
	}
	if !b.fits(&e) {
		return true, nil
	}
	b.add(e, frame)
	b.held = b.chunks // the entry's bytes are in the newest chunk
	return false, nil
}

// chunk returns memory of length n that no entry uses.
func (b *Batch) chunk(n int) []byte {
	b.chunks = b.held + 1
	if len(b.memory) < b.chunks {
		b.memory = append(b.memory, nil)
	}
	buf := &b.memory[b.chunks-1]
	if cap(*buf) < n {
		*buf = make([]byte, min(2*n, MaxFrame+frameHead))
	}
	return (*buf)[:n]
}
