package notify

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// hostile is a notification with text that means something to those who show it.
func hostile() *Notification {
	n := &Notification{
		Key: "step/acme/c-1/gate/ab", Tenant: "acme", Kind: Unproven, Severity: Critical, At: 1_790_000_000_123_456_789,
		Title: "NOT PROVEN: `rm` <!channel> <https://evil.example|ok>", Target: "run/acme/a b", Detail: "said \x1b[2J & \u202etxt",
		Commands: []string{"custody contained --tenant acme", "custody release 'run/acme/a b' --reason 'WHY'"},
	}
	return n.complete("x")
}

// TestFormats sends to real servers what Slack, PagerDuty and Alertmanager take.
func TestFormats(t *testing.T) {
	tests := map[string]struct {
		receiver Receiver
		path     string
		header   string
		check    func(t *testing.T, body map[string]any)
	}{
		"slack": {Receiver{Kind: "slack"}, "/", "", func(t *testing.T, body map[string]any) {
			text := body["text"].(string)
			if strings.Count(text, "`") != 6 || strings.ContainsAny(text, "<>\x1b\u202e") || !strings.Contains(text, "custody release 'run/acme/a b'") {
				t.Errorf("text %q", text)
			}
		}},
		"pagerduty": {Receiver{Kind: "pagerduty", SecretFile: "routing"}, "/", "", func(t *testing.T, body map[string]any) {
			payload := body["payload"].(map[string]any)
			got := []any{body["routing_key"], body["event_action"], body["dedup_key"], payload["severity"], payload["source"], payload["timestamp"]}
			want := []any{"R0UT1NG", "trigger", "step/acme/c-1/gate/ab", "critical", "run/acme/a b", "2026-09-21T14:13:20.123456789Z"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		}},
		"alertmanager": {Receiver{Kind: "alertmanager", SecretFile: "routing"}, "/api/v2/alerts", "Bearer R0UT1NG", func(t *testing.T, body map[string]any) {
			labels, notes := body["labels"].(map[string]any), body["annotations"].(map[string]any)
			if labels["alertname"] != "Custody" || labels["kind"] != "step" || body["endsAt"] != "2026-09-22T14:13:20.123456789Z" || !strings.Contains(notes["next"].(string), "custody contained") {
				t.Errorf("alert %v", body)
			}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := newReceiver(t)
			r := test.receiver
			r.Name, r.URL = "x", server.URL+"/"
			if r.SecretFile != "" {
				r.SecretFile = filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(r.SecretFile, []byte("R0UT1NG\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w := &worker{engine: &Engine{cfg: Config{Now: nowIs}}, receiver: r}
			if a := w.send(t.Context(), hostile()); !a.ok {
				t.Fatal(a.text)
			}
			got := server.all()[0]
			body := strings.TrimSuffix(strings.TrimPrefix(string(got.body), "["), "]")
			parsed := map[string]any{}
			if err := json.Unmarshal([]byte(body), &parsed); err != nil {
				t.Fatal(err)
			}
			if got.path != test.path || got.header.Get("Authorization") != test.header || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("path %s, headers %v", got.path, got.header)
			}
			test.check(t, parsed)
		})
	}
}

// TestTheEndOfAnAlert has the labels and the key of its beginning.
func TestTheEndOfAnAlert(t *testing.T) {
	begun, ended := hostile(), hostile()
	ended.Kind, ended.Resolved = Proven, true
	labels := func(n *Notification) any { return alertmanagerBody(n).([]any)[0].(map[string]any)["labels"] }
	if diff := cmp.Diff(labels(begun), labels(ended)); diff != "" {
		t.Errorf("labels (-begun +ended):\n%s", diff)
	}
	a, b := pagerDutyBody(begun, "").(map[string]any), pagerDutyBody(ended, "").(map[string]any)
	if a["dedup_key"] != b["dedup_key"] || b["event_action"] != "resolve" {
		t.Errorf("%v, %v", a, b)
	}
}

// TestTestCommand: a receiver is tried at once, an alert is ended at once, a secret that others may read is refused, and no answer
// shows an address or a secret.
func TestTestCommand(t *testing.T) {
	h := newHouse(t)
	pager := Receiver{Name: "pager", Kind: "pagerduty", URL: h.receiver.URL, SecretFile: h.secret("routing", "R0UT1NG"), Severity: Critical}
	secret := Receiver{Name: "slack", Kind: "slack", URLFile: h.secret("url", h.receiver.URL+"/T0K3N"), Severity: Info}
	open := Receiver{Name: "open", Kind: "webhook", URL: h.receiver.URL, SecretFile: h.secret("open", webhookSecret), Severity: Info}
	if err := os.Chmod(open.SecretFile, 0o644); err != nil {
		t.Fatal(err)
	}
	s := &Service{Engine: h.open(nil, pager, secret, open)}
	test := func(name string) []*apiv1.TestResult {
		r, err := s.TestReceivers(t.Context(), &apiv1.TestReceiversRequest{Receiver: name})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetResults()
	}
	if got := test("pager"); len(got) != 1 || !got[0].GetOk() || len(h.receiver.all()) != 2 {
		t.Errorf("pager: %v, told %d times", got, len(h.receiver.all()))
	}
	if got := test("open")[0]; got.GetOk() || !strings.Contains(got.GetAnswer(), "chmod 600") || strings.Contains(got.GetAnswer(), webhookSecret) {
		t.Errorf("open: %v", got)
	}
	h.receiver.answer(http.StatusForbidden)
	if got := test("slack")[0]; got.GetOk() || got.GetAnswer() != "answers 403" {
		t.Errorf("slack: %v", got)
	}
	h.receiver.Close()
	if got := test("slack")[0]; got.GetOk() || strings.Contains(got.GetAnswer(), "T0K3N") || strings.Contains(got.GetAnswer(), "127.0.0.1") {
		t.Errorf("slack: %v", got)
	}
	if _, err := s.TestReceivers(t.Context(), &apiv1.TestReceiversRequest{Receiver: "nobody"}); err == nil {
		t.Error("nobody was tried")
	}
}

// TestLongKeysStayApart: PagerDuty takes 255 bytes, and what differs only after them is not the same incident.
func TestLongKeysStayApart(t *testing.T) {
	long := "step/acme/c-1/connector/db/" + strings.Repeat("ü", 200)
	a, b := dedupKey(long+"a"), dedupKey(long+"b")
	if a == b || len(a) > maxKey || !utf8.ValidString(a) || dedupKey(long+"a") != a {
		t.Errorf("%q and %q", a, b)
	}
	if got := dedupKey("firing/1"); got != "firing/1" {
		t.Errorf("a short one becomes %q", got)
	}
}
