package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Firing says that a rule has recognised something.
type Firing struct {
	ID       event.ID // of the rule, its version and the event that completed it: a repeat has the same
	Rule     *Rule
	Index    uint64 // of the leaf that completed it
	Time     int64  // ns
	Instance string
	Run      string
	Action   string     // of the event
	Evidence []event.ID // what led to it, the event that completed it last
	Silent   string     // why it acts on nothing: "shadow", "imported"; empty if it does
}

// Stats counts since the engine was made.
type Stats struct {
	Events   uint64
	Firings  uint64
	Excepted uint64 // firings that an exception kept silent
	Failed   uint64 // conditions that could not be evaluated
	Dropped  uint64 // entries of the state that were forgotten because it was full
}

// Engine holds one tenant's leaves to the rules of a set. It is for one goroutine.
type Engine struct {
	set     *Set
	state   *state
	stats   Stats
	modes   []Mode       // of each rule
	beyond  []*ruleState // of each rule, as in state; nil where it has none yet
	written int          // size of the last snapshot, bytes
	frozen  uint64       // how many times the state was frozen

	inRuns, inInstances, elsewhere tally // see limits.go

	latest latest
	names  names
	facts  facts // of the event that is looked at, to be used again
}

// New begins before the first leaf.
func New(set *Set) *Engine {
	e := &Engine{set: set, modes: make([]Mode, len(set.Rules)), beyond: make([]*ruleState, len(set.Rules)), names: names{}}
	for _, t := range []*tally{&e.inRuns, &e.inInstances, &e.elsewhere} {
		t.dropped = &e.stats.Dropped
	}
	e.state = e.newState()
	e.lookUp()
	return e
}

// Stats are the counts so far.
func (e *Engine) Stats() Stats { return e.stats }

// Next is the index of the leaf that comes next.
func (e *Engine) Next() uint64 { return e.state.Next }

// Instances is how many instances of the tenant have a manifest.
func (e *Engine) Instances() int { return e.state.Manifests }

// Observe takes the next leaf, and returns what fires: first the deadlines that its time has passed, then the rules in the order
// of their file. Leaves must come in the order of the log; each is taken once.
func (e *Engine) Observe(l *Leaf) []Firing {
	firings := e.Advance(l.Time)
	e.state.Next = l.Index + 1
	if l.Event == nil {
		return firings
	}
	e.stats.Events++
	f := &e.facts
	*f = facts{leaf: l, event: l.Event, action: event.Action(l.Event)}
	e.look(l, &f.seen)
	for _, r := range e.set.byAction[f.action] {
		if e.modes[r.index] == Off {
			continue
		}
		if evidence := e.fires(r, f); evidence != nil && !e.excepted(r, f) {
			firings = append(firings, e.firing(r, f, evidence))
		}
	}
	e.learn(l, &f.seen)
	e.facts = facts{} // the event is not kept
	return firings
}

// fires returns the events for which a rule fires, nil if it does not.
func (e *Engine) fires(r *Rule, f *facts) []id {
	if !e.holds(r.when, f) {
		return nil
	}
	switch {
	case r.Sequence != nil:
		return e.sequence(r, f)
	case r.Threshold != nil:
		return e.threshold(r, f)
	case r.Baseline != nil:
		return e.baseline(r, f)
	case r.Deadline != nil:
		e.deadline(r, f)
		return nil
	}
	return e.causes(f)
}

// causes are the untrusted events behind an event, and itself.
func (e *Engine) causes(f *facts) (evidence []id) {
	for _, source := range []id{f.seen.source, f.seen.value} {
		if source != (id{}) && !slices.Contains(evidence, source) {
			evidence = append(evidence, source)
		}
	}
	return append(evidence, idOf(f.event.GetId()))
}

// excepted reports whether an exception of the rule holds that has not expired at the leaf's time.
func (e *Engine) excepted(r *Rule, f *facts) bool {
	for i, x := range r.Exceptions {
		if f.leaf.Time < int64(x.Expires) && e.holds(r.exceptions[i], f) {
			e.stats.Excepted++
			return true
		}
	}
	return false
}

func (e *Engine) firing(r *Rule, f *facts, evidence []id) Firing {
	return e.fired(r, e.subject(f), f.leaf.Time, evidence)
}

func (e *Engine) subject(f *facts) subject {
	return subject{
		Index: f.leaf.Index, Instance: e.names.of(f.event.GetInstance()), Run: e.names.of(f.event.GetRun()), Action: f.action,
		Imported: f.leaf.Producer == eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER,
	}
}

// subject is what a firing is about.
type subject struct {
	Index    uint64
	Instance string
	Run      string
	Action   string
	Imported bool
}

func (e *Engine) fired(r *Rule, s subject, now int64, evidence []id) Firing {
	e.stats.Firings++
	if len(evidence) > MaxEvidence {
		evidence = evidence[len(evidence)-MaxEvidence:]
	}
	f := Firing{
		ID: firingID(r, evidence[len(evidence)-1]), Rule: r, Index: s.Index, Time: now, Instance: s.Instance, Run: s.Run, Action: s.Action,
		Evidence: make([]event.ID, len(evidence)),
	}
	for i, x := range evidence {
		f.Evidence[i] = event.ID(x)
	}
	switch {
	case s.Imported:
		f.Silent = "imported"
	case e.modes[r.index] != Live:
		f.Silent = "shadow"
	}
	return f
}

// firingDomain separates ids of firings from every other use of SHA-256.
const firingDomain = "custody/firing/v1\x00"

// firingID is the first 16 bytes of SHA-256("custody/firing/v1\0" ‖ rule ‖ 0 ‖ version ‖ cause), marked as a UUIDv8 (RFC 9562).
func firingID(r *Rule, cause id) event.ID {
	var room [128]byte // more than the longest rule's
	b := append(append(append(room[:0], firingDomain...), r.ID...), 0)
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint32(b, r.Version), cause[:]...))
	out := event.ID(sum[:16])
	out[6], out[8] = out[6]&0x0f|0x80, out[8]&0x3f|0x80
	return out
}

// Hash is SHA-256 of the snapshot.
func (e *Engine) Hash() [sha256.Size]byte { return sha256.Sum256(e.Snapshot()) }
