package spool_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentcustody/custody/edge/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	epochA = spool.Epoch{'a'}
	epochB = spool.Epoch{'b'}
)

func open(t testing.TB, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func begin(t testing.TB, s *spool.Spool, epoch spool.Epoch) *spool.Queue {
	t.Helper()
	q, err := s.Begin(epoch, []byte("opened "+string(epoch[:1])))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// put appends one event.
func put(t testing.TB, s *spool.Spool, q *spool.Queue, event string, openings ...spool.Opening) {
	t.Helper()
	frame := spool.AppendEvent(nil, []byte(event), openings)
	room, err := s.Reserve(t.Context(), len(frame))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(frame, room).Wait(); err != nil {
		t.Fatal(err)
	}
}

// rest loads what no statement covers.
func rest(t testing.TB, q *spool.Queue) (events []string) {
	t.Helper()
	var b spool.Batch
	for next := q.State().Signed.Seq + 1; next <= q.State().LastSeq(); next += spool.Seq(len(b.Entries)) {
		if err := q.Load(next, 1<<20, &b); err != nil {
			t.Fatalf("load %d: %v", next, err)
		}
		if len(b.Entries) == 0 {
			t.Fatalf("load %d: nothing, newest is %d", next, q.State().LastSeq())
		}
		for _, e := range b.Entries {
			events = append(events, string(e.Event))
		}
	}
	return events
}

// sign puts the next n events under a statement.
func sign(t testing.TB, q *spool.Queue, n int) spool.Statement {
	t.Helper()
	var b spool.Batch
	if err := q.Load(q.State().Signed.Seq+1, n, &b); err != nil || len(b.Entries) == 0 {
		t.Fatalf("load %d events: %d, %v", n, len(b.Entries), err)
	}
	st := spool.Statement{Number: max(1, q.State().Number), First: b.First, Count: len(b.Entries), Bytes: []byte(fmt.Sprint("statement ", b.First))}
	binary.BigEndian.PutUint64(st.Digest[:], uint64(b.First))
	if err := q.Sign(st, &b); err != nil {
		t.Fatal(err)
	}
	return st
}

// reopen is what a new process finds.
func reopen(t testing.TB, s *spool.Spool, dir string) (*spool.Spool, []*spool.Queue) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	return s, s.Queues()
}

func numbered(prefix string, from, to int) (events []string) {
	for i := from; i <= to; i++ {
		events = append(events, fmt.Sprint(prefix, i))
	}
	return events
}

func TestAQueueSurvivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	opening := spool.Opening{Path: "arguments", Salt: [32]byte{1, 2}, Value: []byte("{}")}
	put(t, s, q, "e1", opening)
	for _, e := range numbered("e", 2, 5) {
		put(t, s, q, e)
	}
	first := sign(t, q, 2)
	second := sign(t, q, 1)
	if err := q.Ack(first.End()); err != nil {
		t.Fatal(err)
	}
	_, queues := reopen(t, s, dir)
	if len(queues) != 1 {
		t.Fatalf("found %d queues", len(queues))
	}
	if diff := cmp.Diff([]spool.Statement{second}, queues[0].Waiting()); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(numbered("e", 3, 5), rest(t, queues[0])); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	var b spool.Batch
	if err := queues[0].Load(1, 2, &b); err != nil {
		t.Fatal(err)
	}
	want := []spool.Entry{{Event: []byte("opened a")}, {Event: []byte("e1"), Openings: []spool.Opening{opening}}}
	if diff := cmp.Diff(want, b.Entries); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// TestAReloadedBatchIsWhole reads signed batches back by another way through the file than they were first read.
func TestAReloadedBatchIsWhole(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	for i := range 2500 {
		put(t, s, q, fmt.Sprint("event ", i), spool.Opening{Path: "p", Value: make([]byte, 700)})
	}
	for q.State().Signed.Seq < q.State().LastSeq() {
		sign(t, q, 1024)
	}
	_, queues := reopen(t, s, dir)
	var b spool.Batch
	for _, st := range queues[0].Waiting() {
		if err := queues[0].Load(st.First, st.Count, &b); err != nil || len(b.Entries) != st.Count {
			t.Errorf("reload %d+%d: %d entries, %v", st.First, st.Count, len(b.Entries), err)
		}
	}
}

func TestNewEpochNumbersTheRestAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	for _, e := range numbered("e", 1, 6) {
		put(t, s, q, e)
	}
	if err := q.Ack(sign(t, q, 3).End()); err != nil { // opened, e1, e2
		t.Fatal(err)
	}
	sign(t, q, 2) // e3, e4: refused
	if err := q.NewEpoch(epochB, []byte("opened b"), 4); err != nil {
		t.Fatal(err)
	}
	put(t, s, q, "e7")
	for range 2 { // as it is, and as another process finds it
		if diff := cmp.Diff([]string{"opened b", "e4", "e5", "e6", "e7"}, rest(t, q)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		want := spool.Prior{Number: 1, End: spool.End{Seq: 3, Digest: spool.Digest{7: 1}}}
		if diff := cmp.Diff(want, q.State().Prior); diff != "" {
			t.Errorf("prior epoch (-want +got):\n%s", diff)
		}
		var queues []*spool.Queue
		s, queues = reopen(t, s, dir)
		q = queues[0]
	}
}

func TestSegmentsGoWhenTheyAreAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	const count = 12
	for i := range count {
		put(t, s, q, fmt.Sprint("event ", i), spool.Opening{Path: "p", Value: bytes.Repeat([]byte{1}, 500<<10)})
	}
	files := func() int {
		names, _ := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
		return len(names)
	}
	if files() < 3 {
		t.Fatalf("%d events of 500 KiB are in %d segments", count, files())
	}
	for !q.Drained() {
		if err := q.Ack(sign(t, q, 2).End()); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Tidy(0); err != nil {
		t.Fatal(err)
	}
	if files() != 1 || s.Bytes() > 1<<10 {
		t.Errorf("after all is acknowledged: %d segments, %d bytes", files(), s.Bytes())
	}
	_, queues := reopen(t, s, dir)
	if !queues[0].Drained() || queues[0].State().Acked.Seq != count+1 {
		t.Errorf("reopened: %+v", queues[0].State())
	}
}

func TestPruneKeepsTheEndUntilItIsNamed(t *testing.T) {
	s := open(t, t.TempDir())
	old := begin(t, s, epochA)
	if err := old.Ack(sign(t, old, 1).End()); err != nil {
		t.Fatal(err)
	}
	q := begin(t, s, epochB)
	if err := s.Prune(); err != nil || len(s.Queues()) != 2 {
		t.Fatalf("pruned too early: %d queues, %v", len(s.Queues()), err)
	}
	if got, want := s.Prior(q), (spool.Prior{Number: 1, End: old.State().Acked}); got != want {
		t.Errorf("prior %+v, want %+v", got, want)
	}
	if err := q.Ack(sign(t, q, 1).End()); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(); err != nil || len(s.Queues()) != 1 {
		t.Errorf("not pruned: %d queues, %v", len(s.Queues()), err)
	}
}

// TestATornTail cuts the newest segment at every byte: what is whole stays, nothing else appears.
func TestATornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	put(t, s, q, "first", spool.Opening{Path: "a", Value: []byte("x")})
	if err := q.Ack(sign(t, q, 1).End()); err != nil {
		t.Fatal(err)
	}
	put(t, s, q, "second")
	sign(t, q, 2)
	put(t, s, q, "third")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(q.Name(), "00000001.seg")
	whole, err := os.ReadFile(filepath.Join(dir, segment))
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		torn := t.TempDir()
		writeSegment(t, filepath.Join(torn, segment), whole[:cut])
		checkTorn(t, torn, cut)
		writeSegment(t, filepath.Join(torn, segment), append(slices.Clone(whole[:cut]), make([]byte, 64)...))
		checkTorn(t, torn, cut)
	}
}

