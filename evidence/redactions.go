package evidence

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/agentcustody/custody/chain"
)

// ErrRedactions says that the account of what is left out is not in its format or does not add up.
var ErrRedactions = errors.New("wrong account of what is left out")

// Redactions is redactions.json: how much is not disclosed, and why. The state of each record and field stands with it in
// events/ and openings/, which name a reason by its place here.
type Redactions struct {
	Version    int         `json:"version"`    // 1
	Reasons    []Reason    `json:"reasons"`    // in the order of their first use
	Tombstones []Tombstone `json:"tombstones"` // by leaf, at most maxTombstones
	Erased     uint64      `json:"erased"`     // fields whose key is destroyed
	Held       uint64      `json:"held"`       // records that are kept closed
	Expired    uint64      `json:"expired"`    // records that are no longer kept
}

// Tombstone is the record in the log for which content is shown as erased.
type Tombstone struct {
	Leaf   uint64 `json:"leaf"`
	Fields uint64 `json:"fields"`
}

// Reason is why something is withheld.
type Reason struct {
	Reason  string `json:"reason"`
	Fields  uint64 `json:"fields"`
	Records uint64 `json:"records"`
}

// reasons numbers the reasons of a writer.
type reasons struct {
	list   []Reason
	places map[string]uint16
	graves map[chain.Index]uint64 // fields erased by each tombstone
}

// erased counts one field that a tombstone says is erased.
func (r *reasons) erased(tombstone chain.Index) {
	if r.graves == nil {
		r.graves = map[chain.Index]uint64{}
	}
	r.graves[tombstone]++
}

// tombstones are the first of those that were counted, by leaf.
func (r *reasons) tombstones() []Tombstone {
	leaves := slices.Sorted(maps.Keys(r.graves))
	list := make([]Tombstone, 0, len(leaves))
	for _, leaf := range leaves[:min(len(leaves), maxTombstones)] {
		list = append(list, Tombstone{uint64(leaf), r.graves[leaf]})
	}
	return list
}

// field counts one withheld field and returns the place of its reason.
func (r *reasons) field(reason string) (uint16, error) {
	place, err := r.place(reason)
	if err == nil {
		r.list[place].Fields++
	}
	return place, err
}

// place returns the place of a reason, which may be new.
func (r *reasons) place(reason string) (uint16, error) {
	reason = valid8(reason)
	place, known := r.places[reason]
	if !known {
		if len(r.list) == maxReasons || len(reason) > maxText {
			return 0, fmt.Errorf("more than %d reasons, or one longer than %d bytes: %w", maxReasons, maxText, ErrRedactions)
		}
		if r.places == nil {
			r.places = map[string]uint16{}
		}
		place = uint16(len(r.list))
		r.list, r.places[reason] = append(r.list, Reason{Reason: reason}), place
	}
	return place, nil
}

// file is redactions.json for what a writer or a verifier has counted.
func (r *reasons) file(d *Disclosure) *Redactions {
	list := r.list
	if list == nil {
		list = []Reason{}
	}
	return &Redactions{1, list, r.tombstones(), d.FieldsErased, d.Held, d.Expired}
}

// parseRedactions reads redactions.json as far as a verifier needs it beforehand: the reasons. The counts are compared when
// everything has been counted again.
func parseRedactions(b []byte) (*Redactions, error) {
	r := new(Redactions)
	if err := unmarshalJSON(b, r); err != nil {
		return nil, err
	}
	if r.Version != 1 || len(r.Reasons) > maxReasons {
		return nil, fmt.Errorf("version %d, %d reasons: %w", r.Version, len(r.Reasons), ErrRedactions)
	}
	return r, nil
}

// recounter counts the uses of the reasons again.
func (r *Redactions) recounter() *reasons {
	again := &reasons{list: make([]Reason, len(r.Reasons))}
	for i := range r.Reasons {
		again.list[i].Reason = r.Reasons[i].Reason
	}
	return again
}
