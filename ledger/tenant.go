package ledger

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

// Keys of a tenant's entries that the registry does not own.
const (
	chainKey      = "chain"
	emitterPrefix = "emitter/"
)

// tenant is the state of one log: what the leaves of its messages depend on.
type tenant struct {
	name     string
	chain    *chain.Chain
	registry *registry.State
	emitters map[signer.KeyID]*emitter
	tags     map[string]chain.Hash // instance tags by instance
}

func newTenant(name string) *tenant {
	return &tenant{
		name: name, chain: new(chain.Chain), registry: registry.New(),
		emitters: map[signer.KeyID]*emitter{}, tags: map[string]chain.Hash{},
	}
}

// openTenant returns the tenant before the first leaf, with its genesis applied. The error says why the event
// opens no log.
func openTenant(name string, genesis *eventv1.Event) (*tenant, error) {
	t := newTenant(name)
	if err := t.registry.Apply(0, genesis); err != nil {
		return nil, err
	}
	var err error
	t.chain, err = chain.New(genesis.GetSystem().GetGenesis().GetOrigin())
	return t, err
}

// size is the number of leaves, and the index of the next.
func (t *tenant) size() uint64 { return uint64(t.chain.Size()) }

// tag is the instance's tag, known as long as the instance is.
func (t *tenant) tag(instance string) (chain.Hash, bool) {
	if tag, found := t.tags[instance]; found {
		return tag, true
	}
	i, found := t.registry.Instance(instance)
	if !found {
		return chain.Hash{}, false
	}
	tag := chain.InstanceTag(i.Salt, instance)
	t.tags[instance] = tag
	return tag, true
}

// head is the log as readers see it.
func (t *tenant) head() store.Head {
	return store.Head{
		Tenant: t.name, Size: t.size(), Root: t.chain.Root(), LeafHash: t.chain.Prev(), Time: t.chain.Time(),
	}
}

// changed returns the entries that a message changed: always the chain, the emitter if there is one, and what
// the registry applied.
func (t *tenant) changed(key *signer.KeyID) ([]store.StateEntry, error) {
	entry, err := t.chainEntry()
	if err != nil {
		return nil, err
	}
	entries := []store.StateEntry{entry}
	if key != nil {
		entries = append(entries, emitterEntry(*key, t.emitters[*key]))
	}
	for _, e := range t.registry.TakeDirty() {
		entries = append(entries, store.StateEntry{Key: e.Key, Value: e.Value})
	}
	return entries, nil
}

func (t *tenant) chainEntry() (store.StateEntry, error) {
	value, err := t.chain.MarshalBinary()
	if err != nil {
		return store.StateEntry{}, fmt.Errorf("encode chain of %s: %w", t.name, err)
	}
	return store.StateEntry{Key: chainKey, Value: value}, nil
}

func emitterEntry(key signer.KeyID, e *emitter) store.StateEntry {
	return store.StateEntry{Key: emitterPrefix + key.String(), Value: e.marshal()}
}

// savedTenant is what the fold knows of a tenant after one message.
type savedTenant struct {
	name     string
	chain    store.StateEntry
	emitters map[signer.KeyID]*emitter
	registry *registry.State
}

func (t *tenant) save() (*savedTenant, error) {
	chain, err := t.chainEntry()
	if err != nil {
		return nil, err
	}
	return &savedTenant{t.name, chain, maps.Clone(t.emitters), t.registry.Clone()}, nil // what they have is replaced, never changed
}

// entries are all entries, in no order.
func (s *savedTenant) entries() []store.StateEntry {
	entries := []store.StateEntry{s.chain}
	for key, e := range s.emitters {
		entries = append(entries, emitterEntry(key, e))
	}
	for _, e := range s.registry.Entries() {
		entries = append(entries, store.StateEntry{Key: e.Key, Value: e.Value})
	}
	return entries
}

// load sets one entry.
func (t *tenant) load(e store.StateEntry) (err error) {
	key, isEmitter := strings.CutPrefix(e.Key, emitterPrefix)
	switch {
	case e.Key == chainKey:
		err = t.chain.UnmarshalBinary(e.Value)
	case isEmitter:
		err = t.loadEmitter(key, e.Value)
	case registry.Owns(e.Key):
		err = t.registry.Load([]registry.Entry{{Key: e.Key, Value: e.Value}})
	default:
		err = errState
	}
	if err != nil {
		return fmt.Errorf("load %s of %s: %w", e.Key, t.name, err)
	}
	return nil
}

func (t *tenant) loadEmitter(key string, value []byte) error {
	id, err := signer.ParseKeyID(key)
	if err != nil {
		return errState
	}
	e, err := parseEmitter(value)
	t.emitters[id] = e
	return err
}

// loaded checks that the entries belong together.
func (t *tenant) loaded() error {
	genesis := t.registry.Genesis()
	if genesis == nil || t.chain.Origin() != chain.OriginHash(genesis.GetOrigin()) || string(t.registry.Tenant()) != t.name {
		return fmt.Errorf("load tenant %s: %w", t.name, errors.Join(errState, chain.ErrOrigin))
	}
	return nil
}
