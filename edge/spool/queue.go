package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Queue is the events of one start of the process. Any goroutine may append; one goroutine sends and calls Load, Sign,
// Ack, NewEpoch and Tidy.
type Queue struct {
	spool *Spool
	no    uint64
	dir   string
	wake  chan struct{} // see Arm

	// write is held while the files change. It guards what follows and is locked before mu.
	write    sync.Mutex
	state    State
	segments []segment
	file     *os.File // the newest segment, once something is written to it
	tail     tail     // frames that are not in a segment yet
	spare    []byte   // the buffer that is not pending
	broken   error    // set when a half-written frame could not be cut off again
	arm      arm      // when to wake the sender
	seen     arm      // what the sender knows of
	appended int64    // bytes of event frames since the start
	signed   int64    // of those, bytes under statements
	damage   []Damage
	missing  []Span

	cursor cursor // of Load; only the sender uses it

	// mu guards what waits for the next write.
	mu      sync.Mutex
	pending []byte
	group   *group
	sealed  bool
}

// segment is one file.
type segment struct {
	no     uint64
	before Place // places in the segments before it
	size   int64 // bytes that are whole frames; those of the tail come after them
}

// group is the events that one write puts on disk.
type group struct {
	count int
	done  bool
	first Place // of the group, once done
	err   error
}

// arm is an amount of events. The zero arm wakes nobody.
type arm struct {
	place Place // newest place
	bytes int64 // appended
}

// State returns a copy of the queue's state.
func (q *Queue) State() State {
	q.write.Lock()
	defer q.write.Unlock()
	s := q.state
	s.Removed, s.waiting = slices.Clone(s.Removed), nil
	return s
}

// Drained says that everything in the queue is acknowledged.
func (q *Queue) Drained() bool {
	q.write.Lock()
	defer q.write.Unlock()
	return q.state.Drained()
}

// Name is the folder's name.
func (q *Queue) Name() string { return filepath.Base(q.dir) }

// Waiting returns the statements that are signed and not acknowledged, in order.
func (q *Queue) Waiting() []Statement {
	q.write.Lock()
	defer q.write.Unlock()
	return slices.Clone(q.state.waiting)
}

// Wake receives after what Arm asked for has happened.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// Arm asks for a wake-up when there are n more events, or so many more bytes of frames, than the last Unsigned said.
func (q *Queue) Arm(n int, bytes int64) {
	q.write.Lock()
	defer q.write.Unlock()
	q.arm = arm{q.seen.place + Place(n), q.seen.bytes + bytes}
	q.ring()
}

// Unsigned counts the events that no statement covers yet, and the bytes of their frames as far as they were appended since
// the process started.
func (q *Queue) Unsigned() (events int, bytes int64) {
	q.write.Lock()
	defer q.write.Unlock()
	q.seen = arm{q.state.Last, q.appended}
	return int(q.state.LastSeq() - min(q.state.Signed.Seq, q.state.LastSeq())), max(0, q.appended-q.signed)
}

// Ticket stands for an event on its way to the disk.
type Ticket struct {
	queue *Queue
	group *group
	index int
}

// Enqueue puts the frame of [AppendEvent] in line, in room that is at least as long: events go to disk in the order of
// these calls. The frame may be reused at once. If there is no room or the queue is sealed, the ticket is ErrClosed.
func (q *Queue) Enqueue(frame []byte, room Room) Ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed || int(room) < len(frame) {
		q.spool.release(int64(room))
		return Ticket{}
	}
	q.spool.used.Add(int64(len(frame)) - int64(room))
	q.pending = append(q.pending, frame...)
	t := Ticket{q, q.group, q.group.count}
	q.group.count++
	return t
}

// Wait returns when the kernel has the event. Whoever comes first writes for all who are in line.
func (t Ticket) Wait() (Place, error) {
	if t.queue == nil {
		return 0, ErrClosed
	}
	t.queue.write.Lock()
	defer t.queue.write.Unlock()
	if !t.group.done {
		t.queue.writePending()
	}
	return t.group.first + Place(t.index), t.group.err
}

