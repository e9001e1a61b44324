package store_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestIndexesOfANewPart: an insert into the embedded engine builds the index of stream sequences of the large tables, and no other.
func TestIndexesOfANewPart(t *testing.T) {
	var head atomic.Uint64
	s := storetest.Fresh(t, openDirect, &head)
	if err := s.Conn().Exec(t.Context(), "SYSTEM STOP MERGES"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Conn().Exec(context.Background(), "SYSTEM START MERGES") }()
	l := storetest.NewLog(t, 1)
	if err := s.Insert(t.Context(), l.Block(store.NewBlock(1), l.Random("acme", 8))); err != nil {
		t.Fatal(err)
	}
	var built []string
	const query = `SELECT groupArray(concat(table, '.', name)) FROM (SELECT table, name FROM system.data_skipping_indices
		WHERE database = $1 AND data_compressed_bytes > 0 ORDER BY table)`
	if err := s.Conn().QueryRow(t.Context(), query, s.Database()).Scan(&built); err != nil {
		t.Fatal(err)
	}
	want := []string{"events.by_stream_seq", "leaves.by_stream_seq", "openings.by_stream_seq"}
	if diff := cmp.Diff(want, built); diff != "" {
		t.Errorf("built (-want +got):\n%s", diff)
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
