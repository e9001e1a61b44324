package live

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// TestTheGravestAreListed: a list that is too long keeps the most severe, of these the newest, and is in order of time all the same.
func TestTheGravestAreListed(t *testing.T) {
	all := []*apiv1.FiringInfo{
		{Id: "old critical", Severity: "critical", FiredAt: 1},
		{Id: "old low", Severity: "low", FiredAt: 2},
		{Id: "old high", Severity: "high", FiredAt: 3},
		{Id: "new high", Severity: "high", FiredAt: 4},
		{Id: "new low", Severity: "low", FiredAt: 5},
	}
	for most, want := range map[int][]string{
		1: {"old critical"},
		2: {"new high", "old critical"},
		9: {"new low", "new high", "old high", "old low", "old critical"},
	} {
		var got []string
		for _, f := range gravest(append([]*apiv1.FiringInfo(nil), all...), most) {
			got = append(got, f.GetId())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("at most %d (-want +got):\n%s", most, diff)
		}
	}
}
