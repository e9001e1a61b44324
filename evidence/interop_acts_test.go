//go:build interop

package evidence

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// acts makes events of every action whose order and fields are drawn, so that populations and controls have something to tell apart.
type acts struct {
	r         *rapid.T
	w         *world
	a         *sender
	approvals [][]byte
}

// texts are what somebody may write: nothing, formulas, quotes, and what no cell shows as it is.
var texts = []string{"", "mail", "wire", "=SUM(A1)", "  -1", `a "b", c`, "Zoë 東京 Ж", "\x1b[31m\n\u202e\U0001f600\u00ad", "   "}

func (x *acts) text(what string) string { return rapid.SampledFrom(texts).Draw(x.r, what) }

func (x *acts) is(what string) bool { return rapid.Bool().Draw(x.r, what) }

// event is an example of an action with other fields.
func (x *acts) event(s *sender, action string) *eventv1.Event {
	e, example := s.envelope(), event.Example(action)
	e.Body = proto.CloneOf(example).Body
	e.OccurredAt += rapid.SampledFrom([]int64{0, -2e9, -90e9, -1e12, 1e12}).Draw(x.r, "occurred")
	e.Principal, e.Trust = rapid.SampledFrom([]string{"", "ann", "bob"}).Draw(x.r, "principal"), eventv1.Trust(rapid.Int32Range(0, 3).Draw(x.r, "trust"))
	if x.is("delegated") {
		e.OnBehalfOf = []string{"carl"}
	}
	if s != x.w.custody && (example.Run != "" || x.is("run")) {
		s.runSeq++
		e.Run, e.RunSeq = "run-1", s.runSeq
	}
	x.causes(e)
	switch b := e.Body.(type) {
	case *eventv1.Event_Execution:
		x.execution(b.Execution)
	case *eventv1.Event_Approval:
		x.approval(e, b.Approval)
	case *eventv1.Event_Identity:
		x.identity(e, b.Identity)
	case *eventv1.Event_System:
		b.System.Actor, b.System.Reason = x.text("actor"), x.text("reason")
	}
	return e
}

func (x *acts) causes(e *eventv1.Event) {
	for range rapid.IntRange(0, 2).Draw(x.r, "causes") {
		id := event.Example("data.input_received").Id
		if len(x.approvals) > 0 && x.is("known") {
			id = rapid.SampledFrom(x.approvals).Draw(x.r, "cause")
		}
		c := &eventv1.Cause{Id: id, Basis: eventv1.CauseBasis(rapid.Int32Range(1, 2).Draw(x.r, "basis"))}
		c.Relation = rapid.SampledFrom([]eventv1.Relation{
			eventv1.Relation_RELATION_APPROVAL, eventv1.Relation_RELATION_INPUT, eventv1.Relation_RELATION_RETRY,
		}).Draw(x.r, "relation")
		if !slices.ContainsFunc(e.Causes, func(o *eventv1.Cause) bool { return string(o.Id) == string(id) && o.Relation == c.Relation }) {
			e.Causes = append(e.Causes, c)
		}
	}
}

func (x *acts) call() string {
	return rapid.SampledFrom([]string{"call-1", "call-2"}).Draw(x.r, "call")
}

func (x *acts) execution(b *eventv1.Execution) {
	b.Call, b.Tool, b.Operation, b.Destination = x.call(), x.text("tool"), x.text("operation"), x.text("destination")
	b.Consequence = eventv1.Consequence(rapid.Int32Range(0, 3).Draw(x.r, "consequence"))
	b.Attempt = rapid.SampledFrom([]uint32{0, 1, 5, 6}).Draw(x.r, "attempt")
	if b.Decision != 0 {
		b.Decision = eventv1.Decision(rapid.Int32Range(1, 3).Draw(x.r, "decision"))
	}
	if b.Outcome != 0 {
		b.Outcome = eventv1.Outcome(rapid.Int32Range(0, 5).Draw(x.r, "outcome"))
	}
}

