package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is an open stream. It is safe for concurrent use.
type Stream struct {
	cfg         Config
	lock        *os.File // held on Dir; nil for a cluster
	incarnation string   // of the stream that was opened first
	room        *room
	turns       turns
	watch       *watchdog

	mu      sync.RWMutex // held for reading while a request uses the session, for writing while it is replaced
	session *session     // nil once closed
}

// Message is one message of the stream.
type Message struct {
	Seq     uint64 // from 1, dense
	Time    int64  // ns UTC, given by the server
	Subject string
	Data    []byte // empty for a tick
}

// Msg is a message to publish.
type Msg struct {
	Subject    string
	ID         string // same ID within DuplicateWindow: stored once; empty is no check
	ExpectLast uint64 // sequence of the subject's last message; 0 is none yet
	Data       []byte
}

// State is where the stream stands.
type State struct {
	First, Last     uint64 // sequences; First is Last+1 when the stream is empty
	Bytes, MaxBytes int64
	Incarnation     string
	Description     string // for people
}

// Open opens or creates the stream. Errors: ErrLocked, ErrConfig, ErrUnavailable.
func Open(ctx context.Context, cfg Config) (*Stream, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	s := &Stream{cfg: cfg}
	if cfg.Dir != "" {
		if s.lock, err = lockFolder(cfg.Dir); err != nil {
			return nil, fmt.Errorf("open stream: %w", err)
		}
	}
	if s.session, err = openSession(ctx, &cfg); err != nil {
		s.unlock()
		return nil, fmt.Errorf("open stream: %w", err)
	}
	s.incarnation = s.session.incarnation
	s.room, s.turns = newRoom(&s.cfg), newTurns(&s.cfg)
	s.watch = startWatchdog(s)
	return s, nil
}

// Close ends everything; an embedded server stops. Readers end with ErrClosed.
func (s *Stream) Close() error {
	s.watch.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.session.close()
		s.session = nil
	}
	s.unlock()
	return nil
}

func (s *Stream) unlock() {
	if s.lock != nil {
		_ = s.lock.Close() // the lock goes with the descriptor, whatever Close says
		s.lock = nil
	}
}

// Incarnation is 16 bytes in hexadecimal, drawn when the stream was created.
func (s *Stream) Incarnation() string { return s.incarnation }

// Reopen stops the embedded server and starts it on the same files: what a file store needs after it failed
// to write. On a cluster it makes the connection anew. Readers go on where they were.
func (s *Stream) Reopen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return fmt.Errorf("reopen stream: %w", ErrClosed)
	}
	s.session.close()
	next, err := openSession(ctx, &s.cfg)
	if err != nil {
		return fmt.Errorf("reopen stream: %w", err) // the closed session stays: every use fails as unavailable
	}
	s.session = next
	if next.incarnation != s.incarnation {
		return fmt.Errorf("reopen stream: %w", ErrIncarnation)
	}
	return nil
}

// use runs do with the session, which is not replaced before do returns.
func (s *Stream) use(ctx context.Context, do func(context.Context, *session) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.session == nil:
		return ErrClosed
	case s.session.incarnation != s.incarnation:
		return ErrIncarnation
	}
	if err := do(ctx, s.session); err != nil {
		return classify(ctx, err)
	}
	return nil
}

// Publish stores one message and returns its sequence once it is durable. dup says that it stood there
// already: found by its ID, or as the very last message of its subject. The data may be changed afterwards, also after
// an error: it was copied. Errors: ErrConflict, ErrPushback, ErrUnavailable, ErrTooLarge, ErrClosed.
func (s *Stream) Publish(ctx context.Context, m Msg) (seq uint64, dup bool, err error) {
	if err := s.room.admit(ctx, s, m.Subject, len(m.Data)); err != nil {
		return 0, false, fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	ack, err := s.publish(ctx, &m)
	s.watch.saw(err)
	if errors.Is(err, ErrConflict) && m.ID != "" {
		if seq, same := s.isLast(ctx, &m); same {
			return seq, true, nil
		}
	}
	if err != nil {
		return 0, false, fmt.Errorf("publish to %s: %w", m.Subject, err)
	}
	return ack.Sequence, ack.Duplicate, nil
}

// publish sends a message when it is its turn.
func (s *Stream) publish(ctx context.Context, m *Msg) (ack *jetstream.PubAck, err error) {
	end, err := s.turns.take(ctx, m.Subject)
	if err != nil {
		return nil, err
	}
	defer end()
	err = s.use(ctx, func(ctx context.Context, session *session) (err error) {
		ack, err = session.publish(ctx, m, s.cfg.timeout)
		return err
	})
	return ack, err
}

// publish has the server look for the message that m expects, unless it is known to be the last.
func (s *session) publish(ctx context.Context, m *Msg, timeout time.Duration) (*jetstream.PubAck, error) {
	if s.lasts == nil || isSystem(m.Subject) {
		return s.send(ctx, m, timeout, false)
	}
	last, err := s.lasts.take(ctx, m.Subject)
	if err != nil {
		return nil, err
	}
	defer s.lasts.give(last)
	before := last.seq
	last.seq = 0 // after an error the message may be stored, or be on its way still
	ack, err := s.send(ctx, m, timeout, before != 0 && before == m.ExpectLast)
	switch {
	case err == nil && ack.Duplicate:
		last.seq = before
	case err == nil:
		last.seq = ack.Sequence
	}
	return ack, err
}

// send publishes a message; certain says that the message that it expects is the last.
func (s *session) send(ctx context.Context, m *Msg, timeout time.Duration, certain bool) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	options := []jetstream.PublishOpt{jetstream.WithExpectStream(streamName)}
	if !certain {
		options = append(options, jetstream.WithExpectLastSequencePerSubject(m.ExpectLast))
	}
	if m.ID != "" {
		options = append(options, jetstream.WithMsgID(m.ID))
	}
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Data: m.Data}, options...)
	if err != nil {
		return nil, sentinelFirst(err)
	}
	return ack, nil
}

