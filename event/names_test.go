package event_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestNamesOfEnumerations(t *testing.T) {
	for name, c := range map[string]struct{ got, want []string }{
		"time basis":   {event.TimeBases.All(), []string{"observed", "made"}},
		"trust":        {event.Trusts.All(), []string{"trusted", "untrusted", "checked"}},
		"relation":     {event.Relations.All(), []string{"input", "retrieved", "memory", "decision", "approval", "retry", "delegation"}},
		"cause basis":  {event.CauseBases.All(), []string{"recorded", "inferred"}},
		"outcome":      {event.Outcomes.All(), []string{"ok", "error", "denied", "cancelled", "timeout"}},
		"direction":    {event.Directions.All(), []string{"in", "out"}},
		"decision":     {event.Decisions.All(), []string{"allow", "block", "needs_approval"}},
		"consequence":  {event.Consequences.All(), []string{"low", "moderate", "high"}},
		"producer":     {event.Producers.All(), []string{"agent", "gateway", "importer", "custody"}},
		"verb":         {event.PermissionVerbs.All(), []string{"read", "write", "send", "approve", "trigger"}},
		"key":          {event.KeyActions.All(), []string{"enrolled", "revoked", "suspected"}},
		"role":         {event.Roles.All(), []string{"admin", "auditor", "analyst", "responder", "approver", "operator"}},
		"containment":  {event.ContainmentStates.All(), []string{"requested", "delivered", "acknowledged", "verified", "released", "proposed", "intended", "unproven", "expiring"}},
		"first action": {event.Actions()[:3], []string{"identity.epoch_opened", "identity.epoch_closed", "identity.heartbeat"}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestNamesParse(t *testing.T) {
	for i, name := range event.Decisions.All() {
		d, ok := event.Decisions.Parse(name)
		if !ok || d != eventv1.Decision(i+1) || event.Decisions.Name(d) != name {
			t.Errorf("%s: %v, %v", name, d, ok)
		}
	}
	if d, ok := event.Decisions.Parse(""); !ok || d != 0 {
		t.Error("the empty name is the unspecified value")
	}
	if _, ok := event.Decisions.Parse("ALLOW"); ok {
		t.Error("names are lower case")
	}
	if event.Decisions.Name(-1) != "" || event.Decisions.Name(99) != "" {
		t.Error("unknown values have no name")
	}
}

func TestKinds(t *testing.T) {
	for _, k := range []uint8{1, 2, 3, 4, 5, event.KindNone} {
		if got, ok := event.ParseKind(event.KindName(k)); !ok || got != k {
			t.Errorf("kind %d: %q, %d", k, event.KindName(k), got)
		}
	}
	if _, ok := event.ParseKind(""); ok || event.KindName(0) != "" || event.KindName(6) != "" {
		t.Error("a kind without a name")
	}
}

func TestActionsAreDistinct(t *testing.T) {
	all := event.Actions()
	slices.Sort(all)
	if distinct := len(slices.Compact(slices.Clone(all))); distinct != len(all) || distinct < 43 {
		t.Errorf("%d actions, %d distinct", len(all), distinct)
	}
	if event.Action(nil) != "" || event.Action(new(eventv1.Event)) != "" {
		t.Error("an action of nothing")
	}
}
