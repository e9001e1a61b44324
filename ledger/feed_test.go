package ledger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// busyWorld is a stream of two agents with ticks, nonsense and a key that is taken back.
func busyWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 1)
	w.tenant("acme")
	a, b := w.agent("acme", "support-1"), w.agent("acme", "support-2")
	for i := range 60 {
		a.send(1 + i%5)
		b.send(2)
		w.tick()
		w.add("custody.ev.acme", []byte("nonsense"))
	}
	w.revoke(b)
	b.send(2)
	a.send(1)
	return w
}

// shelf is a stream that stands still, with readers that are counted.
type shelf struct {
	messages     []stream.Message
	open, opened atomic.Int64
	read         atomic.Int64  // messages, by all readers
	failing      atomic.Bool   // every reader fails
	entered      chan struct{} // is sent to when a reader waits at the end; may be nil
}

// nonsense is a shelf of messages that take so many bytes decoded.
func nonsense(n, size int) *shelf {
	s, data := &shelf{}, make([]byte, (size-decodedLeast)/decodedWeight)
	for i := range n {
		s.messages = append(s.messages, stream.Message{Seq: uint64(i + 1), Subject: "nonsense", Data: data})
	}
	return s
}

func (s *shelf) feed() *Feed {
	return newFeed(func(from uint64) streamReader {
		s.open.Add(1)
		s.opened.Add(1)
		return &shelfReader{shelf: s, next: from}
	})
}

// shelfReader waits at the end of the shelf, as a stream's reader does. It notes whether two use it at once.
type shelfReader struct {
	shelf *shelf
	next  uint64
	used  sync.Mutex
}

var errShelf = errors.New("the shelf is broken")

func (r *shelfReader) Next(ctx context.Context) (stream.Message, error) {
	if !r.used.TryLock() {
		return stream.Message{}, errors.New("two read at once")
	}
	defer r.used.Unlock()
	if r.shelf.failing.Load() {
		return stream.Message{}, errShelf
	}
	if r.next > uint64(len(r.shelf.messages)) {
		if r.shelf.entered != nil {
			r.shelf.entered <- struct{}{}
		}
		<-ctx.Done()
		return stream.Message{}, context.Cause(ctx)
	}
	m := r.shelf.messages[r.next-1]
	r.next++
	r.shelf.read.Add(1)
	return m, nil
}

func (r *shelfReader) Close() { r.shelf.open.Add(-1) }

// take reads n messages, which must be the next.
func take(t *testing.T, m *member, n int) {
	t.Helper()
	for range n {
		want := m.next
		a, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if a.message.Seq != want {
			t.Fatalf("got message %d, want %d", a.message.Seq, want)
		}
	}
}

// TestFeedFoldsTheSame: two folds at once from one feed come to the state of one that is alone, each message read once.
func TestFeedFoldsTheSame(t *testing.T) {
	w := busyWorld(t)
	fold := func(f *Feed, v *signer.Verified) (hash [32]byte) {
		fold, m := NewFold(w.system.Public(), new(memory)), f.join(1)
		defer m.Close()
		fold.keys.verified = v
		decoder := fold.Decoder()
		for range w.messages {
			a, err := m.Next(t.Context())
			w.check(err)
			_, err = fold.Message(t.Context(), a.decode(decoder))
			w.check(err)
		}
		hash, err := fold.StateHash()
		w.check(err)
		return hash
	}
	want := fold((&shelf{messages: w.messages}).feed(), nil)
	for range 20 {
		s, v := &shelf{messages: w.messages}, new(signer.Verified)
		f := s.feed()
		keep := f.join(1) // the window stays while one of them is done before the other begins
		var both sync.WaitGroup
		var got [2][32]byte
		for i := range got {
			both.Go(func() { got[i] = fold(f, v) })
		}
		both.Wait()
		keep.Close()
		if got[0] != want || got[1] != want {
			t.Fatal("another state")
		}
		if read := s.read.Load(); read != int64(len(w.messages)) || s.open.Load() != 0 {
			t.Fatalf("%d of %d messages were read, %d readers are open", read, len(w.messages), s.open.Load())
		}
	}
}

// TestFeedDecodesOnce: the second has the first one's events, in a copy of its own.
func TestFeedDecodesOnce(t *testing.T) {
	w := busyWorld(t)
	f, d := (&shelf{messages: w.messages}).feed(), NewFold(w.system.Public(), new(memory)).Decoder()
	a, b := f.join(2), f.join(2)
	x, err := a.Next(t.Context())
	w.check(err)
	y, err := b.Next(t.Context())
	w.check(err)
	first, second := x.decode(d), y.decode(d)
	if first == second || first.batch == second.batch || first.batch.events[0] != second.batch.events[0] {
		t.Error("not shared, or not a copy of its own")
	}
	if f.size != 0 || len(f.window) != 0 {
		t.Errorf("%d messages are kept, %d bytes", len(f.window), f.size)
	}
}

// TestFeedBehind: one that stands still does not hold the other up and costs no more than the bound; it reads what it has missed for
// itself and joins again.
func TestFeedBehind(t *testing.T) {
	const all, kept = 300, 64
	s := nonsense(all, maxWindow/kept)
	f := s.feed()
	slow, fast := f.join(1), f.join(1)
	take(t, slow, 1)
	for range all - 1 {
		take(t, fast, 1)
		if f.size > maxWindow || len(f.window) > kept {
			t.Fatalf("%d messages are kept, %d bytes", len(f.window), f.size)
		}
	}
	take(t, slow, 1)
	if slow.alone == nil {
		t.Error("it has a message that there is no room for")
	}
	take(t, slow, all-2-kept/2)
	if slow.alone != nil || s.open.Load() != 1 {
		t.Errorf("it has not joined again: %d readers", s.open.Load())
	}
	read := s.read.Load()
	take(t, slow, kept/2-1)
	take(t, fast, 1)
	if more := s.read.Load() - read; more != 1 { // the last
		t.Errorf("%d messages were read", more)
	}
}

