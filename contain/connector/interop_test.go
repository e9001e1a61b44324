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
	asked := *o
	asked.secretFile, asked.tokenFile = secretFile(t, clientSecret), secretFile(t, secretText(t, o.tokenFile))
	suite(t, world{
		revoker: o, files: []secret{o.secretFile, o.tokenFile}, secrets: []string{clientSecret, secretText(t, o.tokenFile)},
		at: func(address string) contain.Revoker {
			other := *o
			other.revocation, other.introspection = "http://"+address, "http://"+address
			return &other
		},
		sessions: func() int { // a token has none: it is alive or not
			if found, _, _ := asked.introspect(t.Context(), errand); found == contain.Alive {
				return 1
			}
			return 0
		},
	})
	o.secretFile = secretFile(t, "another")
	if _, err := o.Revoke(t.Context(), errand); err == nil {
		t.Error("a wrong client secret is a yes")
	}
	if found, evidence, err := o.Probe(t.Context(), errand); found != contain.Unclear || err != nil {
		t.Errorf("a wrong client secret: %v, %q, %v", found, evidence, err)
	}
}

func secretText(t *testing.T, file secret) string { return must[string](t)(file.text()) }
