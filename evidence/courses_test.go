package evidence

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// act is a record of Custody's own, at a time.
func (w *world) act(clock, actor, reason string, x *eventv1.System) []byte {
	x.Actor, x.Reason = actor, reason
	e := w.clock(clock).custody.systemEvent(x)
	w.custody.say(e)
	return e.GetId()
}

func contained(state eventv1.ContainmentState, path string, edits ...func(*eventv1.Containment)) *eventv1.System {
	x := &eventv1.Containment{State: state, Target: "instance/acme/support-1", Level: "quarantine", Plan: "plan-7", Path: path}
	if path != "" {
		x.Step, x.Observer, x.Evidence = 1, "gateway", "a call was refused"
	}
	for _, edit := range edits {
		edit(x)
	}
	return &eventv1.System{Detail: &eventv1.System_Containment{Containment: x}}
}

func caseAct(action eventv1.CaseAction, class string, cited ...[]byte) *eventv1.System {
	x := &eventv1.Case{Case: "case-1", Action: action, Class: class, Events: cited}
	if action == eventv1.CaseAction_CASE_ACTION_OPENED {
		x.Target, x.TriggerAt = "instance/acme/support-1", int64(at("09:00"))
	}
	return &eventv1.System{Detail: &eventv1.System_Case{Case: x}}
}

func notNeeded(x *eventv1.System) *eventv1.System {
	x.GetCase().NotNeeded = true
	return x
}

// question is a step of a question about a call.
func (w *world) question(request []byte, state eventv1.ApprovalState, edits ...func(*eventv1.ApprovalStep)) *eventv1.System {
	x := &eventv1.ApprovalStep{
		State: state, Request: request, SubjectEvent: request, Instance: "support-1", Run: "run-1", Principal: "user-17", Call: "call-1", Tool: "wire_money",
		Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, ShownDigest: bytes.Repeat([]byte{7}, 32), ArgumentsDigest: bytes.Repeat([]byte{8}, 32),
		ValidUntil: int64(at("10:00")),
	}
	for _, edit := range edits {
		edit(x)
	}
	return &eventv1.System{Detail: &eventv1.System_Approval{Approval: x}}
}

// incident is a day on which a question is answered, an instance is quarantined, and a case is worked through to its end.
func incident(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	ask := a.consents(asked, "call-1", "wire_money")
	a.say(ask, a.closing())
	w.act("09:01", "", "", w.question(ask.Id, eventv1.ApprovalState_APPROVAL_STATE_ASKED))
	w.act("09:02", "erin", "above my limit", w.question(ask.Id, eventv1.ApprovalState_APPROVAL_STATE_ESCALATED, func(x *eventv1.ApprovalStep) {
		x.EscalatedTo, x.Took = "bob", 60e9
	}))
	w.act("09:03", "bob", "known payee", w.question(ask.Id, eventv1.ApprovalState_APPROVAL_STATE_APPROVED, func(x *eventv1.ApprovalStep) { x.Took = 120e9 }))

	const gate = "gate/abc"
	w.act("09:10", "sam", "sends too much", contained(eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED, "", func(x *eventv1.Containment) { x.Second = "tess" }))
	w.act("09:10", "", "", contained(eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED, gate))
	w.act("09:11", "", "", contained(eventv1.ContainmentState_CONTAINMENT_STATE_DELIVERED, gate))
	w.act("09:12", "", "", contained(eventv1.ContainmentState_CONTAINMENT_STATE_ACKNOWLEDGED, gate))
	w.act("09:13", "", "", contained(eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED, gate))

	w.act("09:20", "ann", "money to a stranger", caseAct(eventv1.CaseAction_CASE_ACTION_OPENED, "", ask.Id))
	w.act("09:21", "ann", "a poisoned document", caseAct(eventv1.CaseAction_CASE_ACTION_TRIGGER, "retrieval", ask.Id))
	w.act("09:22", "ann", "no limit", caseAct(eventv1.CaseAction_CASE_ACTION_FAILURE, "policy", ask.Id))
	w.act("09:23", "ann", "none were shared", notNeeded(caseAct(eventv1.CaseAction_CASE_ACTION_SETTLED, "secrets")))
	change := w.act("09:24", "root", "limit payments", &eventv1.System{Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{
		Rule: "payment-limit", Version: 2, SourceDigest: bytes.Repeat([]byte{5}, 32), Mode: "live",
	}}})
	w.act("09:25", "ann", "it would have stopped it", caseAct(eventv1.CaseAction_CASE_ACTION_FIXED, "", change))
	w.act("09:26", "ann", "all done", caseAct(eventv1.CaseAction_CASE_ACTION_CLOSED, ""))
	w.act("09:30", "sam", "mended", contained(eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED, ""))
	w.clock("11:00").access()
	return w
}

