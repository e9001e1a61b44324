package ledger

import (
	"bytes"
	"sync"

	"github.com/agentcustody/custody/stream"
)

const (
	// maxShared bounds the decoded messages that wait for the second of the two that read them, bytes. The writer keeps those of its
	// blocks in memory anyway.
	maxShared = 64 << 20
	// sharedWeight is how many times its size a message takes decoded, with its data.
	sharedWeight = 3
	// sharedLeast is what a message takes however small it is, bytes.
	sharedLeast = 2 << 10
)

// Shared lets the writer and a follower of one process decode each message once: whoever comes first leaves the result to the
// other. Neither ever waits for the other but for a decoding that has begun, and neither takes what is not, byte for byte, the
// decoding of its own message. When there is no room, because one is far behind, the other decodes for itself.
//
// It is safe for concurrent use.
type Shared struct {
	mu   sync.Mutex
	left map[uint64]*leftover // by stream sequence
	size int
	at   [2]uint64 // last message that each reader has asked for
}

// reader is who asks.
type reader int

// The readers.
const (
	readsWriter reader = iota
	readsFollower
)

// leftover is a message that one reader decodes or has decoded.
type leftover struct {
	message stream.Message
	decoded *Decoded
	ready   chan struct{} // closed when decoded is set
}

// NewShared returns one that has nothing.
func NewShared() *Shared { return &Shared{left: map[uint64]*leftover{}} }

// decode decodes a message for a reader, or takes what the other has left. Nil shares nothing.
func (s *Shared) decode(who reader, d *Decoder, m stream.Message) *Decoded {
	if s == nil {
		return d.Decode(m)
	}
	l, first := s.ask(who, m)
	switch {
	case l == nil:
		return d.Decode(m)
	case first:
		l.decoded = d.Decode(m)
		close(l.ready)
		return l.decoded.own()
	}
	<-l.ready
	if l.message.Time != m.Time || l.message.Subject != m.Subject || !bytes.Equal(l.message.Data, m.Data) {
		return d.Decode(m)
	}
	return l.decoded.own()
}

// ask finds what the other reader has left, which is then gone; or, if the other is to come here yet and there is room, makes a
// place for what the reader must decode first. Otherwise it returns nil.
func (s *Shared) ask(who reader, m stream.Message) (l *leftover, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[who] = m.Seq
	if l = s.left[m.Seq]; l != nil {
		s.drop(m.Seq)
		return l, false
	}
	if s.at[1-who] >= m.Seq || !s.room(sharedSize(&m)) {
		return nil, false
	}
	l = &leftover{message: m, ready: make(chan struct{})}
	s.left[m.Seq] = l
	s.size += sharedSize(&m)
	return l, true
}

// room reports whether so much more may be kept. What both have passed, as after a restart of one of them, goes first.
func (s *Shared) room(more int) bool {
	if s.size+more <= maxShared {
		return true
	}
	for seq := range s.left {
		if seq <= min(s.at[0], s.at[1]) {
			s.drop(seq)
		}
	}
	return s.size+more <= maxShared
}

func (s *Shared) drop(seq uint64) {
	s.size -= sharedSize(&s.left[seq].message)
	delete(s.left, seq)
}

func sharedSize(m *stream.Message) int { return sharedWeight*len(m.Data) + sharedLeast }

// own is a copy for one fold, which notes in it what it finds out; what both only read is the same.
func (d *Decoded) own() *Decoded {
	c := *d
	if d.batch != nil {
		b := *d.batch
		c.batch = &b
	}
	return &c
}