// sentinelFirst classifies before our own timeout is gone from sight.
func sentinelFirst(err error) error {
	if sentinel := sentinelOf(err); sentinel != nil {
		return fmt.Errorf("%w (%w)", sentinel, err)
	}
	return err
}

// isLast reports whether the subject's last message has the ID of m: then an attempt to publish m before
// this one, whose acknowledgement was lost, has stored it.
func (s *Stream) isLast(ctx context.Context, m *Msg) (seq uint64, same bool) {
	last, found, err := s.last(ctx, m.Subject)
	if err != nil || !found {
		return 0, false
	}
	return last.Sequence, last.Header.Get(jetstream.MsgIDHeader) == m.ID
}

// Last returns the last message of a subject, as the stream's leader has it.
func (s *Stream) Last(ctx context.Context, subject string) (m Message, found bool, err error) {
	last, found, err := s.last(ctx, subject)
	if err != nil || !found {
		return Message{}, false, err
	}
	return stored(last), true, nil
}

func (s *Stream) last(ctx context.Context, subject string) (m *jetstream.RawStreamMsg, found bool, err error) {
	err = s.use(ctx, func(ctx context.Context, session *session) (err error) {
		m, err = session.events.GetLastMsgForSubject(ctx, subject)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read last of %s: %w", subject, err)
	}
	return m, true, nil
}

// Get returns the message at a sequence. The error is ErrHole if there is none.
func (s *Stream) Get(ctx context.Context, seq uint64) (Message, error) {
	var m *jetstream.RawStreamMsg
	err := s.use(ctx, func(ctx context.Context, session *session) (err error) {
		m, err = session.events.GetMsg(ctx, seq)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = ErrHole
	}
	if err != nil {
		return Message{}, fmt.Errorf("read message %d: %w", seq, err)
	}
	return stored(m), nil
}

func stored(m *jetstream.RawStreamMsg) Message {
	return Message{Seq: m.Sequence, Time: m.Time.UnixNano(), Subject: m.Subject, Data: m.Data}
}

// State asks the server where the stream stands. The error is ErrIncarnation if it is another stream.
func (s *Stream) State(ctx context.Context) (State, error) {
	var info *jetstream.StreamInfo
	err := s.use(ctx, func(ctx context.Context, session *session) (err error) {
		info, err = session.events.Info(ctx)
		return err
	})
	if err != nil {
		return State{}, fmt.Errorf("read stream state: %w", err)
	}
	state := State{
		First: info.State.FirstSeq, Last: info.State.LastSeq,
		Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes,
		Incarnation: info.Config.Metadata[incarnationKey], Description: s.describe(),
	}
	if state.Last == 0 {
		state.First = 1
	}
	if state.Incarnation != s.incarnation {
		return state, fmt.Errorf("read stream state: %w", ErrIncarnation)
	}
	return state, nil
}

func (s *Stream) describe() string {
	if s.cfg.Dir != "" {
		return "embedded in " + s.cfg.Dir
	}
	return "cluster at " + s.cfg.URL
}

// Tick publishes an empty message that moves time on. Of several processes that tick after the same message
// one succeeds; the others get ErrConflict.
func (s *Stream) Tick(ctx context.Context) error {
	last, _, err := s.Last(ctx, TickSubject)
	if err == nil {
		_, _, err = s.Publish(ctx, Msg{Subject: TickSubject, ExpectLast: last.Seq})
	}
	return err
}

// RunTicks publishes a tick whenever the stream has had no message for the given time, until ctx ends.
func (s *Stream) RunTicks(ctx context.Context, every time.Duration) {
	var last uint64
	for sleep(ctx, every) {
		state, err := s.State(ctx)
		if err == nil && state.Last == last {
			err = s.Tick(ctx)
		}
		if err != nil && !errors.Is(err, ErrConflict) && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "no tick", slog.Any("error", err))
		}
		last = state.Last
	}
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
