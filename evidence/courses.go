package evidence

import (
	"fmt"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/evidence/report"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What Custody's own records in the range tell of things that go on for a while: questions to approvers, containments, cases of incidents.

// Limits of what report.html tells of each sort.
const (
	maxCourses = 50 // as of actions
	maxSteps   = 80 // of all of a sort together, so that the page stays below maxReport
)

// courses collects them.
type courses struct {
	questions    coursesOf
	containments map[string]*report.Containment
	shown        []*report.Containment // in the order of their first record
	paths        map[containedPath]*report.Path
	more         uint64
	cases        coursesOf
	changes      map[eventKey]string // what a case may name as what mends it
}

// containedPath is one step of one containment.
type containedPath struct{ plan, path string }

// coursesOf is one sort of course, by name.
type coursesOf struct {
	byName map[string]*report.Course
	shown  []*report.Course
	steps  int
	more   uint64
}

func newCourses() courses {
	return courses{
		questions: coursesOf{byName: map[string]*report.Course{}}, cases: coursesOf{byName: map[string]*report.Course{}},
		containments: map[string]*report.Containment{}, paths: map[containedPath]*report.Path{}, changes: map[eventKey]string{},
	}
}

// add takes an event of the kind system. Whoever else writes one than Custody tells nothing here.
func (c *courses) add(f *fact) {
	if f.producer != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY || f.verdict != chain.Accepted {
		return
	}
	s := f.event.GetSystem()
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Approval:
		c.question(f, s, d.Approval)
	case *eventv1.System_Containment:
		c.containment(f, s, d.Containment)
	case *eventv1.System_Case:
		c.incident(f, s, d.Case)
	case *eventv1.System_Manifest, *eventv1.System_Rule, *eventv1.System_Key, *eventv1.System_Grant, *eventv1.System_Review, *eventv1.System_ExportKey:
		if len(c.changes) < maxKept {
			c.changes[eventKey(f.event.GetId())] = fmt.Sprintf("%s, record %d", changed(s), f.index)
		}
	}
}

// changed names a change, and what was changed.
func changed(s *eventv1.System) string {
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Manifest:
		return fmt.Sprintf("manifest of %s, version %d", d.Manifest.GetInstance(), d.Manifest.GetVersion())
	case *eventv1.System_Rule:
		return fmt.Sprintf("rule %s, version %d, %s", d.Rule.GetRule(), d.Rule.GetVersion(), d.Rule.GetMode())
	case *eventv1.System_Key:
		return fmt.Sprintf("key %x %s", d.Key.GetKeyId(), changeName(s))
	case *eventv1.System_Grant:
		return fmt.Sprintf("role %s of %s %s", event.Roles.Name(d.Grant.GetRole()), d.Grant.GetPrincipal(), changeName(s))
	case *eventv1.System_ExportKey:
		return fmt.Sprintf("export key %x", sha256Of(d.ExportKey.GetPublicKey()))
	}
	r := s.GetReview()
	return fmt.Sprintf("review of %s %s: %s", r.GetTopic(), r.GetSubject(), r.GetOutcome())
}

// step is what one record adds to a course.
func step(f *fact, s *eventv1.System, what string) report.Step {
	return report.Step{
		Record: uint64(f.index), Received: instantText(Instant(f.time)), What: what, Who: report.Text(s.GetActor()), Why: report.Cut([]byte(s.GetReason())),
	}
}

// tell adds a step to the course of a name. begin makes a course that is new; one that began before the range is told from where it is met.
func (c *coursesOf) tell(name string, begin func() *report.Course, s report.Step) {
	course := c.byName[name]
	if course == nil {
		if len(c.shown) == maxCourses || c.steps == maxSteps {
			c.more++
			return
		}
		course = begin()
		c.byName[name], c.shown = course, append(c.shown, course)
	}
	if c.steps == maxSteps {
		course.More++
		return
	}
	c.steps++
	course.Steps = append(course.Steps, s)
}

// answerWords say what a step of a question is.
var answerWords = map[eventv1.ApprovalState]string{
	eventv1.ApprovalState_APPROVAL_STATE_ASKED:     "asked",
	eventv1.ApprovalState_APPROVAL_STATE_HALF:      "approved, the first of two",
	eventv1.ApprovalState_APPROVAL_STATE_APPROVED:  "approved",
	eventv1.ApprovalState_APPROVAL_STATE_REJECTED:  "refused",
	eventv1.ApprovalState_APPROVAL_STATE_ESCALATED: "passed on",
	eventv1.ApprovalState_APPROVAL_STATE_WITHDRAWN: "no longer asked",
}

