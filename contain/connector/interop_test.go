//go:build interop

package connector

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/agentcustody/custody/contain"
)

const clientSecret = "a secret: of & the test"

// authorizationServer starts oidc-provider, which make interop installs.
func authorizationServer(t *testing.T) (issuer string) {
	t.Helper()
	if _, err := os.Stat("interop/node_modules"); err != nil {
		t.Skip("oidc-provider is not installed: npm ci --prefix contain/connector/interop")
	}
	cmd := exec.CommandContext(t.Context(), "node", "server.mjs")
	cmd.Dir, cmd.Env, cmd.Stderr = "interop", append(os.Environ(), "CLIENT_SECRET="+clientSecret), os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			return lines.Text()
		}
	}
	t.Fatal("the authorization server does not start")
	return ""
}

// token gets an access token as the agent would.
func token(t *testing.T, issuer string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("agent", url.QueryEscape(clientSecret))
	status, body, err := do(r)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err != nil || json.Unmarshal(body, &answer) != nil || answer.AccessToken == "" {
		t.Fatalf("no token: %d, %s, %v", status, body, err)
	}
	return answer.AccessToken
}

// TestARealAuthorizationServer: RFC 7009 and RFC 7662 as npm's oidc-provider has them.
func TestARealAuthorizationServer(t *testing.T) {
	issuer := authorizationServer(t)
	o := &oauth{
		revocation: issuer + "/token/revocation", introspection: issuer + "/token/introspection", client: "agent",
		secretFile: secretFile(t, clientSecret), tokenFile: secretFile(t, token(t, issuer)),
	}
	probe := func(want contain.Liveness) {
		t.Helper()
		if found, evidence, err := o.Probe(t.Context(), errand); found != want || err != nil {
			t.Errorf("probe: %v, %q, %v; want %v", found, evidence, err, want)
		}
	}
	probe(contain.Alive)
	for range 2 { // the second time it is not known any more
		if _, err := o.Revoke(t.Context(), errand); err != nil {
			t.Error(err)
		}
		probe(contain.Dead)
	}
	o.secretFile = secretFile(t, "another")
	if _, err := o.Revoke(t.Context(), errand); err == nil {
		t.Error("a wrong client secret is a yes")
	}
	probe(contain.Unclear)
}
