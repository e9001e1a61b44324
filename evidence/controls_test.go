package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// answered is controls.json as a bundle's records answer it, whatever the bundle says.
func answered(t *testing.T, bundle []byte) []byte {
	t.Helper()
	v := newVerification(nil, VerifyOptions{})
	if err := v.run(t.Context(), bytes.NewReader(bundle), int64(len(bundle))); err != nil {
		t.Fatal(err)
	}
	b, err := marshalJSON(v.derived.exam.answer())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	everyFramework = ExportOptions{Frameworks: mappingOrder}
	ownFramework   = ExportOptions{Frameworks: []string{"custody"}}
	noFrameworks   = []string{NoFramework} // of most bundles here, because there are many
)

func controlsOf(t *testing.T, bundle []byte) *Mapping {
	t.Helper()
	m, err := parseMapping(unpack(t, bundle)[fileControls])
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestControls(t *testing.T) {
	bundle := office(t).bundle("00:00", "10:30", everyFramework)
	golden(t, filepath.Join("testdata", "controls.json"), string(unpack(t, bundle)[fileControls]))
	m := controlsOf(t, bundle)
	got := map[string]string{}
	for _, id := range []string{"high-approved", "started-decided", "approval-shown", "grants-scoped", "contained", "memory-reviewed", "memory-trusted"} {
		got[id] = m.test(id).State
	}
	want := map[string]string{
		"high-approved":   Exception,    // call-2 has no approval
		"started-decided": Exception,    // nor a decision
		"approval-shown":  Supported,    //
		"grants-scoped":   Exception,    // bob is an approver everywhere
		"contained":       Supported,    //
		"memory-reviewed": Supported,    //
		"memory-trusted":  NotEvidenced, // nothing was written to memory
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if x := m.test("high-approved"); x.Population != 2 || x.Exceptions != 1 || len(x.ExceptionEvents) != 1 || x.ExceptionEvents[0] != x.Events[1] {
		t.Errorf("%+v", x)
	}
}

// Records that are not here keep a control from being supported, and nothing else does.
func TestUnseenRecordsEvidenceNothing(t *testing.T) {
	for name, test := range map[string]struct {
		say  func(a *sender)
		want string
	}{
		"all here": {func(a *sender) { a.say(a.consents(approved, "c", "mail")) }, Supported},
		"a record held": {func(a *sender) {
			e := a.consents(approved, "c", "mail")
			a.batch([]*eventv1.Event{e, a.consents(asked, "d", "mail")}, held(1))
		}, NotEvidenced},
		"one of another kind": {func(a *sender) {
			e := a.consents(approved, "c", "mail")
			a.batch([]*eventv1.Event{e, a.call("x", "y")}, held(1))
		}, Supported},
		"an exception all alike": {func(a *sender) {
			e := a.consents(approved, "c", "mail", func(x *eventv1.Approval) { x.ShownDigest = nil })
			a.batch([]*eventv1.Event{e, a.consents(asked, "d", "mail")}, held(1))
		}, Exception},
		"nothing": {func(a *sender) { a.send(1) }, NotEvidenced},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			test.say(a)
			w.clock("11:00").access()
			bundle := w.bundle("08:30", "10:30", everyFramework)
			if v := verify(t, bundle, w.policy()); v.Check(CheckControls).Result != Passed {
				t.Fatal(details(v))
			}
			if got := controlsOf(t, bundle).test("approval-shown").State; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestDishonestControls(t *testing.T) {
	attacks := map[string]attack{}
	for name, edit := range map[string]func(map[string][]byte){
		"a control flipped":  editMapping(func(m *Mapping) { m.Frameworks[0].Controls[2].State = Supported }),
		"a question flipped": editMapping(func(m *Mapping) { m.test("high-approved").State = Supported }),
		"an exception left out": editMapping(func(m *Mapping) {
			x := m.test("high-approved")
			x.Exceptions, x.ExceptionEvents, x.ExceptionRecords = 0, nil, nil
		}),
		"a population made larger": editMapping(func(m *Mapping) { m.test("linked").Population++ }),
		"another event named": editMapping(func(m *Mapping) {
			x := m.test("high-approved")
			x.ExceptionEvents[0] = m.test("linked").Events[0]
		}),
		"a query weakened, answers kept": editMapping(func(m *Mapping) { m.test("high-approved").Require = "approval!=rejected" }),
		"no query":                       editMapping(func(m *Mapping) { m.test("high-approved").Require = "approval=fine" }),
		"a control of no question":       editMapping(func(m *Mapping) { m.Frameworks[0].Controls[0].Tests[0] = "missing" }),
		"another version":                editMapping(func(m *Mapping) { m.Version = 2 }),
		"no JSON":                        func(files map[string][]byte) { files[fileControls] = []byte("{}") },
	} {
		attacks[name] = attack{CheckControls, ExitReport, func(t *testing.T) ([]byte, *Policy) {
			w := office(t)
			return repack(t, w.export, w.bundle("00:00", "10:30", ownFramework), edit), w.policy()
		}}
	}
	runAttacks(t, attacks)
}

func editMapping(edit func(*Mapping)) func(map[string][]byte) {
	return func(files map[string][]byte) {
		m, _ := parseMapping(files[fileControls])
		edit(m)
		files[fileControls], _ = marshalJSON(m)
	}
}

// An exporter may bring other questions. The answers are still held to the records, and the reader is told.
func TestForeignQuestionsAreNamed(t *testing.T) {
	w := office(t)
	bundle := repack(t, w.export, w.bundle("00:00", "10:30", ownFramework), editMapping(func(m *Mapping) { m.test("high-approved").Require = "" }))
	bundle = repack(t, w.export, bundle, func(files map[string][]byte) { files[fileControls] = answered(t, bundle) })
	v := verify(t, bundle, w.policy())
	if v.Exit != ExitVerified || v.Controls.Known || !strings.Contains(v.Text(), "may be weaker") {
		t.Errorf("exit %d, %+v\n%s", v.Exit, v.Controls, details(v))
	}
	if v := verify(t, w.bundle("00:00", "10:30", everyFramework), w.policy()); !v.Controls.Known {
		t.Error("the program does not know its own questions")
	}
}

// Every question of the mapping can have each answer that it is made for, is used by a control, and tells people no jargon.
func TestMapping(t *testing.T) {
	m, err := ownMapping()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newExamination(m); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, f := range m.Frameworks {
		seen := map[string]bool{}
		for _, c := range f.Controls {
			if seen[c.ID] || c.ID == "" || c.Title == "" || len(c.Tests) == 0 && c.Note == "" {
				t.Errorf("%s: %s: twice, or says nothing", f.ID, c.ID)
			}
			seen[c.ID] = true
			for _, id := range c.Tests {
				used[id] = true
			}
		}
		if f.Name == "" || f.Source == "" {
			t.Errorf("%s: no name or source", f.ID)
		}
	}
	text, err := marshalJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	if words := jargon.FindAll(text, -1); words != nil {
		t.Errorf("a lawyer must read %q", words)
	}
	for _, x := range m.Tests {
		if !used[x.ID] {
			t.Errorf("%s is asked for no control", x.ID)
		}
	}
}

func TestQueries(t *testing.T) {
	f := &fact{event: event.Example("execution.started"), verdict: 1, consent: consentApproved}
	f.action = actionCodes["execution.started"]
	for text, want := range map[string]string{
		"":                                    "yes",
		"action=execution.started":            "yes",
		"kind=execution|data":                 "yes",
		"kind!=execution":                     "no",
		"approval=approved":                   "yes",
		"approval!=approved|used":             "no",
		"kind=execution approval=none":        "no",
		"judgement=accepted":                  "yes",
		"judgement!=late|gap":                 "yes",
		"kind":                                "malformed",
		"kind=":                               "malformed",
		"kind=execution ":                     "malformed",
		" kind=execution":                     "malformed",
		"kind=execution  trust=trusted":       "malformed",
		"kind==execution":                     "malformed",
		"kind=execution|execution":            "malformed",
		"kind=Execution":                      "malformed",
		"colour=red":                          "malformed",
		"kind<execution":                      "malformed",
		"!kind=execution":                     "malformed",
		strings.Repeat("kind=execution ", 50): "malformed",
	} {
		q, err := parseQuery(text)
		got := map[bool]string{true: "yes", false: "no"}[q.holds(f)]
		if errors.Is(err, ErrQuery) {
			got = "malformed"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", text, got, err, want)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	m, err := ownMapping()
	if err != nil {
		f.Fatal(err)
	}
	text, _ := json.MarshalIndent(m, "", "  ")
	f.Add(append(text, '\n'))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMapping(b)
		if err != nil {
			return
		}
		if x, err := newExamination(m); err == nil {
			x.add(&fact{event: event.Example("system.review"), verdict: 1})
			_ = x.answer()
		}
	})
}

// Every term has few enough values, and gives one of them for every kind of event.
func TestTerms(t *testing.T) {
	for _, x := range terms {
		if len(x.values) > maxValues {
			t.Errorf("%s has %d values", x.name, len(x.values))
		}
		for _, action := range event.Actions() {
			f := &fact{event: event.Example(action), verdict: 1, action: actionCodes[action]}
			if code := x.of(f); int(code) >= len(x.values) {
				t.Errorf("%s of %s is %d", x.name, action, code)
			}
		}
	}
}

// A mapping is of its version, has few enough questions, frameworks and controls, and asks each question once.
func TestLimitsOfMappings(t *testing.T) {
	questions := func(n int) (list []Test) {
		for i := range n {
			list = append(list, Test{ID: fmt.Sprint("q", i)})
		}
		return list
	}
	controls := func(n int) []Framework { return []Framework{{ID: "f", Controls: make([]Control, n)}} }
	for name, test := range map[string]struct {
		m    Mapping
		want error
	}{
		"empty":                {Mapping{Version: 1}, nil},
		"another version":      {Mapping{Version: 2}, ErrControls},
		"most questions":       {Mapping{Version: 1, Tests: questions(maxTests)}, nil},
		"too many questions":   {Mapping{Version: 1, Tests: questions(maxTests + 1)}, ErrControls},
		"most frameworks":      {Mapping{Version: 1, Frameworks: make([]Framework, maxFrameworks)}, nil},
		"too many frameworks":  {Mapping{Version: 1, Frameworks: make([]Framework, maxFrameworks+1)}, ErrControls},
		"most controls":        {Mapping{Version: 1, Frameworks: controls(maxControls)}, nil},
		"too many controls":    {Mapping{Version: 1, Frameworks: controls(maxControls + 1)}, ErrControls},
		"a question twice":     {Mapping{Version: 1, Tests: append(questions(1), questions(1)...)}, ErrControls},
		"selects by no query":  {Mapping{Version: 1, Tests: []Test{{ID: "q", Select: "?"}}}, ErrQuery},
		"requires by no query": {Mapping{Version: 1, Tests: []Test{{ID: "q", Require: "?"}}}, ErrQuery},
	} {
		if _, err := newExamination(&test.m); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// What a question answers: how many records, how many of them are exceptions, the first of both by name, and how many of its kinds nobody sees.
func TestAnswers(t *testing.T) {
	exam, err := newExamination(&Mapping{Version: 1, Tests: []Test{
		{ID: "some", Select: "kind=execution", State: Exception, Unseen: 9},
		{ID: "all", Select: "kind=execution", Require: "trust=trusted"},
		{ID: "none", Select: "kind=data", Require: "trust=trusted"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxShown + 5 {
		e := event.Example("execution.started")
		e.Trust = eventv1.Trust_TRUST_TRUSTED
		exam.add(&fact{index: chain.Index(i), event: e})
	}
	exam.missing(chain.KindExecution)
	exam.missing(chain.KindExecution)
	exam.missing(chain.KindApproval)
	exam.missing(chain.KindNone) // of no kind that a question is about
	exam.missing(chain.Kind(event.KindSystem + 1))
	_ = exam.answer()
	m := exam.answer() // it is the same whoever asks
	for i, want := range []Test{{State: Supported, Population: 25, Unseen: 2}, {State: NotEvidenced, Population: 25, Unseen: 2}, {State: NotEvidenced}} {
		if got := m.Tests[i]; got.State != want.State || got.Population != want.Population || got.Exceptions != 0 || got.Unseen != want.Unseen ||
			len(got.Records) != int(min(want.Population, maxShown)) || len(got.Events) != len(got.Records) {
			t.Errorf("%s: %+v", got.ID, got)
		}
	}
}

// A framework or a control under another name is not this program's, though all else is.
func TestOtherNamesAreForeign(t *testing.T) {
	for name, edit := range map[string]func(*Mapping){
		"a framework": func(m *Mapping) { m.Frameworks[0].ID = "mine" },
		"a control":   func(m *Mapping) { m.Frameworks[0].Controls[0].ID = "mine" },
	} {
		m, err := ownMapping()
		if err != nil || !m.sum().Known {
			t.Fatalf("%v, %+v", err, m.sum())
		}
		if edit(m); m.sum().Known {
			t.Errorf("%s is known", name)
		}
	}
}

// A mapping of this program is read as it is written, or not at all.
func TestMappingsAreReadWhole(t *testing.T) {
	if err := readMapping("nobody", &[]Test{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := readMapping("tests", &[]struct{ ID string }{}); err == nil {
		t.Error("fields that nobody knows")
	}
	if err := readMapping("tests", new(string)); err == nil {
		t.Error("another type")
	}
}
