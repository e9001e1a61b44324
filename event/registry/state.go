package registry

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Why an event does not apply.
var (
	ErrNotSystem = errors.New("not a system event of this tenant")
	ErrGenesis   = errors.New("a log has one genesis, at index 0, before everything else")
	ErrUnknown   = errors.New("unknown")
	ErrExists    = errors.New("exists already")
	ErrVersion   = errors.New("version out of order")
	ErrProof     = errors.New("key did not sign its enrolment")
	ErrEnded     = errors.New("key is not valid any more")
	ErrIndex     = errors.New("index in the future")
	ErrInstance  = errors.New("key of another instance or class")
	ErrHeld      = errors.New("a hold is in force")
)

// Forever is the end of a key that nothing has ended.
const Forever uint64 = math.MaxUint64

// Hash is a SHA-256 digest, or the 32 bytes of a salt or public key.
type Hash [32]byte

// State is the admission state of one tenant. It is not safe for concurrent use; what its methods return is shared and must
// not be changed.
type State struct {
	genesis   *Genesis
	instances map[string]Instance
	keys      map[Hash]Key
	grants    map[grantID]Grant
	rules     map[string]Rule
	holds     map[string]Hold
	erased    map[string]Erasure
	exports   map[Hash]ExportKey
	dirty     map[string]struct{} // entry keys that changed since TakeDirty
}

// Genesis is leaf 0 of the log.
type Genesis struct {
	Tenant string
	Detail *eventv1.Genesis
}

// Instance is a deployed agent.
type Instance struct {
	ID       string
	Created  uint64                  // leaf that created it
	Salt     Hash                    // blinds it in leaves
	Labels   *eventv1.Labels         // never nil
	Manifest *eventv1.ManifestChange // in force; nil before the first
	Since    uint64                  // leaf that put Manifest in force
}

// Version is the version of the manifest in force, 0 if none is.
func (i Instance) Version() uint32 { return i.Manifest.GetVersion() }

// Key is an emitter key. It is valid for the leaves [From, To).
type Key struct {
	ID          Hash // SHA-256 of PublicKey
	PublicKey   Hash // Ed25519
	Instance    string
	Producer    eventv1.ProducerClass
	From        uint64 // enrolment leaf + 1; 0 for the system key
	To          uint64 // Forever, or revocation or rotation leaf + 1
	Revoked     bool   // ended by a revocation
	ReplacedBy  Hash   // the key that rotated it out, otherwise zero
	Suspect     bool   // leaves from SuspectFrom on are in doubt
	SuspectFrom uint64 // first leaf in doubt, if Suspect
}

// ValidAt reports whether the key may sign the event of the leaf at index.
func (k Key) ValidAt(index uint64) bool { return k.From <= index && index < k.To }

// SuspectAt reports whether the leaf at index is in doubt.
func (k Key) SuspectAt(index uint64) bool { return k.Suspect && k.SuspectFrom <= index }

// ExportKey signs what is exported from the log from leaf From on, up to but not including To.
type ExportKey struct {
	ID        Hash   // SHA-256 of PublicKey
	PublicKey string // the bytes of a signer.ExportKey
	From      uint64 // leaf that put it in force + 1; 0 for the log key
	To        uint64 // Forever, or the leaf that replaced it + 1
}

// Grant is a role of a person.
type Grant struct {
	Principal    string
	Role         eventv1.Role
	Certificates []Hash // SHA-256 of client certificates, ascending; may be empty
	AllTenants   bool   // given by the operator over every tenant
	Since        uint64 // leaf of the first grant
}

type grantID struct {
	principal string
	role      eventv1.Role
}

// Rule is a containment rule's version.
type Rule struct {
	ID      string
	Version uint32
	Digest  Hash   // SHA-256 of the rule's text
	Mode    string // shadow, live or off
	Since   uint64 // leaf that set this mode
}

