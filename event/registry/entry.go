package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
)

// Entry is one part of the state as it is kept outside.
type Entry struct {
	Key   string // "genesis", "instance/support-1", "key/<hex>", "grant/<principal>/<role>", "rule/…", "hold/…", "erased/…", "export/<hex>"
	Value []byte // JSON; empty if the key is gone
}

// ErrEntry says that an entry is not one that this package wrote.
var ErrEntry = errors.New("malformed registry entry")

const (
	genesisKey     = "genesis"
	instancePrefix = "instance/"
	keyPrefix      = "key/"
	grantPrefix    = "grant/"
	rulePrefix     = "rule/"
	holdPrefix     = "hold/"
	erasedPrefix   = "erased/"
	exportPrefix   = "export/"
)

func (id grantID) key() string { return grantPrefix + id.principal + "/" + event.Roles.Name(id.role) }

// Owns reports whether an entry key is of this package; others may stand beside them in one table.
func Owns(key string) bool {
	kind, rest, _ := strings.Cut(key, "/")
	return key == genesisKey || kind != genesisKey && rest != "" && loaders[kind] != nil
}

// TakeDirty returns the entries that changed since the last call, by key.
func (s *State) TakeDirty() []Entry {
	list := make([]Entry, 0, len(s.dirty))
	for _, k := range slices.Sorted(maps.Keys(s.dirty)) {
		list = append(list, Entry{k, s.value(k)})
	}
	clear(s.dirty)
	return list
}

// Entries are all entries, by key; none is empty.
func (s *State) Entries() []Entry {
	var keys []string
	if s.genesis != nil {
		keys = append(keys, genesisKey)
	}
	keys = appendKeys(keys, instancePrefix, s.instances)
	keys = appendKeys(keys, rulePrefix, s.rules)
	keys = appendKeys(keys, holdPrefix, s.holds)
	keys = appendKeys(keys, erasedPrefix, s.erased)
	for id := range s.keys {
		keys = append(keys, keyPrefix+id.String())
	}
	for id := range s.exports {
		keys = append(keys, exportPrefix+id.String())
	}
	for id := range s.grants {
		keys = append(keys, id.key())
	}
	slices.Sort(keys)
	list := make([]Entry, len(keys))
	for i, k := range keys {
		list[i] = Entry{k, s.value(k)}
	}
	return list
}

func appendKeys[V any](keys []string, prefix string, m map[string]V) []string {
	for k := range m {
		keys = append(keys, prefix+k)
	}
	return keys
}

// Hash is SHA-256 over "custody/registry/v1\0" and all entries in order: key and value, each after its length as a
// big-endian uint32.
func (s *State) Hash() [32]byte {
	h := sha256.New()
	h.Write([]byte("custody/registry/v1\x00"))
	var buf []byte
	for _, e := range s.Entries() {
		buf = append(binary.BigEndian.AppendUint32(buf[:0], uint32(len(e.Key))), e.Key...)
		buf = append(binary.BigEndian.AppendUint32(buf, uint32(len(e.Value))), e.Value...)
		h.Write(buf)
	}
	return [32]byte(h.Sum(nil))
}

// Load sets the state to entries: all of them, or those that changed, in the order in which they were taken. On an error
// (ErrEntry) the state is not to be used. Loaded entries are not dirty.
func (s *State) Load(entries []Entry) error {
	for _, e := range entries {
		if !Owns(e.Key) {
			return fmt.Errorf("load %q: %w", e.Key, ErrEntry)
		}
		kind, rest, _ := strings.Cut(e.Key, "/")
		if err := loaders[kind](s, rest, e.Value); err != nil {
			return fmt.Errorf("load %q: %w", e.Key, err)
		}
		if v := s.value(e.Key); !bytes.Equal(v, e.Value) {
			return fmt.Errorf("load %q: %w", e.Key, ErrEntry)
		}
	}
	return nil
}

// loaders set one part of the state from what follows the first slash of an entry's key and from its value, which is empty
// if the part is gone. Load then compares what the state would write with what was read.
var loaders = map[string]func(s *State, rest string, value []byte) error{
	"genesis":  (*State).loadGenesis,
	"instance": (*State).loadInstance,
	"key":      (*State).loadKey,
	"grant":    (*State).loadGrant,
	"rule":     (*State).loadRule,
	"hold":     (*State).loadHold,
	"erased":   (*State).loadErased,
	"export":   (*State).loadExportKey,
}
