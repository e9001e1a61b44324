package evidence

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// editLines changes the lines of a file; the first of a population is its header.
func editLines(name string, edit func([]string) []string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		lines := slices.Collect(strings.Lines(string(files[name])))
		files[name] = []byte(strings.Join(edit(lines), ""))
	}
}

func withoutLine(i int) func([]string) []string {
	return func(lines []string) []string { return slices.Delete(lines, i, i+1) }
}

// execute is a stage of a call of high consequence.
func (s *sender) execute(action eventv1.ExecutionAction, call, tool string, edits ...func(*eventv1.Event)) *eventv1.Event {
	e := s.envelope()
	s.runSeq++
	e.Run, e.RunSeq, e.Principal, e.Trust = "run-1", s.runSeq, "user-17", eventv1.Trust_TRUST_TRUSTED
	x := &eventv1.Execution{
		Action: action, Call: call, Tool: tool, Connector: "gmail",
		Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Destination: "example.net", Attempt: 1,
	}
	switch action {
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		x.Decision, x.Policy = eventv1.Decision_DECISION_NEEDS_APPROVAL, "policy-1"
	case eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED:
		x.Outcome = eventv1.Outcome_OUTCOME_OK
	}
	e.Body = &eventv1.Event_Execution{Execution: x}
	for _, edit := range edits {
		edit(e)
	}
	return e
}

const (
	proposed = eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED
	decided  = eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED
	started  = eventv1.ExecutionAction_EXECUTION_ACTION_STARTED
	finished = eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED
	failed   = eventv1.ExecutionAction_EXECUTION_ACTION_FAILED
	asked    = eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED
	approved = eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED
	rejected = eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED
	expired  = eventv1.ApprovalAction_APPROVAL_ACTION_EXPIRED
)

// consents is an event of the kind approval.
func (s *sender) consents(action eventv1.ApprovalAction, call, tool string, edits ...func(*eventv1.Approval)) *eventv1.Event {
	e := s.envelope()
	s.runSeq++
	e.Run, e.RunSeq, e.Principal = "run-1", s.runSeq, "user-17"
	x := &eventv1.Approval{Action: action, Call: call, Tool: tool}
	if action == approved || action == rejected {
		x.Approver, x.ShownDigest, x.ShownAt = "bob", bytes.Repeat([]byte{7}, 32), int64(s.w.now)-60e9
	}
	for _, edit := range edits {
		edit(x)
	}
	e.Body = &eventv1.Event_Approval{Approval: x}
	return e
}

func causedBy(id []byte, relation eventv1.Relation) func(*eventv1.Event) {
	return func(e *eventv1.Event) {
		e.Causes = append(e.Causes, &eventv1.Cause{Id: id, Relation: relation, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED})
	}
}

// office is a log in which everything happens that populations and controls look at.
func office(t testing.TB) *world {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	text := `Send "Your refund is on its way" to <ann@example.net>?`
	yes := a.consents(approved, "call-1", "send_email")
	a.seal(yes, "shown", "customer", text)
	sum := sha256.Sum256([]byte(text))
	yes.GetApproval().ShownDigest, yes.GetApproval().Reason = sum[:], "=HYPERLINK(1)"
	ask := a.execute(proposed, "call-1", "send_email")
	a.seal(ask, "arguments", "customer", `{"to":"ann@example.net","text":"Your refund is on its way"}`)
	ask.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest
	same := func(e *eventv1.Event) { e.GetExecution().ArgumentsDigest = ask.Sealed[0].Digest }
	a.say(ask, a.execute(decided, "call-1", "send_email"), a.consents(asked, "call-1", "send_email"), yes)
	a.say(a.execute(started, "call-1", "send_email", causedBy(yes.Id, eventv1.Relation_RELATION_APPROVAL), same), a.execute(finished, "call-1", "send_email"))
	a.say(a.execute(started, "call-2", "wire_money"), a.closing())
	c := w.custody
	c.say(
		c.systemEvent(&eventv1.System{Actor: "root", Reason: "on call", Detail: &eventv1.System_Grant{Grant: &eventv1.GrantChange{
			Principal: "bob", Role: eventv1.Role_ROLE_APPROVER, Certificate: bytes.Repeat([]byte{9}, 32), AllTenants: true,
		}}}),
		c.systemEvent(&eventv1.System{Actor: "root", Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{
			Rule: "outbound-burst", Version: 1, SourceDigest: bytes.Repeat([]byte{5}, 32), Mode: "live",
		}}}),
		c.systemEvent(&eventv1.System{Reason: "rule outbound-burst", Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
			State: eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED, Target: "instance/acme/support-1", Level: "pause", Plan: "plan-1", Step: 1,
			Evidence: "gateway refused a call",
		}}}),
		c.systemEvent(&eventv1.System{Actor: "dana", Reason: "quarterly", Detail: &eventv1.System_Review{Review: &eventv1.Review{
			Topic: "memory", Subject: "customer-notes", Outcome: "approved", NextAt: int64(at("23:00")),
		}}}),
	)
	w.clock("11:00").access()
	return w
}

