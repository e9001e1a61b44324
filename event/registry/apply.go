package registry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func (s *State) applyGenesis(index uint64, tenant string, g *eventv1.Genesis) error {
	if index != 0 || s.genesis != nil {
		return ErrGenesis
	}
	s.genesis = &Genesis{tenant, g}
	s.touch(genesisKey)
	return nil
}

// applyInstance creates an instance, with a salt, or changes the labels of one, without.
func (s *State) applyInstance(index uint64, x *eventv1.InstanceChange) error {
	old, known := s.instances[x.Instance]
	switch {
	case known && len(x.Salt) > 0:
		return fmt.Errorf("instance %s: %w", x.Instance, ErrExists)
	case !known && len(x.Salt) == 0:
		return fmt.Errorf("instance %s: %w", x.Instance, ErrUnknown)
	case !known:
		old = Instance{ID: x.Instance, Created: index, Salt: Hash(x.Salt)}
	}
	if old.Labels = x.Labels; x.Labels == nil {
		old.Labels = new(eventv1.Labels)
	}
	s.instances[x.Instance] = old
	s.touch(instancePrefix + x.Instance)
	return nil
}

func (s *State) applyManifest(index uint64, x *eventv1.ManifestChange) error {
	i, known := s.instances[x.Instance]
	switch {
	case !known:
		return fmt.Errorf("instance %s: %w", x.Instance, ErrUnknown)
	case x.Version != i.Version()+1:
		return fmt.Errorf("manifest %d after %d: %w", x.Version, i.Version(), ErrVersion)
	}
	i.Manifest, i.Since = x, index
	s.instances[x.Instance] = i
	s.touch(instancePrefix + x.Instance)
	return nil
}

func (s *State) applyKey(index uint64, x *eventv1.KeyChange) error {
	if x.Action == eventv1.KeyAction_KEY_ACTION_ENROLLED {
		return s.enrol(index, x)
	}
	k, known := s.keys[Hash(x.KeyId)]
	switch {
	case !known:
		return fmt.Errorf("key %x: %w", x.KeyId, ErrUnknown)
	case x.SuspectFrom > index:
		return fmt.Errorf("suspect from %d: %w", x.SuspectFrom, ErrIndex)
	case x.Action == eventv1.KeyAction_KEY_ACTION_SUSPECTED:
		s.setKey(k.suspected(x.SuspectFrom))
		return nil
	}
	return s.revoke(index, k, x.SuspectFrom)
}

// suspected widens the doubt to the leaves from index on.
func (k Key) suspected(index uint64) Key {
	if !k.Suspect || index < k.SuspectFrom {
		k.Suspect, k.SuspectFrom = true, index
	}
	return k
}

// revoke ends a key. A key that was rotated out can still be revoked, to put its leaves in doubt; its end stays.
func (s *State) revoke(index uint64, k Key, suspectFrom uint64) error {
	if k.Revoked {
		return fmt.Errorf("key %s: %w", k.ID, ErrEnded)
	}
	if suspectFrom > 0 {
		k = k.suspected(suspectFrom)
	}
	k.Revoked, k.To = true, min(k.To, index+1)
	s.setKey(k)
	return nil
}

func (s *State) enrol(index uint64, x *eventv1.KeyChange) error {
	if err := s.mayEnrol(index, x); err != nil {
		return err
	}
	k := Key{
		ID: Hash(x.KeyId), PublicKey: Hash(x.PublicKey), Instance: x.Instance, Producer: x.Producer,
		From: index + 1, To: Forever,
	}
	if len(x.Replaces) > 0 {
		old := s.keys[Hash(x.Replaces)]
		old.To, old.ReplacedBy = index+1, k.ID
		s.setKey(old)
	}
	s.setKey(k)
	return nil
}

func (s *State) mayEnrol(index uint64, x *eventv1.KeyChange) error {
	if _, known := s.Key(Hash(x.KeyId)); known {
		return fmt.Errorf("key %x: %w", x.KeyId, ErrExists)
	}
	if _, known := s.instances[x.Instance]; !known {
		return fmt.Errorf("instance %s: %w", x.Instance, ErrUnknown)
	}
	if len(x.Replaces) > 0 {
		if err := s.mayReplace(index, x); err != nil {
			return fmt.Errorf("replaces %x: %w", x.Replaces, err)
		}
	}
	message := EnrolmentMessage(s.genesis.Tenant, x.Instance, x.Producer, x.PublicKey)
	if !ed25519.Verify(x.PublicKey, message, x.Proof) {
		return fmt.Errorf("key %x: %w", x.KeyId, ErrProof)
	}
	return nil
}

// mayReplace: a key is rotated out by one of the same instance and class, while it is valid.
func (s *State) mayReplace(index uint64, x *eventv1.KeyChange) error {
	old, known := s.keys[Hash(x.Replaces)]
	switch {
	case !known:
		return ErrUnknown
	case old.Instance != x.Instance || old.Producer != x.Producer:
		return ErrInstance
	case !old.ValidAt(index + 1):
		return ErrEnded
	}
	return nil
}

// EnrolmentMessage is what a key signs to be enrolled: see [event.EnrolmentMessage].
func EnrolmentMessage(tenant, instance string, producer eventv1.ProducerClass, publicKey []byte) []byte {
	return event.EnrolmentMessage(tenant, instance, producer, publicKey)
}

