package spool_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/edge/spool"
)

// model is a queue without files.
type model struct {
	events []string // numbered from 1
	signed int
	acked  int
	ends   []int // of statements, ascending
	opened int   // epochs so far
}

// TestAQueueIsItsModel applies random steps to a queue and to the model, with restarts in between.
func TestAQueueIsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		s := open(t, dir)
		q := begin(t, s, epochA)
		m := model{events: []string{"opened a"}}
		total, live := 0, true
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) { m.check(t, rt, q) },
			"record": func(rt *rapid.T) {
				if !live {
					rt.Skip("an older queue takes nothing")
				}
				total++
				m.events = append(m.events, fmt.Sprint("e", total))
				put(t, s, q, m.events[len(m.events)-1], spool.Opening{Path: "p", Value: make([]byte, rapid.SampledFrom([]int{0, 10, 100, 700 << 10}).Draw(rt, "size"))})
			},
			"sign": func(rt *rapid.T) {
				if m.signed == len(m.events) {
					rt.Skip("nothing to sign")
				}
				st := sign(t, q, rapid.IntRange(1, 5).Draw(rt, "most"))
				m.signed = int(st.End().Seq)
				m.ends = append(m.ends, m.signed)
			},
			"acknowledge": func(rt *rapid.T) {
				if len(m.ends) == 0 {
					rt.Skip("nothing is signed")
				}
				if err := q.Ack(q.Waiting()[0].End()); err != nil {
					rt.Fatal(err)
				}
				m.acked, m.ends = m.ends[0], m.ends[1:]
			},
			"new epoch": func(rt *rapid.T) {
				m.newEpoch(t, rt, q)
			},
			"restart": func(*rapid.T) {
				var queues []*spool.Queue
				s, queues = reopen(t, s, dir)
				q, live = queues[0], false
			},
		})
		if err := s.Close(); err != nil {
			rt.Fatal(err)
		}
	})
}

func (m *model) newEpoch(t *testing.T, rt *rapid.T, q *spool.Queue) {
	left := m.events[m.acked:]
	if m.acked == 0 {
		left = left[1:] // the epoch's first event is replaced
	}
	var aside []spool.Seq
	if out := rapid.IntRange(-1, len(left)-1).Draw(rt, "aside"); out >= 0 {
		aside = append(aside, spool.Seq(len(m.events)-len(left)+out+1))
		left = append(append([]string(nil), left[:out]...), left[out+1:]...)
	}
	m.opened++
	opened := fmt.Sprint("opened ", m.opened)
	if err := q.NewEpoch(spool.Epoch{byte(m.opened)}, []byte(opened), aside...); err != nil {
		rt.Fatal(err)
	}
	*m = model{events: append([]string{opened}, left...), opened: m.opened}
}

func (m *model) check(t *testing.T, rt *rapid.T, q *spool.Queue) {
	state := q.State()
	got := []int{int(state.LastSeq()), int(state.Signed.Seq), int(state.Acked.Seq), len(q.Waiting())}
	want := []int{len(m.events), m.signed, m.acked, len(m.ends)}
	if diff := cmp.Diff(want, got); diff != "" {
		rt.Fatalf("last, signed, acked, waiting (-want +got):\n%s", diff)
	}
	if !q.Whole() {
		rt.Fatal("not whole")
	}
	if diff := cmp.Diff(m.events[m.signed:], append([]string{}, rest(t, q)...)); diff != "" {
		rt.Fatalf("events to sign (-want +got):\n%s", diff)
	}
	for _, st := range q.Waiting() {
		m.checkReload(rt, q, st)
	}
}

// checkReload reads a signed batch back as it was.
func (m *model) checkReload(rt *rapid.T, q *spool.Queue, st spool.Statement) {
	var b spool.Batch
	if err := q.Load(st.First, st.Count, &b); err != nil || len(b.Entries) != st.Count {
		rt.Fatalf("reload %d+%d: %d entries, %v", st.First, st.Count, len(b.Entries), err)
	}
	for i, e := range b.Entries {
		if want := m.events[int(st.First)-1+i]; string(e.Event) != want {
			rt.Fatalf("reload %d: %q, want %q", int(st.First)+i, e.Event, want)
		}
	}
}
