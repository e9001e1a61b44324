package rules

import (
	"iter"
	"maps"
	"slices"
)

// bounded is a map that forgets its oldest entry when it is full. Its order is that of insertion, so it is the same in every
// process with the same history. Its entries stand in one slice, so that the garbage collector has nothing to look through where
// they have no pointers, and a small one, as most are, is nothing but that slice. It must not be copied but with clone and frozen.
type bounded[K comparable, V any] struct {
	max   int
	tally *tally
	slots []slot[K, V] // from head on, oldest first
	head  int          // the first slot that is not empty, if any is
	held  int          // slots that are not empty
	index map[K]uint32 // the slot of each key; nil as long as there were never more than few
}

// slot is an entry. One that was deleted is empty until the slots are packed.
type slot[K comparable, V any] struct {
	key   K
	value V
	full  bool
}

// tally is what bounded maps count together.
type tally struct {
	held    int     // entries
	dropped *uint64 // entries that were forgotten because a map was full
}

const (
	// few is how many slots are searched one by one: that is faster than to hash a key.
	few = 24
	// firstSlots is room for what a short run holds.
	firstSlots = 4
	// minSlots keeps small maps from being packed again and again.
	minSlots = 64
)

func newBounded[K comparable, V any](most int, t *tally) bounded[K, V] {
	return bounded[K, V]{max: most, tally: t}
}

// clone is a copy that can be changed.
func (b *bounded[K, V]) clone() bounded[K, V] {
	c := *b
	c.slots, c.index = slices.Clone(b.slots), maps.Clone(b.index)
	return c
}

// frozen is a copy of the entries, for all alone.
func (b *bounded[K, V]) frozen() bounded[K, V] {
	return bounded[K, V]{max: b.max, slots: slices.Clone(b.slots[b.head:]), held: b.held}
}

func (b *bounded[K, V]) len() int { return b.held }

// find is the slot of a key, -1 if it has none.
func (b *bounded[K, V]) find(k K) int {
	if b.index != nil {
		if i, known := b.index[k]; known {
			return int(i)
		}
		return -1
	}
	for i := len(b.slots) - 1; i >= b.head; i-- {
		if s := &b.slots[i]; s.key == k && s.full {
			return i
		}
	}
	return -1
}

// at is where the value of a key stands until the map is changed, nil if there is none.
func (b *bounded[K, V]) at(k K) *V {
	if i := b.find(k); i >= 0 {
		return &b.slots[i].value
	}
	return nil
}

func (b *bounded[K, V]) get(k K) (v V, known bool) {
	if at := b.at(k); at != nil {
		return *at, true
	}
	return v, false
}

func (b *bounded[K, V]) has(k K) bool { return b.find(k) >= 0 }

// set adds or replaces an entry; one that is replaced keeps its age.
func (b *bounded[K, V]) set(k K, v V) {
	if at := b.at(k); at != nil {
		*at = v
		return
	}
	b.add(k, v)
}

// add adds an entry that is not there, and returns where its value stands until the map is changed.
func (b *bounded[K, V]) add(k K, v V) *V {
	if b.held >= b.max {
		b.drop()
	}
	if b.slots == nil {
		b.slots = make([]slot[K, V], 0, firstSlots)
	}
	b.slots = append(b.slots, slot[K, V]{k, v, true})
	b.held++
	b.tally.held++
	switch {
	case b.index != nil:
		b.index[k] = uint32(len(b.slots) - 1)
	case len(b.slots)-b.head > few:
		b.reindex()
	}
	return &b.slots[len(b.slots)-1].value
}

func (b *bounded[K, V]) reindex() {
	if b.index == nil {
		b.index = make(map[K]uint32, 2*few)
	}
	clear(b.index)
	for i := b.head; i < len(b.slots); i++ {
		if b.slots[i].full {
			b.index[b.slots[i].key] = uint32(i)
		}
	}
}

// delete forgets an entry.
func (b *bounded[K, V]) delete(k K) {
	if i := b.find(k); i >= 0 {
		b.empty(i)
	}
}

func (b *bounded[K, V]) empty(i int) {
	if b.index != nil {
		delete(b.index, b.slots[i].key)
	}
	b.slots[i] = slot[K, V]{}
	b.held--
	b.tally.held--
	for b.head < len(b.slots) && !b.slots[b.head].full {
		b.head++
	}
	if len(b.slots) > 2*b.held+minSlots {
		b.pack()
	}
}

// pack takes the empty slots out.
func (b *bounded[K, V]) pack() {
	packed := b.slots[:0]
	for i := range b.slots {
		if b.slots[i].full {
			packed = append(packed, b.slots[i])
		}
	}
	clear(b.slots[len(packed):])
	b.slots, b.head = packed, 0
	if b.index != nil {
		b.reindex()
	}
}

// all are the entries, oldest first. The map must not be changed meanwhile.
func (b *bounded[K, V]) all() iter.Seq2[K, *V] {
	return func(yield func(K, *V) bool) {
		for i := b.head; i < len(b.slots); i++ {
			if s := &b.slots[i]; s.full && !yield(s.key, &s.value) {
				return
			}
		}
	}
}

// oldest is the oldest entry, nil if there is none.
func (b *bounded[K, V]) oldest() (k K, v *V) {
	if b.held == 0 {
		return k, nil
	}
	return b.slots[b.head].key, &b.slots[b.head].value
}

// drop forgets the oldest entry because there is no room.
func (b *bounded[K, V]) drop() {
	if b.held > 0 {
		b.empty(b.head)
		*b.tally.dropped++
	}
}