func TestPopulations(t *testing.T) {
	w := office(t)
	w.clock("09:30")
	bundle := w.bundle("00:00", "10:30")
	want{ExitVerified, Complete, 16}.check(t, verify(t, bundle, w.policy()))
	files := unpack(t, bundle)
	for _, p := range populations {
		golden(t, filepath.Join("testdata", p.file), string(files[p.file]))
	}
}

// What stands behind a start, case by case.
// arguing is an event of call-1 that names arguments.
func (s *sender) arguing(action eventv1.ExecutionAction, which byte) *eventv1.Event {
	return s.execute(action, "call-1", "mail", func(e *eventv1.Event) { e.GetExecution().ArgumentsDigest = bytes.Repeat([]byte{which}, 32) })
}

func TestConsent(t *testing.T) {
	tool := func(tool string) func(*eventv1.Approval) { return func(x *eventv1.Approval) { x.Tool = tool } }
	until := func(clock string) func(*eventv1.Approval) {
		return func(x *eventv1.Approval) { x.ValidUntil = int64(at(clock)) }
	}
	start := func(a *sender) *eventv1.Event { return a.execute(started, "call-1", "mail") }
	for name, test := range map[string]struct {
		events func(a *sender) []*eventv1.Event
		want   string // of each start: decision and consent
	}{
		"nothing": {func(a *sender) []*eventv1.Event { return []*eventv1.Event{start(a)} }, "/none"},
		"asked": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(asked, "call-1", "mail"), start(a)}
		}, "/requested"},
		"refused": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(rejected, "call-1", "mail"), start(a)}
		}, "/rejected"},
		"no answer": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(expired, "call-1", "mail"), start(a)}
		}, "/expired"},
		"given": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.execute(decided, "call-1", "mail"), a.consents(asked, "call-1", "mail"), a.consents(approved, "call-1", "mail"), start(a)}
		}, "needs_approval/approved"},
		"given for any tool": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail", tool("")), start(a)}
		}, "/approved"},
		"for another tool": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "wire"), start(a)}
		}, "/other_tool"},
		"for other arguments": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.consents(approved, "call-1", "mail"), a.arguing(started, 2)}
		}, "/other_arguments"},
		"for these arguments": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.consents(approved, "call-1", "mail"), a.arguing(started, 1)}
		}, "/approved"},
		"for arguments that are changed then": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.consents(approved, "call-1", "mail"), a.arguing(proposed, 2), a.arguing(started, 2)}
		}, "/other_arguments"},
		"for arguments that were changed before": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.arguing(proposed, 2), a.consents(approved, "call-1", "mail"), a.arguing(started, 2)}
		}, "/approved"},
		"for arguments that a later proposal does not name": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.execute(proposed, "call-1", "mail"), a.consents(approved, "call-1", "mail"), a.arguing(started, 2)}
		}, "/other_arguments"},
		"for arguments of a call that is over": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.execute(failed, "call-1", "mail"), a.consents(approved, "call-1", "mail"), a.arguing(started, 2)}
		}, "/approved"},
		"for arguments that the start does not name": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.arguing(proposed, 1), a.consents(approved, "call-1", "mail"), start(a)}
		}, "/approved"},
		"for another call": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-2", "mail"), start(a)}
		}, "/none"},
		"afterwards": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{start(a), a.consents(approved, "call-1", "mail")}
		}, "/none"},
		"taken back": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail"), a.consents(rejected, "call-1", "mail"), start(a)}
		}, "/rejected"},
		"once, used twice": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail"), start(a), start(a)}
		}, "/approved /used"},
		"for a while": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail", until("09:30")), start(a), start(a)}
		}, "/approved /approved"},
		"too late": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail", until("08:59")), start(a)}
		}, "/lapsed"},
		"a retry that failed": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail"), start(a), a.execute(failed, "call-1", "mail"), start(a)}
		}, "/approved /used"},
		"until that very moment": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail", until("09:00")), start(a)}
		}, "/approved"},
		"given, and the call is over": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.consents(approved, "call-1", "mail", until("10:00")), start(a), a.execute(finished, "call-1", "mail"), start(a)}
		}, "/approved /none"},
		"decided, and the call is over": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.execute(decided, "call-1", "mail"), start(a), a.execute(finished, "call-1", "mail"), start(a)}
		}, "needs_approval/none /none"},
		"decided, and the call has failed": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.execute(decided, "call-1", "mail"), a.consents(asked, "call-2", "mail"), start(a), a.execute(failed, "call-1", "mail"), start(a)}
		}, "needs_approval/none /none"},
		"named, of another call": {func(a *sender) []*eventv1.Event {
			yes := a.consents(approved, "call-2", "mail")
			return []*eventv1.Event{yes, a.execute(started, "call-1", "mail", causedBy(yes.Id, eventv1.Relation_RELATION_APPROVAL))}
		}, "/approved"},
		"named, and not here": {func(a *sender) []*eventv1.Event {
			return []*eventv1.Event{a.execute(started, "call-1", "mail", causedBy(a.envelope().Id, eventv1.Relation_RELATION_APPROVAL))}
		}, "/outside"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.clock("09:00")
			a.say(test.events(a)...)
			w.clock("11:00").access()
			var got []string
			for _, r := range rows(t, unpack(t, w.bundle("08:30", "10:30"))[fileActions]) {
				got = append(got, r["decision"]+"/"+r["approval"])
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// rows reads a population as a spreadsheet would.
func rows(t *testing.T, file []byte) (list []map[string]string) {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range all[1:] {
		r := map[string]string{}
		for i, column := range all[0] {
			r[column] = line[i]
		}
		list = append(list, r)
	}
	return list
}

// What an agent writes must not run in a spreadsheet, drive a terminal, or make cells and lines of its own.
func TestHostileCells(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"send_email":             "send_email",
		"=cmd|'/c calc'!A0":      "'=cmd|'/c calc'!A0",
		"  +1+1":                 "'  +1+1",
		"-2":                     "'-2",
		"@SUM(A1)":               "'@SUM(A1)",
		"\t=1":                   `\x09=1`,
		"\r\n=1":                 `\x0d\x0a=1`,
		"a\",=1,\"":              `a",=1,"`,
		"a;b,c\td":               `a;b,c\x09d`,
		"x\u202egnp.exe":         `x\u202egnp.exe`,
		"\x1b[31mred\x00\x7f":    `\x1b[31mred\x00\x7f`,
		"bad \xff":               `bad \xff`,
		"\U000e0041hidden":       `\U000e0041hidden`,
		"é e\u0301 \u200b Grüße": `é e\u0301 \u200b Grüße`,
		"\uff1d1":                `\uff1d1`,
		"メール 送信 Привет":          "メール 送信 Привет",
	} {
		r := &row{}
		r.begin()
		r.text(text)
		r.number(7)
		line := r.end()
		got, err := csv.NewReader(bytes.NewReader(line)).ReadAll()
		if err != nil || len(got) != 1 || len(got[0]) != 2 || got[0][0] != want || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("%q: got %q, %v", text, line, err)
		}
	}
}

