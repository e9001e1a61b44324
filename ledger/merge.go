package ledger

import (
	"context"
	"io"
	"iter"
	"sync"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// merge puts the messages of all logs into stream order.
type merge struct {
	sources []*source

	mu   sync.Mutex
	sent []inOrder // given to the workers and not taken yet
}

// inOrder is a message and the one after it in the same log, nil if it is the last.
type inOrder struct{ stored, following *store.Stored }

// source is one log's messages; ahead is the next one.
type source struct {
	ahead *store.Stored
	pull  func() (*store.Stored, error, bool)
	stop  func()
}

func newMerge(ctx context.Context, snapshot Snapshot, heads []store.CommittedHead) *merge {
	m := new(merge)
	for _, h := range heads {
		pull, stop := iter.Pull2(snapshot.Messages(ctx, h.Tenant, 0))
		m.sources = append(m.sources, &source{pull: pull, stop: stop})
	}
	return m
}

func (m *merge) close() {
	for _, s := range m.sources {
		s.stop()
	}
}

// next returns the message with the least sequence; io.EOF ends it.
func (m *merge) next(context.Context) (stream.Message, error) {
	next, err := m.least()
	if err != nil {
		return stream.Message{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, next)
	s := next.stored
	return stream.Message{Seq: s.StreamSeq, Time: s.MessageTime, Subject: s.Subject, Data: s.Data}, nil
}

func (m *merge) least() (next inOrder, err error) {
	var first *source
	for _, s := range m.sources {
		if err := s.fill(); err != nil {
			return inOrder{}, err
		}
		if s.ahead != nil && (first == nil || s.ahead.StreamSeq < first.ahead.StreamSeq) {
			first = s
		}
	}
	if first == nil {
		return inOrder{}, io.EOF
	}
	next.stored, first.ahead = first.ahead, nil
	err = first.fill()
	next.following = first.ahead
	return next, err
}

// fill makes sure that ahead is set, unless the log has ended.
func (s *source) fill() error {
	if s.ahead != nil || s.pull == nil {
		return nil
	}
	stored, err, more := s.pull()
	if !more {
		s.pull = nil
		return nil
	}
	s.ahead = stored
	return err
}

// taken returns the message that the next decoded one was made of.
func (m *merge) taken() inOrder {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.sent[0]
	m.sent = m.sent[1:]
	return next
}
