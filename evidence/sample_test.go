package evidence

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
)

// numbers is a population of n rows.
func numbers(n int) string {
	var b strings.Builder
	b.WriteString("record,what\n")
	for i := range n {
		fmt.Fprintf(&b, "%d,\"row, \"\"%d\"\"\"\n", i*7, i+1)
	}
	return b.String()
}

func picked(t testing.TB, s *Sample, err error) (rows []uint64) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Picked {
		if r.Cells[1] != fmt.Sprintf(`row, "%d"`, r.Number) {
			t.Errorf("row %d has %q", r.Number, r.Cells)
		}
		rows = append(rows, r.Number)
	}
	return rows
}

// The selection for a seed never changes: an auditor's papers refer to it. These rows were computed from the page of the format:
//
//	python3 -c 'import hashlib as h; d=lambda i: h.sha256(b"custody/sample/v1\0"+(4711).to_bytes(8,"big")+(9).to_bytes(4,"big")+
//	b"approvals"+i.to_bytes(8,"big")).digest(); print(sorted(sorted(range(1,101),key=d)[:5]))'
func TestDrawIsReproducible(t *testing.T) {
	s, err := Draw(strings.NewReader(numbers(100)), "approvals", 4711, 5)
	if diff := cmp.Diff([]uint64{9, 32, 75, 89, 94}, picked(t, s, err)); diff != "" {
		t.Error(diff)
	}
	if s.Rows != 100 || s.Seed != 4711 || s.Population != "approvals" || !slices.Equal(s.Header, []string{"record", "what"}) {
		t.Errorf("%+v", s)
	}
}

// A larger sample contains the smaller; other seeds and other populations give other rows; every row has the same chance.
func TestDraw(t *testing.T) {
	drawn := func(population string, seed uint64, count int) []uint64 {
		s, err := Draw(strings.NewReader(numbers(50)), population, seed, count)
		return picked(t, s, err)
	}
	for _, row := range drawn("grants", 1, 10) {
		if !slices.Contains(drawn("grants", 1, 20), row) {
			t.Errorf("row %d is not in the larger sample", row)
		}
	}
	if slices.Equal(drawn("grants", 1, 10), drawn("grants", 2, 10)) || slices.Equal(drawn("grants", 1, 10), drawn("changes", 1, 10)) {
		t.Error("another seed or population gives the same rows")
	}
	if n := len(drawn("grants", 1, 60)); n != 50 {
		t.Errorf("%d of 50 rows", n)
	}
	often := map[uint64]int{}
	const seeds, count = 2000, 10
	for seed := range uint64(seeds) {
		for _, row := range drawn("grants", seed, count) {
			often[row]++
		}
	}
	for row := uint64(1); row <= 50; row++ { // 400 expected, standard deviation 18
		if often[row] < 300 || often[row] > 500 {
			t.Errorf("row %d was drawn %d times of %d", row, often[row], seeds)
		}
	}
}

func TestDrawRefuses(t *testing.T) {
	for _, count := range []int{1, MaxSample} {
		if s, err := Draw(strings.NewReader(numbers(MaxSample+1)), "x", 1, count); err != nil || len(s.Picked) != count {
			t.Errorf("%d rows: %v", count, err)
		}
	}
	for name, test := range map[string]struct {
		file  string
		count int
	}{
		"nothing":       {"", 1},
		"no rows asked": {numbers(3), 0},
		"too many":      {numbers(3), MaxSample + 1},
		"a short row":   {"a,b\n1\n", 1},
		"a quote":       {"a,b\n\"1,2\n", 1},
	} {
		if _, err := Draw(strings.NewReader(test.file), "x", 1, test.count); !errors.Is(err, ErrSample) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDraw(f *testing.F) {
	f.Add(numbers(3), uint64(1), 2)
	f.Add("", uint64(0), 0)
	f.Fuzz(func(t *testing.T, file string, seed uint64, count int) {
		s, err := Draw(strings.NewReader(file), "x", seed, count)
		if err == nil && (len(s.Picked) > count || uint64(len(s.Picked)) > s.Rows) {
			t.Errorf("%d rows of %d", len(s.Picked), s.Rows)
		}
	})
}

// A sample comes from the population that the bundle's list of files names, or from the file alone; both are the same.
func TestDrawFrom(t *testing.T) {
	w := exported(t)
	bundle := w.bundle("08:30", "10:30")
	draw := func(file []byte, population string) (*Sample, error) {
		return DrawFrom(bytes.NewReader(file), int64(len(file)), population, 7, 3)
	}
	files := unpack(t, bundle)
	s, err := draw(bundle, "sensitive-actions")
	w.must(err)
	alone, err := draw(files[fileActions], "sensitive-actions")
	w.must(err)
	if s.Manifest != sha256Of(files[fileManifest]) || !alone.Manifest.IsZero() || s.Rows < 4 || len(s.Picked) != 3 {
		t.Errorf("%d of %d rows, list %s, alone %s", len(s.Picked), s.Rows, s.Manifest, alone.Manifest)
	}
	if diff := cmp.Diff(alone.Picked, s.Picked); diff != "" {
		t.Error(diff)
	}
	for _, name := range Populations() {
		if _, err := draw(bundle, name); err != nil {
			t.Error(err)
		}
	}
	if _, err := draw(bundle, "nothing"); !errors.Is(err, ErrSample) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := draw(list(t, bundle, fileActions), "sensitive-actions"); !errors.Is(err, ErrManifest) {
		t.Errorf("of a file that is not the listed one: %v", err)
	}
	if _, err := draw(bundle[:len(bundle)-1], "sensitive-actions"); !errors.Is(err, ErrContainer) {
		t.Errorf("of a bundle that is cut: %v", err)
	}
}

// A file that cannot be read gives no sample, whichever read fails.
func TestDrawFromABrokenFile(t *testing.T) {
	bundle := exported(t).bundle("08:30", "10:30")
	for name, file := range map[string][]byte{"a bundle": bundle, "a population": unpack(t, bundle)[fileActions]} {
		draw := func(b *breaks) error {
			_, err := DrawFrom(brokenFile{bytes.NewReader(file), b}, int64(len(file)), "sensitive-actions", 7, 3)
			return err
		}
		count := new(breaks)
		if err := draw(count); err != nil {
			t.Fatal(err)
		}
		for at := 1; at <= count.calls; at++ {
			if err := draw(&breaks{at: at}); !errors.Is(err, errBroken) {
				t.Errorf("%s: read %d of %d: %v", name, at, count.calls, err)
			}
		}
	}
}

// The row with the highest rank is the first to go.
func TestRowsByRank(t *testing.T) {
	var r ranked
	for n := range uint64(9) {
		r.offer(rankedRow{SampleRow: SampleRow{Number: n}, rank: rank(1, "x", n)}, 9)
	}
	last := chain.Hash{0xff}
	for r.Len() > 0 {
		row, _ := heap.Pop(&r).(rankedRow)
		if bytes.Compare(row.rank[:], last[:]) > 0 {
			t.Errorf("row %d of rank %s after %s", row.Number, row.rank, last)
		}
		last = row.rank
	}
}
