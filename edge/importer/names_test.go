package importer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
)

func TestInstanceOf(t *testing.T) {
	tests := map[string]event.InstanceID{
		"local":                      "local",
		"claude-3-5-sonnet-20241022": "claude-3-5-sonnet-20241022",
		"gemini-1.5-pro-002":         "gemini-1-5-pro-002-4c028a764041",
		"meta-llama_Llama-3-70b":     "meta-llama-llama-3-70b-da27120ec66f",
		"custody":                    "custody-922ff32b6bf4",
		"a-0123456789ab":             "a-0123456789ab-bc34a8765195",
		"模型":                         "x-b1877846edff",
		strings.Repeat("long-", 13):  "long-long-long-long-long-long-long-long-long-long-2dadf4405e9e",
	}
	got := map[string]event.InstanceID{}
	for pipeline := range tests {
		got[pipeline] = instanceOf(pipeline)
	}
	if diff := cmp.Diff(tests, got); diff != "" {
		t.Errorf("instances (-want +got):\n%s", diff)
	}
}

// TestNamesAreValidAndApart: what is given to instanceOf and tenantOf twice gives the same name, and nothing else does.
func TestNamesAreValidAndApart(t *testing.T) {
	pipelines := []string{
		"a", "A", "a.", ".a", "a_", "a b", "a-b", "a--b", "-", "", "\x00", "custody", "Custody", strings.Repeat("a", 63),
		strings.Repeat("a", 64), strings.Repeat("a", 65), "é", "e", instanceString("A"), instanceString("a."),
	}
	instances, tenants := map[event.InstanceID]string{}, map[event.TenantID]string{}
	for _, p := range pipelines {
		i, s := instanceOf(p), tenantOf("agentdojo", p)
		if !event.ValidName(string(i)) || !event.ValidName(string(s)) {
			t.Errorf("%q gives %q and %q, which are no names", p, i, s)
		}
		if other, taken := instances[i]; taken {
			t.Errorf("%q and %q give one instance, %q", p, other, i)
		}
		if other, taken := tenants[s]; taken {
			t.Errorf("%q and %q give one tenant, %q", p, other, s)
		}
		instances[i], tenants[s] = p, p
	}
}

func instanceString(pipeline string) string { return string(instanceOf(pipeline)) }

func TestCanonical(t *testing.T) {
	tests := map[string]struct {
		raw  string
		want arguments
	}{
		"nothing":      {``, arguments{}},
		"sorted":       {`{"b": 1.50, "a": [ true,null ]}`, arguments{typeJSON, []byte(`{"a":[true,null],"b":1.50}`)}},
		"escapes":      {`{"\u0061": "\u00e9<\/a>&"}`, arguments{typeJSON, []byte(`{"a":"é</a>&"}`)}},
		"large number": {`123456789012345678901234567890`, arguments{typeJSON, []byte(`123456789012345678901234567890`)}},
		"no JSON":      {`send {`, arguments{typeText, []byte(`send {`)}},
		"two values":   {`{} {}`, arguments{typeText, []byte(`{} {}`)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, canonical([]byte(test.raw)), cmp.AllowUnexported(arguments{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplicitYes(t *testing.T) {
	tests := map[string]bool{
		"Yes, please proceed.":                       true,
		"That sounds good. Go ahead and book it.":    true,
		"I confirm the upgrade.":                     true,
		"Oui, merci!":                                true,
		"I'll go with the second option.":            false,
		"Please use the gift card.":                  false,
		"Please do not proceed.":                     false,
		"Don't go ahead with it.":                    false,
		"What do I pay before you confirm anything?": false,
		"It was yesterday.":                          false,
		"":                                           false,
	}
	for text, want := range tests {
		if got := answerTo(0, 1, text) != nil; got != want {
			t.Errorf("%q is a yes: %v, want %v", text, got, want)
		}
		if answerTo(-1, 1, text) != nil {
			t.Errorf("%q is a yes to nothing", text)
		}
	}
}