// Hold keeps records from erasure and expiry.
type Hold struct {
	ID    string
	Scope string // tenant, instance/I, run/R or subject/S
	Since uint64 // leaf that placed it
}

// Erasure is the newest tombstone of a subject: its data keys up to a generation are gone.
type Erasure struct {
	Generation uint32 // the last that is gone, from 1
	Since      uint64 // leaf of the tombstone
	At         int64  // when it was made, ns since the Unix epoch, by Custody's clock
}

// HeldError says which hold keeps something from being erased. It is ErrHeld.
type HeldError struct{ Hold Hold }

func (e *HeldError) Error() string {
	return fmt.Sprintf("hold %q on %s is in force", e.Hold.ID, e.Hold.Scope)
}

// Is reports whether target is ErrHeld.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }

// New is the state before the genesis.
func New() *State {
	return &State{
		instances: map[string]Instance{}, keys: map[Hash]Key{}, grants: map[grantID]Grant{},
		rules: map[string]Rule{}, holds: map[string]Hold{}, erased: map[string]Erasure{}, exports: map[Hash]ExportKey{}, dirty: map[string]struct{}{},
	}
}

// Clone returns an independent state with the same contents and the same dirty entries.
func (s *State) Clone() *State {
	return &State{
		genesis: s.genesis, instances: maps.Clone(s.instances), keys: maps.Clone(s.keys), grants: maps.Clone(s.grants),
		rules: maps.Clone(s.rules), holds: maps.Clone(s.holds), erased: maps.Clone(s.erased), exports: maps.Clone(s.exports), dirty: maps.Clone(s.dirty),
	}
}

// Tenant is the tenant of the log, empty before genesis.
func (s *State) Tenant() event.TenantID {
	if s.genesis == nil {
		return ""
	}
	return event.TenantID(s.genesis.Tenant)
}

// Genesis is leaf 0, nil before genesis.
func (s *State) Genesis() *eventv1.Genesis {
	if s.genesis == nil {
		return nil
	}
	return s.genesis.Detail
}

// Instance finds an instance. Custody's own, with the genesis's salt and no manifest, exists from the genesis on.
func (s *State) Instance(id string) (Instance, bool) {
	if id == string(event.InstanceCustody) && s.genesis != nil {
		return Instance{ID: id, Salt: Hash(s.genesis.Detail.SystemSalt), Labels: new(eventv1.Labels)}, true
	}
	i, ok := s.instances[id]
	return i, ok
}

// Instances are all but Custody's own, by id.
func (s *State) Instances() []Instance { return sorted(s.instances) }

// MayEmit reports whether events of the instance are admitted: it has a manifest, or is Custody's own.
func (s *State) MayEmit(instance string) bool {
	if instance == string(event.InstanceCustody) {
		return s.genesis != nil
	}
	return s.instances[instance].Manifest != nil
}

// Key finds a key that is or was enrolled, or the system key.
func (s *State) Key(id [32]byte) (Key, bool) {
	if k, ok := s.systemKey(); ok && k.ID == Hash(id) {
		return k, true
	}
	k, ok := s.keys[id]
	return k, ok
}

func (s *State) systemKey() (Key, bool) {
	if s.genesis == nil {
		return Key{}, false
	}
	public := s.genesis.Detail.SystemKey
	return Key{
		ID: sha256.Sum256(public), PublicKey: Hash(public), Instance: string(event.InstanceCustody),
		Producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, To: Forever,
	}, true
}

// Keys are all keys that are or were enrolled, by id, without the system key.
func (s *State) Keys() []Key {
	return slices.SortedFunc(maps.Values(s.keys), func(a, b Key) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// ExportKeys are all keys that sign what is exported or did, in the order of the log: the log key first, the one in force last, also where
// many were applied under one index, as admission does, which does not know a leaf's. There are none before genesis.
func (s *State) ExportKeys() []ExportKey {
	if s.genesis == nil {
		return nil
	}
	public := s.genesis.Detail.LogKey
	list := []ExportKey{{ID: sha256.Sum256(public), PublicKey: string(public), To: Forever}}
	for _, k := range s.exports {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b ExportKey) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), bytes.Compare(a.ID[:], b.ID[:]))
	})
	if len(list) > 1 {
		list[0].To = list[1].From
	}
	return list
}

