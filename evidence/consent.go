package evidence

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// consent is what stood behind a call when it started, as far as the records before it in the range say.
type consent uint8

// The states of consent.
const (
	consentNone      consent = iota // nothing here, and the start names no approval
	consentOutside                  // nothing here; the start names an approval that is not among the records before it
	consentRequested                // asked for or passed on, not answered
	consentRejected
	consentExpired   // closed without an answer
	consentApproved  // given for this tool, and still good
	consentOtherTool // given for another tool
	consentUsed      // given once, and used by an earlier start
	consentLapsed    // given until a time before the start, by the clock of the agent
	consentOtherArgs // given for other arguments
)

var consentNames = [...]string{"none", "outside", "requested", "rejected", "expired", "approved", "other_tool", "used", "lapsed", "other_arguments"}

func (c consent) String() string { return consentNames[c] }

// answer is the latest word on one call.
type answer struct {
	state      consent
	used       bool
	record     chain.Index // of the approval event
	validUntil int64       // nanoseconds since 1970; 0 is once
	tool       [8]byte     // first bytes of its SHA-256
	anyTool    bool        // no tool is named
	arguments  argumentsID // for which it was given; zero if no proposal of the call says
	vouched    bool        // Custody itself has recorded that this approver approved this call, shown this text
}

// callID stands for instance, run and call within one process: two hashes with seeds that nobody can know before. Calls are many,
// and remembered by the thousand.
type callID [2]uint64

// callSeeds are the seeds of every callID.
var callSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

// argumentsID stands for the arguments of a call: the first bytes of their digest, more than anybody can aim at.
type argumentsID [16]byte

func argumentsOf(x *eventv1.Execution) (id argumentsID) {
	copy(id[:], x.GetArgumentsDigest())
	return id
}

// others reports whether a start names other arguments, where both are known.
func (a argumentsID) others(x *eventv1.Execution) bool {
	ran := argumentsOf(x)
	return a != ran && a != argumentsID{} && ran != argumentsID{}
}

// eventKey is an event's id.
type eventKey [16]byte

// calls remembers what was decided and answered about calls. What is over is forgotten, so it grows with the calls that are
// open or were refused, and with the approvals.
type calls struct {
	proposed map[callID]argumentsID // the last that a proposal named
	decided  map[callID]eventv1.Decision
	answers  map[callID]*answer
	byEvent  map[eventKey]*answer // for a start that names the approval itself
	people   people
}

func newCalls() *calls {
	return &calls{map[callID]argumentsID{}, map[callID]eventv1.Decision{}, map[callID]*answer{}, map[eventKey]*answer{}, newPeople()}
}

func idOf(e *eventv1.Event, call string) callID { return callOf(e.GetInstance(), e.GetRun(), call) }

// usualCall is room for the names of most calls.
const usualCall = 192

func callOf(instance, run, call string) callID {
	b := make([]byte, 0, usualCall)
	for _, part := range [...]string{instance, run, call} {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	return callID{maphash.Bytes(callSeeds[0], b), maphash.Bytes(callSeeds[1], b)}
}

func toolOf(tool string) [8]byte {
	sum := sha256.Sum256([]byte(tool))
	return [8]byte(sum[:8])
}

// approval takes an event of the kind approval.
func (c *calls) approval(f *fact) {
	x := f.event.GetApproval()
	a := &answer{record: f.index, validUntil: x.GetValidUntil(), tool: toolOf(x.GetTool()), anyTool: x.GetTool() == ""}
	switch x.GetAction() {
	case eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED:
		a.state = consentApproved
		a.vouched = c.people.vouch(f.event, x)
	case eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED:
		a.state = consentRejected
	case eventv1.ApprovalAction_APPROVAL_ACTION_EXPIRED:
		a.state = consentExpired
	default:
		a.state = consentRequested
	}
	c.byEvent[eventKey(f.event.GetId())] = a
	if x.GetCall() != "" {
		id := idOf(f.event, x.GetCall())
		c.answers[id], a.arguments = a, c.proposed[id]
	}
}

// execution takes an event of the kind execution; of a start it says what stood behind it.
func (c *calls) execution(f *fact) {
	x := f.event.GetExecution()
	switch x.GetAction() {
	case eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED:
		if arguments := argumentsOf(x); arguments != (argumentsID{}) {
			c.proposed[idOf(f.event, x.GetCall())] = arguments
		}
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		c.decided[idOf(f.event, x.GetCall())] = x.GetDecision()
	case eventv1.ExecutionAction_EXECUTION_ACTION_STARTED:
		c.start(f, x)
	case eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED, eventv1.ExecutionAction_EXECUTION_ACTION_FAILED:
		c.end(f, x)
	}
}

// end forgets the decision, and an answer that can serve no other attempt.
func (c *calls) end(f *fact, x *eventv1.Execution) {
	if len(c.proposed) == 0 && len(c.decided) == 0 && len(c.answers) == 0 {
		return
	}
	id := idOf(f.event, x.GetCall())
	delete(c.proposed, id)
	delete(c.decided, id)
	if x.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED {
		delete(c.answers, id)
	}
}

func (c *calls) start(f *fact, x *eventv1.Execution) {
	var id callID
	if len(c.decided) > 0 || len(c.answers) > 0 {
		id = idOf(f.event, x.GetCall())
		f.decided = c.decided[id]
	}
	named := false
	for _, cause := range f.event.GetCauses() {
		if cause.GetRelation() == eventv1.Relation_RELATION_APPROVAL {
			named, f.answer = true, c.byEvent[eventKey(cause.GetId())]
		}
	}
	if f.answer == nil {
		f.answer = c.answers[id]
	}
	switch {
	case f.answer != nil:
		f.consent = f.answer.covers(f.event, x)
	case named:
		f.consent = consentOutside
	}
}

// covers says whether an answer allows a start, and uses it.
func (a *answer) covers(e *eventv1.Event, x *eventv1.Execution) consent {
	switch {
	case a.state != consentApproved:
		return a.state
	case !a.anyTool && a.tool != toolOf(x.GetTool()):
		return consentOtherTool
	case a.arguments.others(x):
		return consentOtherArgs
	case a.validUntil > 0 && e.GetOccurredAt() > a.validUntil:
		return consentLapsed
	case a.validUntil == 0 && a.used:
		return consentUsed
	}
	a.used = true
	return consentApproved
}