func FuzzCell(f *testing.F) {
	f.Add("=1\x00\"")
	f.Fuzz(func(t *testing.T, text string) {
		r := &row{}
		r.text(text)
		line := r.end()
		got, err := csv.NewReader(bytes.NewReader(line)).ReadAll()
		if text == "" {
			return
		}
		if err != nil || len(got) != 1 || len(got[0]) != 1 || strings.HasPrefix(strings.TrimLeft(got[0][0], " "), "=") {
			t.Fatalf("%q: %q, %v", text, line, err)
		}
		for _, c := range string(line[:len(line)-1]) {
			if !shown(c) {
				t.Fatalf("%q shows %q", line, c)
			}
		}
	})
}

func TestClockText(t *testing.T) {
	var c clock
	for _, i := range []Instant{0, 1, 999_999_999, 1_000_000_000, at("09:00"), at("09:00") + 5, at("08:59")} {
		if got := string(c.append(nil, int64(i))); got != i.String() {
			t.Errorf("got %s, want %s", got, i)
		}
	}
}

func TestDishonestPopulations(t *testing.T) {
	attacks := map[string]attack{}
	edited := func(edit func(map[string][]byte)) attack {
		return attack{CheckPopulation, ExitReport, func(t *testing.T) ([]byte, *Policy) {
			w := office(t)
			return repack(t, w.export, w.bundle("00:00", "10:30"), edit), w.policy()
		}}
	}
	for _, p := range populations {
		attacks["a row of "+p.file+" dropped"] = edited(editLines(p.file, withoutLine(1)))
	}
	attacks["the last row repeated"] = edited(editLines(fileGrants, func(l []string) []string { return append(l, l[len(l)-1]) }))
	attacks["a row edited"] = edited(replace(fileReviews, "accepted", "late"))
	attacks["the header edited"] = edited(replace(fileChanges, "record,", "Record,"))
	attacks["emptied"] = edited(func(files map[string][]byte) { files[fileContainments] = nil })
	attacks["an apostrophe before a formula taken away"] = edited(replace(fileApprovals, "'=", "="))
	attacks["a start without approval shown as approved"] = edited(replace(fileActions, ",none,", ",approved,7"))
	runAttacks(t, attacks)
}

