package connector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentcustody/custody/contain"
)

// delegateForm is what names of delegates may look like where we choose them.
var delegateForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 64 << 10

// client follows no redirect: a credential goes where the file says and nowhere else.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do makes a request and returns status and body. Errors name no URL: it may hold a secret.
func do(r *http.Request) (status int, body []byte, err error) {
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, sent(err)
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, body, sent(err)
}

// sent takes the URL out of an error, and says whether anything has left.
func sent(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	return err
}

// request is a probe: a request with the credential itself.
type request struct {
	url        string
	headerFile secret // "Authorization: Bearer …", one header a line
	dead       []int  // statuses
	alive      []int
}

// probe tries the credential. A nil request can tell nothing.
func (q *request) probe(ctx context.Context) (contain.Liveness, string, error) {
	if q == nil {
		return contain.Unclear, "", nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, q.url, http.NoBody)
	if err == nil {
		err = q.setHeaders(r)
	}
	if err != nil {
		return contain.Unclear, "", err
	}
	status, _, err := do(r)
	if err != nil {
		return contain.Unclear, "", err
	}
	evidence := fmt.Sprintf("%s answers the credential with %d", r.URL.Host, status)
	switch {
	case slices.Contains(q.dead, status):
		return contain.Dead, evidence, nil
	case slices.Contains(q.alive, status):
		return contain.Alive, evidence, nil
	}
	return contain.Unclear, evidence, nil
}

func (q *request) setHeaders(r *http.Request) error {
	if q.headerFile == "" {
		return nil
	}
	text, err := q.headerFile.text()
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			return fmt.Errorf("%s: a line is not a header", q.headerFile)
		}
		r.Header.Set(name, strings.TrimSpace(value))
	}
	return nil
}

// webhook is the connector that asks somebody else to revoke.
type webhook struct {
	url        string
	secretFile secret
	probe      *request
}

// Revoke posts the errand, signed.
func (w *webhook) Revoke(ctx context.Context, e contain.Errand) (string, error) {
	secret, err := w.secretFile.text()
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{"type": "custody.containment.revoke", "data": asJSON(e)})
	if err != nil {
		return "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	if err := sign(r, string(e.ID), body, secret, time.Now()); err != nil {
		return "", err
	}
	status, _, err := do(r)
	if err != nil {
		return "", err
	}
	if status < 200 || status > 299 {
		return "", fmt.Errorf("%s answers %d", r.URL.Host, status)
	}
	return fmt.Sprintf("%s answers %d", r.URL.Host, status), nil
}

// Probe tries the credential itself, if the file says how.
func (w *webhook) Probe(ctx context.Context, _ contain.Errand) (contain.Liveness, string, error) {
	return w.probe.probe(ctx)
}

// DryRun reaches the webhook's server, and sends it nothing: only the receiver knows whether it would do it.
func (w *webhook) DryRun(ctx context.Context, e contain.Errand) ([]string, error) {
	if _, err := w.secretFile.text(); err != nil {
		return nil, err
	}
	u, err := url.Parse(w.url)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), u.Scheme)))
	if err != nil {
		return nil, err
	}
	_ = conn.Close()
	return []string{fmt.Sprintf("POST the containment to %s, which can be reached; what it does is not known here", u.Host)}, nil
}

// sign sets the headers of Standard Webhooks. The secret is base64 after "whsec_", or taken as it is.
func sign(r *http.Request, id string, body []byte, secret string, now time.Time) error {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return fmt.Errorf("%w: the secret after whsec_ is not base64", contain.ErrNotSent)
		}
	}
	stamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", stamp)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return nil
}

// oauth is the connector of RFC 7009 and RFC 7662.
type oauth struct {
	revocation, introspection string
	client                    string
	secretFile, tokenFile     secret
	derived                   []secret // tokens that were made from it
	probe                     *request
}

