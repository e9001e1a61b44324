package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/event"
)

// maxTimeout bounds one call: a person waits.
const maxTimeout = 5 * time.Minute

// file is the YAML of connectors.
type file struct {
	Connectors []entry `yaml:"connectors"`
}

// entry is one connector. kinds says which keys a kind takes.
type entry struct {
	Name        string        `yaml:"name"`
	Kind        string        `yaml:"kind"`
	Covers      []string      `yaml:"covers"`
	Credential  string        `yaml:"credential"`
	DerivedFrom string        `yaml:"derived_from"`
	Idempotent  bool          `yaml:"idempotent"`
	Timeout     time.Duration `yaml:"timeout"`

	Command       []string    `yaml:"command"`
	DryRun        bool        `yaml:"dry_run"`
	URL           string      `yaml:"url"`
	URLs          []string    `yaml:"urls"`
	Introspection string      `yaml:"introspection"`
	Client        string      `yaml:"client"`
	Role          string      `yaml:"role"`
	Spare         []string    `yaml:"spare"`
	User          string      `yaml:"user"`
	CAFile        string      `yaml:"ca_file"`
	SecretFile    secret      `yaml:"secret_file"`
	TokenFile     secret      `yaml:"token_file"`
	DerivedFiles  []secret    `yaml:"derived_files"`
	AdminFile     secret      `yaml:"admin_file"`
	LoginFile     secret      `yaml:"login_file"`
	SigningKey    secret      `yaml:"signing_key_file"`
	Probe         *probeEntry `yaml:"probe"`
}

// probeEntry is a request that tries a credential.
type probeEntry struct {
	URL        string `yaml:"url"`
	HeaderFile secret `yaml:"header_file"`
	Dead       []int  `yaml:"dead"`
	Alive      []int  `yaml:"alive"`
}

// kind is what a kind of connector needs beside a name, covers, and so on.
type kind struct {
	keys       []string // needed
	may        []string // taken
	idempotent bool     // by its nature
	make       func(*entry) (contain.Revoker, error)
}

var common = []string{"name", "kind", "covers", "credential", "derived_from", "idempotent", "timeout"}