func (c *courses) question(f *fact, s *eventv1.System, x *eventv1.ApprovalStep) {
	next := step(f, s, answerWords[x.GetState()])
	if s.GetActor() != "" && x.GetTook() > 0 {
		next.What += fmt.Sprintf(", %s after it was asked", time.Duration(x.GetTook()).Round(time.Second/10))
	}
	next.To = report.Text(x.GetEscalatedTo())
	c.questions.tell(string(x.GetRequest()), func() *report.Course {
		return &report.Course{Name: report.Text(x.GetTool()), About: report.Text(x.GetInstance()), For: report.Text(x.GetPrincipal())}
	}, next)
}

// containment notes how far a containment, or one way that it closes, has come.
func (c *courses) containment(f *fact, s *eventv1.System, x *eventv1.Containment) {
	t := c.containments[x.GetPlan()]
	if t == nil {
		if len(c.shown) == maxCourses {
			c.more++
			return
		}
		t = &report.Containment{
			Target: report.Text(x.GetTarget()), Level: report.Text(x.GetLevel()), Plan: report.Text(x.GetPlan()), By: report.Text(s.GetActor()),
			Why: report.Cut([]byte(s.GetReason())), Second: report.Text(x.GetSecond()), Record: uint64(f.index), BreakGlass: x.GetBreakGlass(),
		}
		c.containments[x.GetPlan()], c.shown = t, append(c.shown, t)
	}
	c.reach(t, f, x)
}

// reach notes a state of one way; the containment as a whole is one of them.
func (c *courses) reach(t *report.Containment, f *fact, x *eventv1.Containment) {
	key := containedPath{x.GetPlan(), x.GetPath()}
	p := c.paths[key]
	if p == nil {
		if len(c.paths) == maxSteps {
			t.More++
			return
		}
		p = &report.Path{Path: report.Text(x.GetPath())}
		c.paths[key], t.Paths = p, append(t.Paths, p)
	}
	at := instantText(Instant(f.time))
	switch x.GetState() {
	case eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED:
		p.Requested = at
	case eventv1.ContainmentState_CONTAINMENT_STATE_DELIVERED:
		p.Delivered = at
	case eventv1.ContainmentState_CONTAINMENT_STATE_ACKNOWLEDGED:
		p.Acknowledged = at
	case eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED:
		p.Verified = at
	}
	p.Last, p.LastAt = event.ContainmentStates.Name(x.GetState()), at
	p.Observer, p.Evidence = report.Text(x.GetObserver()), report.Cut([]byte(x.GetEvidence()))
}

// actWords say what an act of a case is.
var actWords = map[eventv1.CaseAction]string{
	eventv1.CaseAction_CASE_ACTION_OPENED:  "opened",
	eventv1.CaseAction_CASE_ACTION_ADDED:   "evidence was added",
	eventv1.CaseAction_CASE_ACTION_TRIGGER: "found what triggered it",
	eventv1.CaseAction_CASE_ACTION_FAILURE: "found what failed",
	eventv1.CaseAction_CASE_ACTION_SETTLED: "settled",
	eventv1.CaseAction_CASE_ACTION_FIXED:   "mended by",
	eventv1.CaseAction_CASE_ACTION_CLOSED:  "closed",
}

func (c *courses) incident(f *fact, s *eventv1.System, x *eventv1.Case) {
	next := step(f, s, actWords[x.GetAction()])
	next.To = report.Text(x.GetClass())
	if x.GetNotNeeded() {
		next.What += " as not needed"
	}
	if x.GetAction() == eventv1.CaseAction_CASE_ACTION_FIXED {
		for _, id := range x.GetEvents() {
			next.Cited = append(next.Cited, c.cited(id))
		}
	}
	c.cases.tell(x.GetCase(), func() *report.Course {
		return &report.Course{Name: report.Text(x.GetCase()), About: report.Text(x.GetTarget())}
	}, next)
	if course := c.cases.byName[x.GetCase()]; course != nil && x.GetAction() == eventv1.CaseAction_CASE_ACTION_CLOSED {
		course.Ended = true
	}
}

// cited names the change that an act of a case cites.
func (c *courses) cited(id []byte) report.Text {
	if what, known := c.changes[eventKey(id)]; known {
		return report.Text(what)
	}
	return report.Text(event.ID(id).String() + ", not among these records")
}
