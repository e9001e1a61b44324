package rules

import (
	"cmp"
	"slices"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// maxEffects is how many prevented acts a result names; it counts all.
const maxEffects = 20

// Result is one firing over history, with what a stop there would have prevented.
type Result struct {
	Firing
	// Prevented are the first acts of moderate or high consequence that the run, or the instance outside a run, started afterwards:
	// the counterfactual cut. It supposes that the agent would have done nothing else instead.
	Prevented []Effect
	Acts      uint64 // how many there were
	High      uint64 // and of high consequence
}

// Effect is one act that was started.
type Effect struct {
	Index       uint64
	ID          event.ID
	Tool        string
	Destination string
	Consequence string
}

// Backtest runs rules over history with the engine that runs them live. The zero From and To bound nothing.
type Backtest struct {
	Only     string // report this rule's firings alone; empty is all
	From, To int64  // report firings of leaves in [From, To), ns UTC; the log is folded from its beginning all the same

	engine  *Engine
	results []*Result
	open    map[string][]*Result // by run or instance
}

// NewBacktest begins before the first leaf.
func NewBacktest(set *Set, only string, from, to int64) *Backtest {
	return &Backtest{Only: only, From: from, To: to, engine: New(set), open: map[string][]*Result{}}
}

// Observe takes the next leaf.
func (b *Backtest) Observe(l *Leaf) {
	if l.Event.GetExecution().GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_STARTED {
		b.effect(l)
	}
	for _, f := range b.engine.Observe(l) {
		b.note(f)
	}
}

// scope is what a stop would have stopped.
func scope(instance, run string) string { return instance + "\x00" + run }

func (b *Backtest) note(f Firing) {
	if b.Only != "" && f.Rule.ID != b.Only || f.Time < b.From || b.To != 0 && f.Time >= b.To {
		return
	}
	r := &Result{Firing: f}
	b.results = append(b.results, r)
	key := scope(f.Instance, f.Run)
	b.open[key] = append(b.open[key], r)
}

// effect counts an act for the firings before it.
func (b *Backtest) effect(l *Leaf) {
	open := b.open[scope(l.Event.GetInstance(), l.Event.GetRun())]
	if len(open) == 0 {
		return
	}
	x := l.Event.GetExecution()
	s := seen{instance: b.engine.instanceOf(l.Event.GetInstance()), about: x.GetCall(), tool: x.GetTool()}
	if s.class(nil, l.Event); s.consequence == "low" {
		return
	}
	e := Effect{l.Index, event.ID(l.Event.GetId()), x.GetTool(), x.GetDestination(), s.consequence}
	for _, r := range open {
		r.add(e)
	}
}

func (r *Result) add(e Effect) {
	r.Acts++
	if e.Consequence == "high" {
		r.High++
	}
	if len(r.Prevented) < maxEffects {
		r.Prevented = append(r.Prevented, e)
	}
}

// End passes the deadlines up to now, and returns all results in the order of the log.
func (b *Backtest) End(now int64) []*Result {
	for _, f := range b.engine.Advance(now) {
		b.note(f)
	}
	return b.results
}

// Stats are those of the engine.
func (b *Backtest) Stats() Stats { return b.engine.Stats() }

// Difference are the results that only one of two backtests of the same history has, by rule and cause.
func Difference(before, after []*Result) (gone, added []*Result) {
	return without(before, after), without(after, before)
}

type occasion struct {
	rule  string
	index uint64
}

func without(of, others []*Result) (rest []*Result) {
	known := map[occasion]bool{}
	for _, r := range others {
		known[occasion{r.Rule.ID, r.Index}] = true
	}
	for _, r := range of {
		if !known[occasion{r.Rule.ID, r.Index}] {
			rest = append(rest, r)
		}
	}
	slices.SortStableFunc(rest, func(a, b *Result) int { return cmp.Compare(a.Index, b.Index) })
	return rest
}
