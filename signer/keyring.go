package signer

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/agentcustody/custody/chain"
)

var (
	// ErrKeyKnown says that a key was enrolled before. A key is enrolled once.
	ErrKeyKnown = errors.New("key is already in the keyring")
	// ErrKeyUnknown says that a key was never enrolled.
	ErrKeyUnknown = errors.New("key is not in the keyring")
	// ErrValidity says that a validity is empty or out of order.
	ErrValidity = errors.New("validity out of order")
)

// Validity is the range of leaves for which a key counts. Leaf 0, the genesis,
// is anchored by policy and not by the keyring; therefore 0 can stand for
// "none" in To and SuspectFrom.
type Validity struct {
	From        chain.Index // first leaf at which the key counts
	To          chain.Index // first leaf at which it no longer counts; 0: open
	SuspectFrom chain.Index // first leaf at which it may have been in wrong hands; 0: none
}

// Status is what a keyring says about a key at one index.
type Status uint8

// The statuses. Only Valid and Suspect keys count; Suspect means that the key
// counted, but a compromise was later said to have begun before this leaf.
const (
	Unknown Status = iota
	NotYet
	Valid
	Suspect
	Revoked
)

var statusNames = [...]string{"unknown", "not-yet", "valid", "suspect", "revoked"}

// String returns the name of s, or its number if it is unknown.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Counts reports whether a leaf signed by a key of this status is accepted.
func (s Status) Counts() bool { return s == Valid || s == Suspect }

// At returns the status at index. Revoked outranks Suspect.
func (v Validity) At(index chain.Index) Status {
	switch {
	case index < v.From:
		return NotYet
	case v.To != 0 && index >= v.To:
		return Revoked
	case v.SuspectFrom != 0 && index >= v.SuspectFrom:
		return Suspect
	}
	return Valid
}

func (v Validity) check() error {
	if v.To != 0 && v.To <= v.From || v.SuspectFrom != 0 && v.SuspectFrom < v.From {
		return fmt.Errorf("from %d to %d, suspect from %d: %w", v.From, v.To, v.SuspectFrom, ErrValidity)
	}
	return nil
}

// Enrolment is one key of a keyring.
type Enrolment struct {
	Key      PublicKey
	Instance string // instance that signs with it
	Class    string // producer class, fixed at enrolment: agent, gateway, importer, custody
	Validity Validity
}

// Keyring holds the keys of one tenant's log. It is pure data: what it says
// depends only on the enrolments and revocations it was told, in order. It is
// not safe for concurrent writes; give readers a Clone. The zero value is an
// empty keyring.
type Keyring struct{ keys map[KeyID]Enrolment }

// NewKeyring returns an empty keyring.
func NewKeyring() *Keyring { return &Keyring{keys: map[KeyID]Enrolment{}} }

// Add enrols a key. The errors are ErrKeyKnown (also if it was revoked since),
// ErrValidity and ErrKey.
func (r *Keyring) Add(e Enrolment) error {
	id := e.Key.ID()
	if _, ok := r.keys[id]; ok {
		return fmt.Errorf("enrol key %s: %w", id, ErrKeyKnown)
	}
	if err := e.Validity.check(); err != nil {
		return fmt.Errorf("enrol key %s: %w", id, err)
	}
	if _, err := ParsePublicKey(e.Key[:]); err != nil {
		return fmt.Errorf("enrol key %s: %w", id, err)
	}
	if r.keys == nil {
		r.keys = map[KeyID]Enrolment{}
	}
	r.keys[id] = e
	return nil
}

// Revoke ends a key before the leaf at index to, which must be after its From.
// suspectFrom is 0, or the leaf from which it may have been in wrong hands.
// Revoking again never widens a validity: the earlier To and the earlier
// SuspectFrom stay. A SuspectFrom before From counts as From. The errors are
// ErrKeyUnknown and ErrValidity.
func (r *Keyring) Revoke(id KeyID, to, suspectFrom chain.Index) error {
	e, ok := r.keys[id]
	if !ok {
		return fmt.Errorf("revoke key %s: %w", id, ErrKeyUnknown)
	}
	if suspectFrom != 0 {
		suspectFrom = max(suspectFrom, e.Validity.From)
	}
	next := e.Validity
	next.To, next.SuspectFrom = earlier(next.To, to), earlier(next.SuspectFrom, suspectFrom)
	if to == 0 || next.check() != nil {
		return fmt.Errorf("revoke key %s at %d, valid from %d: %w", id, to, next.From, ErrValidity)
	}
	e.Validity = next
	r.keys[id] = e
	return nil
}

// earlier is the smaller of two indexes of which 0 means none.
func earlier(a, b chain.Index) chain.Index {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Lookup returns the enrolment of a key.
func (r *Keyring) Lookup(id KeyID) (Enrolment, bool) {
	e, ok := r.keys[id]
	return e, ok
}

// At returns the enrolment of a key and its status for the leaf at index. An
// unknown key has status Unknown.
func (r *Keyring) At(id KeyID, index chain.Index) (Enrolment, Status) {
	e, ok := r.keys[id]
	if !ok {
		return Enrolment{}, Unknown
	}
	return e, e.Validity.At(index)
}

// Len is the number of keys.
func (r *Keyring) Len() int { return len(r.keys) }

// All returns every key in ascending order of its id.
func (r *Keyring) All() iter.Seq2[KeyID, Enrolment] {
	return func(yield func(KeyID, Enrolment) bool) {
		ids := slices.SortedFunc(maps.Keys(r.keys), func(a, b KeyID) int { return bytes.Compare(a[:], b[:]) })
		for _, id := range ids {
			if !yield(id, r.keys[id]) {
				return
			}
		}
	}
}

// Clone returns an independent copy.
func (r *Keyring) Clone() *Keyring { return &Keyring{keys: maps.Clone(r.keys)} }
