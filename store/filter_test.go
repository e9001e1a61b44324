package store

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGeneratedSQL compares the statements that filters make with
// testdata/search.sql, each with its parameters.
func TestGeneratedSQL(t *testing.T) {
	filters := []struct {
		name   string
		filter Filter
	}{
		{"everything of a tenant", Filter{Tenant: "acme"}},
		{"the newest page", Filter{Tenant: "acme", Newest: true, Limit: 50}},
		{"text that would break out", Filter{Tenant: "acme' --", Run: "'; DROP TABLE events; --"}},
		{"every condition", Filter{
			Tenant: "acme", Instance: "support-1", Run: "r1", Tool: "send_email", Kind: chain.KindExecution, Action: "started",
			Decision: eventv1.Decision_DECISION_BLOCK, Outcome: eventv1.Outcome_OUTCOME_DENIED,
			Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Principal: "p", Destination: "example.com",
			Trust: eventv1.Trust_TRUST_UNTRUSTED, Verdict: chain.Gap, Subject: "s", MemoryKey: "m", Credential: "c0ffee", Object: "o",
			Fingerprint: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Approves: []byte{0xa, 0xb}, ReceivedFrom: 1, ReceivedTo: 2, FromIndex: 3, ToIndex: 4,
		}},
		{"a whole action", Filter{Tenant: "acme", Action: "execution.started"}},
		{"leaves that are no event", Filter{Tenant: "acme", Kind: chain.KindNone}},
	}
	var got strings.Builder
	for _, f := range filters {
		b := f.filter.build(1000)
		fmt.Fprintf(&got, "-- %s\n%s;\n", f.name, b.query(f.filter.Newest, uint64(limit(f.filter.Limit, searchPage))))
		for _, arg := range b.args {
			p := arg.(driver.NamedValue)
			fmt.Fprintf(&got, "-- %s = %s\n", p.Name, plain(p.Value))
		}
		got.WriteString("\n")
	}
	golden(t, "testdata/search.sql", got.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func plain(value any) string {
	if s, ok := value.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(value)
}
