package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
)

const (
	// maxFile bounds the file of connectors and each file of a secret, in bytes.
	maxFile = 1 << 20
	// maxTimeout bounds one call: a person waits.
	maxTimeout = 5 * time.Minute
)

// file is the YAML of connectors.
type file struct {
	Connectors []entry `yaml:"connectors"`
}

// entry is one connector.
type entry struct {
	Name          string        `yaml:"name"`
	Kind          string        `yaml:"kind"`
	Covers        []string      `yaml:"covers"`
	Credential    string        `yaml:"credential"`
	Idempotent    bool          `yaml:"idempotent"`
	Timeout       time.Duration `yaml:"timeout"`
	Command       []string      `yaml:"command"`
	URL           string        `yaml:"url"`
	Introspection string        `yaml:"introspection"`
	Client        string        `yaml:"client"`
	SecretFile    string        `yaml:"secret_file"`
	TokenFile     string        `yaml:"token_file"`
	Probe         *probeEntry   `yaml:"probe"`
}

// probeEntry is a request that tries a credential.
type probeEntry struct {
	URL        string `yaml:"url"`
	HeaderFile string `yaml:"header_file"`
	Dead       []int  `yaml:"dead"`
	Alive      []int  `yaml:"alive"`
}

// Load reads the connectors of a file.
func Load(path string) ([]contain.Connector, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("connectors: %w", err)
	}
	list, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("connectors in %s: %w", path, err)
	}
	return list, nil
}

// Parse reads connectors. Unknown keys are refused: a misspelt one must not leave a credential alive.
func Parse(text []byte) (list []contain.Connector, err error) {
	var f file
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	seen := make(map[string]bool)
	for i, x := range f.Connectors {
		c, err := x.connector()
		if err == nil && seen[x.Name] {
			err = errors.New("name: is used twice")
		}
		if err != nil {
			return nil, fmt.Errorf("connectors[%d].%w", i, err)
		}
		seen[x.Name] = true
		list = append(list, c)
	}
	return list, nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func (x *entry) connector() (c contain.Connector, err error) {
	c = contain.Connector{Name: x.Name, Credential: x.Credential, Idempotent: x.Idempotent, Timeout: x.Timeout}
	switch {
	case !nameForm.MatchString(x.Name):
		return c, errors.New("name: must be 1 to 63 of a-z, 0-9 and -")
	case len(x.Covers) == 0:
		return c, errors.New("covers: names no target, so nothing would ever call it")
	case x.Timeout < 0 || x.Timeout > maxTimeout:
		return c, fmt.Errorf("timeout: must be at most %s", maxTimeout)
	}
	for _, text := range x.Covers {
		t, err := event.ParseTarget(text)
		if err != nil {
			return c, fmt.Errorf("covers: %w", err)
		}
		c.Covers = append(c.Covers, t)
	}
	c.Revoker, err = x.revoker()
	return c, err
}

func (x *entry) revoker() (contain.Revoker, error) {
	var probe *request
	if x.Probe != nil {
		if err := checkURL("probe.url", x.Probe.URL); err != nil {
			return nil, err
		}
		if len(x.Probe.Dead) == 0 || len(x.Probe.Alive) == 0 {
			return nil, errors.New("probe: needs the statuses that mean dead, and those that mean alive")
		}
		probe = &request{url: x.Probe.URL, headerFile: x.Probe.HeaderFile, dead: x.Probe.Dead, alive: x.Probe.Alive}
	}
	switch x.Kind {
	case "exec":
		if len(x.Command) == 0 {
			return nil, errors.New("command: missing")
		}
		return &command{argv: x.Command}, nil
	case "webhook":
		if x.SecretFile == "" {
			return nil, errors.New("secret_file: missing")
		}
		return &webhook{url: x.URL, secretFile: x.SecretFile, probe: probe}, checkURL("url", x.URL)
	case "oauth":
		if x.TokenFile == "" || x.Client == "" || x.SecretFile == "" {
			return nil, errors.New("oauth: needs client, secret_file and token_file")
		}
		o := &oauth{revocation: x.URL, introspection: x.Introspection, client: x.Client, secretFile: x.SecretFile, tokenFile: x.TokenFile, probe: probe}
		return o, errors.Join(checkURL("url", x.URL), checkURL("introspection", x.Introspection))
	}
	return nil, fmt.Errorf("kind: %q is not exec, webhook or oauth", event.Escape(x.Kind))
}

// checkURL takes https, and http on loopback: a credential must not cross a network in the clear.
func checkURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%s: must be https://HOST/…, without a password", field)
	}
	local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return fmt.Errorf("%s: must be https://…", field)
	}
	return nil
}

// readFile reads a small file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// readSecret reads a secret from a file, without the line's end.
func readSecret(path string) (string, error) {
	text, err := readFile(path)
	if err != nil {
		return "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	return string(bytes.TrimSpace(text)), nil
}
