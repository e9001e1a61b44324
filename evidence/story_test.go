package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/evidence/report"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func TestReport(t *testing.T) {
	page := string(unpack(t, office(t).bundle("00:00", "10:30", everyFramework))[fileReport])
	golden(t, filepath.Join("testdata", "report.html"), page)
	for _, want := range []string{
		"Send &#34;Your refund is on its way&#34; to &lt;ann@example.net&gt;?", "the arguments that were proposed", "No approval among these records",
		"answered after 1m0s", "numbered 0 to 15 in the log", "No control is declared passed",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("does not say %q", want)
		}
	}
	if words := jargon.FindAllString(visible(page), -1); words != nil {
		t.Errorf("a lawyer must read %q", words)
	}
}

var (
	tags    = regexp.MustCompile(`<[^>]*>`)
	styling = regexp.MustCompile(`(?s)<style>.*</style>`)
	active  = regexp.MustCompile(`(?i)<(script|img|iframe|object|embed|link|a|form|svg|base)\b|\son\w+=|\b(src|href|action)=|javascript:|url\(|@import`)
)

// visible is what a reader sees of a page.
func visible(page string) string {
	return tags.ReplaceAllString(styling.ReplaceAllString(page, ""), "")
}

// What the bundle withholds is not in the report.
func TestReportTellsNothingThatIsWithheld(t *testing.T) {
	for name, disclose := range map[string]Disclose{
		"everything": {Nothing: "not asked for"},
		"two fields": {Withhold: map[string]string{"shown": "privilege", "arguments": "privilege"}},
	} {
		page := string(unpack(t, office(t).bundle("00:00", "10:30", ExportOptions{Disclose: disclose}))[fileReport])
		if strings.Contains(page, "refund") || !strings.Contains(page, "not disclosed in this bundle") {
			t.Errorf("%s: the report discloses it:\n%s", name, page)
		}
	}
}

// hostile are texts that an agent, a tool or a requester may write. None of them may act, hide, or pass for the page's own words.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'; </style><script>alert(1)</script>`, `</title><svg onload=alert(1)>`,
	"</bdi><b>COMPLETE</b>", "{{.Tenant}} {{template \"acts\" .}}", "<!-- ", "]]>", "&lt;script&gt;", "javascript:alert(1)",
	"approved\u202elanigiro eht", "\u2066isolate\u2069", "\u200bzero\u200dwidth", "\x1b[31mred\x00", "line\nbreak\u2028and\u2029more", "\U000e0041tag",
}

func TestHostileReport(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	for _, text := range hostile {
		yes := a.consents(approved, "call-"+text, text, func(x *eventv1.Approval) { x.Approver, x.Reason, x.ShownDigest = text, text, nil })
		ask := a.execute(proposed, "call-"+text, text)
		a.seal(ask, "arguments", "customer", text)
		ask.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest
		a.seal(ask, "notes", "customer", text)
		run := a.execute(started, "call-"+text, text, func(e *eventv1.Event) {
			x := e.GetExecution()
			x.Operation, x.Destination, x.Connector, x.ArgumentsDigest, e.Principal = text, text, text, ask.Sealed[0].Digest, text
		})
		a.say(ask, yes, run)
	}
	w.clock("11:00").access()
	for _, text := range append(hostile, "bad \xff\xfe") {
		s := w.scope("08:30", "10:30")
		s.Requester, s.Purpose = text, text
		var b bytes.Buffer
		_, err := Export(t.Context(), &b, w, s, w.export, ExportOptions{
			Tool: Tool{Name: text}, Disclose: Disclose{Withhold: map[string]string{"notes": text}}, Dir: t.TempDir(),
		})
		w.must(err)
		if v := verify(t, b.Bytes(), w.policy()); v.Integrity != Intact {
			t.Fatal(details(v))
		}
		checkHarmless(t, string(unpack(t, b.Bytes())[fileReport]))
	}
}

func checkHarmless(t *testing.T, page string) {
	t.Helper()
	own := styling.ReplaceAllString(page, "")
	for _, tag := range tags.FindAllString(own, -1) {
		if active.MatchString(tag) {
			t.Errorf("acts: %q", tag)
		}
	}
	for _, c := range page {
		if c != '\n' && !unicode.IsPrint(c) {
			t.Errorf("hides %U", c)
			break
		}
	}
	if !strings.Contains(page, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;; style-src &#39;sha256-`) {
		t.Error("no policy")
	}
	if strings.Count(page, "<style>") != 1 || strings.Count(page, "</html>") != 1 || strings.Contains(page, "<b>") {
		t.Error("the page is not its own")
	}
}

