package engine

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestForMerging: large files of parts that are being merged, and nothing else. A path with the signs of a pattern is a path.
func TestForMerging(t *testing.T) {
	path := t.TempDir()
	table := filepath.Join(path, "store", "0ab", "0abc-uuid")
	large, small := make([]byte, writebackLeast), make([]byte, writebackLeast-1)
	for name, data := range map[string][]byte{
		"tmp_merge_all_1_9_1/a.bin":           large,
		"tmp_merge_all_1_9_1/small.bin":       small,
		"tmp_merge_all_1_9_1/folder.bin/a":    large,
		"tmp_merge_all_10_12_1/b.bin":         large,
		"tmp_insert_all_13_13_0/inserted.bin": large,
		"all_14_14_0/there.bin":               large,
	} {
		name = filepath.Join(table, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	forMerging(path, func(f *os.File) {
		startWriting(f)
		got = append(got, filepath.Base(f.Name()))
	})
	slices.Sort(got)
	if want := []string{"a.bin", "b.bin"}; !slices.Equal(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}
