package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/evidence/report"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Limits of what report.html repeats; the bundle has all of it.
const (
	// maxActs is the number of actions that the report tells, of each sort: what a person reads in one sitting.
	maxActs = 50
	// maxKept is the number of questions and answers that are kept until a call starts: calls that run side by side.
	maxKept = 1000
	// maxReport is the size of report.html in bytes: every text of every action at its full length, escaped.
	maxReport = 16 << 20
)

// Where the SDK seals what a call was given and what an approver was shown.
const (
	pathArguments = "arguments"
	pathShown     = "shown"
)

// disclosed is a sealed field of the event at hand that the bundle opens.
type disclosed struct {
	path  string
	value []byte
}

// story collects what the report tells of single records. What the bundle withholds is never in it.
type story struct {
	fields     []disclosed // of the event at hand
	sources    map[eventv1.ProducerClass]uint64
	answers    map[chain.Index]*told
	proposals  map[callID]*told
	approved   report.Actions
	unapproved report.Actions
	courses    courses
}

// told is an approval's text, or a proposal's arguments.
type told struct {
	content  report.Content
	digest   []byte // of the sealed arguments
	approver string
	took     string
}

func newStory() *story {
	return &story{sources: map[eventv1.ProducerClass]uint64{}, answers: map[chain.Index]*told{}, proposals: map[callID]*told{}, courses: newCourses()}
}

// open notes a field of the event at hand that the bundle opens.
func (s *story) open(path string, value []byte) { s.fields = append(s.fields, disclosed{path, value}) }

// add takes the event at hand. What is kept of it is copied: it refers to a page of the log.
func (s *story) add(f *fact) {
	s.sources[f.producer]++
	switch x := f.event.GetBody().(type) {
	case *eventv1.Event_Approval:
		s.approval(f, x.Approval)
	case *eventv1.Event_Execution:
		s.execution(f, x.Execution)
	case *eventv1.Event_System:
		s.courses.add(f)
	}
	s.fields = s.fields[:0]
}

func (s *story) approval(f *fact, x *eventv1.Approval) {
	if len(s.answers) >= maxKept {
		return
	}
	t := &told{content: s.content(f.event, pathShown), approver: strings.Clone(x.GetApprover())}
	if len(x.GetShownDigest()) == 0 {
		t.content = report.Content{Instead: "nothing says what was shown"}
	} else if s.other(pathShown, x.GetShownDigest()) {
		t.content = report.Content{Instead: "what is disclosed is not the text that the approval says was shown"}
	}
	if took := f.event.GetOccurredAt() - x.GetShownAt(); x.GetShownAt() > 0 && took >= 0 {
		t.took = fmt.Sprintf("answered after %s", time.Duration(took).Round(time.Second/10))
	}
	s.answers[f.index] = t
}

func (s *story) execution(f *fact, x *eventv1.Execution) {
	switch {
	case x.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED && x.GetConsequence() == eventv1.Consequence_CONSEQUENCE_HIGH:
		if len(s.proposals) < maxKept {
			s.proposals[idOf(f.event, x.GetCall())] = &told{content: s.content(f.event, pathArguments), digest: bytes.Clone(x.GetArgumentsDigest())}
		}
	case isSensitive(f) && f.consent == consentApproved:
		s.tell(&s.approved, f, x)
	case isSensitive(f):
		s.tell(&s.unapproved, f, x)
	case x.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED && len(s.proposals) > 0:
		delete(s.proposals, idOf(f.event, x.GetCall()))
	}
}

// content is what the bundle discloses of a sealed field of the event at hand.
func (s *story) content(e *eventv1.Event, path string) report.Content {
	for _, d := range s.fields {
		if d.path == path {
			return report.Content{Disclosed: true, Text: report.Cut(d.value)}
		}
	}
	for _, sealed := range e.GetSealed() {
		if sealed.GetPath() == path {
			return report.Content{Instead: "not disclosed in this bundle"}
		}
	}
	return report.Content{Instead: "not recorded"}
}

// other reports whether the bundle opens a sealed field of the event at hand whose SHA-256 is another one.
func (s *story) other(path string, digest []byte) bool {
	for _, d := range s.fields {
		if sum := sha256.Sum256(d.value); d.path == path && !bytes.Equal(sum[:], digest) {
			return true
		}
	}
	return false
}