func writeSegment(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func checkTorn(t *testing.T, dir string, cut int) {
	t.Helper()
	s := open(t, dir)
	defer s.Close()
	if len(s.Queues()) == 0 {
		return // the process died before it could record anything
	}
	q := s.Queues()[0]
	var all []string
	var b spool.Batch
	for next := spool.Seq(1); next <= q.State().LastSeq(); next++ {
		if err := q.Load(next, 1, &b); err != nil || len(b.Entries) != 1 {
			t.Fatalf("cut at %d: load %d: %d entries, %v", cut, next, len(b.Entries), err)
		}
		all = append(all, string(b.Entries[0].Event))
	}
	if !q.Whole() || !strings.HasPrefix("opened a first second third", strings.Join(all, " ")) {
		t.Errorf("cut at %d: whole %v, events %q", cut, q.Whole(), all)
	}
	for _, st := range q.Waiting() {
		if !slices.Contains([]spool.Seq{1, 2}, st.First) || st.Count != int(st.First) {
			t.Errorf("cut at %d: statement %d+%d", cut, st.First, st.Count)
		}
	}
}

// TestDamageInTheMiddle flips a byte of an older segment: what is behind it is missing, and named.
func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	for i := range 12 {
		put(t, s, q, fmt.Sprint("e", i+1), spool.Opening{Path: "p", Value: bytes.Repeat([]byte{1}, 500<<10)})
	}
	path := filepath.Join(dir, q.Name(), "00000001.seg")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-600<<10] ^= 1
	writeSegment(t, path, data)
	s, queues := reopen(t, s, dir)
	q = queues[0]
	missing := q.Missing()
	if q.Whole() || len(missing) != 1 || len(q.Damage()) != 1 || q.Damage()[0].Newest {
		t.Fatalf("whole %v, missing %v, damage %v", q.Whole(), missing, q.Damage())
	}
	if err := q.NewEpoch(epochB, []byte("opened b")); err != nil {
		t.Fatal(err)
	}
	want := append([]string{"opened b"}, numbered("e", 1, int(missing[0].First)-1)...)
	want = append(want, numbered("e", int(missing[0].Last)+1, 12)...)
	if diff := cmp.Diff(want, rest(t, q)); diff != "" || !q.Whole() {
		t.Errorf("whole %v, events (-want +got):\n%s", q.Whole(), diff)
	}
	_ = s
}