// The report tells who was asked and answered, how far a containment came, and a case with the change that mends it.
func TestReportTellsAnIncident(t *testing.T) {
	page := string(unpack(t, incident(t).bundle("00:00", "10:30"))[fileReport])
	golden(t, filepath.Join("testdata", "incident.html"), page)
	text := strings.Join(strings.Fields(visible(page)), " ")
	for _, want := range []string{
		"passed on, 1m0s after it was asked: bob", "approved, 2m0s after it was asked", "known payee",
		"plan-7, from record", "by sam, confirmed by tess", "found what triggered it: retrieval", "found what failed: policy", "settled as not needed: secrets",
		"mended by rule payment-limit, version 2, live, record", "about instance/acme/support-1: closed",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q", want)
		}
	}
	row := `<td class="name"><bdi>gate/abc</bdi></td>`
	for i, state := range []string{"requested", "delivered", "acknowledged", "verified"} {
		row += fmt.Sprintf(`<td class="name" data-label="%s">2026-03-02 09:1%d:00 UTC</td>`, state, i)
	}
	if !strings.Contains(page, row) {
		t.Errorf("does not have the four states %s", row)
	}
	if words := jargon.FindAllString(visible(page), -1); words != nil {
		t.Errorf("a lawyer must read %q", words)
	}
}

// A case that ends later is not closed, and what mends it is not there.
func TestReportOfPartOfAnIncident(t *testing.T) {
	page := visible(string(unpack(t, incident(t).bundle("09:25", "09:26"))[fileReport]))
	for _, want := range []string{"not closed among these records", "mended by", ", not among these records"} {
		if !strings.Contains(page, want) {
			t.Errorf("does not say %q", want)
		}
	}
}

// Whatever a person or a connector writes, the page stays its own and stays small.
func TestHostileIncidents(t *testing.T) {
	w := newWorld(t, "acme")
	w.clock("09:00")
	long := strings.Repeat("\u202e", 1000)
	for i := range 3 * maxSteps {
		text := hostile[i%len(hostile)]
		plan := func(x *eventv1.Containment) {
			x.Plan, x.Target, x.Path, x.Evidence = fmt.Sprintf("plan-%d%s", i%(2*maxCourses), text), text, fmt.Sprintf("%s-%d", text, i), long
		}
		w.act("09:00", "sam", long, contained(eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED, "gate/abc", plan))
		act := caseAct(eventv1.CaseAction_CASE_ACTION_OPENED, "")
		act.GetCase().Case, act.GetCase().Target = fmt.Sprintf("case-%d%s", i%(2*maxCourses), text), text
		w.act("09:00", text, long, act)
		w.act("09:00", text, long, w.question(w.custody.envelope().GetId(), eventv1.ApprovalState_APPROVAL_STATE_ASKED, func(x *eventv1.ApprovalStep) { x.Tool = text }))
	}
	w.clock("11:00").access()
	bundle := w.bundle("08:30", "10:30", ExportOptions{Frameworks: noFrameworks})
	if v := verify(t, bundle, w.policy()); v.Integrity != Intact {
		t.Fatal(details(v))
	}
	page := unpack(t, bundle)[fileReport]
	checkHarmless(t, string(page))
	if len(page) > maxReport/4 || strings.Count(string(page), "more records") < 3 {
		t.Errorf("%d bytes, %d times more records", len(page), strings.Count(string(page), "more records"))
	}
}

// Only Custody's own records tell: an agent's say nothing about containments, cases and approvers.
func TestAnAgentTellsNoIncident(t *testing.T) {
	c := newCourses()
	e := &eventv1.Event{Body: &eventv1.Event_System{System: caseAct(eventv1.CaseAction_CASE_ACTION_OPENED, "")}}
	c.add(&fact{event: e, producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT})
	if len(c.cases.shown) != 0 {
		t.Error("an agent has opened a case")
	}
}

// told is what Custody's own records tell of courses, one after the other.
func toldCourses(list ...*eventv1.System) *courses {
	c := newCourses()
	for i, s := range list {
		e := &eventv1.Event{Id: fmt.Appendf(nil, "event-%010d", i), Body: &eventv1.Event_System{System: s}}
		c.add(&fact{index: chain.Index(i), event: e, producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, verdict: chain.Accepted})
	}
	return &c
}

// Only what the log accepted of Custody tells.
func TestWhoTellsAnIncident(t *testing.T) {
	e := &eventv1.Event{Body: &eventv1.Event_System{System: caseAct(eventv1.CaseAction_CASE_ACTION_OPENED, "")}}
	for _, test := range []struct {
		producer eventv1.ProducerClass
		verdict  chain.Verdict
		tells    int
	}{
		{eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, chain.Accepted, 1},
		{eventv1.ProducerClass_PRODUCER_CLASS_AGENT, chain.Accepted, 0},
		{eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, chain.KeyInvalid, 0},
	} {
		c := newCourses()
		if c.add(&fact{event: e, producer: test.producer, verdict: test.verdict}); len(c.cases.shown) != test.tells {
			t.Errorf("%s, %s: %d cases", test.producer, test.verdict, len(c.cases.shown))
		}
	}
}

