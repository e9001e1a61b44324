package engine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestForMerging: the large files of a part, and neither small ones nor folders. A part that is gone has none.
func TestForMerging(t *testing.T) {
	part := filepath.Join(t.TempDir(), "tmp_merge_all_1_9_1")
	for name, size := range map[string]int64{"a.bin": writebackLeast, "b.bin": writebackLeast + 1, "small.bin": writebackLeast - 1, "folder.bin/a": writebackLeast} {
		name = filepath.Join(part, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	note := func(f *os.File) {
		startWriting(f)
		got = append(got, filepath.Base(f.Name()))
	}
	forMerging(part, note)
	forMerging(part+"-gone", note)
	slices.Sort(got)
	if want := []string{"a.bin", "b.bin"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
