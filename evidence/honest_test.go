package evidence

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// history is a random day of two agents, and what of it never arrived.
type history struct {
	*world
	agents  []*sender
	waiting []func()                       // batches on their way
	lost    map[*sender]map[[2]uint64]bool // epoch and number
	fates   []func(*rapid.T, *sender)
}

func newHistory(t testing.TB) *history {
	h := &history{world: newWorld(t, "acme"), lost: map[*sender]map[[2]uint64]bool{}}
	for _, name := range []string{"support-1", "billing-1"} {
		a := h.agent(name)
		h.agents, h.lost[a] = append(h.agents, a), map[[2]uint64]bool{}
	}
	h.fates = []func(*rapid.T, *sender){
		func(r *rapid.T, a *sender) { a.send(rapid.IntRange(1, 4).Draw(r, "n")) },
		func(r *rapid.T, a *sender) { a.send(3, held(rapid.IntRange(0, 2).Draw(r, "held"))) },
		func(r *rapid.T, a *sender) { h.lose(a, rapid.IntRange(1, 3).Draw(r, "lost")) },
		func(r *rapid.T, a *sender) { h.delay(a, rapid.IntRange(1, 3).Draw(r, "late")) },
		func(_ *rapid.T, a *sender) {
			if a.last > 0 {
				a.newEpoch()
			}
		},
		func(*rapid.T, *sender) {
			for _, arrive := range h.waiting {
				arrive()
			}
			h.waiting = nil
		},
		func(*rapid.T, *sender) { h.access() },
		func(_ *rapid.T, a *sender) { a.say(a.closing()) },
	}
	return h
}

func (h *history) lose(a *sender, n int) {
	h.miss(a, n)
	a.send(n, lost)
}

func (h *history) miss(a *sender, n int) {
	for i := range n {
		h.lost[a][[2]uint64{a.epochNo, a.last + 1 + uint64(i)}] = true
	}
}

// delay is a batch that arrives later, or never. One that nothing has overtaken is not late and not missing.
func (h *history) delay(a *sender, n int) {
	epoch, first := a.epochNo, a.last+1
	h.miss(a, n)
	arrive := a.late(n)
	h.waiting = append(h.waiting, func() {
		arrive()
		for i := range n {
			delete(h.lost[a], [2]uint64{epoch, first + uint64(i)})
		}
	})
}

func (h *history) live(r *rapid.T) {
	for range rapid.IntRange(1, 25).Draw(r, "acts") {
		h.now += Instant(time.Minute)
		fate := rapid.SampledFrom(h.fates).Draw(r, "fate")
		fate(r, rapid.SampledFrom(h.agents).Draw(r, "agent"))
	}
	for _, a := range h.agents { // so that every loss shows
		a.send(1)
	}
	h.clock("12:00").access()
}

// An honest log, however unlucky, verifies in every window, and over everything the numbers that are missing are those that were lost.
func TestHonestLogsVerify(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := newHistory(t)
		h.live(r)
		window := func(from, to Instant) Verdict {
			s := h.scope("00:00", "11:00")
			s.From, s.To = from, to
			return h.verify(t, s)
		}
		all := window(0, at("11:00"))
		minute := func(name string) Instant {
			return at("08:00") + Instant(rapid.IntRange(0, 30).Draw(r, name))*Instant(time.Minute)
		}
		from, to := minute("from"), minute("to")
		part := window(min(from, to), max(from, to))
		for _, v := range []Verdict{all, part} {
			if v.Exit >= ExitContainer || v.Exit == ExitNoPolicy {
				r.Fatalf("an honest log fails: exit %d\n%s%s", v.Exit, v.Text(), details(v))
			}
		}
		h.checkMissing(r, &all)
	})
}

// checkMissing compares the missing numbers with those that were lost. Where whole epochs are lost nobody can count them.
func (h *history) checkMissing(r *rapid.T, v *Verdict) {
	for _, a := range h.agents {
		for i := range v.Emitters {
			e := &v.Emitters[i]
			if e.KeyID != a.key.ID() || e.Skipped {
				continue
			}
			if e.missing() != uint64(len(h.lost[a])) {
				r.Fatalf("%d numbers of %s are missing, %d were lost\n%+v", e.missing(), e.Instance, len(h.lost[a]), e)
			}
		}
	}
}

func TestMissingNumbers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ep, gap, seen := new(epoch), span{10, 29}, map[uint64]bool{}
		ep.see(span{1, 9})
		ep.gaps = []span{gap}
		ep.see(span{30, 40})
		for range rapid.IntRange(0, 6).Draw(r, "late") {
			first := rapid.Uint64Range(gap.first, gap.last).Draw(r, "first")
			s := span{first, min(gap.last, first+rapid.Uint64Range(0, 5).Draw(r, "more"))}
			overlaps := false
			for n := s.first; n <= s.last; n++ {
				overlaps = overlaps || seen[n]
			}
			if ep.overlaps(s) != overlaps {
				r.Fatalf("%v after %v: overlaps %v", s, ep.seen, !overlaps)
			}
			if overlaps {
				continue
			}
			ep.see(s)
			for n := s.first; n <= s.last; n++ {
				seen[n] = true
			}
		}
		for _, s := range ep.missing() {
			for n := s.first; n <= s.last; n++ {
				if seen[n] || n < gap.first || n > gap.last {
					r.Fatalf("%d is not missing", n)
				}
				seen[n] = true
			}
		}
		for n := gap.first; n <= gap.last; n++ {
			if !seen[n] {
				r.Fatalf("%d is missing", n)
			}
		}
	})
}
