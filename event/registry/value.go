package registry

import (
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The JSON forms of the entries. Field order is that of the struct; what encoding/json writes for them is the only accepted
// encoding.

type genesisValue struct {
	Tenant      string `json:"tenant"`
	Origin      string `json:"origin"`
	SystemKey   Hash   `json:"system_key"`
	LogKey      Hash   `json:"log_key"`
	SystemSalt  Hash   `json:"system_salt"`
	DisplayName string `json:"display_name"`
}

type instanceValue struct {
	Created  uint64         `json:"created"`
	Salt     Hash           `json:"salt"`
	Labels   labelsValue    `json:"labels"`
	Manifest *manifestValue `json:"manifest,omitempty"`
}

type labelsValue struct {
	Client      string   `json:"client,omitempty"`
	Owner       string   `json:"owner,omitempty"`
	OnCall      string   `json:"on_call,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Regulation  []string `json:"regulation,omitempty"`
	Canary      bool     `json:"canary,omitempty"`
}

type manifestValue struct {
	Version     uint32            `json:"version"`
	Since       uint64            `json:"since"`
	Source      string            `json:"source_digest,omitempty"` // hex
	Permissions []permissionValue `json:"permissions"`
}

type permissionValue struct {
	Verb        string `json:"verb"`
	Tool        string `json:"tool,omitempty"`
	Resource    string `json:"resource,omitempty"`
	Consequence string `json:"consequence,omitempty"`
	Connector   string `json:"connector,omitempty"`
}

type keyValue struct {
	PublicKey   Hash    `json:"public_key"`
	Instance    string  `json:"instance"`
	Producer    string  `json:"producer"`
	From        uint64  `json:"from"`
	To          uint64  `json:"to,omitempty"` // absent: Forever
	Revoked     bool    `json:"revoked,omitempty"`
	ReplacedBy  *Hash   `json:"replaced_by,omitempty"`
	SuspectFrom *uint64 `json:"suspect_from,omitempty"`
}

type grantValue struct {
	Certificates []Hash `json:"certificates"`
	AllTenants   bool   `json:"all_tenants,omitempty"`
	Since        uint64 `json:"since"`
}

type ruleValue struct {
	Version uint32 `json:"version"`
	Digest  Hash   `json:"source_digest"`
	Mode    string `json:"mode"`
	Since   uint64 `json:"since"`
}

type holdValue struct {
	Scope string `json:"scope"`
	Since uint64 `json:"since"`
}

type erasedValue struct {
	Generation uint32 `json:"generation"`
	Since      uint64 `json:"since"`
	At         int64  `json:"at"`
}

type exportValue struct {
	PublicKey string `json:"public_key"` // hex
	From      uint64 `json:"from"`
	To        uint64 `json:"to,omitempty"` // absent: Forever
}

// String is h in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText is h in hex.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return ErrEntry
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return ErrEntry
	}
	return nil
}

// value is the JSON of an entry, nil if there is none of that key.
func (s *State) value(key string) []byte {
	kind, rest, _ := strings.Cut(key, "/")
	var v any
	switch kind {
	case "genesis":
		v = s.genesisValue(rest)
	case "instance":
		v = valueOf(s.instances, rest, instanceEntry)
	case "key":
		var id Hash
		if id.UnmarshalText([]byte(rest)) == nil {
			v = valueOf(s.keys, id, keyEntry)
		}
	case "grant":
		if id, ok := parseGrantID(rest); ok {
			v = valueOf(s.grants, id, func(g Grant) any { return grantValue{g.Certificates, g.AllTenants, g.Since} })
		}
	case "rule":
		v = valueOf(s.rules, rest, func(r Rule) any { return ruleValue{r.Version, r.Digest, r.Mode, r.Since} })
	case "hold":
		v = valueOf(s.holds, rest, func(h Hold) any { return holdValue{h.Scope, h.Since} })
	case "erased":
		v = valueOf(s.erased, rest, func(e Erasure) any { return erasedValue(e) })
	case "export":
		var id Hash
		if id.UnmarshalText([]byte(rest)) == nil {
			v = valueOf(s.exports, id, exportEntry)
		}
	}
	return encode(v)
}

func valueOf[K comparable, V any](m map[K]V, key K, entry func(V) any) any {
	if v, ok := m[key]; ok {
		return entry(v)
	}
	return nil
}

// encode cannot fail: the values hold text, numbers and hashes only.
func encode(v any) []byte {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("registry: encode entry: " + err.Error())
	}
	return b
}

func (s *State) genesisValue(rest string) any {
	if s.genesis == nil || rest != "" {
		return nil
	}
	g := s.genesis.Detail
	return genesisValue{s.genesis.Tenant, g.Origin, Hash(g.SystemKey), Hash(g.LogKey), Hash(g.SystemSalt), g.DisplayName}
}

func instanceEntry(i Instance) any {
	v := instanceValue{Created: i.Created, Salt: i.Salt, Labels: labelsValue{
		i.Labels.Client, i.Labels.Owner, i.Labels.OnCall, i.Labels.Environment, i.Labels.Regulation, i.Labels.Canary,
	}}
	if m := i.Manifest; m != nil {
		v.Manifest = &manifestValue{m.Version, i.Since, hex.EncodeToString(m.SourceDigest), permissionValues(m)}
	}
	return v
}

func permissionValues(m *eventv1.ManifestChange) []permissionValue {
	list := make([]permissionValue, len(m.Permissions))
	for i, p := range m.Permissions {
		list[i] = permissionValue{
			event.PermissionVerbs.Name(p.Verb), p.Tool, p.Resource, event.Consequences.Name(p.Consequence), p.Connector,
		}
	}
	return list
}

func keyEntry(k Key) any {
	v := keyValue{
		PublicKey: k.PublicKey, Instance: k.Instance, Producer: event.Producers.Name(k.Producer),
		From: k.From, To: k.To, Revoked: k.Revoked,
	}
	if k.To == Forever {
		v.To = 0
	}
	if k.ReplacedBy != (Hash{}) {
		v.ReplacedBy = &k.ReplacedBy
	}
	if k.Suspect {
		v.SuspectFrom = &k.SuspectFrom
	}
	return v
}

func exportEntry(k ExportKey) any {
	v := exportValue{hex.EncodeToString([]byte(k.PublicKey)), k.From, k.To}
	if k.To == Forever {
		v.To = 0
	}
	return v
}
