package store_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/storetest"
)

// TestTuned: the tables of the fold in the embedded engine are synced by the program and merged seldom, also where an earlier program
// made them; those of a server are as they were made.
func TestTuned(t *testing.T) {
	var head atomic.Uint64
	s := storetest.Fresh(t, openEmbedded, &head)
	const tuned = "fsync_after_insert = 0, fsync_part_directory = 0, merge_selector_base = 12, auto_statistics_types = ''"
	if got := definition(t, s, "events"); strings.Contains(got, "merge_selector_base") || !strings.Contains(got, "fsync_after_insert = 1") {
		t.Errorf("as made for a server: %s", got)
	}
	older := "ALTER TABLE " + s.Database() + ".leaves MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0"
	if err := s.Conn().Exec(t.Context(), older); err != nil {
		t.Fatal(err)
	}
	if _, err := openDirect(t, s.Database(), store.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"events", "leaves", "batches", "openings", "held", "keys", "heads", "fold_state"} {
		if got := definition(t, s, table); !strings.Contains(got, tuned) {
			t.Errorf("%s: %s, want %s", table, got, tuned)
		}
	}
}

// definition is how a table was made and changed.
func definition(t *testing.T, s *store.Store, table string) (text string) {
	t.Helper()
	err := s.Conn().QueryRow(t.Context(), "SELECT engine_full FROM system.tables WHERE database = $1 AND name = $2", s.Database(), table).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