// ExportKey is the one in force, which is not there before genesis.
func (s *State) ExportKey() ExportKey {
	list := s.ExportKeys()
	if len(list) == 0 {
		return ExportKey{}
	}
	return list[len(list)-1]
}

// Grants are the roles in force, by principal and role.
func (s *State) Grants() []Grant {
	return slices.SortedFunc(maps.Values(s.grants), func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Role, b.Role))
	})
}

// Rules are the newest versions of all rules, by id.
func (s *State) Rules() []Rule { return sorted(s.rules) }

// Holds are the holds in force, by id.
func (s *State) Holds() []Hold { return sorted(s.holds) }

// Held reports whether a hold covers a scope: one on the scope itself or on the whole tenant.
func (s *State) Held(scope string) bool { return s.held(scope) != nil }

// held is nil, or a *HeldError with the first hold, by id, that covers a scope.
func (s *State) held(scope string) error {
	for _, h := range s.Holds() {
		if h.Scope == "tenant" || h.Scope == scope {
			return &HeldError{h}
		}
	}
	return nil
}

// Erased is the last generation of the subject's data key that was destroyed, 0 if none was.
func (s *State) Erased(subject string) (generation uint32) { return s.erased[subject].Generation }

// Erasure is the newest tombstone of a subject, zero if there is none.
func (s *State) Erasure(subject string) Erasure { return s.erased[subject] }

// Erasures are the newest tombstones by subject; shared, as all that the methods return.
func (s *State) Erasures() map[string]Erasure { return s.erased }

func sorted[V any](m map[string]V) []V {
	list := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

// Apply folds in the accepted system event of the leaf at index. An error says why the event does not apply; the state is
// then as before. Events that decide nothing (access, refusal, finding, containment) change nothing.
func (s *State) Apply(index uint64, e *eventv1.Event) error {
	if event.Kind(e) != event.KindSystem {
		return ErrNotSystem
	}
	if err := event.Validate(e); err != nil {
		return fmt.Errorf("apply leaf %d: %w", index, err)
	}
	if err := s.apply(index, e); err != nil {
		return fmt.Errorf("%s at leaf %d: %w", event.Action(e), index, err)
	}
	return nil
}

func (s *State) apply(index uint64, e *eventv1.Event) error {
	if g, ok := e.GetSystem().Detail.(*eventv1.System_Genesis); ok {
		return s.applyGenesis(index, e.Tenant, g.Genesis)
	}
	switch {
	case s.genesis == nil:
		return ErrGenesis
	case s.genesis.Tenant != e.Tenant:
		return ErrNotSystem
	}
	return s.applyDetail(index, e, e.GetSystem())
}

func (s *State) applyDetail(index uint64, e *eventv1.Event, x *eventv1.System) error {
	switch d := x.Detail.(type) {
	case *eventv1.System_Instance:
		return s.applyInstance(index, d.Instance)
	case *eventv1.System_Manifest:
		return s.applyManifest(index, d.Manifest)
	case *eventv1.System_Key:
		return s.applyKey(index, d.Key)
	case *eventv1.System_Grant:
		return s.applyGrant(index, d.Grant)
	case *eventv1.System_Rule:
		return s.applyRule(index, d.Rule)
	case *eventv1.System_Hold:
		return s.applyHold(index, d.Hold)
	case *eventv1.System_Erasure:
		return s.applyErasure(index, e.OccurredAt, d.Erasure)
	case *eventv1.System_ExportKey:
		return s.applyExportKey(index, d.ExportKey)
	}
	return nil
}
