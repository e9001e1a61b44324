package rules

import "maps"

// bounded is a map that forgets its oldest entry when it is full. Its order is that of insertion, so it is the same in every
// process with the same history.
type bounded[K comparable, V any] struct {
	max     int
	dropped *uint64 // counts what was forgotten
	held    *int    // counts entries together with other maps; nil where nobody asks
	values  map[K]V
	order   []K // oldest first; entries that were deleted leave a hole until they come first
	deleted map[K]int
}

func newBounded[K comparable, V any](most int, dropped *uint64) *bounded[K, V] {
	return &bounded[K, V]{max: most, dropped: dropped, values: map[K]V{}}
}

func (b *bounded[K, V]) get(k K) (V, bool) {
	v, ok := b.values[k]
	return v, ok
}

func (b *bounded[K, V]) has(k K) bool { _, ok := b.values[k]; return ok }

// within lets the map count its entries together with others.
func (b *bounded[K, V]) within(held *int) *bounded[K, V] {
	b.held = held
	return b
}

func (b *bounded[K, V]) count(n int) {
	if b.held != nil {
		*b.held += n
	}
}

// set adds or replaces an entry; one that is replaced keeps its age.
func (b *bounded[K, V]) set(k K, v V) {
	if _, known := b.values[k]; !known {
		if len(b.values) >= b.max {
			b.drop()
		}
		b.order = append(b.order, k)
		b.count(1)
	}
	b.values[k] = v
}

// delete forgets an entry.
func (b *bounded[K, V]) delete(k K) {
	if _, known := b.values[k]; !known {
		return
	}
	delete(b.values, k)
	b.count(-1)
	if b.deleted == nil {
		b.deleted = map[K]int{}
	}
	b.deleted[k]++
	if len(b.order) > 2*len(b.values)+minOrder {
		b.compact()
	}
}

// minOrder keeps small maps from being compacted again and again.
const minOrder = 64

// live calls each with the entries in order, and leaves the holes out.
func (b *bounded[K, V]) live(each func(K)) {
	holes := maps.Clone(b.deleted)
	for _, k := range b.order {
		if holes[k] > 0 {
			holes[k]--
			continue
		}
		each(k)
	}
}

func (b *bounded[K, V]) compact() {
	order := make([]K, 0, len(b.values))
	b.live(func(k K) { order = append(order, k) })
	b.order, b.deleted = order, nil
}

// oldest is the oldest entry's key.
func (b *bounded[K, V]) oldest() (k K, ok bool) {
	for len(b.order) > 0 && b.deleted[b.order[0]] > 0 {
		b.deleted[b.order[0]]--
		b.order = b.order[1:]
	}
	if len(b.order) == 0 {
		return k, false
	}
	return b.order[0], true
}

func (b *bounded[K, V]) drop() {
	if k, ok := b.oldest(); ok {
		b.order = b.order[1:]
		delete(b.values, k)
		b.count(-1)
		*b.dropped++
	}
}
