package rules

import (
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"github.com/google/go-cmp/cmp"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// conditions are all conditions and text expressions of a set's rules.
func conditions(set *Set) map[string]*condition {
	all := map[string]*condition{}
	for _, r := range set.Rules {
		for i, c := range append([]*condition{r.when, r.distinct, r.of, r.after, r.until}, append(r.steps, r.exceptions...)...) {
			if c != nil {
				all[r.ID+string(rune('a'+i))] = c
			}
		}
	}
	return all
}

// TestPackIsNative: the rules that come with Custody are evaluated without CEL, but for what is named here.
func TestPackIsNative(t *testing.T) {
	set, err := Parse(DefaultSource)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range conditions(set) {
		if c.truth == nil && c.text == nil {
			t.Errorf("%s is left to CEL", name)
		}
	}
}

// agrees holds what a condition says as a function to what CEL says of the same event.
func agrees(t *testing.T, name string, c *condition, f *facts) {
	t.Helper()
	if c.truth == nil && c.text == nil {
		return
	}
	v, _, err := c.program.Eval(f)
	if err != nil {
		t.Fatalf("%s: CEL cannot say: %v", name, err)
	}
	var got any
	if c.truth != nil {
		got = c.truth(f)
	} else {
		got = c.text(f)
	}
	if diff := cmp.Diff(v.Value(), got); diff != "" {
		t.Fatalf("%s (-CEL +function):\n%s", name, diff)
	}
}

// TestNativeAgrees: every condition of the pack, and every form that is taken, says of a random log what CEL says.
func TestNativeAgrees(t *testing.T) {
	source := string(DefaultSource) + forms
	set, err := Parse([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	all, engine := conditions(set), New(set)
	for _, l := range RandomLog(1, 1500) {
		f := &facts{leaf: l, event: l.Event, action: "execution.started"}
		engine.look(l, &f.seen)
		for name, c := range all {
			agrees(t, name, c, f)
		}
		engine.Observe(l)
	}
}

// forms are conditions of every form, beside those of the pack.
const forms = `
- {rule: form-order, version: 1, description: d, severity: low, on: [execution.started], when: 'score < 300 || 500 <= score || attempt > 1 && bytes >= 40 || hour != 3'}
- {rule: form-text, version: 1, description: d, severity: low, on: [execution.started], when: '!(tool.startsWith("send") || tool.endsWith(source)) && "a" != run || principal.contains("1")'}
- {rule: form-list, version: 1, description: d, severity: low, on: [execution.started], when: 'data_class in internal_classes || tool in ["send_email", "delete_file"] || !(tool in [])'}
- {rule: form-truth, version: 1, description: d, severity: low, on: [execution.started], when: 'tainted == approved || true && false != manifest'}
- {rule: form-figures, version: 1, description: d, severity: low, on: [execution.started], when: 'string(hour) == "3" || string(score).startsWith("4") || string(tool) == tool'}
- {rule: form-cel, version: 1, description: d, severity: low, on: [execution.started], when: 'tool.matches("^send") ? score + 1 > 2 : size(tool) == 4'}
`

// FuzzNative: whatever condition is written, the function that it is made says of an event what CEL says.
func FuzzNative(f *testing.F) {
	for seed := range strings.SplitSeq(forms, "'") {
		f.Add(seed, "send_email", "internal", true, int64(400))
	}
	f.Fuzz(func(t *testing.T, source, tool, class string, approved bool, bytes int64) {
		c := newCompiler()
		if err := c.list("internal_classes", []string{"internal", "customer"}); err != nil {
			t.Fatal(err)
		}
		compiled, err := c.source(source, cel.BoolType)
		if err != nil {
			return
		}
		e := &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{Source: tool, DataClass: class, Bytes: uint64(bytes)}}}
		facts := &facts{leaf: &Leaf{Event: e}, event: e, action: "execution.started", seen: seen{tool: tool, approved: approved, workflow: class}}
		agrees(t, source, compiled, facts)
	})
}
