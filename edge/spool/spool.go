package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

const (
	// DefaultMaxBytes holds an hour of a busy agent (100 events a second of 700 bytes).
	DefaultMaxBytes = 256 << 20
	// LeastMaxBytes is room for the segment being written, one being read and an event that fills a batch.
	LeastMaxBytes = 8 << 20
	// segmentBytes is the size at which the next segment begins: a spool with LeastMaxBytes has room for four.
	segmentBytes = 2 << 20
)

var (
	// ErrFull says that the spool has no room: wait, or raise the limit.
	ErrFull = errors.New("spool is full")
	// ErrClosed says that the spool takes no more events.
	ErrClosed = errors.New("spool is closed")
	// ErrMissing says that an event cannot be read back: open a new epoch.
	ErrMissing = errors.New("event is missing from the spool")
)

// Options of a spool.
type Options struct {
	// MaxBytes of all files together, ≥ LeastMaxBytes; 0 is DefaultMaxBytes. Statements and acknowledgements, at
	// most 1.3 KiB for each batch, are written beyond it.
	MaxBytes int64
	// FailWhenFull makes Reserve fail with ErrFull rather than wait.
	FailWhenFull bool
}

// Spool is a folder of queues.
type Spool struct {
	dir     string
	options Options
	used    atomic.Int64 // bytes of files and reservations

	done chan struct{} // closed by Close

	mu     sync.Mutex
	queues []*Queue // oldest first

	roomMu sync.Mutex    // locked last
	room   chan struct{} // closed when bytes become free
}

// Open recovers the queues in dir, which need not exist.
func Open(dir string, o Options) (*Spool, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < LeastMaxBytes {
		return nil, fmt.Errorf("open spool: %d bytes, need at least %d", o.MaxBytes, LeastMaxBytes)
	}
	s := &Spool{dir: dir, options: o, room: make(chan struct{}), done: make(chan struct{})}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.recoverQueues(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

func (s *Spool) recoverQueues() error {
	entries, err := os.ReadDir(s.dir) // sorted by name, so by age
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if no, ok := parseNumber(entry.Name(), queueDigits); ok && entry.IsDir() {
			if err := s.recoverOne(no); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Spool) recoverOne(no uint64) error {
	q, err := recoverQueue(s, no)
	if err != nil || q == nil {
		return err
	}
	s.used.Add(q.bytes() + q.objectBytes())
	s.queues = append(s.queues, q)
	return nil
}

// Begin starts a queue with its first epoch, whose first event is opened.
func (s *Spool) Begin(epoch Epoch, opened []byte) (*Queue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	no := uint64(1)
	if n := len(s.queues); n > 0 {
		no = s.queues[n-1].no + 1
	}
	q, err := createQueue(s, no, epoch, opened)
	if err != nil {
		return nil, fmt.Errorf("begin queue: %w", err)
	}
	s.queues = append(s.queues, q)
	return q, nil
}

// Queues returns the queues, oldest first.
func (s *Spool) Queues() []*Queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Queue(nil), s.queues...)
}

// Bytes in use, with reservations.
func (s *Spool) Bytes() int64 { return s.used.Load() }

// Prior returns what is known of the epoch before q's present one: the highest epoch number used so far, and the end
// of the newest epoch of which anything was acknowledged.
func (s *Spool) Prior(q *Queue) (p Prior) {
	for _, other := range slices.Backward(s.Queues()) {
		if other.no > q.no {
			continue
		}
		state := other.State()
		if other != q {
			p.after(Prior{state.Number, state.Acked})
		}
		p.after(state.Prior)
	}
	return p
}

// after takes in an older prior.
func (p *Prior) after(older Prior) {
	p.Number = max(p.Number, older.Number)
	if p.End.Seq == 0 && older.Number != 0 {
		p.End = older.End
	}
}

// Prune deletes queues that have drained and whose end the epoch of a later queue has named.
func (s *Spool) Prune() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queues) > 1 && s.queues[0].Drained() && s.namedLater() {
		if err := s.queues[0].destroy(); err != nil {
			return fmt.Errorf("prune spool: %w", err)
		}
		s.queues = s.queues[1:]
	}
	return nil
}

func (s *Spool) namedLater() bool {
	for _, q := range s.queues[1:] {
		if state := q.State(); state.Number != 0 && state.Acked.Seq != 0 {
			return true
		}
	}
	return false
}

// Room is reserved bytes.
type Room int64

// Reserve takes n bytes of room. They go to [Queue.Enqueue].
func (s *Spool) Reserve(ctx context.Context, n int) (Room, error) {
	if s.tryReserve(int64(n)) {
		return Room(n), nil
	}
	for {
		room := s.whenRoom()
		if s.tryReserve(int64(n)) {
			return Room(n), nil
		}
		if s.options.FailWhenFull {
			return 0, fmt.Errorf("reserve %d bytes: %w", n, ErrFull)
		}
		select {
		case <-room:
		case <-s.done:
			return 0, fmt.Errorf("reserve %d bytes: %w", n, ErrClosed)
		case <-ctx.Done():
			return 0, fmt.Errorf("reserve %d bytes: %w: %w", n, ErrFull, context.Cause(ctx))
		}
	}
}

func (s *Spool) tryReserve(n int64) bool {
	if s.used.Add(n) <= s.options.MaxBytes {
		return true
	}
	s.used.Add(-n)
	return false
}

func (s *Spool) whenRoom() <-chan struct{} {
	s.roomMu.Lock()
	defer s.roomMu.Unlock()
	return s.room
}

// release gives bytes back.
func (s *Spool) release(n int64) {
	s.used.Add(-n)
	s.roomMu.Lock()
	defer s.roomMu.Unlock()
	close(s.room)
	s.room = make(chan struct{})
}

// Close closes the files and wakes who waits for room.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	default:
		close(s.done)
	}
	var errs []error
	for _, q := range s.queues {
		errs = append(errs, q.close())
	}
	return errors.Join(errs...)
}

// Names are fixed-width decimals, so that they sort by age.
const (
	queueDigits   = 20
	segmentDigits = 8
)

func numberName(n uint64, digits int) string { return fmt.Sprintf("%0*d", digits, n) }

func parseNumber(name string, digits int) (uint64, bool) {
	n, err := strconv.ParseUint(name, 10, 64)
	return n, err == nil && n > 0 && numberName(n, digits) == name
}

func (s *Spool) queueDir(no uint64) string { return filepath.Join(s.dir, numberName(no, queueDigits)) }