// What a question says beside its words: how long somebody took, and to whom it was passed on.
func TestWordsOfQuestions(t *testing.T) {
	const yes = eventv1.ApprovalState_APPROVAL_STATE_APPROVED
	for _, test := range []struct {
		actor, to string
		took      int64
		want      string
	}{
		{"bob", "", 60e9, "approved, 1m0s after it was asked"},
		{"bob", "", 0, "approved"},
		{"", "", 60e9, "approved"},
		{"bob", "eve", 0, "approved"},
	} {
		c := toldCourses(&eventv1.System{Actor: test.actor, Detail: &eventv1.System_Approval{Approval: &eventv1.ApprovalStep{
			State: yes, Took: test.took, EscalatedTo: test.to,
		}}})
		step := c.questions.shown[0].Steps[0]
		if step.What != test.want || string(step.To) != test.to {
			t.Errorf("%+v: %+v", test, step)
		}
	}
}

// The page tells of so many courses and so many steps, and says how many more there are.
func TestLimitsOfCourses(t *testing.T) {
	cases := func(n, steps int) (list []*eventv1.System) {
		for i := range n {
			for range steps {
				s := caseAct(eventv1.CaseAction_CASE_ACTION_ADDED, "")
				s.GetCase().Case = fmt.Sprint("case-", i)
				list = append(list, s)
			}
		}
		return list
	}
	for name, test := range map[string]struct {
		list                       []*eventv1.System
		shown, steps, more, within int
	}{
		"most courses":  {cases(maxCourses, 1), maxCourses, maxCourses, 0, 0},
		"more courses":  {cases(maxCourses+2, 1), maxCourses, maxCourses, 2, 0},
		"most steps":    {cases(2, maxSteps/2), 2, maxSteps, 0, 0},
		"more steps":    {cases(2, maxSteps/2+3), 2, maxSteps, 0, 6},
		"no step left":  {cases(3, maxSteps/2), 2, maxSteps, maxSteps / 2, 0},
		"one long case": {cases(1, maxSteps+3), 1, maxSteps, 0, 3},
	} {
		c := toldCourses(test.list...)
		steps, within := 0, uint64(0)
		for _, x := range c.cases.shown {
			steps, within = steps+len(x.Steps), within+x.More
		}
		if len(c.cases.shown) != test.shown || steps != test.steps || c.cases.more != uint64(test.more) || within != uint64(test.within) {
			t.Errorf("%s: %d shown with %d steps, %d more, %d more within", name, len(c.cases.shown), steps, c.cases.more, within)
		}
	}
	closes := caseAct(eventv1.CaseAction_CASE_ACTION_CLOSED, "")
	closes.GetCase().Case = "one too many"
	c := toldCourses(append(cases(maxCourses, 1), closes, caseAct(eventv1.CaseAction_CASE_ACTION_ADDED, ""))...)
	for _, x := range c.cases.shown {
		if x.Ended {
			t.Errorf("%s has ended", x.Name)
		}
	}
}

// The same of containments and the ways that they close.
func TestLimitsOfContainments(t *testing.T) {
	plans := func(n, paths int) (list []*eventv1.System) {
		for i := range n {
			for k := range paths {
				list = append(list, contained(eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED, "gate", func(x *eventv1.Containment) {
					x.Plan, x.Path = fmt.Sprint("plan-", i), fmt.Sprint("gate/", k)
				}))
			}
		}
		return list
	}
	for name, test := range map[string]struct {
		list                       []*eventv1.System
		shown, paths, more, within int
	}{
		"most":       {plans(maxCourses, 1), maxCourses, maxCourses, 0, 0},
		"more":       {plans(maxCourses+2, 1), maxCourses, maxCourses, 2, 0},
		"most paths": {plans(2, maxSteps/2), 2, maxSteps, 0, 0},
		"more paths": {plans(2, maxSteps/2+2), 2, maxSteps, 0, 4},
		"told again": {append(plans(2, maxSteps/2), plans(2, maxSteps/2)...), 2, maxSteps, 0, 0},
	} {
		c := toldCourses(test.list...)
		paths, within := 0, uint64(0)
		for _, x := range c.shown {
			paths, within = paths+len(x.Paths), within+x.More
		}
		if len(c.shown) != test.shown || paths != test.paths || c.more != uint64(test.more) || within != uint64(test.within) {
			t.Errorf("%s: %d shown with %d paths, %d more, %d more within", name, len(c.shown), paths, c.more, within)
		}
	}
}

// Of so many changes the page knows the names, so that a case can say what mends it.
func TestLimitOfChanges(t *testing.T) {
	var list []*eventv1.System
	for range maxKept + 1 {
		list = append(list, &eventv1.System{Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{Rule: "r", Mode: "live"}}})
	}
	if c := toldCourses(list...); len(c.changes) != maxKept {
		t.Errorf("%d changes", len(c.changes))
	}
}
