package event_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	low      = eventv1.Consequence_CONSEQUENCE_LOW
	moderate = eventv1.Consequence_CONSEQUENCE_MODERATE
	high     = eventv1.Consequence_CONSEQUENCE_HIGH
)

// allow is one permission: verb, tool, class, and optionally connector and resource.
func allow(verb, tool string, class eventv1.Consequence, more ...string) *eventv1.Permission {
	v, _ := event.PermissionVerbs.Parse(verb)
	p := &eventv1.Permission{Verb: v, Tool: tool, Consequence: class}
	if len(more) > 0 {
		p.Connector = more[0]
	}
	if len(more) > 1 {
		p.Resource = more[1]
	}
	return p
}

func TestWhatAManifestSaysOfACall(t *testing.T) {
	general := []*eventv1.Permission{allow("read", "*", low), allow("send", "send_email", high)}
	far := []*eventv1.Permission{allow("send", "mail", high), allow("send", "mail", low, "", "*@own.example"), allow("send", "mail", moderate, "smtp")}
	tests := map[string]struct {
		manifest []*eventv1.Permission
		call     event.ToolCall
		want     event.Permit
	}{
		"nothing":                               {nil, event.ToolCall{Tool: "a"}, event.Permit{}},
		"the general entry":                     {general, event.ToolCall{Tool: "look"}, event.Permit{Allowed: true, Consequence: low}},
		"the entry of its own name":             {general, event.ToolCall{Tool: "send_email"}, event.Permit{Allowed: true, Consequence: high}},
		"in any order":                          {[]*eventv1.Permission{general[1], general[0]}, event.ToolCall{Tool: "send_email"}, event.Permit{Allowed: true, Consequence: high}},
		"the longer pattern":                    {[]*eventv1.Permission{allow("read", "crm.*", high), allow("read", "crm.read_*", low)}, event.ToolCall{Tool: "crm.read_all"}, event.Permit{Allowed: true, Consequence: low}},
		"no pattern before a longer one":        {[]*eventv1.Permission{allow("read", "a", high), allow("read", "*a******", low)}, event.ToolCall{Tool: "a"}, event.Permit{Allowed: true, Consequence: high}},
		"of equals the gravest":                 {[]*eventv1.Permission{allow("read", "*", low), allow("write", "*", high), allow("send", "*", moderate)}, event.ToolCall{Tool: "a"}, event.Permit{Allowed: true, Consequence: high}},
		"a destination of ours":                 {far, event.ToolCall{Tool: "mail", Destination: "bob@own.example"}, event.Permit{Allowed: true, Consequence: low}},
		"another destination":                   {far, event.ToolCall{Tool: "mail", Destination: "bob@evil.test"}, event.Permit{Allowed: true, Consequence: high}},
		"the connector before the resource":     {far, event.ToolCall{Tool: "mail", Connector: "smtp", Destination: "bob@own.example"}, event.Permit{Allowed: true, Consequence: moderate}},
		"saying less makes nothing milder":      {far, event.ToolCall{Tool: "mail"}, event.Permit{Allowed: true, Consequence: high}},
		"saying less is covered all the same":   {far[1:2], event.ToolCall{Tool: "mail"}, event.Permit{Allowed: true, Consequence: low}},
		"a connector that it does not name":     {far[2:], event.ToolCall{Tool: "mail", Connector: "chat"}, event.Permit{}},
		"a resource that does not fit":          {far[1:2], event.ToolCall{Tool: "mail", Destination: "bob@evil.test"}, event.Permit{}},
		"a trigger covers no call":              {[]*eventv1.Permission{allow("trigger", "*", high)}, event.ToolCall{Tool: "a"}, event.Permit{}},
		"a star passes a slash":                 {[]*eventv1.Permission{allow("read", "fs/*", low)}, event.ToolCall{Tool: "fs/a/b"}, event.Permit{Allowed: true, Consequence: low}},
		"other signs stand for themselves":      {[]*eventv1.Permission{allow("read", "[ab]?", low)}, event.ToolCall{Tool: "ab"}, event.Permit{}},
		"an entry without a class decides none": {[]*eventv1.Permission{allow("read", "*", high), allow("read", "look", 0)}, event.ToolCall{Tool: "look"}, event.Permit{Allowed: true, Consequence: high}},
		"a demand for approval is never undone": {[]*eventv1.Permission{allow("approve", "*", 0), allow("send", "mail", low)}, event.ToolCall{Tool: "mail"}, event.Permit{Allowed: true, Approver: true, Consequence: low}},
		"approval alone allows":                 {[]*eventv1.Permission{allow("approve", "pay", high)}, event.ToolCall{Tool: "pay"}, event.Permit{Allowed: true, Approver: true, Consequence: high}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, event.Permitted(test.manifest, test.call)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheGraverWordIsTheClass(t *testing.T) {
	tests := []struct {
		manifest, claimed, class eventv1.Consequence
		basis                    string
	}{
		{0, 0, 0, ""},
		{low, 0, low, event.BasisManifest},
		{low, low, low, event.BasisManifest},
		{high, low, high, event.BasisManifest},
		{low, high, high, event.BasisEvent},
		{0, moderate, moderate, event.BasisEvent},
	}
	for _, test := range tests {
		if class, basis := (event.Permit{Consequence: test.manifest}).Class(test.claimed); class != test.class || basis != test.basis {
			t.Errorf("manifest %v, claimed %v: %v by %q", test.manifest, test.claimed, class, basis)
		}
	}
}

func TestGlob(t *testing.T) {
	tests := map[[2]string]bool{
		{"", ""}: true, {"", "a"}: false, {"a", "a"}: true, {"a", "ab"}: false,
		{"*", ""}: true, {"*", "a/b"}: true, {"crm.*", "crm.read"}: true, {"crm.*", "crm"}: false,
		{"*.example", "a.b.example"}: true, {"*.example", "example"}: false, {"a*b*c", "aXbYc"}: true, {"a*b*c", "acb"}: false,
		{"a*a", "a"}: false, {"a*a", "aa"}: true, {"*a*", "bab"}: true, {"**", "x"}: true, {"*ab*ab", "ab"}: false,
	}
	for in, want := range tests {
		if got := event.Glob(in[0], in[1]); got != want {
			t.Errorf("%q matches %q: %v", in[0], in[1], got)
		}
	}
}

// FuzzGlob holds the matcher to the plainest one that there is.
func FuzzGlob(f *testing.F) {
	f.Add("a*b*", "aXbY")
	f.Add("*.example", "example")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 12 || len(text) > 24 { // the plain matcher is exponential
			return
		}
		if got := event.Glob(pattern, text); got != plainGlob(pattern, text) {
			t.Errorf("%q matches %q: %v", pattern, text, got)
		}
	})
}

func plainGlob(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	if pattern[0] == '*' {
		return plainGlob(pattern[1:], text) || text != "" && plainGlob(pattern, text[1:])
	}
	return text != "" && text[0] == pattern[0] && plainGlob(pattern[1:], text[1:])
}

func BenchmarkPermitted(b *testing.B) {
	var manifest []*eventv1.Permission
	for tool := range strings.FieldsSeq("read_* crm.* send_email *refund* look*up") {
		manifest = append(manifest, allow("read", tool, low, "", "*.example"))
	}
	b.ReportAllocs()
	for b.Loop() {
		event.Permitted(manifest, event.ToolCall{Tool: "send_email", Destination: "a.example"})
	}
}
