package ledger

import (
	"context"
	"sync"

	"github.com/agentcustody/custody/stream"
)

const (
	// maxWindow bounds what a feed keeps for the member that is behind, bytes of decoded messages. The writer keeps those of its blocks
	// in memory anyway.
	maxWindow = 64 << 20
	// decodedWeight is how many times its size a message takes decoded, with its data.
	decodedWeight = 3
	// decodedLeast is what a message takes however small it is, bytes.
	decodedLeast = 2 << 10
)

// Feed is the stream for all that fold it in one process, the writer and a follower: each message is read once and decoded once for
// all of them while they are near each other.
//
// Nobody waits for another: whoever is first reads for all, whoever is behind finds what was read in a window, and whoever is so far
// behind that the window does not reach back to it reads for itself until it is near again. A failure to read is the failure of the member
// that reads; the others try for themselves.
//
// It is safe for concurrent use.
type Feed struct {
	open func(from uint64) streamReader

	mu      sync.Mutex
	members map[*member]bool
	window  []*arrival    // without a hole, oldest first; the message at end comes next
	size    int           // of the window, bytes
	fits    uint64        // messages that a full window held; 0 before one was full
	end     uint64        // sequence of the first message that was not read; 0 before anything was
	reader  streamReader  // gives the message at end; nil if it is to be opened
	leader  *member       // is in reader.Next; nil if nobody is
	moved   chan struct{} // closed when end or leader have changed
}

// NewFeed returns the feed of a stream. It asks nothing of it before somebody reads.
func NewFeed(s *stream.Stream) *Feed {
	return newFeed(func(from uint64) streamReader { return s.Read(from, "") })
}

func newFeed(open func(from uint64) streamReader) *Feed {
	return &Feed{open: open, members: map[*member]bool{}, moved: make(chan struct{})}
}

// arrival is a message that was read, and its decoding once somebody has asked for it.
type arrival struct {
	message stream.Message
	once    sync.Once
	decoded *Decoded
}

// decode decodes the message, or takes what another has decoded; it waits for no more than a decoding that has begun.
func (a *arrival) decode(d *Decoder) *Decoded {
	a.once.Do(func() { a.decoded = d.Decode(a.message) })
	return a.decoded.own()
}

func (a *arrival) size() int { return decodedWeight*len(a.message.Data) + decodedLeast }

// own is a copy for one fold, which notes in it what it finds out; what all only read is the same.
func (d *Decoded) own() *Decoded {
	c := *d
	if d.batch != nil {
		b := *d.batch
		c.batch = &b
	}
	return &c
}

// member is one that reads a feed. It is for one goroutine.
type member struct {
	feed  *Feed
	next  uint64       // sequence of the next message; guarded by the feed's mutex
	alone streamReader // nil while it has the window, or is the first
}

// join begins to read at a sequence.
func (f *Feed) join(from uint64) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := &member{feed: f, next: max(from, 1)}
	f.members[m] = true
	return m
}

// Next waits for the next message. Errors are those of the stream's reader, or the cause of ctx.
func (m *member) Next(ctx context.Context) (*arrival, error) {
	for {
		p := m.feed.look(m)
		for _, r := range p.close {
			r.Close()
		}
		switch {
		case p.arrival != nil:
			return p.arrival, nil
		case p.read != nil:
			read, err := p.read.Next(ctx)
			return m.feed.arrived(m, p.read, read, err)
		}
		select {
		case <-p.wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// where is how a member comes to its next message: in the window, with whoever reads it now, or else by reading it.
type where struct {
	arrival *arrival
	wait    <-chan struct{} // closed when it is time to look again
	read    streamReader
	close   []streamReader // not needed any more
}

func (f *Feed) look(m *member) (p where) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch first := f.first(); {
	case f.end == 0 || m.next > f.end:
		p.close = f.restart(m)
	case m.next < first || m.alone != nil && f.end-m.next > (f.end-first)/2:
		if m.alone == nil { // near is what will not be gone at once
			m.alone = f.open(m.next)
		}
		p.read = m.alone
		return p
	}
	if m.alone != nil {
		p.close, m.alone = append(p.close, m.alone), nil
	}
	switch {
	case m.next < f.end:
		p.arrival = f.window[m.next-f.first()]
		m.next++
		f.forget()
	case f.leader != nil:
		p.wait = f.moved
	default:
		if f.reader == nil {
			f.reader = f.open(f.end)
		}
		f.leader, p.read = m, f.reader
	}
	return p
}

// first is the sequence of the oldest message of the window, or end.
func (f *Feed) first() uint64 { return f.end - uint64(len(f.window)) }

// restart begins the window anew with a member that is before all others. A leader keeps the reader that it reads from, see arrived.
func (f *Feed) restart(m *member) (unused []streamReader) {
	if f.reader != nil && f.leader == nil {
		unused = []streamReader{f.reader}
	}
	f.window, f.size, f.end, f.reader, f.leader = nil, 0, m.next, m.alone, nil
	m.alone = nil
	f.wake()
	return unused
}

// arrived takes what a member has read, for all if it is their leader, or its failure, and lets the others look.
func (f *Feed) arrived(m *member, from streamReader, read stream.Message, err error) (*arrival, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	leads := f.leader == m
	if leads {
		f.leader = nil
		f.wake()
	} else {
		m.alone = from // that of a leader too, if the window has begun anew before another meanwhile
	}
	if err != nil {
		return nil, err
	}
	a := &arrival{message: read}
	m.next = read.Seq + 1
	if leads {
		f.window, f.size, f.end = append(f.window, a), f.size+a.size(), m.next
		f.forget()
	}
	return a, nil
}

func (f *Feed) wake() {
	close(f.moved)
	f.moved = make(chan struct{})
}

// farBehind is how many windows a member that reads for itself must be behind, for which nothing is kept until it is nearer.
const farBehind = 2

// expects says whether a member may find its messages in the window.
func (f *Feed) expects(m *member) bool {
	return m.alone == nil || f.fits == 0 || f.end < m.next+farBehind*f.fits
}

// forget drops what every member has had or will read for itself, and what there is no room for: the oldest, for who needs that needs
// much more.
func (f *Feed) forget() {
	need := f.end
	for m := range f.members {
		if f.expects(m) {
			need = min(need, m.next)
		}
	}
	if f.size > maxWindow {
		f.fits = uint64(len(f.window))
	}
	for len(f.window) > 0 && (f.first() < need || f.size > maxWindow) {
		f.size -= f.window[0].size()
		f.window[0] = nil
		f.window = f.window[1:]
	}
}

// Close ends reading. The last that has the window closes what it is read with.
func (m *member) Close() {
	for _, r := range m.leave() {
		r.Close()
	}
}

func (m *member) leave() (unused []streamReader) {
	f := m.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, m)
	if m.alone != nil {
		unused = append(unused, m.alone)
	}
	for other := range f.members {
		if other.next >= f.first() && other.alone == nil {
			f.forget()
			return unused
		}
	}
	if f.reader != nil {
		unused = append(unused, f.reader)
	}
	f.window, f.size, f.end, f.reader, f.leader = nil, 0, 0, nil, nil
	return unused
}
