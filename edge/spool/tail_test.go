package spool_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge/spool"
)

// live is a queue with events in its tail, and its files as a process that dies now leaves them.
type live struct {
	spool *spool.Spool
	queue *spool.Queue
	dir   string
}

func begun(t *testing.T) live {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("no tail on " + runtime.GOOS)
	}
	dir := t.TempDir()
	s := open(t, dir)
	return live{s, begin(t, s, epochA), dir}
}

func (l live) put(t *testing.T, events ...string) {
	t.Helper()
	for _, e := range events {
		put(t, l.spool, l.queue, e, spool.Opening{Path: "p", Value: []byte("value of " + e)})
	}
}

// files are what the queue's folder holds.
func (l live) files(t *testing.T) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	entries, err := os.ReadDir(filepath.Join(l.dir, l.queue.Name()))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(l.dir, l.queue.Name(), entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = data
	}
	return files
}

const (
	tailFile  = "0.tail"
	firstFile = "00000001.seg"
)

// recovered is what a new process finds in files: the events, and the damage.
func recovered(t *testing.T, files map[string][]byte) (events []string, damage []spool.Damage) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		writeSegment(t, filepath.Join(dir, "00000000000000000001", name), data)
	}
	for range 2 { // the second time from what the first has made of it
		s, err := spool.Open(dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		q := s.Queues()[0]
		if again := rest(t, q)[1:]; events != nil && !slices.Equal(again, events) {
			t.Errorf("the second time %q, the first %q", again, events)
		} else {
			events = again
		}
		damage = append(damage, q.Damage()...)
		if _, err := os.Stat(filepath.Join(dir, q.Name(), tailFile)); !os.IsNotExist(err) {
			t.Errorf("the tail is still there: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return events, damage
}

// TestEventsInTheTailSurvive reads the files of a queue after each event, as kill -9 leaves them.
func TestEventsInTheTailSurvive(t *testing.T) {
	l := begun(t)
	for i := 1; i <= 300; i++ {
		l.put(t, fmt.Sprint("e", i, strings.Repeat(".", i*7%900)))
		if i%100 == 50 {
			if err := l.queue.Ack(sign(t, l.queue, 10).End()); err != nil {
				t.Fatal(err)
			}
		}
		if i%13 != 0 {
			continue
		}
		events, damage := recovered(t, l.files(t))
		if last := events[len(events)-1]; !strings.HasPrefix(last, fmt.Sprint("e", i, ".")) || len(damage) > 0 {
			t.Fatalf("after event %d: the last is %.10q, damage %v", i, last, damage)
		}
	}
}

// TestATornRecordInTheTail cuts the tail at every byte: what is whole stays, nothing else appears.
func TestATornRecordInTheTail(t *testing.T) {
	l := begun(t)
	l.put(t, "e1", "e2", "e3")
	files := l.files(t)
	end := len(bytes.TrimRight(files[tailFile], "\x00"))
	whole := files[tailFile][:end+64]
	for cut := range end {
		for _, torn := range [][]byte{append(slices.Clone(whole[:cut]), make([]byte, 64)...), flipped(whole, cut)} {
			files[tailFile] = torn
			events, _ := recovered(t, files)
			if len(events) > 2 || !slices.Equal(events, numbered("e", 1, len(events))) {
				t.Fatalf("torn at %d: %q", cut, events)
			}
		}
	}
}

func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 0x40
	return data
}

// TestATailThatIsOld puts a tail from before beside segments that have its frames by now, wholly, in part, or with more after.
func TestATailThatIsOld(t *testing.T) {
	l := begun(t)
	l.put(t, "e1", "e2", "e3")
	old := l.files(t)
	rest(t, l.queue) // takes them to the segment
	taken := l.files(t)
	if len(bytes.Trim(taken[tailFile], "\x00")) != 0 {
		t.Error("the tail still holds what it gave to the segment")
	}
	l.put(t, "e4")
	rest(t, l.queue)
	later := l.files(t)
	for cut := len(old[firstFile]); cut <= len(taken[firstFile]); cut++ {
		events, _ := recovered(t, map[string][]byte{tailFile: old[tailFile], firstFile: taken[firstFile][:cut]})
		if diff := cmp.Diff(numbered("e", 1, 3), events); diff != "" {
			t.Fatalf("segment cut at %d (-want +got):\n%s", cut, diff)
		}
	}
	events, damage := recovered(t, map[string][]byte{tailFile: old[tailFile], firstFile: later[firstFile]})
	if diff := cmp.Diff(numbered("e", 1, 4), events); diff != "" || len(damage) > 0 {
		t.Errorf("damage %v, events (-want +got):\n%s", damage, diff)
	}
}

// TestATailAfterALostSegment: a power cut took the end of the segment that the tail continues. Its events have no number that was
// not given before, so none of them comes back.
func TestATailAfterALostSegment(t *testing.T) {
	l := begun(t)
	l.put(t, "e1", "e2")
	rest(t, l.queue)
	l.put(t, "e3")
	files := l.files(t)
	files[firstFile] = files[firstFile][:len(files[firstFile])-5]
	events, damage := recovered(t, files)
	if diff := cmp.Diff(numbered("e", 1, 1), events); diff != "" || len(damage) != 2 {
		t.Errorf("damage %v, events (-want +got):\n%s", damage, diff)
	}
}

// TestAFrameOfAnotherPlace: pages of a tail reach the disk in any order, so a power cut can leave an old frame behind a new one.
func TestAFrameOfAnotherPlace(t *testing.T) {
	l := begun(t)
	l.put(t, "e1", "e2", "e3")
	old := l.files(t)[tailFile]
	rest(t, l.queue)
	l.put(t, "e4")
	files := l.files(t)
	end := len(bytes.TrimRight(files[tailFile], "\x00"))
	copy(files[tailFile][end:], old[end:])
	events, _ := recovered(t, files)
	if diff := cmp.Diff(numbered("e", 1, 4), events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestATailThatFails takes the tail's disk space away under the mapping: what it held and what comes is written as it would be
// without a tail.
func TestATailThatFails(t *testing.T) {
	l := begun(t)
	l.put(t, "e1", "e2")
	if err := os.Truncate(filepath.Join(l.dir, l.queue.Name(), tailFile), 0); err != nil {
		t.Fatal(err)
	}
	l.put(t, "e3", "e4")
	if diff := cmp.Diff(numbered("e", 1, 4), rest(t, l.queue)[1:]); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if events, damage := recovered(t, l.files(t)); !slices.Equal(events, numbered("e", 1, 4)) || len(damage) > 0 {
		t.Errorf("recovered %q, damage %v", events, damage)
	}
}

// TestALongEventPassesTheTail: an event that no tail has room for goes behind what the tail holds.
func TestALongEventPassesTheTail(t *testing.T) {
	l := begun(t)
	l.put(t, "e1")
	put(t, l.spool, l.queue, "e2", spool.Opening{Path: "p", Value: make([]byte, 100<<10)})
	l.put(t, "e3")
	if events, damage := recovered(t, l.files(t)); !slices.Equal(events, numbered("e", 1, 3)) || len(damage) > 0 {
		t.Errorf("recovered %q, damage %v", events, damage)
	}
}

// FuzzTail opens a queue beside a tail of any bytes: the segment's own events stay as they are.
func FuzzTail(f *testing.F) {
	dir := f.TempDir()
	s := open(f, dir)
	q := begin(f, s, epochA)
	put(f, s, q, "e1")
	if got := rest(f, q); len(got) != 2 {
		f.Fatal(got)
	}
	put(f, s, q, "e2")
	segment := readAll(f, filepath.Join(dir, q.Name(), firstFile))
	seed := readAll(f, filepath.Join(dir, q.Name(), tailFile))
	f.Add(seed[:len(bytes.TrimRight(seed, "\x00"))])
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		events, _ := recovered(t, map[string][]byte{firstFile: segment, tailFile: data})
		if len(events) == 0 || events[0] != "e1" {
			t.Errorf("got %q", events)
		}
	})
}
