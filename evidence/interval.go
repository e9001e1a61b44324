package evidence

import (
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
)

// When bounds the time of one event that was asked about. What an event says of its own time is a claim; the bounds are not the agent's.
type When struct {
	Event    string      `json:"event"`
	Found    bool        `json:"found"` // its content is in the bundle, in a record that says so
	Record   chain.Index `json:"record"`
	Instance string      `json:"instance"`
	Claimed  Instant     `json:"claimed"`          // by its producer's own clock
	Made     bool        `json:"made"`             // the claim was made up by an importer
	Received Instant     `json:"received"`         // by the log's clock
	After    *Bound      `json:"after,omitempty"`  // signed after this, by the log's clock
	Since    *Bound      `json:"since,omitempty"`  // signed after this, as witnesses confirm
	Before   *Bound      `json:"before,omitempty"` // happened and was recorded before this, as witnesses or authorities confirm
}

// Bound is one end of an interval.
type Bound struct {
	At     Instant     `json:"at"`
	Record chain.Index `json:"record"` // of the log: the last that stood in it then, or that the producer had seen
	By     string      `json:"by"`     // "log", witnesses or an authority
}

// byLog is whose word a bound is that nobody else gives.
const byLog = "log"

// datedEvent is an event that was asked about, as a worker found it.
type datedEvent struct {
	id       event.ID
	index    chain.Index
	received Instant
	claimed  Instant
	made     bool
	instance string
	seen     *chain.Index // the newest record that its producer had seen when it signed
}

// when answers for every event that was asked about, in the order of the questions.
func (v *verification) when() (list []When) {
	for _, id := range v.options.Events {
		w := When{Event: id.String()}
		if s, found := v.dated[id]; found {
			w = v.bounds(s)
		}
		list = append(list, w)
	}
	return list
}

func (v *verification) bounds(s datedEvent) When {
	w := When{
		Event: s.id.String(), Found: true, Record: s.index, Instance: s.instance, Claimed: s.claimed, Made: s.made, Received: s.received,
		Before: v.existed(s.index),
	}
	if s.seen == nil {
		return w
	}
	w.Since = v.notYet(*s.seen)
	if *s.seen >= v.scope.shownBegin() && *s.seen < v.scope.shownEnd() {
		if leaf, _, err := v.leafAt(*s.seen); err == nil {
			w.After = &Bound{Instant(leaf.Time), *s.seen, byLog}
		}
	}
	return w
}

// existed is the earliest time by which others have confirmed a state of the log that holds the record.
func (v *verification) existed(index chain.Index) (b *Bound) {
	for _, a := range v.anchored {
		if a.size > index && (b == nil || a.until < b.At) {
			b = &Bound{a.until, a.size - 1, a.by}
		}
	}
	return b
}

// notYet is the latest time at which witnesses had confirmed a state of the log that does not hold the record yet.
func (v *verification) notYet(index chain.Index) (b *Bound) {
	for _, a := range v.anchored {
		if a.from > 0 && a.size <= index && (b == nil || a.from > b.At) {
			b = &Bound{a.from, a.size - min(a.size, 1), a.by}
		}
	}
	return b
}
