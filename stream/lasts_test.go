package stream

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestServerIsNotAskedWhatIsKnown: only where this process does not know an agent's last message the server has to look for it.
func TestServerIsNotAskedWhatIsKnown(t *testing.T) {
	s, subject := open(t, Config{}), EventSubject("acme", key("a"))
	put := func(why string, asks bool) {
		t.Helper()
		last, _, err := s.Last(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		publish(t, s, Msg{Subject: subject, ID: why, ExpectLast: last.Seq})
		if asked := asksForLast(t, s, subject); asked != asks {
			t.Errorf("%s: the server is asked: %v", why, asked)
		}
	}
	put("the first", true)
	put("known", false)
	if _, _, err := s.Publish(t.Context(), Msg{Subject: subject, ID: "stale", ExpectLast: 1}); !errors.Is(err, ErrConflict) {
		t.Errorf("stale: %v", err)
	}
	put("after a conflict", true)
	if _, dup, err := s.Publish(t.Context(), Msg{Subject: subject, ID: "known", ExpectLast: 3}); err != nil || !dup {
		t.Errorf("repeated: duplicate %v, %v", dup, err)
	}
	put("after a duplicate", false)
	withoutAnswer(t, s, subject)
	put("after no answer", true)
	if err := s.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	put("after a restart", true)
}

func TestServerIsAlwaysAskedForSystemMessages(t *testing.T) {
	s, subject := open(t, Config{}), SystemSubject("acme")
	for last := range uint64(2) {
		publish(t, s, Msg{Subject: subject, ExpectLast: last})
		if !asksForLast(t, s, subject) {
			t.Errorf("not after message %d", last)
		}
	}
}

// asksForLast reports whether the server was asked to compare when it stored a subject's last message.
func asksForLast(t *testing.T, s *Stream, subject string) bool {
	t.Helper()
	m, found, err := s.last(t.Context(), subject)
	if err != nil || !found {
		t.Fatalf("last of %s: %v", subject, err)
	}
	return m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != ""
}

// withoutAnswer publishes a message and does not wait for the acknowledgement.
func withoutAnswer(t *testing.T, s *Stream, subject string) {
	t.Helper()
	before := stateOf(t, s).Last
	s.cfg.timeout = time.Nanosecond
	_, _, err := s.Publish(t.Context(), Msg{Subject: subject, ID: "no answer", ExpectLast: before})
	s.cfg.timeout = publishTimeout
	if !errors.Is(err, ErrPushback) {
		t.Errorf("without an answer: %v", err)
	}
}

func TestOfManyAgentsWithOneKeyOneWins(t *testing.T) {
	s, subject := open(t, Config{NoSync: true}), EventSubject("acme", key("a"))
	publish(t, s, Msg{Subject: subject})
	for last := uint64(1); last < 20; last++ {
		var won atomic.Int32
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				_, _, err := s.Publish(t.Context(), Msg{Subject: subject, ID: strconv.FormatUint(last, 10) + "/" + strconv.Itoa(i), ExpectLast: last})
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if state := stateOf(t, s); won.Load() != 1 || state.Last != last+1 {
			t.Fatalf("after %d: %d won, the stream ends at %d", last, won.Load(), state.Last)
		}
	}
}

// TestLastsAreBounded forgets what nobody uses, and nothing that somebody does.
func TestLastsAreBounded(t *testing.T) {
	l := newLasts()
	kept, err := l.take(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * mostLasts {
		of, err := l.take(t.Context(), strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		l.give(of)
	}
	if len(l.bySubject) > mostLasts || l.bySubject["kept"] != kept {
		t.Errorf("%d subjects", len(l.bySubject))
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.take(gone, "kept"); !errors.Is(err, context.Canceled) {
		t.Errorf("taken twice: %v", err)
	}
	l.give(kept)
	if kept.users != 0 {
		t.Errorf("%d users", kept.users)
	}
}
