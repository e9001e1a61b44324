package contain

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// maxOpenQuestions is how many open questions an instance may have: more than people can answer.
	maxOpenQuestions = 64
	// maxKeptQuestions is how many questions of a tenant are remembered. The log has them all.
	maxKeptQuestions = 1024
)

// Short names of the states of a question.
const (
	asked        = eventv1.ApprovalState_APPROVAL_STATE_ASKED
	halfApproved = eventv1.ApprovalState_APPROVAL_STATE_HALF
	approved     = eventv1.ApprovalState_APPROVAL_STATE_APPROVED
	rejected     = eventv1.ApprovalState_APPROVAL_STATE_REJECTED
	escalated    = eventv1.ApprovalState_APPROVAL_STATE_ESCALATED
	withdrawn    = eventv1.ApprovalState_APPROVAL_STATE_WITHDRAWN
)

// QuestionID is how people name a question: "a-" and twelve letters and digits, made from the id of its approval.requested event.
type QuestionID string

// QuestionOf is the id of the question that an approval.requested event asks.
func QuestionOf(request event.ID) QuestionID {
	sum := sha256.Sum256(append([]byte("custody/question/v1\x00"), request[:]...))
	return QuestionID("a-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:12]))
}

// Question is one question of a gate, with what people have done about it. Times are nanoseconds since the Unix epoch, by the stream.
type Question struct {
	ID      QuestionID
	Asked   *eventv1.ApprovalStep // must not be changed
	AskedAt int64
	Seq     uint64                // of the stream message that recorded it; what it asks about came before
	State   eventv1.ApprovalState // of the last step that counted
	Only    string                // the person who has to answer; empty is anybody
	Acts    []Act

	passedOn []string // persons who have escalated it
}

// Act is one step that somebody took.
type Act struct {
	Record event.ID
	Actor  string // empty: the gate
	At     int64
	Reason string
	Step   *eventv1.ApprovalStep // must not be changed
}

// IsOpen reports whether the question waits for somebody.
func (q *Question) IsOpen() bool {
	return q.State == asked || q.State == halfApproved || q.State == escalated
}

// IsExpired reports whether nobody can answer any more.
func (q *Question) IsExpired(now int64) bool { return q.IsOpen() && now > q.Asked.GetValidUntil() }

// first is who has given the first of two approvals.
func (q *Question) first() string {
	for _, a := range q.Acts {
		if a.Step.GetState() == halfApproved {
			return a.Actor
		}
	}
	return ""
}

// last is the newest step, nil if there is none.
func (q *Question) last() *Act {
	if len(q.Acts) == 0 {
		return nil
	}
	return &q.Acts[len(q.Acts)-1]
}

// request is the id of the event that asks.
func (q *Question) request() event.ID { return event.ID(q.Asked.GetRequest()) }

func (q *Question) clone() *Question {
	other := *q
	other.Acts, other.passedOn = slices.Clone(q.Acts), slices.Clone(q.passedOn)
	return &other
}

// questions is a fold over the approval events of Custody in one tenant's log. A closed question stays closed.
type questions struct {
	list []*Question // in the order of asking
}

func (s *questions) find(request []byte) *Question {
	for _, q := range slices.Backward(s.list) {
		if string(q.Asked.GetRequest()) == string(request) {
			return q
		}
	}
	return nil
}

// byName finds a question by its id, or by that of the event that asks.
func (s *questions) byName(name string) *Question {
	for _, q := range slices.Backward(s.list) {
		if string(q.ID) == name || q.request().String() == name {
			return q
		}
	}
	return nil
}

// openOf counts the questions of an instance that can still be answered.
func (s *questions) openOf(instance string, now int64) (n int) {
	for _, q := range s.list {
		if q.Asked.GetInstance() == instance && q.IsOpen() && !q.IsExpired(now) {
			n++
		}
	}
	return n
}

// apply folds one event.
func (s *questions) apply(at int64, seq uint64, e *eventv1.Event) {
	x := e.GetSystem().GetApproval()
	q := s.find(x.GetRequest())
	switch {
	case q == nil && x.GetState() == asked:
		s.list = append(s.list, &Question{ID: QuestionOf(event.ID(x.GetRequest())), Asked: x, AskedAt: at, Seq: seq, State: asked})
		s.forget(at)
	case q != nil && q.IsOpen() && x.GetState() != asked:
		q.Acts = append(q.Acts, Act{event.ID(e.GetId()), e.GetSystem().GetActor(), at, e.GetSystem().GetReason(), x})
		q.State = x.GetState()
		if q.State == escalated {
			q.Only, q.passedOn = x.GetEscalatedTo(), append(q.passedOn, e.GetSystem().GetActor())
			if q.first() != "" {
				q.State = halfApproved
			}
		}
	}
}

// forget drops the oldest beyond the limit, those first that nobody can answer.
func (s *questions) forget(now int64) {
	if len(s.list) <= maxKeptQuestions {
		return
	}
	at := slices.IndexFunc(s.list, func(q *Question) bool { return !q.IsOpen() || q.IsExpired(now) })
	s.list = slices.Delete(s.list, max(at, 0), max(at, 0)+1)
}
