package rules

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// model is what bounded promises, written plainly: entries in the order of insertion.
type model struct {
	most    int
	entries []entry
	dropped uint64
}

type entry struct{ Key, Value int }

func (m *model) find(k int) int {
	return slices.IndexFunc(m.entries, func(e entry) bool { return e.Key == k })
}

func (m *model) set(k, v int) {
	if i := m.find(k); i >= 0 {
		m.entries[i].Value = v
		return
	}
	if len(m.entries) >= m.most {
		m.entries = m.entries[1:]
		m.dropped++
	}
	m.entries = append(m.entries, entry{k, v})
}

func (m *model) delete(k int) {
	m.entries = slices.DeleteFunc(m.entries, func(e entry) bool { return e.Key == k })
}

// TestBounded: a map of any size holds what the model holds after every step, in its order, and both count the same.
func TestBounded(t *testing.T) {
	for _, most := range []int{1, 3, few, few + 1, 100, 1000} {
		rnd, dropped := rand.New(rand.NewPCG(uint64(most), 2)), uint64(0)
		count := &tally{dropped: &dropped}
		b, m := newBounded[int, int](most, count), &model{most: most}
		for step := range 4000 {
			switch k := rnd.IntN(2 * most); rnd.IntN(5) {
			case 0, 1, 2:
				b.set(k, step)
				m.set(k, step)
			case 3:
				b.delete(k)
				m.delete(k)
			case 4:
				if oldest, _ := b.oldest(); len(m.entries) > 0 && oldest != m.entries[0].Key {
					t.Fatalf("of %d, step %d: oldest is %d, want %d", most, step, oldest, m.entries[0].Key)
				}
			}
			if b.len() != len(m.entries) || count.held != len(m.entries) || dropped != m.dropped || len(b.slots) > 2*b.len()+minSlots {
				t.Fatalf("of %d, step %d: %d entries, %d held, %d dropped, %d slots", most, step, b.len(), count.held, dropped, len(b.slots))
			}
			if step%37 == 0 {
				holds(t, &b, m)
			}
		}
		holds(t, &b, m)
	}
}

// holds compares all entries, in their order and by their keys.
func holds(t *testing.T, b *bounded[int, int], m *model) {
	t.Helper()
	var got []entry
	for k, v := range b.all() {
		got = append(got, entry{k, *v})
		if at := b.at(k); at != v {
			t.Fatalf("key %d is not found where it stands", k)
		}
	}
	if diff := cmp.Diff(m.entries, got); diff != "" && len(got)+len(m.entries) > 0 {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
}