// kinds are all there are. It is a function, because a kind's maker reaches entry.
func kinds() map[string]kind {
	return map[string]kind{
		"exec":     {keys: []string{"command"}, may: []string{"dry_run"}, make: (*entry).exec},
		"webhook":  {keys: []string{"url", "secret_file"}, may: []string{"probe"}, make: (*entry).webhook},
		"oauth":    {keys: []string{"url", "introspection", "client", "secret_file", "token_file"}, may: []string{"derived_files", "probe"}, idempotent: true, make: (*entry).oauth},
		"postgres": {keys: []string{"role", "admin_file", "login_file"}, may: []string{"spare"}, idempotent: true, make: (*entry).postgres},
		"redis":    {keys: []string{"urls", "user", "admin_file", "login_file"}, may: []string{"ca_file"}, idempotent: true, make: (*entry).redis},
		"nats":     {keys: []string{"urls", "admin_file", "signing_key_file", "login_file"}, may: []string{"ca_file"}, idempotent: true, make: (*entry).nats},
	}
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

// Parse reads connectors. Unknown keys, and those of another kind, are refused: a misspelt one must not leave a credential
// alive. Files that it names are not looked at.
func Parse(text []byte) (list []contain.Connector, err error) {
	entries, err := decode(text)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for i, x := range entries {
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
	return list, checkDescent(list)
}

// decode reads the entries and holds each to the keys of its kind.
func decode(text []byte) ([]entry, error) {
	var f file
	var keys struct{ Connectors []map[string]yaml.Node }
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return nil, err
	}
	for i := range f.Connectors {
		if err := f.Connectors[i].checkKeys(keys.Connectors[i]); err != nil {
			return nil, fmt.Errorf("connectors[%d].%w", i, err)
		}
	}
	return f.Connectors, nil
}

// checkKeys refuses keys that the entry's kind does not take, and asks for those that it needs.
func (x *entry) checkKeys(given map[string]yaml.Node) error {
	all := kinds()
	k, ok := all[x.Kind]
	if !ok {
		return fmt.Errorf("kind: %q is not one of %s", event.Escape(x.Kind), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(slices.Concat(common, k.keys, k.may), key) {
			return fmt.Errorf("%s: %s takes no such key", key, x.Kind)
		}
	}
	for _, key := range k.keys {
		if node, ok := given[key]; !ok || node.Kind == yaml.ScalarNode && node.Value == "" || node.Kind == yaml.SequenceNode && len(node.Content) == 0 {
			return fmt.Errorf("%s: missing", key)
		}
	}
	return nil
}

// checkDescent refuses a connector that descends from none of the file, or from itself.
func checkDescent(list []contain.Connector) error {
	from := make(map[string]string)
	for _, c := range list {
		from[c.Name] = c.DerivedFrom
	}
	for i, c := range list {
		for name, n := c.DerivedFrom, 0; name != ""; n++ {
			parent, ok := from[name]
			switch {
			case !ok:
				return fmt.Errorf("connectors[%d].derived_from: there is no connector %q", i, event.Escape(name))
			case n > len(list):
				return fmt.Errorf("connectors[%d].derived_from: goes round in a circle", i)
			}
			name = parent
		}
	}
	return nil
}

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func (x *entry) connector() (c contain.Connector, err error) {
	k := kinds()[x.Kind]
	c = contain.Connector{Name: x.Name, Credential: x.Credential, DerivedFrom: x.DerivedFrom, Idempotent: x.Idempotent || k.idempotent, Timeout: x.Timeout}
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
	c.Revoker, err = k.make(x)
	return c, err
}

func (x *entry) exec() (contain.Revoker, error) {
	return &command{argv: x.Command, dryRun: x.DryRun}, nil
}

func (x *entry) webhook() (contain.Revoker, error) {
	probe, err := x.Probe.request()
	return &webhook{url: x.URL, secretFile: x.SecretFile, probe: probe}, errors.Join(err, checkURL("url", x.URL))
}

func (x *entry) oauth() (contain.Revoker, error) {
	probe, err := x.Probe.request()
	o := &oauth{
		revocation: x.URL, introspection: x.Introspection, client: x.Client, secretFile: x.SecretFile, tokenFile: x.TokenFile,
		derived: x.DerivedFiles, probe: probe,
	}
	return o, errors.Join(err, checkURL("url", x.URL), checkURL("introspection", x.Introspection), o.checkDerived())
}

func (x *entry) postgres() (contain.Revoker, error) {
	return &postgres{admin: x.AdminFile, login: x.LoginFile, role: x.Role, spare: x.Spare}, nil
}

func (x *entry) redis() (contain.Revoker, error) {
	r := &redis{user: x.User, admin: x.AdminFile, login: x.LoginFile, caFile: x.CAFile}
	for _, text := range x.URLs {
		u, err := serverURL("urls", text, "rediss", "redis", "6379")
		if err != nil {
			return nil, err
		}
		r.nodes = append(r.nodes, u)
	}
	if strings.ContainsFunc(x.User, func(c rune) bool { return c <= ' ' }) {
		return nil, errors.New("user: holds a space")
	}
	return r, nil
}

func (x *entry) nats() (contain.Revoker, error) {
	n := &natsUser{admin: x.AdminFile, login: x.LoginFile, signingKey: x.SigningKey, caFile: x.CAFile}
	for _, text := range x.URLs {
		u, err := serverURL("urls", text, "tls", "nats", "4222")
		if err != nil {
			return nil, err
		}
		n.urls = append(n.urls, u.String())
	}
	return n, nil
}

// request is the probe that an entry describes; nil if it describes none.
func (p *probeEntry) request() (*request, error) {
	switch {
	case p == nil:
		return nil, nil
	case len(p.Dead) == 0 || len(p.Alive) == 0:
		return nil, errors.New("probe: needs the statuses that mean dead, and those that mean alive")
	}
	return &request{url: p.URL, headerFile: p.HeaderFile, dead: p.Dead, alive: p.Alive}, checkURL("probe.url", p.URL)
}

// checkURL takes https, and http on loopback: a credential must not cross a network in the clear.
func checkURL(field, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return fmt.Errorf("%s: must be https://HOST/…, without a password", field)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return fmt.Errorf("%s: must be https://…", field)
	}
	return nil
}

// serverURL reads SCHEME://HOST[:PORT] of a scheme with TLS, or of one without on loopback.
func serverURL(field, text, safe, plain, port string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s: must be %s://HOST:PORT, without a password", field, safe)
	}
	if u.Scheme != safe && (u.Scheme != plain || !isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%s: must be %s://…", field, safe)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return &url.URL{Scheme: u.Scheme, Host: net.JoinHostPort(u.Hostname(), port)}, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}