// The record at which a list and the records part is named.
func TestPopulationNamesTheRecord(t *testing.T) {
	w := office(t)
	bundle := repack(t, w.export, w.bundle("00:00", "10:30"), editLines(fileActions, withoutLine(2)))
	v := verify(t, bundle, w.policy())
	first := rows(t, unpack(t, w.bundle("00:00", "10:30"))[fileActions])[1]["record"]
	if got := fmt.Sprint(v.Check(CheckPopulation).Records); got != "["+first+"]" {
		t.Errorf("records %s, want %s", got, first)
	}
}

// Rows that the log of the tests does not have.
func TestRows(t *testing.T) {
	system := func(s *eventv1.System) *eventv1.Event { return &eventv1.Event{Body: &eventv1.Event_System{System: s}} }
	call := func(action eventv1.ExecutionAction, c eventv1.Consequence) *eventv1.Event {
		return &eventv1.Event{Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{Action: action, Consequence: c}}}
	}
	grant := func(g *eventv1.GrantChange) *eventv1.Event {
		return system(&eventv1.System{Detail: &eventv1.System_Grant{Grant: g}})
	}
	const high, low = eventv1.Consequence_CONSEQUENCE_HIGH, eventv1.Consequence_CONSEQUENCE_LOW
	for name, test := range map[string]struct {
		e    *eventv1.Event
		list map[string]string // rows by file, without what every row has
	}{
		"a start of high consequence": {call(started, high), map[string]string{fileActions: ",,,0,,,,,,,none,"}},
		"a start of low consequence":  {call(started, low), map[string]string{}},
		"an end":                      {call(finished, high), map[string]string{}},
		"an approval":                 {&eventv1.Event{Body: &eventv1.Event_Approval{Approval: &eventv1.Approval{Action: approved, ValidUntil: 1}}}, map[string]string{fileApprovals: ",,approved,,,,,,,1970-01-01T00:00:00.000000001Z,,"}},
		"a role that is given":        {grant(&eventv1.GrantChange{Principal: "bob", AllTenants: true}), map[string]string{fileGrants: `,"bob",,given,yes,,`}},
		"a role that is taken":        {grant(&eventv1.GrantChange{Principal: "bob", Revoked: true}), map[string]string{fileGrants: `,"bob",,taken,no,,`}},
		"a key":                       {system(&eventv1.System{Detail: &eventv1.System_Key{Key: &eventv1.KeyChange{Instance: "a", KeyId: []byte{1}, Action: eventv1.KeyAction_KEY_ACTION_REVOKED}}}), map[string]string{fileChanges: `,key,revoked,"a",,01,`}},
		"a manifest":                  {system(&eventv1.System{Detail: &eventv1.System_Manifest{Manifest: &eventv1.ManifestChange{Instance: "a", Version: 2}}}), map[string]string{fileChanges: `,manifest,in_force,"a",2,,`}},
		"an export key": {system(&eventv1.System{Actor: "root", Detail: &eventv1.System_ExportKey{ExportKey: &eventv1.ExportKeyChange{PublicKey: []byte("key")}}}), map[string]string{
			fileChanges: `"root",export_key,in_force,,,2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683,`,
		}},
		"a hold": {system(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{}}}), map[string]string{}},
	} {
		f, got := &fact{event: test.e}, map[string]string{}
		for _, p := range populations {
			if p.has(f) {
				var r row
				row := strings.TrimSuffix(string(p.write(&r, f)), "\n")
				got[p.file] = strings.SplitN(row, ",", strings.Count(common, ",")+1)[strings.Count(common, ",")]
			}
		}
		if diff := cmp.Diff(test.list, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A list that cannot be read is not one that differs, and one that differs is, wherever it does.
func TestListsThatCannotBeRead(t *testing.T) {
	broken := iotest.ErrReader(errBroken)
	for name, test := range map[string]struct {
		file io.Reader
		want error
	}{
		"the same":          {strings.NewReader("abcdef"), nil},
		"another row":       {strings.NewReader("abcdxf"), errDerived},
		"cut":               {strings.NewReader("abcd"), errDerived},
		"longer":            {strings.NewReader("abcdefg"), errDerived},
		"broken":            {broken, errBroken},
		"broken inside":     {io.MultiReader(strings.NewReader("abcd"), broken), errBroken},
		"wrong, and broken": {io.MultiReader(strings.NewReader("abcx"), broken), errBroken},
		"broken at its end": {io.MultiReader(strings.NewReader("abcdef"), broken), errBroken},
	} {
		current := chain.Index(7)
		c := &comparer{r: bufio.NewReader(test.file), current: &current}
		for _, row := range []string{"abc", "def"} {
			if n, err := c.Write([]byte(row)); n != len(row) || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if err := c.end(); !errors.Is(err, test.want) || err != nil && errors.Is(err, errDerived) != errors.Is(test.want, errDerived) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A list with another heading parts from the records where they begin.
func TestListsWithAnotherHeading(t *testing.T) {
	w := exported(t)
	bundle := repack(t, w.export, w.bundle("08:30", "10:30"), editLines(fileActions, func(l []string) []string { l[0] = strings.ToUpper(l[0]); return l }))
	v := verify(t, bundle, w.policy())
	if c := v.Check(CheckPopulation); c.Result != Failed || len(c.Records) != 1 || c.Records[0] != 5 {
		t.Errorf("%+v", c)
	}
}

// What is expired or withheld counts as unseen for the questions that it could have answered; what is another run's does not.
func TestQuestionsAboutWhatIsNotHere(t *testing.T) {
	old := expiring(t, func(w *world) { w.expire(at("09:15")) })
	lost := expiring(t, func(w *world) { w.drop(at("09:15")) })
	parts := shared(t)
	own := ExportOptions{Frameworks: mappingOrder}
	for name, test := range map[string]struct {
		w      *world
		s      Scope
		unseen uint64
	}{
		"expired":     {old, old.scope("08:30", "10:00"), 2},
		"withheld":    {lost, lost.scope("08:30", "10:00"), 2},
		"another run": {parts, parts.part("support-1", "ticket-1"), 0},
	} {
		bundle := test.w.exportScope(test.s, own)
		v := verify(t, bundle, test.w.policy())
		if q := controlsOf(t, bundle).test("high-approved"); v.Check(CheckControls).Result != Passed || q == nil || q.Unseen != test.unseen {
			t.Errorf("%s: %+v\n%s", name, q, details(v))
		}
	}
}