// writePending writes what is in line. The caller holds write.
func (q *Queue) writePending() {
	q.mu.Lock()
	buf, g := q.pending, q.group
	q.pending, q.group = q.spare[:0], new(group)
	q.mu.Unlock()
	q.writeGroup(buf, g)
	if q.spare = buf; cap(buf) > 2*MaxFrame {
		q.spare = nil
	}
}

func (q *Queue) writeGroup(buf []byte, g *group) {
	g.done = true
	if g.count == 0 {
		return
	}
	if g.err = q.append(buf); g.err != nil {
		q.spool.release(int64(len(buf)))
		return
	}
	g.first = q.state.Last + 1
	q.state.Last += Place(g.count)
	q.appended += int64(len(buf))
	q.ring()
}

// ring wakes the sender if it asked for it.
func (q *Queue) ring() {
	if q.arm == (arm{}) || (q.state.Last < q.arm.place && q.appended < q.arm.bytes) {
		return
	}
	q.arm = arm{}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// append puts whole frames after those of the newest segment: into the tail, or into the file in one write. The caller holds
// write, and changes the state only when append has succeeded. A failed append leaves nothing behind.
func (q *Queue) append(frames []byte) error {
	size := sealedSize(frames)
	if q.broken != nil || len(q.tail.frames) == 0 || !q.tail.takes(size) {
		if err := q.flush(); err != nil {
			return err
		}
		if err := q.ready(); err != nil {
			return err
		}
	}
	if !q.tail.takes(size) {
		return q.store(frames)
	}
	newest := &q.segments[len(q.segments)-1]
	if err := q.tail.put(base{newest.no, newest.size}, frames); err != nil {
		return q.withoutTail(frames)
	}
	return nil
}

// flush takes what is in the tail to the segment, which is open and does not change while the tail holds anything.
func (q *Queue) flush() error {
	if len(q.tail.frames) == 0 {
		return nil
	}
	if q.broken != nil {
		return q.broken
	}
	if err := q.store(q.tail.frames); err != nil {
		return err
	}
	if q.tail.empty() != nil {
		return q.tail.remove()
	}
	return nil
}

// withoutTail goes on without a tail that cannot be written.
func (q *Queue) withoutTail(frames []byte) error {
	if err := q.flush(); err != nil {
		return err
	}
	if err := q.tail.remove(); err != nil {
		return fmt.Errorf("remove tail: %w", err)
	}
	return q.store(frames)
}

// store writes whole frames at the end of the newest segment.
func (q *Queue) store(frames []byte) error {
	newest := &q.segments[len(q.segments)-1]
	if _, err := q.file.Write(frames); err != nil {
		if cut := q.file.Truncate(newest.size); cut != nil {
			q.broken = fmt.Errorf("write to spool: %w", errors.Join(err, cut))
		}
		return fmt.Errorf("write to spool: %w", err)
	}
	newest.size += int64(len(frames))
	return nil
}

// ready opens the newest segment, or begins the next.
func (q *Queue) ready() error {
	newest := q.segments[len(q.segments)-1]
	switch {
	case q.broken != nil:
		return q.broken
	case newest.size >= segmentBytes:
		return q.rotate()
	case q.file != nil:
		return nil
	}
	file, err := os.OpenFile(q.path(newest.no), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	q.file = file
	return nil
}

// rotate begins the next segment after a tail that is empty. If the process dies on the way, recovery deletes a segment without a whole header.
func (q *Queue) rotate() error {
	next := segment{no: q.segments[len(q.segments)-1].no + 1, before: q.state.Last}
	return q.begin(next, appendHeader(nil, &q.state))
}

// begin creates a segment with its first frames.
func (q *Queue) begin(next segment, frames []byte) error {
	file, err := os.OpenFile(q.path(next.no), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("begin segment: %w", err)
	}
	if _, err := file.Write(frames); err != nil {
		return errors.Join(fmt.Errorf("begin segment: %w", err), file.Close(), os.Remove(file.Name()))
	}
	next.size = int64(len(frames))
	q.spool.used.Add(next.size)
	q.segments = append(q.segments, next)
	old := q.file
	q.file = file
	if old != nil {
		return old.Close()
	}
	return nil
}

func (q *Queue) path(segment uint64) string {
	return filepath.Join(q.dir, numberName(segment, segmentDigits)+".seg")
}

func createQueue(s *Spool, no uint64, epoch Epoch, opened []byte) (*Queue, error) {
	q := newQueue(s, no)
	if err := os.Mkdir(q.dir, 0o700); err != nil {
		return nil, err
	}
	frames := appendHeader(nil, &State{})
	first := newEpoch{Epoch: epoch, Opened: slices.Clone(opened)}
	if err := q.begin(segment{no: 1}, appendEpoch(frames, &first)); err != nil {
		return nil, err
	}
	q.tail = newTail(filepath.Join(q.dir, tailName))
	return q, q.state.open(first)
}

func newQueue(s *Spool, no uint64) *Queue {
	return &Queue{spool: s, no: no, dir: s.queueDir(no), wake: make(chan struct{}, 1), group: new(group)}
}

// AppendLast appends an event that names its epoch and the number before its own, such as a heartbeat, with nothing in
// between. With seal it is the queue's last.
func (q *Queue) AppendLast(seal bool, build func(Epoch, Seq) ([]byte, error)) (Place, error) {
	q.write.Lock()
	defer q.write.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sealed {
		return 0, ErrClosed
	}
	q.writeGroup(q.pending, q.group)
	q.pending, q.group, q.sealed = q.pending[:0], new(group), seal
	frame, err := build(q.state.Epoch, q.state.LastSeq())
	if err != nil {
		return 0, err
	}
	return q.appendOne(frame)
}

func (q *Queue) appendOne(frame []byte) (Place, error) {
	q.spool.used.Add(int64(len(frame)))
	g := group{count: 1}
	q.writeGroup(frame, &g)
	return g.first, g.err
}

// record writes a frame that is not an event. The caller holds write.
func (q *Queue) record(frame []byte) error {
	if err := q.append(frame); err != nil {
		return err
	}
	q.spool.used.Add(int64(len(frame)))
	return nil
}

// Sign records a statement over a loaded batch before it is sent. It must follow the newest.
func (q *Queue) Sign(st Statement, b *Batch) error {
	q.write.Lock()
	defer q.write.Unlock()
	if err := q.record(appendStatement(nil, &st)); err != nil {
		return fmt.Errorf("record statement: %w", err)
	}
	q.signed = min(q.signed+b.Frames, q.appended)
	return q.state.sign(st)
}

// Ack records that everything up to an end is acknowledged, and deletes the segments that nobody needs any more.
func (q *Queue) Ack(to End) error {
	q.write.Lock()
	defer q.write.Unlock()
	if err := q.record(appendAck(nil, to)); err != nil {
		return fmt.Errorf("record acknowledgement: %w", err)
	}
	if err := q.state.ack(to); err != nil {
		return err
	}
	return q.deleteAcked()
}

// NewEpoch numbers all events that are not acknowledged again, from 2, after opened. Those in the set-aside numbers of
// the present epoch, and those missing from the disk, are left out.
func (q *Queue) NewEpoch(epoch Epoch, opened []byte, setAside ...Seq) error {
	q.write.Lock()
	defer q.write.Unlock()
	next := newEpoch{Epoch: epoch, Base: min(q.state.ackedPlace(), q.state.Last), Opened: opened, Prior: q.state.prior()}
	next.Removed = q.removedAfter(next.Base, setAside)
	if len(next.Removed) > maxSpans {
		return fmt.Errorf("open epoch: %d runs of events set aside, limit %d", len(next.Removed), maxSpans)
	}
	if err := q.record(appendEpoch(nil, &next)); err != nil {
		return fmt.Errorf("open epoch: %w", err)
	}
	q.signed = q.appended // what is numbered again is counted as events only
	return q.state.open(next)
}

// prior is what the state says of itself once its epoch is over.
func (s State) prior() Prior {
	p := Prior{Number: s.Number, End: s.Acked}
	p.after(s.Prior)
	return p
}

func (q *Queue) removedAfter(base Place, setAside []Seq) []Span {
	s := State{Base: base}
	for _, r := range slices.Concat(q.state.Removed, q.missing) {
		if r.First = max(r.First, base+1); r.First <= r.Last {
			s.remove(r)
		}
	}
	for _, seq := range setAside {
		if p := q.state.PlaceOf(seq); p > base && p <= q.state.Last {
			s.remove(Span{p, p})
		}
	}
	return s.Removed
}

// deleteAcked deletes whole segments from the front. A segment goes only when an acknowledged number of the present
// epoch covers it, so that the epoch's own first event is never lost.
func (q *Queue) deleteAcked() error {
	acked := q.state.ackedPlace()
	for len(q.segments) > 1 && q.state.Acked.Seq > 0 && q.segments[1].before <= acked {
		if err := os.Remove(q.path(q.segments[0].no)); err != nil {
			return fmt.Errorf("delete segment: %w", err)
		}
		q.spool.release(q.segments[0].size)
		q.segments = q.segments[1:]
	}
	return nil
}

// Tidy takes content off the disk when everything is acknowledged and the newest segment has more than the given bytes.
func (q *Queue) Tidy(bytes int64) error {
	q.write.Lock()
	defer q.write.Unlock()
	if !q.state.Drained() || q.segments[len(q.segments)-1].size+int64(len(q.tail.frames)) <= bytes {
		return nil
	}
	if err := q.flush(); err != nil {
		return err
	}
	if err := q.rotate(); err != nil {
		return err
	}
	return q.deleteAcked()
}

// Damage that recovery found.
func (q *Queue) Damage() []Damage { return q.damage }

// Missing returns the places that recovery found missing and that are not acknowledged.
func (q *Queue) Missing() (missing []Span) {
	q.write.Lock()
	defer q.write.Unlock()
	for _, m := range q.missing {
		if m.First = max(m.First, q.state.ackedPlace()+1); m.First <= m.Last && !q.state.isRemoved(m.First) {
			missing = append(missing, m)
		}
	}
	return missing
}

// Whole says that every event and statement that is not acknowledged can be read back.
func (q *Queue) Whole() bool {
	if len(q.Missing()) > 0 {
		return false
	}
	q.write.Lock()
	defer q.write.Unlock()
	next := q.state.Acked.Seq + 1
	for _, st := range q.state.waiting {
		if st.First != next {
			return false
		}
		next = st.End().Seq + 1
	}
	return next == q.state.Signed.Seq+1
}

func (q *Queue) bytes() (n int64) {
	for _, s := range q.segments {
		n += s.size
	}
	return n
}

func (q *Queue) close() error {
	q.write.Lock()
	defer q.write.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sealed = true
	if q.file == nil {
		return nil
	}
	err := q.flush()
	if err == nil {
		err = q.tail.remove()
	}
	err = errors.Join(err, q.file.Close())
	q.file, q.broken = nil, ErrClosed
	return err
}

// destroy deletes the queue, newest segment last, so that a crash on the way leaves a queue that is still drained.
func (q *Queue) destroy() error {
	if err := q.close(); err != nil {
		return err
	}
	for _, s := range q.segments {
		if err := os.Remove(q.path(s.no)); err != nil {
			return err
		}
		q.spool.release(s.size)
	}
	q.spool.release(q.objectBytes())
	return os.RemoveAll(q.dir)
}

// Newest is the newest place.
func (q *Queue) Newest() Place {
	q.write.Lock()
	defer q.write.Unlock()
	return q.state.Last
}

// Acknowledged is the last place that is acknowledged; any is false until the epoch's first event is.
func (q *Queue) Acknowledged() (last Place, any bool) {
	q.write.Lock()
	defer q.write.Unlock()
	return q.state.ackedPlace(), q.state.Acked.Seq > 0
}