// consentWords say to a person what stood behind a start.
var consentWords = [...]string{
	consentNone:      "No approval among these records",
	consentOutside:   "Names an approval that is not among these records",
	consentRequested: "Approval was asked for and not given",
	consentRejected:  "Refused",
	consentExpired:   "Nobody answered",
	consentApproved:  "Approved",
	consentOtherTool: "Approved for another tool",
	consentUsed:      "The approval was for one time, and was used before",
	consentLapsed:    "The approval had ended",
	consentOtherArgs: "Approved for other arguments",
}

func (s *story) tell(to *report.Actions, f *fact, x *eventv1.Execution) {
	if len(to.Shown) == maxActs {
		to.More++
		return
	}
	a := report.Action{
		Record: uint64(f.index), Received: instantText(Instant(f.time)), Instance: keptText(f.event.GetInstance()),
		Principal: keptText(f.event.GetPrincipal()), Tool: keptText(x.GetTool()), Operation: keptText(x.GetOperation()),
		Destination: keptText(x.GetDestination()), Ran: s.content(f.event, pathArguments), Approval: consentWords[f.consent],
		Shown: report.Content{Instead: "nothing: no approver was asked"},
	}
	if f.answer != nil {
		a.ApprovalRecord = uint64(f.answer.record)
		a.Shown.Instead = "not repeated here: see the record"
		if t := s.answers[f.answer.record]; t != nil {
			a.Approver, a.Took, a.Shown = report.Text(t.approver), t.took, t.content
		}
	}
	s.compare(&a, f, x)
	to.Shown = append(to.Shown, a)
}

func keptText(s string) report.Text { return report.Text(strings.Clone(s)) }

// compare sets what ran beside what was proposed.
func (s *story) compare(a *report.Action, f *fact, x *eventv1.Execution) {
	p := s.proposals[idOf(f.event, x.GetCall())]
	switch {
	case p == nil || len(p.digest) == 0 || len(x.GetArgumentsDigest()) == 0:
		a.Same = "its arguments cannot be compared with a proposal"
	case bytes.Equal(p.digest, x.GetArgumentsDigest()):
		a.Same = "the arguments that were proposed"
		if !a.Ran.Disclosed {
			a.Ran = p.content
		}
	default:
		a.Same = "OTHER arguments than were proposed"
	}
}

// putReport makes report.html from what the export has counted and collected.
func (x *export) putReport() error {
	page, err := report.HTML(x.reportData())
	if err != nil {
		return err
	}
	x.put(fileReport, page)
	return nil
}

func (x *export) reportData() *report.Data {
	s, v := &x.scope, x.claimed()
	d := &report.Data{
		Tenant: report.Text(s.Tenant), Origin: report.Text(s.Origin), Requester: report.Text(s.Requester), Purpose: report.Text(s.Purpose),
		Tool: report.Text(x.options.Tool.Name), From: instantText(s.From), To: instantText(s.To), ExportedAt: instantText(s.ExportedAt),
		Records: s.records(), First: uint64(s.Begin), Last: uint64(s.End) - min(uint64(s.End), 1),
		Approved: x.story.approved, Unapproved: x.story.unapproved, Limits: v.limitWords(),
	}
	if d.Instance, d.Run = report.Text(s.Instance), report.Text(s.Run); s.Grace > 0 {
		d.Late = instantText(s.until())
	}
	c := &x.story.courses
	d.Questions = report.Courses{Shown: c.questions.shown, More: c.questions.more}
	d.Contained, d.MoreContained = c.shown, c.more
	d.Cases = report.Courses{Shown: c.cases.shown, More: c.cases.more}
	x.reportAnswers(d, v)
	x.reportContents(d)
	for i := range populations {
		p := &populations[i]
		d.Lists = append(d.Lists, report.List{File: p.file, What: p.what, Rows: x.derived.rows[i]})
	}
	for _, f := range x.derived.exam.mapping.Frameworks {
		d.Frameworks = append(d.Frameworks, x.reportFramework(&f))
	}
	return d
}

