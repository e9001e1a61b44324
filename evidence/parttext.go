package evidence

import (
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Arrivals counts what was received after the period and within its grace, by when producers say that it happened.
type Arrivals struct {
	Late  uint64 `json:"late"`  // in the period: it arrived late
	Later uint64 `json:"later"` // at another time
}

// arrived counts an event that was received after the period.
func (w *worker) arrived(j *job, l *chain.Leaf, e *eventv1.Event) {
	switch happened := Instant(e.GetOccurredAt()); {
	case Instant(l.Time) < w.scope.To:
	case happened >= w.scope.From && happened < w.scope.To:
		j.arrivals.Late++
	default:
		j.arrivals.Later++
	}
}

func (v *Verdict) arrived(p *page) {
	if v.Arrivals != nil {
		p.item("%s in the period by the producer's clock and arrived after it; %s", count(v.Arrivals.Late, "record happened", "records happened"),
			count(v.Arrivals.Later, "other record arrived then", "other records arrived then"))
	}
}

// Keys of meanings for bundles of less than a tenant.
const (
	ofInstance = "completeness of an instance"
	ofRun      = "completeness of a run"
)

// completenessOf says which meanings the answer has.
func (v *Verdict) completenessOf() string {
	switch {
	case v.Scope == nil || v.Scope.whole():
		return "completeness"
	case v.Scope.Run == "":
		return ofInstance
	}
	return ofRun
}

// part says which part of the tenant's records the bundle is about.
func (v *Verdict) part(p *page) {
	if v.Scope.whole() {
		return
	}
	p.row("only", "instance %s", event.Escape(v.Scope.Instance))
	if v.Scope.Run != "" {
		p.row("", "task %s", event.Escape(v.Scope.Run))
	}
	if v.Selection != nil {
		p.row("", "%s of others in the period: only linked, without name or content", count(v.Selection.Outside, "record is", "records are"))
	}
}

// rests says what the completeness of a part rests on.
func (v *Verdict) rests(p *page) {
	s := v.Selection
	if s == nil || v.Completeness == NoClaim {
		return
	}
	what := "For the others only the operator's word shows that nothing was left out."
	switch {
	case s.Emitters == 0:
		what = "No record of it is in the period, and only the operator's word shows that none was filed under another name."
	case s.Contiguous == 0:
		what = "Only the operator's word shows that nothing was left out."
	case s.Contiguous == s.Emitters && s.Others > 0:
		what = "Their numbers go on without a gap to its end; only the operator's word shows that others of this instance recorded nothing of it."
	case s.Basis == Contiguous && v.Scope.Run == "":
		what = "Each one's signed numbers go on without a gap: a record filed under another name would be missing among them."
	case s.Basis == Contiguous:
		what = "Each one's signed numbers of the task go on without a gap to its end: a record left out would be missing among them."
	}
	p.item("%-14s%-14s%d of %s. %s", "rests on", basisWords[s.Basis], s.Contiguous, count(uint64(s.Emitters), "producer", "producers"), what)
}

var basisWords = map[string]string{Contiguous: "CONTIGUOUS", Claimed: "CLAIMED"}

// limitsOfPart says what cannot be concluded because others are not shown.
func (v *Verdict) limitsOfPart() (list []string) {
	s := v.Selection
	if s == nil {
		return nil
	}
	list = append(list, "That nobody else reported for this instance: which producers are its own, and what was decided about them, is shown as the operator chose.")
	if s.Others > 0 {
		list = append(list, fmt.Sprintf("That %s of this instance recorded nothing of this task.", count(uint64(s.Others), "other producer", "other producers")))
	}
	if s.Outside > 0 {
		list = append(list, "What the records of others say, and whose they are: only that they stand between these and have not changed.")
	}
	return list
}
