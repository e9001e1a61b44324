package event_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/event"
)

func TestTargets(t *testing.T) {
	tests := map[string]event.Target{
		"tenant/acme":                      {Kind: event.TargetTenant, Tenant: "acme"},
		"instance/acme/support-1":          {Kind: event.TargetInstance, Tenant: "acme", Instance: "support-1"},
		"run/acme/ticket/4711":             {Kind: event.TargetRun, Tenant: "acme", Name: "ticket/4711"},
		"connector/acme/support-1/mail":    {Kind: event.TargetConnector, Tenant: "acme", Instance: "support-1", Name: "mail"},
		"connector/acme/*/mail":            {Kind: event.TargetConnector, Tenant: "acme", Instance: "*", Name: "mail"},
		"credential/acme/3f2a9c":           {Kind: event.TargetCredential, Tenant: "acme", Name: "3f2a9c"},
		"principal/acme/user-7f3a":         {Kind: event.TargetPrincipal, Tenant: "acme", Name: "user-7f3a"},
		"principal/acme/Zoë \x1b[31m/ a b": {Kind: event.TargetPrincipal, Tenant: "acme", Name: "Zoë \x1b[31m/ a b"},
	}
	for text, want := range tests {
		got, err := event.ParseTarget(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", text, err, diff)
		}
	}
}

func TestTextsThatAreNoTargets(t *testing.T) {
	for _, text := range []string{
		"", "acme", "tenant", "tenant/", "tenant/Acme", "tenant/acme/x", "instance/acme", "instance/acme/", "instance/acme/*", "run/acme", "run/acme/",
		"run//x", "connector/acme/mail", "connector/acme/support-1/", "host/acme/x", "run/acme/" + strings.Repeat("x", event.MaxID+1), "run/acme/\xff",
	} {
		if got, err := event.ParseTarget(text); !errors.Is(err, event.ErrTarget) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func TestTargetCovers(t *testing.T) {
	act := event.Act{Tenant: "acme", Instance: "support-1", Run: "r", Principal: "p", Connector: "mail", Credential: "f"}
	tests := map[string]bool{
		"tenant/acme": true, "tenant/zeta": false,
		"instance/acme/support-1": true, "instance/acme/support-2": false, "instance/zeta/support-1": false,
		"run/acme/r": true, "run/acme/s": false, "run/zeta/r": false,
		"connector/acme/support-1/mail": true, "connector/acme/*/mail": true, "connector/acme/support-2/mail": false, "connector/acme/*/crm": false,
		"principal/acme/p": true, "principal/acme/q": false,
		"credential/acme/f": true, "credential/acme/g": false,
	}
	for text, want := range tests {
		target, err := event.ParseTarget(text)
		if got := target.Covers(act); got != want || err != nil {
			t.Errorf("%s covers %+v: %v, %v", text, act, got, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("connector/acme/*/mail")
	f.Add("run/acme/a/b")
	f.Fuzz(func(t *testing.T, text string) {
		if target, err := event.ParseTarget(text); err == nil && target.String() != text {
			t.Errorf("%q becomes %q", text, target)
		}
	})
}