// claimed is what the exporter can say without being a verifier: what was counted, not what holds.
func (x *export) claimed() *Verdict {
	n := x.story.sources
	v := &Verdict{
		Integrity: Unknown, Authenticity: Authentic, Anchoring: AnchoredNot, Scope: &x.scope, Records: x.count, Emitters: x.numbering.report(),
		EndOfLog: x.scope.End == x.scope.Size,
		Vantage: Vantage{
			SelfReported:    n[eventv1.ProducerClass_PRODUCER_CLASS_AGENT],
			GatewayObserved: n[eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY],
			Imported:        n[eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER],
			Custody:         n[eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY],
			Unattributed:    n[eventv1.ProducerClass_PRODUCER_CLASS_UNSPECIFIED],
		},
	}
	if v.Completeness = v.numbersSay(); !x.scope.whole() {
		v.Selection = &Selection{Outside: x.count.Outside, Emitters: len(v.Emitters)}
		v.Completeness = v.Selection.completeness(v)
	}
	return v
}

// reportAnswers says what can be said before anything is verified.
func (x *export) reportAnswers(d *report.Data, v *Verdict) {
	ask := "Run custody-verify: a page inside a bundle cannot vouch for the bundle."
	d.Answers = []report.Answer{
		{Question: "integrity", Word: "TO BE VERIFIED", Means: ask},
		{Question: "authenticity", Word: "TO BE VERIFIED", Means: ask},
		{Question: "completeness", Word: "TO BE VERIFIED: " + strings.ToUpper(v.Completeness), Means: "If it verifies: " + lowerFirst(meanings[v.completenessOf()][v.Completeness])},
		{Question: "time", Word: "TO BE VERIFIED", Means: "Times are those of the log. The program says who else confirms them."},
	}
	if x.scope.Run != "" { // the numbers of a run are for a verifier to add up
		d.Answers[2] = report.Answer{Question: "completeness", Word: "TO BE VERIFIED", Means: ask}
	}
	for _, s := range v.Vantage.words() {
		if s.count > 0 {
			d.Sources = append(d.Sources, report.Count{N: s.count, What: s.what})
		}
	}
	whole, lines := v.producerLines()
	d.Producers = append(d.Producers, report.Text(count(whole, "producer", "producers")+" with nothing missing, from beginning to end"))
	for i, l := range lines {
		if i == maxLines {
			d.Producers = append(d.Producers, report.Text(fmt.Sprintf("and %d more", len(lines)-i)))
			break
		}
		d.Producers = append(d.Producers, report.Text(l))
	}
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

func (x *export) reportContents(d *report.Data) {
	n := &x.count
	for _, c := range []report.Count{
		{N: n.Clear, What: "records with their plain content"},
		{N: n.Held, What: "records kept closed because a secret was found in them"},
		{N: n.Withheld, What: "records left out by the exporter"},
		{N: n.Expired, What: "records no longer kept"},
		{N: n.Outside, What: "records of others, only linked"},
		{N: n.FieldsDisclosed, What: "sealed contents disclosed"},
		{N: n.FieldsWithheld, What: "sealed contents withheld"},
		{N: n.FieldsErased, What: "sealed contents erased: nobody can open them any more"},
	} {
		if c.N > 0 {
			d.Contents = append(d.Contents, c)
		}
	}
	for i, r := range x.reasons.list {
		if i == maxLines {
			break
		}
		d.Reasons = append(d.Reasons, report.Reason{Why: report.Text(r.Reason), N: r.Fields + r.Records})
	}
}

func (x *export) reportFramework(f *Framework) report.Framework {
	out := report.Framework{Name: report.Text(f.Name), Source: report.Text(f.Source), Note: report.Text(f.Note)}
	for _, c := range f.Controls {
		control := report.Control{ID: report.Text(c.ID), Title: report.Text(c.Title), Note: report.Text(c.Note), State: c.State}
		for _, id := range c.Tests {
			control.Tests = append(control.Tests, reportTest(x.derived.exam.mapping.test(id)))
		}
		out.Controls = append(out.Controls, control)
	}
	return out
}

func reportTest(t *Test) report.Test {
	out := report.Test{
		What: report.Text(t.What), Select: report.Text(t.Select), Require: report.Text(t.Require), State: t.State,
		Population: t.Population, Exceptions: t.Exceptions, Unseen: t.Unseen, Events: t.ExceptionEvents,
	}
	if t.Exceptions == 0 {
		out.Events = t.Events[:min(len(t.Events), 3)]
	}
	return out
}
