package engine_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/agentcustody/custody/store/engine"
)

// TestMergesAreFound where the engine makes them.
func TestMergesAreFound(t *testing.T) {
	db := connect(t)
	run(t, db, "CREATE TABLE merged (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
	run(t, db, "SYSTEM STOP MERGES merged")
	for range 2 {
		run(t, db, "INSERT INTO merged SELECT rand64(), toString(rand64()) FROM numbers(1000000)")
	}
	path := one[string](t, db, "SELECT path FROM system.disks WHERE name = 'default'")
	run(t, db, "SYSTEM START MERGES merged")
	done := make(chan error, 1)
	go func() { done <- db.Exec(t.Context(), "OPTIMIZE TABLE merged FINAL") }()
	for {
		if found, _ := filepath.Glob(filepath.Join(path, engine.MergingParts)); len(found) > 0 {
			if err := <-done; err != nil {
				t.Error(err)
			}
			return
		}
		select {
		case err := <-done:
			t.Fatalf("no part seen until the merge was done: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}
