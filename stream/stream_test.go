package stream

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childDir makes the test binary publish into that folder until it is killed.
const childDir = "CUSTODY_STREAM_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		publishForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

func TestPublishedMessageIsReadBack(t *testing.T) {
	s := open(t, Config{})
	want := []Message{
		{Seq: 1, Subject: SystemSubject("acme"), Data: []byte("genesis")},
		{Seq: 2, Subject: EventSubject("acme", key("a")), Data: []byte("batch")},
		{Seq: 3, Subject: TickSubject, Data: []byte{}},
	}
	for _, m := range want {
		publish(t, s, Msg{Subject: m.Subject, Data: m.Data})
	}
	got := readAll(t, s.Read(1, ""), len(want))
	var before int64
	for i := range got {
		if got[i].Time < before || got[i].Time == 0 {
			t.Errorf("message %d: time %d after %d", got[i].Seq, got[i].Time, before)
		}
		before, got[i].Time = got[i].Time, 0
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestGetAndNextAgreeOnTheMessage(t *testing.T) {
	s := open(t, Config{})
	publish(t, s, Msg{Subject: SystemSubject("acme"), ID: "1", Data: []byte("batch")})
	read := readAll(t, s.Read(1, ""), 1)[0]
	got, err := s.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	last, found, err := s.Last(t.Context(), SystemSubject("acme"))
	if err != nil || !found {
		t.Fatalf("last: found %v, %v", found, err)
	}
	for name, m := range map[string]Message{"get": got, "last": last} {
		if diff := cmp.Diff(read, m); diff != "" {
			t.Errorf("%s (-read +%s):\n%s", name, name, diff)
		}
	}
}

func TestLastOfASubjectWithoutMessages(t *testing.T) {
	s := open(t, Config{})
	if _, found, err := s.Last(t.Context(), SystemSubject("acme")); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestPublishIsACompareAndSetPerSubject(t *testing.T) {
	s := open(t, Config{})
	subject := EventSubject("acme", key("a"))
	publish(t, s, Msg{Subject: subject, ID: "1"})
	publish(t, s, Msg{Subject: EventSubject("acme", key("b")), ID: "2"})
	publish(t, s, Msg{Subject: subject, ID: "3", ExpectLast: 1})
	for _, stale := range []uint64{0, 1, 2, 4} {
		_, _, err := s.Publish(t.Context(), Msg{Subject: subject, ID: "4", ExpectLast: stale})
		if !errors.Is(err, ErrConflict) {
			t.Errorf("publish after %d: got %v, want ErrConflict", stale, err)
		}
	}
}

func TestSecondPublishOfTheLastMessageIsADuplicate(t *testing.T) {
	s := open(t, Config{})
	subject := EventSubject("acme", key("a"))
	publish(t, s, Msg{Subject: subject, ID: "1"})
	m := Msg{Subject: subject, ID: "2", ExpectLast: 1, Data: []byte("x")}
	publish(t, s, m)
	seq, dup, err := s.Publish(t.Context(), m)
	if seq != 2 || !dup || err != nil {
		t.Errorf("got sequence %d, duplicate %v, %v", seq, dup, err)
	}
	if state := stateOf(t, s); state.Last != 2 {
		t.Errorf("stream ends at %d, want 2", state.Last)
	}
}

func TestOfManyPublishersOneWins(t *testing.T) {
	s := open(t, Config{NoSync: true})
	var won, lost atomic.Int32
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			_, dup, err := s.Publish(t.Context(), Msg{Subject: SystemSubject("acme"), ID: strconv.Itoa(i)})
			switch {
			case err == nil && !dup:
				won.Add(1)
			case errors.Is(err, ErrConflict):
				lost.Add(1)
			default:
				t.Errorf("publisher %d: duplicate %v, %v", i, dup, err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Errorf("%d won and %d lost", won.Load(), lost.Load())
	}
}

func TestAgentsTakeTurnsAndSystemMessagesDoNot(t *testing.T) {
	s := open(t, Config{})
	for range embeddedTurns {
		s.turns.free <- struct{}{}
	}
	agents := Msg{Subject: EventSubject("acme", key("a")), Data: []byte("batch")}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("gone")
	cancel(cause)
	if _, _, err := s.Publish(ctx, agents); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	done := make(chan uint64)
	go func() {
		seq, _, err := s.Publish(t.Context(), agents)
		if err != nil {
			t.Error(err)
		}
		done <- seq
	}()
	for _, subject := range []string{SystemSubject("acme"), TickSubject} {
		publish(t, s, Msg{Subject: subject})
	}
	select {
	case seq := <-done:
		t.Errorf("message %d was published before its turn", seq)
	default:
	}
	<-s.turns.free
	if seq := <-done; seq != 3 {
		t.Errorf("got message %d, want 3", seq)
	}
	if waiting := len(s.turns.free); waiting != embeddedTurns-1 {
		t.Errorf("%d turns are taken", waiting)
	}
}

func TestFullStreamPushesAgentsBackAndTakesSystemMessages(t *testing.T) {
	s := open(t, Config{MaxBytes: 1 << 20, SystemQuota: 256 << 10, NoSync: true})
	fill := func(subject string) (n int, err error) {
		for last := uint64(0); ; n++ {
			if last, _, err = s.Publish(t.Context(), Msg{Subject: subject, ExpectLast: last, Data: make([]byte, 64<<10)}); err != nil {
				return n, err
			}
		}
	}
	agents, err := fill(EventSubject("acme", key("a")))
	if !errors.Is(err, ErrPushback) || agents < 10 || agents > 12 {
		t.Errorf("agents: %d messages, then %v", agents, err)
	}
	system, err := fill(SystemSubject("acme"))
	if !errors.Is(err, ErrPushback) || system < 3 || system > 4 {
		t.Errorf("system: %d messages, then %v", system, err)
	}
}

func TestServerRefusesBeyondItsLimit(t *testing.T) {
	s := open(t, Config{MaxBytes: 1 << 20, NoSync: true})
	s.room.cfg.MaxBytes = math.MaxInt64 // as if another process had filled it since the last look
	var err error
	for last := uint64(0); err == nil; {
		last, _, err = s.Publish(t.Context(), Msg{Subject: SystemSubject("acme"), ExpectLast: last, Data: make([]byte, 100<<10)})
	}
	if !errors.Is(err, ErrPushback) || isSuspicious(err) {
		t.Errorf("got %v, want ErrPushback without suspicion", err)
	}
}

func TestDiskReserve(t *testing.T) {
	var free atomic.Int64
	s := open(t, Config{DiskReserve: 1000, free: func(string) (int64, error) { return free.Load(), nil }})
	tests := map[string]struct {
		free           int64
		agents, system bool // taken
	}{
		"plenty":                 {1000, true, true},
		"below the reserve":      {999, false, true},
		"just the system's part": {250, false, true},
		"nothing for anyone":     {249, false, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			free.Store(test.free)
			s.room.forget()
			for subject, want := range map[string]bool{
				LateSubject(name[:1]): test.agents, EventSubject(name[:1], key("a")): test.agents, SystemSubject(name[:1]): test.system,
			} {
				_, _, err := s.Publish(t.Context(), Msg{Subject: subject})
				if taken := err == nil; taken != want || !taken && !errors.Is(err, ErrPushback) {
					t.Errorf("%s: got %v, want taken = %v", subject, err, want)
				}
			}
			if err := s.Room(t.Context()); errors.Is(err, ErrPushback) == test.agents {
				t.Errorf("room: got %v, agents' messages are taken: %v", err, test.agents)
			}
		})
	}
}

// TestReserveBesideTheStream: agents are pushed back before the volume of the store is full, and what contains is not.
func TestReserveBesideTheStream(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{DiskReserve: 1000, Beside: []string{dir}, free: func(of string) (int64, error) {
		if of == dir {
			return 1, nil
		}
		return 1 << 30, nil
	}})
	_, _, err := s.Publish(t.Context(), Msg{Subject: EventSubject("acme", key("a"))})
	if !errors.Is(err, ErrPushback) || !strings.Contains(err.Error(), dir) {
		t.Errorf("an agent's: %v", err)
	}
	if _, _, err := s.Publish(t.Context(), Msg{Subject: SystemSubject("acme")}); err != nil {
		t.Errorf("a system message: %v", err)
	}
}

func TestTooLargeAMessage(t *testing.T) {
	s := open(t, Config{})
	for _, size := range []int{MaxMessage, MaxMessage + 1} {
		_, _, err := s.Publish(t.Context(), Msg{Subject: SystemSubject("acme"), Data: make([]byte, size)})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: got %v, want ErrTooLarge", size, err)
		}
	}
}

func TestHeadIsSetByCompareAndSet(t *testing.T) {
	s := open(t, Config{})
	head := s.Head("0")
	value, revision, err := head.Load(t.Context())
	if value != nil || revision != 0 || err != nil {
		t.Fatalf("new head: %q, revision %d, %v", value, revision, err)
	}
	first, err := head.CompareAndSet(t.Context(), []byte("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := head.CompareAndSet(t.Context(), []byte("b"), 0); !errors.Is(err, ErrConflict) {
		t.Errorf("stale: got %v, want ErrConflict", err)
	}
	second, err := head.CompareAndSet(t.Context(), []byte("b"), first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Head("1").CompareAndSet(t.Context(), []byte("other partition"), 0); err != nil {
		t.Fatal(err)
	}
	if value, revision, err = head.Load(t.Context()); string(value) != "b" || revision != second || err != nil {
		t.Errorf("got %q, revision %d, %v", value, revision, err)
	}
}

func TestHeadsAndStreamSurviveAClose(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	publish(t, s, Msg{Subject: SystemSubject("acme"), Data: []byte("x")})
	revision, err := s.Head("0").CompareAndSet(t.Context(), []byte("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	incarnation := s.Incarnation()
	s.Close()
	s = open(t, Config{Dir: dir, MaxBytes: 1 << 30}) // a changed limit is followed
	if s.Incarnation() != incarnation || len(incarnation) != 32 {
		t.Errorf("incarnation %q after %q", s.Incarnation(), incarnation)
	}
	if state := stateOf(t, s); state.Last != 1 || state.MaxBytes != 1<<30 {
		t.Errorf("state after reopening: %+v", state)
	}
	if value, got, err := s.Head("0").Load(t.Context()); string(value) != "a" || got != revision || err != nil {
		t.Errorf("head %q, revision %d, %v", value, got, err)
	}
}

func TestFolderIsOpenOnce(t *testing.T) {
	dir := t.TempDir()
	open(t, Config{Dir: dir})
	if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestConfigNeedsOnePlace(t *testing.T) {
	for name, cfg := range map[string]Config{"none": {}, "two": {Dir: "d", URL: "nats://h"}, "quota": {Dir: "d", MaxBytes: 5, SystemQuota: 5}} {
		if _, err := Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestReaderFollows(t *testing.T) {
	s := open(t, Config{NoSync: true})
	reader := s.Read(1, SystemFilter)
	t.Cleanup(reader.Close)
	for i := range 5 {
		subject := SystemSubject(fmt.Sprint("t", i))
		go publish(t, s, Msg{Subject: EventSubject("t", key(subject))})
		go publish(t, s, Msg{Subject: subject})
		if m := next(t, reader); m.Subject != subject {
			t.Errorf("got %s, want %s", m.Subject, subject)
		}
	}
}

// TestAPasswordIsNotRepeated: a URL that cannot be read is not in the error.
func TestAPasswordIsNotRepeated(t *testing.T) {
	for _, url := range []string{"nats://u:hunter2%zz@h:4222", "nats://u:hunter2@h:port", "nats://u:hunter2\x7f@h", "nats://u:hunter2@[::1"} {
		if s, err := Open(t.Context(), Config{URL: url}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, %v", s, err)
		}
	}
}

// TestNobodyAnswers: what is not there can be tried again later.
func TestNobodyAnswers(t *testing.T) {
	for _, url := range []string{"nats://127.0.0.1:1", "nats://nobody.invalid:4222"} {
		if s, err := Open(t.Context(), Config{URL: url}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, %v", url, s, err)
		}
	}
}

// TestAFilterKeepsUp: a reader asks anew though nothing matches, so that the server looks through what came meanwhile and not through all of it
// when something does.
func TestAFilterKeepsUp(t *testing.T) {
	s := open(t, Config{NoSync: true})
	publish(t, s, Msg{Subject: SystemSubject("acme")})
	asked := make(chan *nats.Msg, 8)
	if _, err := s.session.conn.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.>", asked); err != nil {
		t.Fatal(err)
	}
	reader := s.Read(1, SystemFilter)
	waiting, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for waiting.Err() == nil {
			_, _ = reader.Next(waiting)
		}
	}()
	for range 2 {
		<-asked
	}
	stop()
	<-ended
	reader.Close()
}

func TestReaderGoesOnAfterReopen(t *testing.T) {
	s := open(t, Config{})
	reader := s.Read(1, "")
	t.Cleanup(reader.Close)
	for i := range uint64(3) {
		publish(t, s, Msg{Subject: SystemSubject("acme"), ExpectLast: i})
		if m := next(t, reader); m.Seq != i+1 {
			t.Fatalf("got message %d, want %d", m.Seq, i+1)
		}
		if err := s.Reopen(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReaderEndsWithItsStreamAndContext(t *testing.T) {
	s := open(t, Config{})
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	reader := s.Read(1, "")
	if _, err := reader.Next(ctx); !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { s.Close() })
	if _, err := reader.Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

// TestHoleIsFound deletes messages behind the back of the stream, which its settings forbid.
func TestHoleIsFound(t *testing.T) {
	for name, missing := range map[string][]uint64{"first": {1}, "middle": {3}, "last": {5}, "all": {1, 2, 3, 4, 5}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{NoSync: true})
			for range 5 {
				publish(t, s, Msg{Subject: EventSubject("acme", key(name)), ExpectLast: stateOf(t, s).Last})
			}
			remove(t, s, missing)
			reader := s.Read(1, "")
			t.Cleanup(reader.Close)
			var err error
			for err == nil {
				_, err = reader.Next(t.Context())
			}
			if !errors.Is(err, ErrHole) || reader.next != missing[0] {
				t.Errorf("got %v at %d, want ErrHole at %d", err, reader.next, missing[0])
			}
		})
	}
}

func TestOtherIncarnationIsRefused(t *testing.T) {
	s := open(t, Config{})
	publish(t, s, Msg{Subject: TickSubject})
	reader := s.Read(1, "")
	t.Cleanup(reader.Close)
	next(t, reader)
	replaceStream(t, s)
	if _, err := s.State(t.Context()); !errors.Is(err, ErrIncarnation) {
		t.Errorf("state: got %v, want ErrIncarnation", err)
	}
	if _, err := reader.Next(t.Context()); !errors.Is(err, ErrIncarnation) {
		t.Errorf("reader: got %v, want ErrIncarnation", err)
	}
	if err := s.Reopen(t.Context()); !errors.Is(err, ErrIncarnation) {
		t.Errorf("reopen: got %v, want ErrIncarnation", err)
	}
	if _, _, err := s.Publish(t.Context(), Msg{Subject: TickSubject}); !errors.Is(err, ErrIncarnation) {
		t.Errorf("publish: got %v, want ErrIncarnation", err)
	}
}

func TestStreamWithOtherSettingsIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	err := s.use(t.Context(), func(ctx context.Context, session *session) error {
		if err := session.js.DeleteStream(ctx, streamName); err != nil {
			return err
		}
		loose := eventsConfig(&s.cfg)
		loose.DenyDelete, loose.MaxAge = false, time.Hour
		_, err := session.js.CreateStream(ctx, loose)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = Open(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "max age, deny delete") {
		t.Errorf("got %v, want ErrConfig naming max age and deny delete", err)
	}
}

func TestTicksMoveAnIdleStream(t *testing.T) {
	s := open(t, Config{NoSync: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.RunTicks(ctx, 20*time.Millisecond); close(done) }()
	for _, m := range readAll(t, s.Read(1, ""), 3) {
		if m.Subject != TickSubject || len(m.Data) != 0 {
			t.Errorf("got %+v, want a tick", m)
		}
	}
	cancel()
	<-done
}

func TestRemoteServerByURL(t *testing.T) {
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, MaxPayload: MaxMessage})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { stopServer(srv) })
	cfg := Config{URL: srv.ClientURL(), MaxBytes: 1 << 30, timeout: 300 * time.Millisecond}
	first, second := open(t, cfg), open(t, cfg)
	if first.Incarnation() != second.Incarnation() {
		t.Error("two clients see two incarnations")
	}
	publish(t, first, Msg{Subject: SystemSubject("acme"), ID: "1", Data: []byte("x")})
	if m := readAll(t, second.Read(1, ""), 1)[0]; string(m.Data) != "x" {
		t.Errorf("got %q", m.Data)
	}
	stopServer(srv)
	if _, _, err := first.Publish(t.Context(), Msg{Subject: TickSubject}); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrPushback) {
		t.Errorf("server gone: got %v", err)
	}
}

// TestAcknowledgedMessagesSurviveKill kills a publishing process and looks for every sequence that it had
// been promised.
func TestAcknowledgedMessagesSurviveKill(t *testing.T) {
	dir := t.TempDir()
	promised := killAfter(t, dir, 50)
	s := open(t, Config{Dir: dir})
	if state := stateOf(t, s); state.First != 1 || state.Last < promised {
		t.Fatalf("stream holds %d to %d, promised were %d", state.First, state.Last, promised)
	}
	for i, m := range readAll(t, s.Read(1, ""), int(promised)) {
		if want := strconv.Itoa(i + 1); m.Seq != uint64(i+1) || string(m.Data) != want {
			t.Fatalf("message %d holds %q, want %s", m.Seq, m.Data, want)
		}
	}
}

// killAfter runs this test binary as a publisher and kills it once it has been promised n messages.
func killAfter(t *testing.T, dir string, n uint64) (promised uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary itself
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); promised < n && lines.Scan(); {
		if promised, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	for line := range strings.FieldsSeq(string(rest)) {
		if seq, err := strconv.ParseUint(line, 10, 64); err == nil {
			promised = max(promised, seq)
		}
	}
	_ = cmd.Wait() // it was killed
	return promised
}

func publishForEver(dir string) {
	s, err := Open(context.Background(), Config{Dir: dir, DiskReserve: -1})
	for last := uint64(0); err == nil; {
		if last, _, err = s.Publish(context.Background(), Msg{
			Subject: SystemSubject("acme"), ExpectLast: last, Data: strconv.AppendUint(nil, last+1, 10),
		}); err == nil {
			fmt.Println(last)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestStreamIsReopenedAfterTheDiskWasFull fills a real file system, and frees it.
func TestStreamIsReopenedAfterTheDiskWasFull(t *testing.T) {
	dir := smallDisk(t, 64<<20)
	s := open(t, Config{Dir: filepath.Join(dir, "stream"), MaxBytes: 1 << 30, DiskReserve: -1, timeout: 300 * time.Millisecond})
	publish(t, s, Msg{Subject: SystemSubject("acme"), Data: []byte("before")})
	ballast := filepath.Join(dir, "ballast")
	fillDisk(t, ballast)
	if err := publishUntilError(t, s); !errors.Is(err, ErrPushback) && !errors.Is(err, ErrUnavailable) {
		t.Fatalf("on a full disk: %v, want ErrPushback or ErrUnavailable", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		last, _, err := s.Last(t.Context(), SystemSubject("acme"))
		if err == nil {
			_, _, err = s.Publish(t.Context(), Msg{Subject: SystemSubject("acme"), ExpectLast: last.Seq, Data: []byte("after")})
		}
		return err == nil
	})
	state := stateOf(t, s)
	readAll(t, s.Read(1, ""), int(state.Last))
}

func publishUntilError(t *testing.T, s *Stream) (err error) {
	t.Helper()
	for last, i := uint64(0), 0; err == nil && i < 1000; i++ {
		last, _, err = s.Publish(t.Context(), Msg{Subject: SystemSubject("full"), ExpectLast: last, Data: make([]byte, 256<<10)})
	}
	return err
}

func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func TestSubjects(t *testing.T) {
	keyID := sha256.Sum256([]byte("a"))
	tests := map[string]struct {
		text string
		want Subject
	}{
		"events": {EventSubject("acme", keyID), Subject{ClassEvents, "acme", keyID}},
		"system": {SystemSubject("acme"), Subject{Class: ClassSystem, Tenant: "acme"}},
		"late":   {LateSubject("acme-2"), Subject{Class: ClassLate, Tenant: "acme-2"}},
		"tick":   {TickSubject, Subject{Class: ClassTick}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSubject(test.text)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestNotASubject(t *testing.T) {
	for _, text := range []string{
		"", "custody", "custody.tick.x", "custody.sys.", "custody.sys.a.b", "custody.sys.A", "custody.late.a*",
		"custody.ev.a", "custody.ev.a.00", "custody.ev.." + strings.Repeat("0", 64), "custody.ev.a." + strings.Repeat("A", 64),
		"custody.sys." + strings.Repeat("a", 64), "other.sys.a",
	} {
		if s, err := ParseSubject(text); err == nil {
			t.Errorf("%q parsed as %+v", text, s)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	f.Add(EventSubject("acme", key("a")))
	f.Add(SystemSubject("acme"))
	f.Add(TickSubject)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSubject(text); err == nil && s.String() != text {
			t.Errorf("%q parsed, but is written %q", text, s.String())
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	s := open(b, Config{})
	data := make([]byte, 8<<10)
	var last uint64
	for b.Loop() {
		var err error
		if last, _, err = s.Publish(b.Context(), Msg{Subject: SystemSubject("acme"), ExpectLast: last, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	s := open(b, Config{NoSync: true})
	const n = 20_000
	for i := range uint64(n) {
		publish(b, s, Msg{Subject: SystemSubject("acme"), ExpectLast: i, Data: make([]byte, 1<<10)})
	}
	for b.Loop() {
		readAll(b, s.Read(1, ""), n)
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "msgs/s")
}

func open(t testing.TB, cfg Config) *Stream {
	t.Helper()
	if cfg.Dir == "" && cfg.URL == "" {
		cfg.Dir = t.TempDir()
	}
	setDefault(&cfg.DiskReserve, -1)
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func publish(t testing.TB, s *Stream, m Msg) {
	t.Helper()
	if _, dup, err := s.Publish(context.Background(), m); err != nil || dup {
		t.Errorf("publish to %s: duplicate %v, %v", m.Subject, dup, err)
	}
}

func readAll(t testing.TB, reader *Reader, n int) []Message {
	t.Helper()
	defer reader.Close()
	messages := make([]Message, n)
	for i := range messages {
		messages[i] = next(t, reader)
	}
	return messages
}

func next(t testing.TB, reader *Reader) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	m, err := reader.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func stateOf(t testing.TB, s *Stream) State {
	t.Helper()
	state, err := s.State(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("not within 30 s")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// remove makes the stream anew without the named messages, under the same incarnation.
func remove(t *testing.T, s *Stream, missing []uint64) {
	t.Helper()
	err := s.use(t.Context(), func(ctx context.Context, session *session) error {
		if err := session.js.DeleteStream(ctx, streamName); err != nil {
			return err
		}
		cfg := eventsConfig(&s.cfg)
		cfg.Metadata[incarnationKey] = s.incarnation
		cfg.DenyDelete = false
		events, err := session.js.CreateStream(ctx, cfg)
		if err != nil {
			return err
		}
		for range 5 {
			if _, err := session.js.Publish(ctx, TickSubject, nil); err != nil {
				return err
			}
		}
		for _, seq := range missing {
			if err := events.DeleteMsg(ctx, seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func replaceStream(t *testing.T, s *Stream) {
	t.Helper()
	err := s.use(t.Context(), func(ctx context.Context, session *session) error {
		if err := session.js.DeleteStream(ctx, streamName); err != nil {
			return err
		}
		_, err := session.js.CreateStream(ctx, eventsConfig(&s.cfg))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func key(name string) [32]byte { return sha256.Sum256([]byte(name)) }
