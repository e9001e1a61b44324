package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/agentcustody/custody/contain/rules"
)

// TestTheManifestAsTheGateSeesIt: connector, destination and the most specific entry count for the rules too, and a finding and an
// approval have the class of the proposal, whatever the manifest says later.
func TestTheManifestAsTheGateSeesIt(t *testing.T) {
	const head = "rules:\n- rule: abc\n  version: 1\n  description: d\n  severity: low\n" +
		"  on: [execution.started, approval.approved, data.content_finding]\n  when: "
	tests := map[string]struct{ when, manifest, events string }{
		"a star passes a slash": {`permitted`, `{tool: "fs/*"}`, `{action: execution.started, tool: fs/a/b}`},
		"another connector":     {`!permitted`, `{tool: send, connector: mail}`, `{action: execution.started, tool: send, connector: chat}`},
		"another destination":   {`!permitted`, `{tool: send, resource: "*.own.example"}`, `{action: execution.started, tool: send, destination: evil.test}`},
		"a trigger allows none": {`!permitted`, `{verb: trigger, tool: "*"}`, `{action: execution.started, tool: send}`},
		"the most specific": {
			`consequence == "low" && consequence_basis == "manifest"`, `{tool: "*", consequence: high}, {tool: look, consequence: low}`,
			`{action: execution.started, tool: look}`,
		},
		"the graver word": {
			`consequence == "high" && consequence_basis == "event"`, `{tool: "*", consequence: low}`,
			`{action: execution.started, tool: look, consequence: high}`,
		},
		"an approval": {
			`action == "approval.approved" && permitted && consequence == "moderate"`,
			`{tool: send, consequence: high}, {tool: send, resource: "*.own.example", consequence: moderate}`,
			`{action: execution.proposed, tool: send, destination: a.own.example}, {action: approval.approved, tool: send}`,
		},
		"a finding": {
			`action == "data.content_finding" && permitted && consequence == "moderate" && consequence_basis == "manifest"`,
			`{tool: send, consequence: high}, {tool: send, resource: "*.own.example", consequence: moderate}`,
			`{action: execution.proposed, tool: send, destination: a.own.example}, {action: data.content_finding}`,
		},
		"a destination that is named": {
			`permitted && destination_named`, `{tool: send, resource: b.example}, {tool: send, resource: "*"}`,
			`{action: execution.started, tool: send, destination: b.example}`,
		},
		"one that a star covers": {`permitted && !destination_named`, `{tool: send, resource: "*.example"}`, `{action: execution.started, tool: send, destination: b.example}`},
		"one named for another": {
			`permitted && !destination_named`, `{tool: look, resource: b.example}, {tool: send}`, `{action: execution.started, tool: send, destination: b.example}`,
		},
		"no destination": {`permitted && !destination_named`, `{tool: send}`, `{action: execution.started, tool: send}`},
		"content is no call": {
			`action == "data.content_finding" && !permitted && consequence == ""`, `{tool: "*", consequence: high}`, `{action: data.content_finding}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := head + "'" + test.when + "'\n  tests:\n  - {name: it, fires: true, manifest: [" + test.manifest + "], events: [" + test.events + "]}\n"
			set, err := rules.Parse([]byte(source))
			if err != nil {
				t.Fatal(err)
			}
			if err := set.Run(set.Rules[0], &set.Rules[0].Tests[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestASnapshotOfAnotherVersionSaysSo: whoever starts with one folds the stream again, and can say why.
func TestASnapshotOfAnotherVersionSaysSo(t *testing.T) {
	set := defaults(t)
	now := string(rules.New(set).Snapshot())
	at := strings.Index(now, "/v") + 2
	for old, want := range map[string]bool{
		now[:at] + "0" + now[at+1:]: true, strings.Replace(now, "state", "stale", 1): false, "": false, now[:4]: false,
	} {
		_, err := rules.Restore(set, []byte(old))
		if err == nil || errors.Is(err, rules.ErrOldSnapshot) != want {
			t.Errorf("%.24q: %v", old, err)
		}
	}
}
