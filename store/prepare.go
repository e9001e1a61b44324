package store

import (
	"fmt"
	"slices"

	"github.com/agentcustody/custody/store/engine"
)

// prepared is a table's insert that waits for its turn, with the rows as the engine reads them.
type prepared struct {
	insert *engine.Prepared
	token  string
}

// Prepare writes a closed block's rows as the embedded engine reads them, so that Insert need not: while a block is inserted, the next
// one can be prepared. It takes as much memory again as the block's messages, until the block is inserted, discarded or reset. A block
// that cannot be prepared is not: Insert does it then, or says why not.
func (s *Store) Prepare(b *Block) {
	b.Discard()
	for _, t := range b.tables() {
		if s.engine == nil || t.rows == 0 {
			continue
		}
		token := b.token(t.name, 0)
		if p, err := s.prepareTable(t, token); err == nil {
			t.prepared = prepared{p, token}
		}
	}
}

// Of the large tables an insert builds the one index by which a check finds a window's rows: without it each window reads that column of
// every part that is not merged yet. The other indexes are built by merges (docs/adr/010-store-schema.md).
var indexedAtOnce = []string{tableEvents, tableLeaves, tableOpenings}

const indexedLater = "by_received, by_id_range, by_id, by_run, by_principal, by_cause, by_fingerprint, by_subject_event, by_time" // of all three

// prepareTable writes a table's rows. One thread inserts them: what one block of one table has to be made of cannot be shared
// out, and more threads only wait for it.
func (s *Store) prepareTable(t *table, token string) (*engine.Prepared, error) {
	settings := map[string]string{"max_threads": "1"}
	for name, value := range insertSettings(token) {
		settings[name] = fmt.Sprint(value)
	}
	if slices.Contains(indexedAtOnce, t.name) {
		settings["materialize_skip_indexes_on_insert"] = "1"
		settings["exclude_materialize_skip_indexes_on_insert"] = indexedLater
	}
	return s.engine.Prepare(fmt.Sprintf("INSERT INTO %s.%s (%s) FORMAT Native", s.name, t.name, t.names()), settings, inserted{t})
}

// takePrepared returns what was prepared for this token, once.
func (t *table) takePrepared(token string) *engine.Prepared {
	if t.prepared.insert == nil || t.prepared.token != token {
		return nil
	}
	p := t.prepared.insert
	t.prepared = prepared{}
	return p
}

// Discard gives up what Prepare has made.
func (b *Block) Discard() {
	for _, t := range b.tables() {
		if t.prepared.insert != nil {
			t.prepared.insert.Close()
		}
		t.prepared = prepared{}
	}
}
