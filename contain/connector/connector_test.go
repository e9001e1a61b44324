package connector

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
)

var errand = contain.Errand{
	ID: "c-1", Target: event.Target{Kind: event.TargetInstance, Tenant: "acme", Instance: "a"}, Level: contain.Quarantine, Reason: "it's $(wrong)",
}

// script is an executable program of the test.
func script(t *testing.T, text string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{path}
}

func secretFile(t *testing.T, text string) secret {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret(path)
}

func TestCommand(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "hunter2")
	tests := map[string]struct {
		script  string
		revoked string
		err     error // of revoke
		found   contain.Liveness
		probed  string
	}{
		"does it":         {`echo "$1 done"; echo more`, "revoke done", nil, contain.Dead, "probe done"},
		"gets the errand": {`grep -o '"reason":"[^"]*"'`, `"reason":"it's $(wrong)"`, nil, contain.Dead, `"reason":"it's $(wrong)"`},
		"no environment":  {`echo "[$SECRET_OF_THE_SERVER]"`, "[]", nil, contain.Dead, "[]"},
		"nothing done":    {`exit 75`, "", contain.ErrNotSent, contain.Unclear, ""},
		"alive":           {`echo still there; exit 1`, "", errAny, contain.Alive, "still there"},
		"killed itself":   {`kill -9 $$`, "", errAny, contain.Unclear, ""},
		"hangs":           {`sleep 100 & sleep 100`, "", errAny, contain.Unclear, ""},
		"talks much":      {`yes | head -c 1000000`, "y", nil, contain.Dead, "y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &command{argv: script(t, test.script)}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			line, err := c.Revoke(ctx, errand)
			if line != test.revoked || (err != nil) != (test.err != nil) || errors.Is(err, contain.ErrNotSent) != errors.Is(test.err, contain.ErrNotSent) {
				t.Errorf("revoke: %q, %v", line, err)
			}
			found, line, _ := c.Probe(ctx, errand)
			if found != test.found || line != test.probed {
				t.Errorf("probe: %v, %q", found, line)
			}
		})
	}
	if _, err := (&command{argv: []string{"/no/such/program"}}).Revoke(t.Context(), errand); !errors.Is(err, contain.ErrNotSent) {
		t.Errorf("no program: %v", err)
	}
}

// TestWebhookIsSigned checks the signature as a receiver of Standard Webhooks does.
func TestWebhookIsSigned(t *testing.T) {
	key := []byte("a key of a test")
	ids := make(map[string]int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
		if r.Header.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) || !strings.Contains(string(body), `"target":"instance/acme/a"`) {
			w.WriteHeader(http.StatusUnauthorized)
		}
		ids[r.Header.Get("Webhook-Id")]++
	}))
	defer server.Close()
	w := &webhook{url: server.URL, secretFile: secretFile(t, "whsec_"+base64.StdEncoding.EncodeToString(key))}
	for range 2 {
		if _, err := w.Revoke(t.Context(), errand); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string]int{"c-1": 2}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	w.secretFile = secretFile(t, "another")
	if _, err := w.Revoke(t.Context(), errand); err == nil {
		t.Error("a wrong signature is a yes")
	}
	if found, _, err := w.Probe(t.Context(), errand); found != contain.Unclear || err != nil {
		t.Errorf("without a probe: %v, %v", found, err)
	}
	server.Close()
	if _, err := w.Revoke(t.Context(), errand); !errors.Is(err, contain.ErrNotSent) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestProbeByRequest(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer s3cret" {
			status = http.StatusTeapot
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}))
	defer server.Close()
	q := &request{url: server.URL + "/me?token=s3cret", headerFile: secretFile(t, "Authorization: Bearer s3cret"), dead: []int{401, 403}, alive: []int{200}}
	for want, codes := range map[contain.Liveness][]int{contain.Alive: {200}, contain.Dead: {401, 403}, contain.Unclear: {302, 500, 404}} {
		for _, status = range codes {
			found, evidence, err := q.probe(t.Context())
			if found != want || err != nil || strings.Contains(evidence, "s3cret") {
				t.Errorf("%d: %v, %q, %v", status, found, evidence, err)
			}
		}
	}
	server.Close()
	if _, _, err := q.probe(t.Context()); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestOAuth is against a server that does as the RFCs say; the interop test has a real one.
func TestOAuth(t *testing.T) {
	active, lies := true, false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "cust%26ody" || password != "p%3Aw" || r.FormValue("token") != "t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/revoke" {
			active = active && lies
			return
		}
		fmt.Fprintf(w, `{"active":%v}`, active)
	}))
	defer server.Close()
	o := &oauth{revocation: server.URL + "/revoke", introspection: server.URL + "/introspect", client: "cust&ody", secretFile: secretFile(t, "p:w"), tokenFile: secretFile(t, "t0ken")}
	step := func(lie bool, want contain.Liveness) {
		t.Helper()
		active, lies = true, lie
		if found, _, err := o.Probe(t.Context(), errand); found != contain.Alive || err != nil {
			t.Errorf("before: %v, %v", found, err)
		}
		for range 2 {
			if _, err := o.Revoke(t.Context(), errand); err != nil {
				t.Error(err)
			}
		}
		if found, _, err := o.Probe(t.Context(), errand); found != want || err != nil {
			t.Errorf("after: %v, %v", found, err)
		}
	}
	step(false, contain.Dead)
	step(true, contain.Alive)
	o.tokenFile = secretFile(t, "another")
	if found, _, _ := o.Probe(t.Context(), errand); found != contain.Unclear {
		t.Errorf("the server refuses us: %v", found)
	}
}