// TestFeedFarBehind: for one that is far behind and reads for itself nothing is kept, until it is near enough to find it.
func TestFeedFarBehind(t *testing.T) {
	const all, kept = 1000, 64
	s := nonsense(all, maxWindow/kept)
	f := s.feed()
	slow, fast := f.join(1), f.join(1)
	take(t, fast, 300)
	take(t, slow, 1)
	take(t, fast, 100)
	if slow.alone == nil || f.size != 0 || len(f.window) != 0 {
		t.Errorf("%d messages are kept, %d bytes", len(f.window), f.size)
	}
	take(t, slow, 300)
	take(t, fast, 20)
	if len(f.window) != 20 {
		t.Errorf("%d messages are kept", len(f.window))
	}
	for slow.alone != nil && slow.next < all/2 {
		take(t, slow, 1)
	}
	read := s.read.Load()
	take(t, slow, int(fast.next-slow.next))
	if more := s.read.Load() - read; more != 0 || s.open.Load() != 1 {
		t.Errorf("%d messages were read again, %d readers are open", more, s.open.Load())
	}
}

// TestFeedBegins: one that begins ahead reads on from there, whoever is behind keeps the reader that it has, and they meet.
func TestFeedBegins(t *testing.T) {
	s := nonsense(100, maxWindow/256)
	f := s.feed()
	behind := f.join(1)
	take(t, behind, 10)
	ahead := f.join(60)
	take(t, ahead, 20)
	take(t, behind, 69)
	if behind.alone != nil || s.open.Load() != 1 {
		t.Errorf("they have not met: %d readers", s.open.Load())
	}
	take(t, behind, 21)
	take(t, ahead, 21)
	behind.Close()
	ahead.Close()
	if s.open.Load() != 0 {
		t.Errorf("%d readers are open", s.open.Load())
	}
}

// TestFeedOvertaken: one that waits for the stream while another begins ahead of it goes on with its reader.
func TestFeedOvertaken(t *testing.T) {
	s := nonsense(10, maxWindow/256)
	s.entered = make(chan struct{})
	f := s.feed()
	behind := f.join(11)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := behind.Next(ctx)
		ended <- err
	}()
	<-s.entered
	s.messages = nonsense(30, maxWindow/256).messages
	ahead := f.join(20)
	take(t, ahead, 1)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	take(t, behind, 20)
	take(t, ahead, 10)
	if s.read.Load() > 20+11 {
		t.Errorf("%d messages were read", s.read.Load())
	}
}

// TestFeedStopped: whoever leads may stop at any moment; the other goes on. A failure is of the one that reads.
func TestFeedStopped(t *testing.T) {
	s := nonsense(10, maxWindow/256)
	s.entered = make(chan struct{}, 2)
	f := s.feed()
	stopped, other := f.join(11), f.join(11)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	wait := func(ctx context.Context, m *member) {
		_, err := m.Next(ctx)
		ended <- err
	}
	go wait(ctx, stopped)
	<-s.entered
	last, end := context.WithCancel(t.Context())
	go wait(last, other)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-s.entered // the other leads now
	stopped.Close()
	end()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.failing.Store(true)
	if _, err := other.Next(t.Context()); !errors.Is(err, errShelf) {
		t.Errorf("got %v", err)
	}
	other.Close()
	if s.opened.Load() != 1 || s.open.Load() != 0 {
		t.Errorf("%d readers were opened, %d are", s.opened.Load(), s.open.Load())
	}
}

// TestFeedLeftBehind: when the last one near the head leaves, nothing is kept for one that is far behind, and it takes over.
func TestFeedLeftBehind(t *testing.T) {
	const all, kept = 300, 64
	s := nonsense(all, maxWindow/kept)
	f := s.feed()
	slow, fast := f.join(1), f.join(1)
	take(t, fast, all-1)
	take(t, slow, 10)
	fast.Close()
	if f.size != 0 || len(f.window) != 0 || s.open.Load() != 1 {
		t.Errorf("%d messages are kept, %d bytes, %d readers", len(f.window), f.size, s.open.Load())
	}
	take(t, slow, all-10)
	slow.Close()
	if s.open.Load() != 0 || s.opened.Load() != 2 {
		t.Errorf("%d readers are open, %d were", s.open.Load(), s.opened.Load())
	}
}

// TestFeedAtRandom: members that come, go and fall behind in all orders read everything in order, and the bound holds.
func TestFeedAtRandom(t *testing.T) {
	const all = 2000
	s := nonsense(all, maxWindow/16)
	f := s.feed()
	var members sync.WaitGroup
	for i := range 4 {
		members.Go(func() {
			for round := range 3 {
				from := uint64(1 + (i*37+round*251)%all)
				m := f.join(from)
				for seq := from; seq <= all; seq++ {
					a, err := m.Next(t.Context())
					if err != nil || a.message.Seq != seq {
						t.Errorf("got %v, want message %d", err, seq)
						return
					}
				}
				m.Close()
			}
		})
	}
	members.Wait()
	if s.open.Load() != 0 || f.size != 0 {
		t.Errorf("%d readers are open, %d bytes kept", s.open.Load(), f.size)
	}
}
