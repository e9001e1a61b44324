package rules

import (
	"cmp"
	"slices"
	"strings"
)

// ruleState is what a rule that goes beyond one event remembers, by its key.
type ruleState struct {
	Partial   bounded[string, partial]
	Windows   bounded[string, *window]
	Seen      bounded[string, *baselined]
	Deadlines bounded[string, due]
}

// partial is how far a sequence has come: for each step the latest way to it.
type partial struct{ Steps []reached }

type reached struct {
	Since    int64 // time of the first step, ns; 0 if the step was not reached
	Evidence []id
}

// window is what counts towards a threshold, oldest first.
type window struct {
	age
	Hits []hit
}

type hit struct {
	Time  int64
	Value string
	Event id
}

// baselined are the values that were seen, and how many events they were learnt from, since when.
type baselined struct {
	age
	Since  int64 // time of the first event, ns
	Events uint64
	Values bounded[string, struct{}]
}

// due is a deadline that stands open.
type due struct {
	At      int64
	Cause   id
	Subject subject
}

func (e *Engine) of(r *Rule) *ruleState {
	s := e.beyond[r.index]
	if s == nil {
		s = e.newRuleState()
		e.state.Rules[r.ID], e.beyond[r.index] = s, s
	}
	return s
}

func (e *Engine) newRuleState() *ruleState {
	return &ruleState{
		Partial: newBounded[string, partial](maxKeys, &e.elsewhere), Windows: newBounded[string, *window](maxKeys, &e.elsewhere),
		Seen: newBounded[string, *baselined](maxKeys, &e.elsewhere), Deadlines: newBounded[string, due](maxDeadlines, &e.elsewhere),
	}
}

func (e *Engine) newBaselined() *baselined {
	return &baselined{age: age{e.frozen}, Values: newBounded[string, struct{}](maxBaseline, &e.elsewhere)}
}

// sequence goes through the steps from the last to the first, so that one event is one step.
func (e *Engine) sequence(r *Rule, f *facts) []id {
	key, s := r.join(f), e.of(r)
	if key == "" {
		return nil
	}
	p := s.Partial.at(key)
	for i, last := len(r.steps)-1, len(r.steps)-1; i >= 0; i-- {
		if i > 0 && !p.reached(i-1, f.leaf.Time-int64(r.Sequence.Within)) || !e.holds(r.steps[i], f) {
			continue
		}
		now := reached{Since: f.leaf.Time, Evidence: []id{idOf(f.event.GetId())}}
		if i > 0 {
			before := p.Steps[i-1]
			now = reached{before.Since, append(slices.Clone(before.Evidence), now.Evidence...)}
		}
		if i == last {
			s.Partial.delete(key)
			return now.Evidence
		}
		if p == nil {
			p = s.Partial.add(e.names.of(key), partial{make([]reached, len(r.steps))})
		}
		p.Steps = slices.Clone(p.Steps) // a frozen state may have them
		p.Steps[i] = now
		break
	}
	return nil
}

// reached reports whether a step was reached, the first of them not before a time.
func (p *partial) reached(i int, oldest int64) bool {
	return p != nil && p.Steps[i].Since != 0 && p.Steps[i].Since >= oldest
}

// threshold counts, and begins again when it fires.
func (e *Engine) threshold(r *Rule, f *facts) []id {
	key, s, value := r.join(f), e.of(r), ""
	if key == "" {
		return nil
	}
	if r.distinct != nil {
		if value = e.text(r.distinct, f); value == "" {
			return nil
		}
	}
	at := s.Windows.at(key)
	if at == nil {
		at = s.Windows.add(e.names.of(key), &window{age: age{e.frozen}})
	}
	w := own(e, at)
	oldest := f.leaf.Time - int64(r.Threshold.Within)
	w.Hits = slices.DeleteFunc(w.Hits, func(h hit) bool { return h.Time < oldest || value != "" && h.Value == value })
	w.Hits = append(w.Hits, hit{f.leaf.Time, e.names.of(value), idOf(f.event.GetId())})
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
	key, s, value := r.join(f), e.of(r), e.text(r.of, f)
	if key == "" || value == "" {
		return nil
	}
	at := s.Seen.at(key)
	if at == nil {
		at = s.Seen.add(e.names.of(key), e.newBaselined())
	}
	b := own(e, at)
	if b.Events == 0 {
		b.Since = f.leaf.Time
	}
	learnt := b.Events >= r.Baseline.Learn && f.leaf.Time-b.Since >= int64(r.Baseline.Over)
	b.Events++
	if b.Values.has(value) {
		return nil
	}
	b.Values.add(e.names.of(value), struct{}{})
	if !learnt {
		return nil
	}
	return e.causes(f)
}

// deadline opens and ends waiting.
func (e *Engine) deadline(r *Rule, f *facts) {
	key, s := r.join(f), e.of(r)
	if key == "" {
		return
	}
	waits := s.Deadlines.has(key)
	if waits && e.holds(r.until, f) {
		s.Deadlines.delete(key)
		return
	}
	if !waits && e.holds(r.after, f) {
		s.Deadlines.add(strings.Clone(key), due{
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
	for _, r := range e.set.waiting {
		if s := e.beyond[r.index]; s != nil {
			passed = s.pass(r, now, passed)
		}
	}
	if len(passed) == 0 {
		return nil
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
func (s *ruleState) pass(r *Rule, now int64, passed []overdue) []overdue {
	for {
		key, d := s.Deadlines.oldest()
		if d == nil || d.At >= now {
			return passed
		}
		passed = append(passed, overdue{*d, r, key})
		s.Deadlines.delete(key)
	}
}
