package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// decode reads an entry's JSON; Load compares it with what would be written, so it need not be strict itself.
func decode[V any](b []byte) (v V, err error) {
	if json.Unmarshal(b, &v) != nil {
		return v, ErrEntry
	}
	return v, nil
}

// set reads an entry into m, or removes it if the value is empty.
func set[K comparable, J, V any](m map[K]V, key K, value []byte, convert func(J) (V, error)) error {
	if len(value) == 0 {
		delete(m, key)
		return nil
	}
	j, err := decode[J](value)
	if err != nil {
		return err
	}
	v, err := convert(j)
	if err == nil {
		m[key] = v
	}
	return err
}

func (s *State) loadGenesis(_ string, value []byte) error {
	v, err := decode[genesisValue](value)
	if err != nil {
		return err
	}
	s.genesis = &Genesis{v.Tenant, &eventv1.Genesis{
		Origin: v.Origin, SystemKey: v.SystemKey[:], LogKey: v.LogKey[:], SystemSalt: v.SystemSalt[:], DisplayName: v.DisplayName,
	}}
	return nil
}

func (s *State) loadInstance(id string, value []byte) error {
	return set(s.instances, id, value, func(v instanceValue) (Instance, error) {
		l := v.Labels
		i := Instance{ID: id, Created: v.Created, Salt: v.Salt, Labels: &eventv1.Labels{
			Client: l.Client, Owner: l.Owner, OnCall: l.OnCall, Environment: l.Environment, Regulation: l.Regulation, Canary: l.Canary,
		}}
		if v.Manifest == nil {
			return i, nil
		}
		var err error
		i.Since = v.Manifest.Since
		i.Manifest, err = v.Manifest.change(id)
		return i, err
	})
}

// change is the event that put the manifest in force.
func (v *manifestValue) change(instance string) (*eventv1.ManifestChange, error) {
	source, err := hex.DecodeString(v.Source)
	if err != nil {
		return nil, ErrEntry
	}
	m := &eventv1.ManifestChange{Instance: instance, Version: v.Version, SourceDigest: source}
	for _, p := range v.Permissions {
		verb, _ := event.PermissionVerbs.Parse(p.Verb)
		consequence, _ := event.Consequences.Parse(p.Consequence)
		m.Permissions = append(m.Permissions, &eventv1.Permission{
			Verb: verb, Tool: p.Tool, Resource: p.Resource, Consequence: consequence, Connector: p.Connector,
		})
	}
	return m, nil
}

func (s *State) loadKey(rest string, value []byte) error {
	var id Hash
	if err := id.UnmarshalText([]byte(rest)); err != nil || id.String() != rest {
		return ErrEntry
	}
	return set(s.keys, id, value, func(v keyValue) (Key, error) { return v.key(id) })
}

func (v keyValue) key(id Hash) (Key, error) {
	producer, ok := event.Producers.Parse(v.Producer)
	if !ok || sha256.Sum256(v.PublicKey[:]) != id {
		return Key{}, ErrEntry
	}
	k := Key{
		ID: id, PublicKey: v.PublicKey, Instance: v.Instance, Producer: producer,
		From: v.From, To: v.To, Revoked: v.Revoked,
	}
	if v.To == 0 {
		k.To = Forever
	}
	if v.ReplacedBy != nil {
		k.ReplacedBy = *v.ReplacedBy
	}
	if v.SuspectFrom != nil {
		k.Suspect, k.SuspectFrom = true, *v.SuspectFrom
	}
	return k, nil
}

func (s *State) loadGrant(rest string, value []byte) error {
	id, ok := parseGrantID(rest)
	if !ok {
		return ErrEntry
	}
	return set(s.grants, id, value, func(v grantValue) (Grant, error) {
		return Grant{id.principal, id.role, v.Certificates, v.AllTenants, v.Since}, nil
	})
}

// parseGrantID splits at the last slash: a principal may hold slashes, a role does not.
func parseGrantID(rest string) (grantID, bool) {
	at := strings.LastIndexByte(rest, '/')
	if at < 0 {
		return grantID{}, false
	}
	role, ok := event.Roles.Parse(rest[at+1:])
	return grantID{rest[:at], role}, ok && role != 0
}

func (s *State) loadRule(id string, value []byte) error {
	return set(s.rules, id, value, func(v ruleValue) (Rule, error) {
		return Rule{id, v.Version, v.Digest, v.Mode, v.Since}, nil
	})
}

func (s *State) loadHold(id string, value []byte) error {
	return set(s.holds, id, value, func(v holdValue) (Hold, error) { return Hold{id, v.Scope, v.Since}, nil })
}

func (s *State) loadErased(subject string, value []byte) error {
	return set(s.erased, subject, value, func(v erasedValue) (Erasure, error) { return Erasure(v), nil })
}

func (s *State) loadExportKey(rest string, value []byte) error {
	var id Hash
	if err := id.UnmarshalText([]byte(rest)); err != nil || id.String() != rest {
		return ErrEntry
	}
	return set(s.exports, id, value, func(v exportValue) (ExportKey, error) { return v.key(id) })
}

func (v exportValue) key(id Hash) (ExportKey, error) {
	public, err := hex.DecodeString(v.PublicKey)
	if err != nil || sha256.Sum256(public) != id {
		return ExportKey{}, ErrEntry
	}
	k := ExportKey{id, string(public), v.From, v.To}
	if v.To == 0 {
		k.To = Forever
	}
	return k, nil
}
