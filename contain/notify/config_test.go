package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func nowIs() time.Time { return time.Unix(1_790_000_000, 0) }

const whole = `
receivers:
  - {name: ops, kind: webhook, url: "https://hooks.example/custody", secret_file: ops.secret, severity: info}
  - {name: chat, kind: slack, url_file: slack.url, tenants: [acme]}
  - {name: pager, kind: pagerduty, secret_file: routing.key, severity: critical}
  - {name: alerts, kind: alertmanager, url: "http://localhost:9093"}
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := []Receiver{
		{Name: "ops", Kind: "webhook", URL: "https://hooks.example/custody", SecretFile: "ops.secret", Severity: Info},
		{Name: "chat", Kind: "slack", URLFile: "slack.url", Severity: Warning, Tenants: []string{"acme"}},
		{Name: "pager", Kind: "pagerduty", URL: pagerDutyURL, SecretFile: "routing.key", Severity: Critical},
		{Name: "alerts", Kind: "alertmanager", URL: "http://localhost:9093", Severity: Warning},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("receivers (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{name: A, kind: slack, url: "https://x"}`:                                                   "name: must be",
		`{name: a, kind: mail, url: "https://x"}`:                                                    "kind: ",
		`{name: a, kind: slack, url: "http://x.example"}`:                                            "url: must be https",
		`{name: a, kind: slack, url: "https://u:p@x.example"}`:                                       "url: must be https",
		`{name: a, kind: slack}`:                                                                     "url: exactly one",
		`{name: a, kind: slack, url: "https://x", url_file: y}`:                                      "url: exactly one",
		`{name: a, kind: webhook, url: "https://x"}`:                                                 "secret_file: missing",
		`{name: a, kind: pagerduty}`:                                                                 "secret_file: missing",
		`{name: a, kind: slack, url: "https://x", severity: loud}`:                                   "severity: ",
		`{name: a, kind: slack, url: "https://x", tenants: ["A b"]}`:                                 "tenants: ",
		`{name: a, kind: slack, url: "https://x", secret: hush}`:                                     "field secret not found",
		"{name: a, kind: slack, url: \"https://x\"}\n  - {name: a, kind: slack, url: \"https://x\"}": "name: is used twice",
	} {
		_, err := Parse([]byte("receivers:\n  - " + text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestLoad: secrets are tried at the start, and none is shown.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for secret, want := range map[string]string{
		write("good", webhookSecret, 0o600):                   "",
		write("open", webhookSecret, 0o640):                   "others may read it",
		write("short", "whsec_c2hvcnQ=", 0o600):               "the secret must be whsec_",
		write("bare", "hush", 0o600):                          "the secret must be whsec_",
		write("empty", "\n", 0o600):                           "is empty",
		filepath.Join(dir, "none"):                            "no such file",
		write("long", "whsk_"+strings.Repeat("A", 88), 0o600): "the secret must be whsec_",
	} {
		file := write("notify.yaml", "receivers:\n  - {name: a, kind: webhook, url: \"https://x\", secret_file: "+secret+"}\n", 0o600)
		_, err := Load(file)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "c2hvcnQ")) {
			t.Errorf("%s: %v, want %q", filepath.Base(secret), err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("receivers: [{name: a}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := Parse(b)
		if err != nil {
			return
		}
		for _, r := range list {
			if again := r; again.complete() != nil || !cmp.Equal(again, r) {
				t.Errorf("%v is not complete", r)
			}
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"position":7,"delivered":1,"given_up":0,"last_delivered":5,"ids":["n-1"],"keys":["k"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		s.deliver(&Notification{ID: "n-x", Key: "x"})
		out, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseState(out)
		if err != nil || !again.has("n-x") || !again.raised("x") {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