func (x *acts) approval(e *eventv1.Event, b *eventv1.Approval) {
	b.Tool, b.Reason = x.text("tool"), x.text("reason")
	if b.Call = x.call(); x.is("by event") {
		b.Call = ""
	}
	if b.Approver != "" {
		b.Approver = rapid.SampledFrom([]string{"ann", "bob", "carl"}).Draw(x.r, "approver")
	}
	now := int64(x.w.now)
	b.ShownAt = rapid.SampledFrom([]int64{0, now - 3e9, now - 2e9, now - 60e9, now + 1}).Draw(x.r, "shown")
	b.ValidUntil = rapid.SampledFrom([]int64{0, now - 1, now + 60e9}).Draw(x.r, "until")
	if x.is("unseen") {
		b.ShownDigest = nil
	}
	x.approvals = append(x.approvals, e.Id)
}

func (x *acts) identity(e *eventv1.Event, b *eventv1.Identity) {
	if b.Action == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		b.LastRunSeq = e.RunSeq
	}
	if b.Action == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED && x.is("bare") {
		e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{Action: b.Action}}
	}
	if b.Credential != nil && x.is("unbounded") {
		b.Credential.Scopes, b.Credential.ExpiresAt = nil, 0
	}
}

// sayable are the actions that an agent, or Custody, can report without moving the numbering or the keys of the test's world.
func sayable(system bool) (list []string) {
	for _, action := range event.Actions() {
		switch {
		case strings.HasPrefix(action, "system.") != system, strings.HasPrefix(action, "identity.epoch_"):
		case action == "system.genesis", action == "system.instance", action == "system.key":
		default:
			list = append(list, action)
		}
	}
	return list
}

func (x *acts) live() {
	own, theirs := sayable(true), sayable(false)
	for i := range rapid.IntRange(1, 12).Draw(x.r, "batches") {
		x.w.now += 60e9
		s, actions := x.a, slices.Concat(theirs, often)
		if x.is("custody") {
			s, actions = x.w.custody, own
		}
		var events []*eventv1.Event
		for range rapid.IntRange(1, 6).Draw(x.r, "events") {
			events = append(events, x.event(s, rapid.SampledFrom(actions).Draw(x.r, "action")))
		}
		if s == x.a && x.is("secret") {
			s.batch(events, held(len(events)-1))
		} else {
			s.say(events...)
		}
		if i == 8 && x.is("revoked") {
			x.w.revoke(x.a, 0)
		}
	}
}

// often are drawn more often: populations hang on their order.
var often = slices.Repeat([]string{"execution.decided", "execution.started", "execution.finished", "approval.approved", "approval.rejected"}, 6)

// everyValue is a mapping with a question for each value of each term.
func everyValue(files map[string][]byte) {
	m := &Mapping{Version: 1, Frameworks: []Framework{{ID: "all", Controls: []Control{{ID: "none", Tests: []string{}}}}}}
	for at, term := range terms {
		for i, value := range term.values {
			q, require := term.name+"="+value, ""
			if i > 0 {
				require = terms[(at+1)%len(terms)].name + "!=" + terms[(at+1)%len(terms)].values[0]
			}
			m.Tests = append(m.Tests, Test{ID: q, Select: q, Require: require})
			m.Frameworks[0].Controls = append(m.Frameworks[0].Controls, Control{ID: q, Tests: []string{q}})
		}
	}
	files[fileControls], _ = marshalJSON(m)
}

// Both verifiers derive the same lists and the same answers, whatever agents report in whatever order.
func TestSecondVerifierOnActs(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, "acme")
		x := &acts{r: r, w: w, a: w.producer("support-1", eventv1.ProducerClass(rapid.Int32Range(1, 3).Draw(r, "class")))}
		x.live()
		w.clock("11:00").access()
		from := rapid.SampledFrom([]string{"00:00", "08:03"}).Draw(r, "from")
		good := w.bundle(from, "10:30", everyFramework)
		if v := verify(t, good, w.policy()); v.Exit >= ExitContainer || !v.Controls.Known {
			r.Fatal(details(v))
		}
		asked := repack(t, w.export, good, everyValue)
		asked = repack(t, w.export, asked, func(files map[string][]byte) { files[fileControls] = answered(t, asked) })
		n++
		keepVector(t, dir, fmt.Sprintf("acts-%03d", n), good, w.policy())
		keepVector(t, dir, fmt.Sprintf("asked-%03d", n), asked, w.policy())
	})
	runVectors(t, dir)
}