func TestParse(t *testing.T) {
	const exec = "connectors: [{name: a, kind: exec, covers: [tenant/acme], command: [x]"
	tests := map[string]string{
		"": "", exec + "}]": "", exec + ", idempotent: true, timeout: 10s, credential: f}]": "",
		"connectors: [{name: a, kind: exec, covers: [tenant/acme]}]": "connectors[0].command: missing",
		exec + ", timeout: 1h}]":      "connectors[0].timeout: must be at most 5m0s",
		exec + ", idempotnet: true}]": "field idempotnet not found",
		exec + "}, {name: a, kind: exec, covers: [tenant/acme], command: [x]}]":                                                                              "connectors[1].name: is used twice",
		"connectors: [{name: A, kind: exec, covers: [tenant/acme], command: [x]}]":                                                                           "connectors[0].name: must be",
		"connectors: [{name: a, kind: exec, command: [x]}]":                                                                                                  "covers: names no target",
		"connectors: [{name: a, kind: exec, covers: [acme], command: [x]}]":                                                                                  "not a target",
		"connectors: [{name: a, kind: magic, covers: [tenant/acme]}]":                                                                                        `kind: "magic" is not one of exec, nats, oauth, postgres, redis, webhook`,
		"connectors: [{name: a, kind: webhook, covers: [tenant/acme], url: 'http://x.example', secret_file: s}]":                                             "url: must be https://",
		"connectors: [{name: a, kind: webhook, covers: [tenant/acme], url: 'https://u:p@x.example', secret_file: s}]":                                        "without a password",
		"connectors: [{name: a, kind: webhook, covers: [tenant/acme], url: 'https://x.example'}]":                                                            "secret_file: missing",
		"connectors: [{name: a, kind: oauth, covers: [tenant/acme], url: 'https://x.example'}]":                                                              "introspection: missing",
		"connectors: [{name: a, kind: webhook, covers: [tenant/acme], url: 'http://127.0.0.1:1', secret_file: s, probe: {url: 'https://x.example'}}]":        "probe: needs the statuses",
		exec + ", url: 'https://x.example'}]":                                                                                                                "connectors[0].url: exec takes no such key",
		exec + ", derived_from: b}]":                                                                                                                         `derived_from: there is no connector "b"`,
		exec + ", derived_from: a}]":                                                                                                                         "derived_from: goes round in a circle",
		"connectors: [{name: a, kind: postgres, covers: [tenant/acme], role: r, admin_file: a}]":                                                             "login_file: missing",
		"connectors: [{name: a, kind: redis, covers: [tenant/acme], urls: [], user: u, admin_file: a, login_file: b}]":                                       "urls: missing",
		"connectors: [{name: a, kind: redis, covers: [tenant/acme], urls: ['redis://x'], user: u, admin_file: a, login_file: b}]":                            "urls: must be rediss://",
		"connectors: [{name: a, kind: redis, covers: [tenant/acme], urls: ['rediss://u:p@x'], user: u, admin_file: a, login_file: b}]":                       "without a password",
		"connectors: [{name: a, kind: nats, covers: [tenant/acme], urls: ['nats://x'], admin_file: a, login_file: b, signing_key_file: c}]":                  "urls: must be tls://",
		"connectors: [{name: a, kind: nats, covers: [tenant/acme], urls: ['tls://x', 'nats://[::1]:1'], admin_file: a, login_file: b, signing_key_file: c}]": "",
	}
	for text, want := range tests {
		_, err := Parse([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n  got  %v\n  want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("connectors: [{name: a, kind: exec, covers: [tenant/acme], command: [x]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Parse(text)
		for _, c := range list {
			if err != nil || c.Revoker == nil || len(c.Covers) == 0 {
				t.Errorf("accepted %+v, %v", c, err)
			}
		}
	})
}

var errAny = errors.New("any error")

// TestExample: the example that operators copy has a connector of every kind, and so has the package's page.
func TestExample(t *testing.T) {
	list, err := Load("../../deploy/connectors.example.yaml")
	if err != nil || len(list) != len(kinds()) {
		t.Errorf("%d connectors of %d kinds, %v", len(list), len(kinds()), err)
	}
	example, err := os.ReadFile("../../deploy/connectors.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(example), "connectors:\n")
	if !strings.Contains(strings.ReplaceAll(string(page), "//\t", ""), text) {
		t.Error("doc.go and the example differ")
	}
}

// TestDryRuns of the connectors that cannot look behind a server: they ask for nothing.
func TestDryRuns(t *testing.T) {
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	w := &webhook{url: server.URL + "/hook?key=s3cret", secretFile: secretFile(t, "whsec")}
	careless := &command{argv: script(t, "touch "+filepath.Join(t.TempDir(), "revoked")+"; echo done")}
	knowing := &command{argv: script(t, `[ "$1" = dry-run ] && echo "delete the token"`), dryRun: true}
	for want, dry := range map[string]contain.DryRunner{"can be reached": w, "not known here": careless, "delete the token": knowing} {
		would, err := dry.DryRun(t.Context(), errand)
		if err != nil || len(would) != 1 || !strings.Contains(would[0], want) || strings.Contains(would[0], "s3cret") {
			t.Errorf("%q, %v; want %s", would, err, want)
		}
	}
	server.Close()
	for _, dry := range []contain.DryRunner{w, &command{argv: []string{"/no/such/program"}}, &command{argv: script(t, "exit 1"), dryRun: true}} {
		if would, err := dry.DryRun(t.Context(), errand); err == nil {
			t.Errorf("would %q", would)
		}
	}
	if calls != 0 {
		t.Errorf("%d calls of a dry run", calls)
	}
}
