package rules

import (
	"io"
	"maps"
	"slices"
)

// Frozen is the state of an engine at one moment, for whoever writes it while the engine goes on. It shares with the engine what is large:
// the engine makes a copy of a run, an instance, a window or a baseline before it changes it for the first time after that moment.
type Frozen struct {
	set   *Set
	stats Stats
	state *state
}

// Freeze is the state after the last leaf. It takes a moment however much there is.
func (e *Engine) Freeze() *Frozen {
	e.frozen++
	e.latest = latest{}
	s := e.state
	f := &state{
		Next: s.Next, Now: s.Now, Runs: s.Runs.frozen(), Instances: maps.Clone(s.Instances), Manifests: s.Manifests,
		Memories: s.Memories.frozen(), Credentials: s.Credentials.frozen(), Bound: s.Bound.frozen(),
		Rules: make(map[string]*ruleState, len(s.Rules)), Modes: maps.Clone(s.Modes),
	}
	for name, r := range s.Rules {
		f.Rules[name] = &ruleState{r.Partial.frozen(), r.Windows.frozen(), r.Seen.frozen(), r.Deadlines.frozen()}
	}
	return &Frozen{e.set, e.stats, f}
}

// Write writes what Snapshot would have returned at the moment of Freeze. It may run beside the engine. The error is that of out.
func (f *Frozen) Write(out io.Writer) error {
	w := &writer{out: out, b: make([]byte, 0, passOn+passOn/4)}
	w.snapshot(f.set, f.stats, f.state)
	w.flush()
	return w.err
}

// age is how often the engine had been frozen when a part of its state was made.
type age struct{ frozen uint64 }

func (a age) since(frozen uint64) bool { return a.frozen == frozen }

// part is a part of the state that an engine and a frozen state may have in common.
type part[P any] interface {
	since(frozen uint64) bool
	clone(age) P // with the other age
}

// own is the part at a place, after a frozen state's was replaced by a copy: it can be changed.
func own[P part[P]](e *Engine, at *P) P {
	if !(*at).since(e.frozen) {
		*at = (*at).clone(age{e.frozen})
	}
	return *at
}

func (r *run) clone(a age) *run {
	c := *r
	c.age = a
	c.Tainted, c.Untrusted, c.Trusted = r.Tainted.clone(), r.Untrusted.clone(), r.Trusted.clone()
	c.Calls, c.Proposals = r.Calls.clone(), r.Proposals.clone()
	return &c
}

func (i *instance) clone(a age) *instance {
	return &instance{age: a, Manifest: i.Manifest, Permissions: i.Permissions, Trusted: i.Trusted.clone()}
}

func (x *window) clone(a age) *window { return &window{a, slices.Clone(x.Hits)} }

func (b *baselined) clone(a age) *baselined {
	return &baselined{a, b.Since, b.Events, b.Values.clone()}
}
