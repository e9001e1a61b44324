package evidence

import (
	"slices"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// burst is how many approvals by one person within burstTime are many: more than can be read, one by one.
	burst = 5
	// burstTime is one minute in nanoseconds.
	burstTime = 60 * 1e9
)

// The paces at which a person approves.
const (
	paceNone   = iota // not an approval that Custody recorded
	paceSteady        // few within burstTime
	paceBurst         // the fifth or a later one within burstTime
)

// people remembers what Custody has recorded about approvers and reviews.
type people struct {
	approvals map[eventKey]*stamped
	times     map[string][]int64  // of the last approvals of each person, nanoseconds since 1970
	reviews   map[[2]string]int64 // when the next one is due, by topic and subject; 0 is never
}

// stamped is one approval as Custody recorded it.
type stamped struct {
	call     callID
	approver string
	shown    string
}

func newPeople() people {
	return people{map[eventKey]*stamped{}, map[string][]int64{}, map[[2]string]int64{}}
}

// system takes an event of Custody's own.
func (p *people) system(f *fact) {
	s := f.event.GetSystem()
	if x := s.GetReview(); x != nil {
		subject := [2]string{x.GetTopic(), x.GetSubject()}
		due := p.reviews[subject]
		f.late, p.reviews[subject] = due > 0 && f.time > due, x.GetNextAt()
	}
	if x := s.GetApproval(); x.GetState() == eventv1.ApprovalState_APPROVAL_STATE_APPROVED || x.GetState() == eventv1.ApprovalState_APPROVAL_STATE_HALF {
		f.pace = p.pace(s.GetActor(), f.time)
		if x.GetState() == eventv1.ApprovalState_APPROVAL_STATE_APPROVED {
			p.approvals[eventKey(f.event.GetId())] = &stamped{callOf(x.GetInstance(), x.GetRun(), x.GetCall()), s.GetActor(), string(x.GetShownDigest())}
		}
	}
}

// pace counts one more approval of a person.
func (p *people) pace(who string, at int64) uint8 {
	last := slices.DeleteFunc(p.times[who], func(t int64) bool { return at-t >= burstTime })
	last = append(last, at)
	p.times[who] = last[max(len(last)-burst, 0):]
	if len(last) >= burst {
		return paceBurst
	}
	return paceSteady
}

// vouch reports whether an agent's record of an approval names one that Custody recorded: of this call, by this approver, of this text.
func (p *people) vouch(e *eventv1.Event, x *eventv1.Approval) bool {
	for _, cause := range e.GetCauses() {
		a := p.approvals[eventKey(cause.GetId())]
		if a != nil && cause.GetRelation() == eventv1.Relation_RELATION_APPROVAL && a.call == idOf(e, x.GetCall()) &&
			a.approver == x.GetApprover() && a.shown == string(x.GetShownDigest()) {
			return true
		}
	}
	return false
}
