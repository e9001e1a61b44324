package store

import (
	"slices"
	"strings"
	"testing"
)

func TestMigrationsAreNumbered(t *testing.T) {
	all, err := loadMigrations()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for _, s := range m.statements {
			repeats := strings.Contains(s, "IF NOT EXISTS") || strings.Contains(s, "MODIFY COLUMN")
			if !repeats || !strings.Contains(s, "${db}.") {
				t.Errorf("%s: a statement that cannot be repeated, or without its database:\n%s", m.name, s)
			}
		}
	}
}

func TestStatements(t *testing.T) {
	got := statements("-- a; b\nSELECT 1;\n\nSELECT ';' ;  \n-- end\n")
	if len(got) != 2 || strings.TrimSpace(got[1]) != "SELECT ';'" {
		t.Errorf("%q", got)
	}
}

// TestTables holds what every table of the fold has.
func TestTables(t *testing.T) {
	for _, table := range NewBlock(1).tables() {
		names := strings.Split(table.names(), ", ")
		if !slices.Contains(names, "tenant") || !slices.Contains(names, "stream_seq") {
			t.Errorf("%s lacks tenant or stream_seq: %v", table.name, names)
		}
		for _, key := range table.key {
			if !slices.Contains(names, key) {
				t.Errorf("%s has no column %s", table.name, key)
			}
		}
	}
}

func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range [][2]uint64{{1, 2}, {1, 3}, {2, 3}} {
		b := &Block{First: r[0], Last: r[1]}
		for _, table := range []string{"events", "leaves"} {
			seen[b.token(table, 0)] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d tokens of 6 inserts", len(seen))
	}
}

func TestDSN(t *testing.T) {
	for _, dsn := range []string{"chdb://host/path", "chdb:", "ftp://x", "clickhouse://user:secret@\x7f", "chdb:///p?database=A"} {
		_, err := Open(t.Context(), dsn, Options{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("open %q: %v, want a refusal without the password", dsn, err)
		}
	}
}