// However much happens, the page stays one that a browser opens.
func TestReportIsBounded(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	long := strings.Repeat("\u202e", 20000)
	for range 2 * maxActs {
		ask := a.execute(proposed, "call", "mail")
		a.seal(ask, "arguments", "customer", long)
		ask.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest
		a.say(ask, a.execute(started, "call", strings.Repeat("t", 4000), func(e *eventv1.Event) { e.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest }))
	}
	w.clock("11:00").access()
	page := unpack(t, w.bundle("08:30", "10:30"))[fileReport]
	if len(page) > maxReport/4 || !bytes.Contains(page, []byte("And 50 more")) {
		t.Errorf("%d bytes", len(page))
	}
}

// storyFact is a record of a story.
func storyFact(index chain.Index, e *eventv1.Event) *fact {
	return &fact{index: index, event: e, producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, verdict: chain.Accepted}
}

// What the page says of an approval: what was shown, and how long it took.
func TestWhatIsToldOfApprovals(t *testing.T) {
	text := []byte("Send it?")
	sum := sha256.Sum256(text)
	other := sha256.Sum256(nil)
	for name, test := range map[string]struct {
		approval  *eventv1.Approval
		disclosed string // path of a field that the bundle opens
		want      report.Content
		took      string
	}{
		"shown":              {&eventv1.Approval{ShownDigest: sum[:]}, pathShown, report.Content{Disclosed: true, Text: report.Cut(text)}, ""},
		"nothing shown":      {&eventv1.Approval{}, pathShown, report.Content{Instead: "nothing says what was shown"}, ""},
		"another text":       {&eventv1.Approval{ShownDigest: other[:]}, pathShown, report.Content{Instead: "what is disclosed is not the text that the approval says was shown"}, ""},
		"another field":      {&eventv1.Approval{ShownDigest: other[:]}, "notes", report.Content{Instead: "not disclosed in this bundle"}, ""},
		"answered":           {&eventv1.Approval{ShownAt: 10e9}, "", report.Content{Instead: "nothing says what was shown"}, "answered after 2s"},
		"answered at once":   {&eventv1.Approval{ShownAt: 12e9}, "", report.Content{Instead: "nothing says what was shown"}, "answered after 0s"},
		"answered before it": {&eventv1.Approval{ShownAt: 13e9}, "", report.Content{Instead: "nothing says what was shown"}, ""},
	} {
		s := newStory()
		if test.disclosed != "" {
			s.open(test.disclosed, text)
		}
		s.add(storyFact(7, &eventv1.Event{
			OccurredAt: 12e9, Sealed: []*eventv1.Sealed{{Path: "notes"}, {Path: pathShown}}, Body: &eventv1.Event_Approval{Approval: test.approval},
		}))
		got := s.answers[7]
		if diff := cmp.Diff(test.want, got.content); diff != "" || got.took != test.took {
			t.Errorf("%s: took %q\n%s", name, got.took, diff)
		}
	}
	if got := newStory().content(&eventv1.Event{Sealed: []*eventv1.Sealed{{Path: "notes"}}}, pathShown); got.Instead != "not recorded" {
		t.Errorf("no field: %+v", got)
	}
}

// Proposals of high consequence are kept until their call ends, and so many of them and of the answers.
func TestWhatAStoryKeeps(t *testing.T) {
	s := newStory()
	call := func(action eventv1.ExecutionAction, c eventv1.Consequence, call string) *eventv1.Event {
		return &eventv1.Event{Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: action, Consequence: c, Call: call}}}
	}
	const high, low = eventv1.Consequence_CONSEQUENCE_HIGH, eventv1.Consequence_CONSEQUENCE_LOW
	s.add(storyFact(0, call(proposed, low, "a")))
	if len(s.proposals) != 0 {
		t.Error("a proposal of low consequence is kept")
	}
	for i := range maxKept + 2 {
		s.add(storyFact(chain.Index(i), call(proposed, high, fmt.Sprint(i))))
		s.add(storyFact(chain.Index(i), &eventv1.Event{Body: &eventv1.Event_Approval{Approval: &eventv1.Approval{}}}))
	}
	if len(s.proposals) != maxKept || len(s.answers) != maxKept {
		t.Errorf("%d proposals, %d answers", len(s.proposals), len(s.answers))
	}
	if s.add(storyFact(0, call(finished, high, "0"))); len(s.proposals) != maxKept-1 {
		t.Errorf("%d proposals after one has ended", len(s.proposals))
	}
	over := storyFact(0, call(finished, high, "1"))
	over.consent = consentApproved
	if s.add(over); len(s.approved.Shown) != 0 || len(s.proposals) != maxKept-2 {
		t.Errorf("the end of a call is told as one: %+v", s.approved)
	}
}

