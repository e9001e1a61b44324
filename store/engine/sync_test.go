package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSync takes a part that is there, one that was merged meanwhile, and one of a table that is not there.
func TestSync(t *testing.T) {
	table := t.TempDir()
	there := filepath.Join(table, "all_1_1_0") + "/"
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, "data.bin"), []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		folder string
		ok     bool
	}{
		"there":    {there, true},
		"merged":   {filepath.Join(table, "all_2_2_0") + "/", true},
		"no table": {filepath.Join(table, "other", "all_1_1_0"), false},
	} {
		if err := new(Engine).Sync([]string{there, c.folder}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&Engine{noSync: true}).Sync([]string{"/nowhere/table/part"}); err != nil {
		t.Errorf("an engine that does not sync: %v", err)
	}
}
