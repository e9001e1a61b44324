package rules

import (
	"cmp"
	"slices"
)

// ruleState is what a rule that goes beyond one event remembers, by its key.
type ruleState struct {
	Partial   *bounded[string, partial]
	Windows   *bounded[string, *window]
	Seen      *bounded[string, *baselined]
	Deadlines *bounded[string, due]
}

// partial is how far a sequence has come: for each step the latest way to it.
type partial struct{ Steps []reached }

type reached struct {
	Since    int64 // time of the first step, ns; 0 if the step was not reached
	Evidence []id
}

// window is what counts towards a threshold, oldest first.
type window struct{ Hits []hit }

type hit struct {
	Time  int64
	Value string
	Event id
}

// baselined are the values that were seen, and how many events they were learnt from.
type baselined struct {
	Events uint64
	Values *bounded[string, bool]
}

// due is a deadline that stands open.
type due struct {
	At      int64
	Cause   id
	Subject subject
}

func (e *Engine) of(r *Rule) *ruleState {
	s := e.state.Rules[r.ID]
	if s == nil {
		s = e.newRuleState()
		e.state.Rules[r.ID] = s
	}
	return s
}

func (e *Engine) newRuleState() *ruleState {
	dropped := &e.stats.Dropped
	return &ruleState{
		Partial: newBounded[string, partial](maxKeys, dropped), Windows: newBounded[string, *window](maxKeys, dropped),
		Seen: newBounded[string, *baselined](maxKeys, dropped), Deadlines: newBounded[string, due](maxDeadlines, dropped),
	}
}

func (e *Engine) newBaselined() *baselined {
	return &baselined{Values: newBounded[string, bool](maxBaseline, &e.stats.Dropped)}
}

// sequence goes through the steps from the last to the first, so that one event is one step.
func (e *Engine) sequence(r *Rule, f *facts) []id {
	key, s := joins[r.Sequence.By](f), e.of(r)
	if key == "" {
		return nil
	}
	p, _ := s.Partial.get(key)
	if p.Steps == nil {
		p.Steps = make([]reached, len(r.steps))
	}
	oldest, last := f.leaf.Time-int64(r.Sequence.Within), len(r.steps)-1
	for i := last; i >= 0; i-- {
		if !e.holds(r.steps[i], f) {
			continue
		}
		now := reached{Since: f.leaf.Time, Evidence: []id{idOf(f.event.GetId())}}
		if i > 0 {
			before := p.Steps[i-1]
			if before.Since == 0 || before.Since < oldest {
				continue
			}
			now = reached{before.Since, append(slices.Clone(before.Evidence), now.Evidence...)}
		}
		if i == last {
			s.Partial.delete(key)
			return now.Evidence
		}
		p.Steps[i] = now
		break
	}
	s.Partial.set(key, p)
	return nil
}

// threshold counts, and begins again when it fires.
func (e *Engine) threshold(r *Rule, f *facts) []id {
	key, s := joins[r.Threshold.By](f), e.of(r)
	if key == "" {
		return nil
	}
	w, _ := s.Windows.get(key)
	if w == nil {
		w = new(window)
		s.Windows.set(key, w)
	}
	value := ""
	if r.distinct != nil {
		if value = e.text(r.distinct, f); value == "" {
			return nil
		}
	}
	oldest := f.leaf.Time - int64(r.Threshold.Within)
	w.Hits = slices.DeleteFunc(w.Hits, func(h hit) bool { return h.Time < oldest || value != "" && h.Value == value })
	w.Hits = append(w.Hits, hit{f.leaf.Time, value, idOf(f.event.GetId())})
	if len(w.Hits) < r.Threshold.Count {
		return nil
	}
	evidence := make([]id, len(w.Hits))
	for i, h := range w.Hits {
		evidence[i] = h.Event
	}
	s.Windows.delete(key)
	return evidence
}

// baseline fires on a new value when enough events were learnt from. Imported history is learnt from as well.
func (e *Engine) baseline(r *Rule, f *facts) []id {
	key, s, value := joins[r.Baseline.By](f), e.of(r), e.text(r.of, f)
	if key == "" || value == "" {
		return nil
	}
	b, _ := s.Seen.get(key)
	if b == nil {
		b = e.newBaselined()
		s.Seen.set(key, b)
	}
	learnt := b.Events >= r.Baseline.Learn
	b.Events++
	if b.Values.has(value) {
		return nil
	}
	b.Values.set(value, true)
	if !learnt {
		return nil
	}
	return e.causes(f)
}

// deadline opens and ends waiting.
func (e *Engine) deadline(r *Rule, f *facts) {
	key, s := joins[r.Deadline.By](f), e.of(r)
	if key == "" {
		return
	}
	if s.Deadlines.has(key) && e.holds(r.until, f) {
		s.Deadlines.delete(key)
		return
	}
	if !s.Deadlines.has(key) && e.holds(r.after, f) {
		s.Deadlines.set(key, due{
			At: f.leaf.Time + int64(r.Deadline.Within), Cause: idOf(f.event.GetId()), Subject: e.subject(f),
		})
	}
}

// overdue is a deadline that has passed.
type overdue struct {
	due
	rule *Rule
	key  string
}

// Advance moves time on, and returns the firings of the deadlines that it passes, in the order of deadline, rule and subject.
// Observe does it by itself; ticks of the stream do it when nothing else happens.
func (e *Engine) Advance(now int64) (firings []Firing) {
	e.state.Now = max(e.state.Now, now)
	var passed []overdue
	for _, r := range e.set.Rules {
		if s := e.state.Rules[r.ID]; r.Deadline != nil && s != nil {
			passed = append(passed, s.pass(r, now)...)
		}
	}
	slices.SortFunc(passed, func(a, b overdue) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.rule.ID, b.rule.ID), cmp.Compare(a.key, b.key))
	})
	for _, p := range passed {
		firings = append(firings, e.fired(p.rule, p.Subject, p.At, []id{p.Cause}))
	}
	return firings
}

// pass takes the deadlines that have passed. They stand in the order of their times: a rule has one duration, and time does not go
// back in a log.
func (s *ruleState) pass(r *Rule, now int64) (passed []overdue) {
	for {
		key, found := s.Deadlines.oldest()
		if !found {
			return passed
		}
		d, _ := s.Deadlines.get(key)
		if d.At >= now {
			return passed
		}
		s.Deadlines.delete(key)
		passed = append(passed, overdue{d, r, key})
	}
}