// checkDerived refuses derived tokens whose files cannot be told apart by name.
func (o *oauth) checkDerived() error {
	seen := make(map[string]bool)
	for _, file := range o.derived {
		name := filepath.Base(string(file))
		if seen[name] || !delegateForm.MatchString(name) {
			return errors.New("derived_files: their base names must differ, and be 1 to 128 of letters, digits, '.', '_' and '-'")
		}
		seen[name] = true
	}
	return nil
}

// Delegates are the derived tokens that there are, by the names of their files.
func (o *oauth) Delegates(context.Context) (names []string, err error) {
	for _, file := range o.derived {
		names = append(names, filepath.Base(string(file)))
	}
	slices.Sort(names)
	return names, nil
}

// token is the file of the token that an errand is about.
func (o *oauth) token(e contain.Errand) (secret, error) {
	if e.Delegate == "" {
		return o.tokenFile, nil
	}
	for _, file := range o.derived {
		if filepath.Base(string(file)) == e.Delegate {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w: derived_files has no %q any more", contain.ErrNotSent, e.Delegate)
}

// Revoke asks the authorization server to revoke the token (RFC 7009, section 2.1). It answers 200 for a token that it does
// not know too, so that a repetition does no harm.
func (o *oauth) Revoke(ctx context.Context, e contain.Errand) (string, error) {
	status, _, host, err := o.post(ctx, o.revocation, e)
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", host, status)
	}
	return host + " has taken the revocation", nil
}

// Probe asks whether the token is active (RFC 7662, section 2.2), and tries it where the file says how.
func (o *oauth) Probe(ctx context.Context, e contain.Errand) (contain.Liveness, string, error) {
	active, evidence, err := o.introspect(ctx, e)
	switch {
	case err != nil || active == contain.Unclear:
		return contain.Unclear, evidence, err
	case active == contain.Dead && o.probe != nil && e.Delegate == "":
		return o.probe.probe(ctx)
	}
	return active, evidence, nil
}

// DryRun introspects the tokens: the same client, server and tokens as a revocation.
func (o *oauth) DryRun(ctx context.Context, e contain.Errand) (would []string, err error) {
	names := []string{e.Delegate}
	if e.Delegate == "" {
		more, _ := o.Delegates(ctx)
		names = append(names, more...)
	}
	for _, e.Delegate = range names {
		active, evidence, err := o.introspect(ctx, e)
		if err != nil || active == contain.Unclear {
			return would, errors.Join(err, errors.New(evidence))
		}
		would = append(would, fmt.Sprintf("revoke the %s: %s", tokenName(e.Delegate), evidence))
	}
	return would, nil
}

func tokenName(delegate string) string {
	if delegate == "" {
		return "token"
	}
	return "derived token " + delegate
}

// introspect asks the authorization server about a token.
func (o *oauth) introspect(ctx context.Context, e contain.Errand) (contain.Liveness, string, error) {
	status, body, host, err := o.post(ctx, o.introspection, e)
	if err != nil {
		return contain.Unclear, "", err
	}
	var answer struct {
		Active *bool `json:"active"`
	}
	switch {
	case status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Active == nil:
		return contain.Unclear, fmt.Sprintf("%s answers %d", host, status), nil
	case *answer.Active:
		return contain.Alive, host + " says that the token is active", nil
	}
	return contain.Dead, host + " says that the token is not active", nil
}

// post sends the token with the client's own credentials.
func (o *oauth) post(ctx context.Context, address string, e contain.Errand) (status int, body []byte, host string, err error) {
	secret, err := o.secretFile.text()
	if err != nil {
		return 0, nil, "", err
	}
	file, err := o.token(e)
	if err != nil {
		return 0, nil, "", err
	}
	token, err := file.text()
	if err != nil {
		return 0, nil, "", err
	}
	form := url.Values{"token": {token}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth(url.QueryEscape(o.client), url.QueryEscape(secret)) // RFC 6749, section 2.3.1: form-encoded first
	status, body, err = do(r)
	return status, body, r.URL.Host, err
}
