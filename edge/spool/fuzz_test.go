package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/agentcustody/custody/edge/spool"
)

// FuzzRecover opens segments of any bytes: what can be read is read, and reading it twice gives the same.
func FuzzRecover(f *testing.F) {
	seed, next := seedSegments(f)
	f.Add(seed, next)
	f.Add(seed[:len(seed)/2], next)
	f.Add([]byte{}, seed)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		dir := t.TempDir()
		queue := filepath.Join(dir, "00000000000000000001")
		writeSegment(t, filepath.Join(queue, "00000001.seg"), first)
		writeSegment(t, filepath.Join(queue, "00000002.seg"), second)
		once := states(t, dir)
		if diff := cmp.Diff(once, states(t, dir), cmpopts.IgnoreUnexported(spool.State{})); diff != "" {
			t.Errorf("read again (-first +second):\n%s", diff)
		}
	})
}

// seedSegments are the two segments of a queue that has seen everything.
func seedSegments(f *testing.F) (first, second []byte) {
	dir := f.TempDir()
	s := open(f, dir)
	q := begin(f, s, epochA)
	put(f, s, q, "e1", spool.Opening{Path: "p", Value: []byte("v")})
	st := sign(f, q, 2)
	if err := q.Ack(st.End()); err != nil {
		f.Fatal(err)
	}
	put(f, s, q, "e2")
	if err := q.NewEpoch(epochB, []byte("opened b")); err != nil {
		f.Fatal(err)
	}
	first = readAll(f, filepath.Join(dir, q.Name(), "00000001.seg"))
	if err := q.Ack(sign(f, q, 2).End()); err != nil {
		f.Fatal(err)
	}
	if err := q.Tidy(0); err != nil {
		f.Fatal(err)
	}
	return first, readAll(f, filepath.Join(dir, q.Name(), "00000002.seg"))
}

func readAll(f *testing.F, path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

func states(t *testing.T, dir string) (all []spool.State) {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, q := range s.Queues() {
		all = append(all, q.State())
		loadEverything(t, q)
	}
	return all
}

func loadEverything(t *testing.T, q *spool.Queue) {
	t.Helper()
	var b spool.Batch
	for seq := q.State().Acked.Seq + 1; seq <= min(q.State().LastSeq(), q.State().Acked.Seq+100); seq++ {
		err := q.Load(seq, 1, &b)
		if err == nil && len(b.Entries) == 0 && q.Whole() {
			t.Fatalf("nothing at %d of %d", seq, q.State().LastSeq())
		}
	}
}