func TestAFullSpool(t *testing.T) {
	const size = 900 << 10
	t.Run("fails", func(t *testing.T) {
		s, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: spool.LeastMaxBytes, FailWhenFull: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range spool.LeastMaxBytes / size {
			if _, err := s.Reserve(t.Context(), size); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Reserve(t.Context(), size); !errors.Is(err, spool.ErrFull) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: spool.LeastMaxBytes})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			q := begin(t, s, epochA)
			fill(t, s, q, size)
			done := false
			go func() { put(t, s, q, "late"); done = true }()
			synctest.Wait()
			if done {
				t.Fatal("recorded into a full spool")
			}
			for range 4 {
				if err := q.Ack(sign(t, q, 1).End()); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if !done {
				t.Error("still waits although there is room")
			}
		})
	})
	t.Run("obeys its context", func(t *testing.T) {
		s, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: spool.LeastMaxBytes})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("no patience"))
		for err == nil {
			_, err = s.Reserve(ctx, size)
		}
		if !errors.Is(err, spool.ErrFull) || !strings.Contains(err.Error(), "no patience") {
			t.Errorf("got %v", err)
		}
	})
}

// fill puts events until the next would not fit.
func fill(t *testing.T, s *spool.Spool, q *spool.Queue, size int) {
	t.Helper()
	for s.Bytes()+int64(size)+100 < spool.LeastMaxBytes {
		put(t, s, q, "big", spool.Opening{Path: "p", Value: make([]byte, size)})
	}
	for s.Bytes()+40 < spool.LeastMaxBytes {
		put(t, s, q, "s", spool.Opening{Path: "p", Value: make([]byte, max(0, min(size, spool.LeastMaxBytes-int(s.Bytes())-60)))})
	}
}

func TestManyRecordersShareTheDisk(t *testing.T) {
	const recorders, each = 8, 300
	dir := t.TempDir()
	s := open(t, dir)
	q := begin(t, s, epochA)
	var wait sync.WaitGroup
	for r := range recorders {
		wait.Go(func() {
			for i := range each {
				put(t, s, q, fmt.Sprintf("%d/%d", r, i))
			}
		})
	}
	wait.Wait()
	_, queues := reopen(t, s, dir)
	next := make([]int, recorders)
	for _, e := range rest(t, queues[0])[1:] {
		var r, i int
		if _, err := fmt.Sscanf(e, "%d/%d", &r, &i); err != nil || next[r] != i {
			t.Fatalf("event %q, expected number %d of its recorder: %v", e, next[r], err)
		}
		next[r]++
	}
	if slices.Min(next) != each {
		t.Errorf("counts %v, want %d each", next, each)
	}
}

func TestASealedQueueTakesNothing(t *testing.T) {
	s := open(t, t.TempDir())
	q := begin(t, s, epochA)
	put(t, s, q, "e1")
	place, err := q.AppendLast(true, func(epoch spool.Epoch, last spool.Seq) ([]byte, error) {
		return spool.AppendEvent(nil, fmt.Appendf(nil, "closed %c after %d", epoch[0], last), nil), nil
	})
	if err != nil || place != 2 {
		t.Fatalf("place %d, %v", place, err)
	}
	frame := spool.AppendEvent(nil, []byte("late"), nil)
	room, err := s.Reserve(t.Context(), len(frame))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(frame, room).Wait(); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"opened a", "e1", "closed a after 2"}, rest(t, q)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
