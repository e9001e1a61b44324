package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/agentcustody/custody/event"
)

const (
	// maxFile bounds the file of receivers, bytes.
	maxFile = 1 << 20
	// maxSecret bounds each file of a secret, bytes.
	maxSecret = 4 << 10
	// maxReceivers bounds the receivers: each follows the stream on its own.
	maxReceivers = 32
	// pagerDutyURL is where events go unless the file says otherwise.
	pagerDutyURL = "https://events.pagerduty.com/v2/enqueue"
)

// Severity says how much a person is needed. They are PagerDuty's.
type Severity string

// The severities, from the mildest.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Error    Severity = "error"
	Critical Severity = "critical"
)

var severities = []Severity{Info, Warning, Error, Critical}

// rank is the place of a severity, -1 if it is none.
func (s Severity) rank() int { return slices.Index(severities, s) }

// The kinds of receiver.
const (
	kindWebhook      = "webhook"
	kindSlack        = "slack"
	kindPagerDuty    = "pagerduty"
	kindAlertmanager = "alertmanager"
)

// Receiver is one place that is told. Relative names of files are beside the file of receivers.
type Receiver struct {
	Name       string   `yaml:"name"`        // 1 to 63 of a-z, 0-9 and -
	Kind       string   `yaml:"kind"`        // webhook, slack, pagerduty or alertmanager
	URL        string   `yaml:"url"`         // of an Alertmanager its root
	URLFile    string   `yaml:"url_file"`    // instead of URL, where the URL is a secret, as Slack's is
	SecretFile string   `yaml:"secret_file"` // webhook: whsec_… or whsk_…; pagerduty: the routing key; alertmanager: a bearer token, if it needs one
	Severity   Severity `yaml:"severity"`    // the mildest that is sent; warning if absent
	Tenants    []string `yaml:"tenants"`     // that it is told of; all if absent
}

// wants reports whether the receiver is to be told.
func (r *Receiver) wants(n *Notification) bool {
	return n.Severity.rank() >= r.Severity.rank() && (len(r.Tenants) == 0 || slices.Contains(r.Tenants, string(n.Tenant)))
}

// Load reads the receivers of a file, and tries their secrets.
func Load(path string) ([]Receiver, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("receivers: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("receivers: %w", err)
	}
	list, err := Parse(text)
	for i := range list {
		list[i].beside(filepath.Dir(path))
		if err == nil {
			_, err = list[i].secrets()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("receivers in %s: %w", path, err)
	}
	return list, nil
}

// beside takes relative names of files from where the file of receivers is.
func (r *Receiver) beside(dir string) {
	for _, name := range []*string{&r.URLFile, &r.SecretFile} {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(dir, *name)
		}
	}
}

// Parse reads receivers. Unknown keys are refused: a misspelt one must not leave people asleep.
func Parse(text []byte) ([]Receiver, error) {
	var f struct {
		Receivers []Receiver `yaml:"receivers"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(f.Receivers) > maxReceivers {
		return nil, fmt.Errorf("receivers: more than %d", maxReceivers)
	}
	seen := map[string]bool{}
	for i := range f.Receivers {
		r := &f.Receivers[i]
		err := r.complete()
		if err == nil && seen[r.Name] {
			err = errors.New("name: is used twice")
		}
		if err != nil {
			return nil, fmt.Errorf("receivers[%d].%w", i, err)
		}
		seen[r.Name] = true
	}
	return f.Receivers, nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// complete fills in what is absent, and checks.
func (r *Receiver) complete() error {
	if r.Severity == "" {
		r.Severity = Warning
	}
	if r.Kind == kindPagerDuty && r.URL == "" && r.URLFile == "" {
		r.URL = pagerDutyURL
	}
	switch {
	case !nameForm.MatchString(r.Name):
		return errors.New("name: must be 1 to 63 of a-z, 0-9 and -")
	case !slices.Contains([]string{kindWebhook, kindSlack, kindPagerDuty, kindAlertmanager}, r.Kind):
		return fmt.Errorf("kind: %q is not webhook, slack, pagerduty or alertmanager", event.Escape(r.Kind))
	case r.Severity.rank() < 0:
		return fmt.Errorf("severity: %q is not info, warning, error or critical", event.Escape(string(r.Severity)))
	case (r.URL == "") == (r.URLFile == ""):
		return errors.New("url: exactly one of url and url_file must be given")
	case r.SecretFile == "" && (r.Kind == kindWebhook || r.Kind == kindPagerDuty):
		return errors.New("secret_file: missing")
	}
	for _, t := range r.Tenants {
		if !event.ValidName(t) {
			return fmt.Errorf("tenants: %q is no tenant", event.Escape(t))
		}
	}
	if r.URL == "" {
		return nil
	}
	return checkURL(r.URL)
}

// checkURL takes https, and http on loopback: what is sent must not cross a network in the clear. Its error names no URL.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("url: must be https://HOST/…, without a password")
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return errors.New("url: must be https://…")
	}
	return nil
}

// secrets are what a delivery needs from files. It has no String that shows them.
type secrets struct{ url, secret string }

func (r *Receiver) secrets() (s secrets, err error) {
	s.url = r.URL
	if r.URLFile != "" {
		if s.url, err = readSecret(r.URLFile); err == nil {
			err = checkURL(s.url)
		}
	}
	if err == nil && r.SecretFile != "" {
		s.secret, err = readSecret(r.SecretFile)
	}
	if err == nil && r.Kind == kindWebhook {
		_, err = signingKey(s.secret)
	}
	if err != nil {
		return secrets{}, fmt.Errorf("receiver %s: %w", r.Name, err)
	}
	return s, nil
}

// readSecret reads a secret from a file that only its owner may read, without the line's end.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s: its mode is %04o, and others may read it: chmod 600", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s: is empty", path)
	}
	return strings.TrimSpace(string(text)), err
}