func (s *State) setKey(k Key) {
	s.keys[k.ID] = k
	s.touch(keyPrefix + k.ID.String())
}

// applyExportKey puts a key in force that never was, in the place of the one that is.
func (s *State) applyExportKey(index uint64, x *eventv1.ExportKeyChange) error {
	all, id := s.ExportKeys(), Hash(sha256.Sum256(x.PublicKey))
	if slices.ContainsFunc(all, func(k ExportKey) bool { return k.ID == id }) {
		return fmt.Errorf("export key %s: %w", id, ErrExists)
	}
	old := all[len(all)-1]
	if old.ID != Hash(x.Replaces) {
		return fmt.Errorf("export key replaces %x, %s is in force: %w", x.Replaces, old.ID, ErrEnded)
	}
	if old.From > 0 {
		old.To = index + 1
		s.setExportKey(old)
	}
	s.setExportKey(ExportKey{id, string(x.PublicKey), index + 1, Forever})
	return nil
}

func (s *State) setExportKey(k ExportKey) {
	s.exports[k.ID] = k
	s.touch(exportPrefix + k.ID.String())
}

func (s *State) applyGrant(index uint64, x *eventv1.GrantChange) error {
	id := grantID{x.Principal, x.Role}
	g, known := s.grants[id]
	if x.Revoked {
		return s.ungrant(id, g, known, x.Certificate)
	}
	if !known {
		g = Grant{Principal: x.Principal, Role: x.Role, Since: index}
	}
	at, has := slices.BinarySearchFunc(g.Certificates, x.Certificate, compareHash)
	if known && (has || len(x.Certificate) == 0) && g.AllTenants == x.AllTenants {
		return fmt.Errorf("grant to %q: %w", x.Principal, ErrExists)
	}
	if !has && len(x.Certificate) > 0 {
		g.Certificates = slices.Insert(slices.Clone(g.Certificates), at, Hash(x.Certificate))
	}
	g.AllTenants = x.AllTenants
	s.setGrant(id, g)
	return nil
}

// ungrant takes away one certificate, or the whole grant: without a certificate, or with the last one.
func (s *State) ungrant(id grantID, g Grant, known bool, certificate []byte) error {
	at, has := slices.BinarySearchFunc(g.Certificates, certificate, compareHash)
	switch {
	case !known, len(certificate) > 0 && !has:
		return fmt.Errorf("grant to %q: %w", id.principal, ErrUnknown)
	case len(certificate) == 0 || len(g.Certificates) == 1:
		delete(s.grants, id)
		s.touch(id.key())
		return nil
	}
	g.Certificates = slices.Delete(slices.Clone(g.Certificates), at, at+1)
	s.setGrant(id, g)
	return nil
}

func compareHash(h Hash, b []byte) int { return bytes.Compare(h[:], b) }

func (s *State) setGrant(id grantID, g Grant) {
	s.grants[id] = g
	s.touch(id.key())
}

// applyRule puts a later version in force, or changes the mode of the one that is. Versions may be left out: not each was ever promoted.
func (s *State) applyRule(index uint64, x *eventv1.RuleChange) error {
	old := s.rules[x.Rule]
	same := x.Version == old.Version && bytes.Equal(x.SourceDigest, old.Digest[:])
	switch {
	case same && x.Mode == old.Mode:
		return fmt.Errorf("rule %q: %w", x.Rule, ErrExists)
	case !same && x.Version <= old.Version:
		return fmt.Errorf("rule %q, %d after %d: %w", x.Rule, x.Version, old.Version, ErrVersion)
	}
	s.rules[x.Rule] = Rule{x.Rule, x.Version, Hash(x.SourceDigest), x.Mode, index}
	s.touch(rulePrefix + x.Rule)
	return nil
}

func (s *State) applyHold(index uint64, x *eventv1.Hold) error {
	old, known := s.holds[x.Hold]
	switch {
	case x.Lifted && (!known || old.Scope != x.Scope):
		return fmt.Errorf("hold %q: %w", x.Hold, ErrUnknown)
	case !x.Lifted && known:
		return fmt.Errorf("hold %q: %w", x.Hold, ErrExists)
	case x.Lifted:
		delete(s.holds, x.Hold)
	default:
		s.holds[x.Hold] = Hold{x.Hold, x.Scope, index}
	}
	s.touch(holdPrefix + x.Hold)
	return nil
}

// applyErasure refuses while a hold on the tenant or the subject is in force. Which instances and runs hold content of a
// subject is not known here: whoever records a tombstone looks first.
func (s *State) applyErasure(index uint64, at int64, x *eventv1.Erasure) error {
	if x.Generation <= s.erased[x.Subject].Generation {
		return fmt.Errorf("subject %q, generation %d: %w", x.Subject, x.Generation, ErrExists)
	}
	if err := s.held("subject/" + x.Subject); err != nil {
		return fmt.Errorf("subject %q: %w", x.Subject, err)
	}
	s.erased[x.Subject] = Erasure{x.Generation, index, at}
	s.touch(erasedPrefix + x.Subject)
	return nil
}

func (s *State) touch(key string) { s.dirty[key] = struct{}{} }