// Of each sort so many actions are told.
func TestMostActions(t *testing.T) {
	s := newStory()
	for i := range maxActs + 3 {
		f := storyFact(chain.Index(i), &eventv1.Event{Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: started, Consequence: eventv1.Consequence_CONSEQUENCE_HIGH}}})
		if f.answer = (&answer{record: 999}); i == 0 {
			f.consent = consentApproved
		}
		s.add(f)
	}
	if len(s.approved.Shown) != 1 || len(s.unapproved.Shown) != maxActs || s.unapproved.More != 2 || s.approved.More != 0 {
		t.Errorf("%d approved, %d not, %d more", len(s.approved.Shown), len(s.unapproved.Shown), s.unapproved.More)
	}
	if a := s.approved.Shown[0]; a.ApprovalRecord != 999 || a.Shown.Instead != "not repeated here: see the record" {
		t.Errorf("%+v", a)
	}
}

// What ran is set beside what was proposed.
func TestWhatRanBesideWhatWasProposed(t *testing.T) {
	one, two := []byte{1}, []byte{2}
	const not = "its arguments cannot be compared with a proposal"
	for name, test := range map[string]struct {
		proposal  *told
		ran       []byte
		disclosed bool
		same      string
		text      string
	}{
		"no proposal":           {nil, one, false, not, ""},
		"of no arguments":       {&told{}, one, false, not, ""},
		"with no arguments":     {&told{digest: one}, nil, false, not, ""},
		"neither":               {&told{}, nil, false, not, ""},
		"the same":              {&told{digest: one, content: report.Content{Text: report.Cut([]byte("p"))}}, one, false, "the arguments that were proposed", "p"},
		"the same, and its own": {&told{digest: one, content: report.Content{Text: report.Cut([]byte("p"))}}, one, true, "the arguments that were proposed", "own"},
		"others":                {&told{digest: one}, two, false, "OTHER arguments than were proposed", ""},
	} {
		s, e := newStory(), &eventv1.Event{}
		if test.proposal != nil {
			s.proposals[idOf(e, "c")] = test.proposal
		}
		a := report.Action{}
		if test.disclosed {
			a.Ran = report.Content{Disclosed: true, Text: report.Cut([]byte("own"))}
		}
		s.compare(&a, storyFact(0, e), &eventv1.Execution{Call: "c", ArgumentsDigest: test.ran})
		if a.Same != test.same || string(a.Ran.Text) != test.text {
			t.Errorf("%s: %s, %+v", name, a.Same, a.Ran)
		}
	}
}

// The page names so many producers and reasons, and says how many producers more there are.
func TestMostProducersAndReasons(t *testing.T) {
	for n, want := range map[int]struct {
		producers, reasons int
		last               report.Text
	}{
		maxLines:     {1 + maxLines, maxLines, ""},
		maxLines + 3: {2 + maxLines, maxLines, "and 3 more"},
	} {
		w := exported(t)
		x := newExport(w, w.scope("08:30", "10:30"), w.export, ExportOptions{})
		d, v := new(report.Data), &Verdict{Scope: &x.scope, Completeness: Gaps}
		v.Emitters = numberedList(n, func(int) Emitter { return Emitter{Late: 1} })
		x.reasons.list = numberedList(n, func(int) Reason { return Reason{Fields: 1, Records: 2} })
		x.reportAnswers(d, v)
		x.reportContents(d)
		if len(d.Producers) != want.producers || len(d.Reasons) != want.reasons || d.Reasons[0].N != 3 || want.last != "" && d.Producers[len(d.Producers)-1] != want.last {
			t.Errorf("%d: %d producers, %d reasons, %s", n, len(d.Producers), len(d.Reasons), d.Producers[len(d.Producers)-1])
		}
	}
}
