package evidence

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// task is n events of a run of its own, its start and calls, and the event that ends it.
func (s *sender) task(run string, n int, ends bool) []*eventv1.Event {
	kept := s.runSeq
	s.runSeq = 0
	var list []*eventv1.Event
	list = append(list, s.starting())
	for range n - 1 {
		list = append(list, s.call("customer", "{}"))
	}
	if ends {
		list = append(list, s.ending())
	}
	for _, e := range list {
		e.Run = run
	}
	s.runSeq = kept
	return list
}

func (s *sender) starting() *eventv1.Event {
	e := s.envelope()
	s.runSeq++
	e.Run, e.RunSeq = "run-1", s.runSeq
	e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{Action: eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED, Workflow: "tickets"}}
	return e
}

func (s *sender) ending() *eventv1.Event {
	e := s.envelope()
	s.runSeq++
	e.Run, e.RunSeq = "run-1", s.runSeq
	e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED, LastRunSeq: s.runSeq, Outcome: eventv1.Outcome_OUTCOME_OK,
	}}
	return e
}

// shared is a log in which two instances report at the same time. support-1 has two runs in the same batches, and of its two
// producers one closes its numbering and the other goes on.
func shared(t testing.TB) *world {
	w := newWorld(t, "acme")
	a, b := w.agent("support-1"), w.agent("billing-1")
	a.send(1)
	w.clock("09:00")
	second := w.enrol("support-1", eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY)
	x, y := a.task("ticket-1", 3, true), a.task("ticket-2", 2, true)
	a.batch([]*eventv1.Event{x[0], y[0], x[1]})
	b.send(4)
	w.malformed([]byte("nobody's"))
	second.send(2)
	w.erase("somebody-else")
	a.batch([]*eventv1.Event{y[1], x[2], x[3], y[2]})
	w.erase("customer")
	b.send(2)
	a.say(a.closing())
	w.clock("10:00")
	second.send(1)
	w.clock("12:00").access()
	return w
}

// part is a scope of one instance, or of one run of it.
func (w *world) part(instance, run string) Scope {
	s := w.scope("08:30", "09:30")
	s.Instance, s.Run = instance, run
	return s
}

// export makes the bundle of a scope.
func (w *world) exportScope(s Scope, o ExportOptions) []byte {
	w.t.Helper()
	o.Dir, o.Tool = w.dir(), Tool{Name: "custody test"}
	if o.Frameworks == nil {
		o.Frameworks = noFrameworks
	}
	var b bytes.Buffer
	_, err := Export(w.t.Context(), &b, w, s, w.export, o)
	w.must(err)
	return b.Bytes()
}

func TestPartsOfATenant(t *testing.T) {
	for name, test := range map[string]struct {
		instance, run string
		want          want
		selection     Selection
	}{
		"an instance":             {"support-1", "", want{0, Complete, 20}, Selection{Basis: Contiguous, Contiguous: 2, Emitters: 2, Outside: 10}},
		"the other instance":      {"billing-1", "", want{ExitOpenTail, OpenTail, 20}, Selection{Basis: Claimed, Emitters: 1, Outside: 14}},
		"a run":                   {"support-1", "ticket-1", want{ExitOpenTail, OpenTail, 20}, Selection{Basis: Claimed, Contiguous: 1, Emitters: 1, Others: 1, Outside: 15}},
		"another run":             {"support-1", "ticket-2", want{ExitOpenTail, OpenTail, 20}, Selection{Basis: Claimed, Contiguous: 1, Emitters: 1, Others: 1, Outside: 16}},
		"a run that nobody knows": {"support-1", "ticket-3", want{ExitOpenTail, OpenTail, 20}, Selection{Basis: Claimed, Others: 2, Outside: 19}},
		"a run of another":        {"billing-1", "ticket-1", want{ExitOpenTail, OpenTail, 20}, Selection{Basis: Claimed, Others: 1, Outside: 20}},
	} {
		t.Run(name, func(t *testing.T) {
			w := shared(t)
			v := verify(t, w.exportScope(w.part(test.instance, test.run), ExportOptions{}), w.policy())
			test.want.check(t, v)
			if diff := cmp.Diff(&test.selection, v.Selection); diff != "" {
				t.Error(diff)
			}
			if v.Records.Outside != test.selection.Outside || v.Records.Clear+v.Records.Outside != v.Records.Records {
				t.Errorf("%+v", v.Records)
			}
		})
	}
}

// Nothing in a bundle of one instance says who the others are, or what they did.
func TestOthersAreBlinded(t *testing.T) {
	w := shared(t)
	billing, _ := w.registry.Instance("billing-1")
	for name, run := range map[string]string{"instance": "", "run": "ticket-1"} {
		bundle := w.exportScope(w.part("support-1", run), ExportOptions{})
		for what, secret := range map[string][]byte{"name": []byte("billing-1"), "salt": billing.Salt[:], "erased subject": []byte("somebody-else")} {
			if bytes.Contains(bundle, secret) {
				t.Errorf("the bundle of one %s holds the %s of another", name, what)
			}
		}
		if run != "" && bytes.Contains(bundle, []byte("ticket-2")) {
			t.Error("the bundle of one run names another")
		}
	}
}

// Holds are shown where they bear on the part, and not where they say something about others.
func TestHoldsOfAPart(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.agent("billing-1")
	shown := []string{"tenant", "instance/support-1", "run/ticket-1", "subject/customer"}
	for i, scope := range append([]string{"instance/billing-1", "run/ticket-2", "subject/person-9"}, shown...) {
		w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: string(rune('a' + i)), Scope: scope}}}))
	}
	w.clock("09:00")
	a.batch(a.task("ticket-1", 2, true)).say(a.closing())
	w.erase("customer")
	w.clock("12:00").access()
	var got []string
	for _, b := range splitRecords(unpack(t, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}))[fileKeysBefore]) {
		r, err := parseProvenRecord(b)
		w.must(err)
		for _, l := range r.shown {
			if e, err := event.Parse(l.event); err == nil && e.GetSystem().GetHold() != nil {
				got = append(got, e.GetSystem().GetHold().GetScope())
			}
		}
	}
	if diff := cmp.Diff(shown, got); diff != "" {
		t.Error(diff)
	}
}

// An erasure under a hold is none, in the bundle of a part as in that of a tenant.
func TestErasureUnderAHoldOfAPart(t *testing.T) {
	for _, hold := range []string{"tenant", "instance/support-1", "run/ticket-1", "subject/customer"} {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		a.batch(a.task("ticket-1", 2, true)).say(a.closing())
		w.custody.say(w.custody.systemEvent(&eventv1.System{Detail: &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "case-12", Scope: hold}}}))
		w.clock("11:00").erase("customer")
		w.clock("12:00").access()
		whole := verify(t, w.bundle("08:30", "10:00"), w.policy())
		part := verify(t, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}), w.policy())
		ofWhole, ofPart := whole.Check(CheckErasure).Result, part.Check(CheckErasure).Result
		if ofPart != ofWhole || ofPart != Failed {
			t.Errorf("%s: %s of the part, %s of the tenant", hold, ofPart, ofWhole)
		}
	}
}

// Every window of every part of an honest log verifies.
func TestPartsInEveryWindow(t *testing.T) {
	w := shared(t)
	size, step := w.chain.Size(), chain.Index(1)
	if testing.Short() {
		step = 3
	}
	for begin := chain.Index(0); begin < size; begin += 3 * step {
		for end := begin; end <= size; end += 2 * step {
			for _, run := range []string{"", "ticket-1"} {
				var b bytes.Buffer
				s := w.part("support-1", run)
				if _, err := Export(t.Context(), &b, cut{w, begin, end}, s, w.export, ExportOptions{Dir: w.dir(), Frameworks: noFrameworks}); err != nil {
					t.Fatal(err)
				}
				v := verify(t, b.Bytes(), w.policy())
				for _, c := range v.Checks {
					if c.Name != CheckBoundaries && c.Result != Passed {
						t.Errorf("[%d, %d) %q: %s: %s: %s", begin, end, run, c.Name, c.Result, c.Detail)
					}
				}
			}
		}
	}
}

// partial is the honest bundle of a part of a tenant.
func partial(instance, run string) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := shared(t)
		return w.exportScope(w.part(instance, run), ExportOptions{}), w.policy()
	}
}

// hidden is what an exporter makes of it who holds the export key.
func hidden(instance, run string, edit func(files map[string][]byte)) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := shared(t)
		return repack(t, w.export, w.exportScope(w.part(instance, run), ExportOptions{}), edit), w.policy()
	}
}

// hideBatch leaves out a batch with its events and openings: its leaves stay, as if they were another's.
func hideBatch(i int) func(files map[string][]byte) {
	return func(files map[string][]byte) {
		batches := splitRecords(files[fileBatches])
		at := 0
		for _, b := range batches[:i] {
			at += int(countOf(b))
		}
		r, _ := parseBatchRecord(batches[i])
		n := int(countOf(batches[i]))
		editRecords(fileBatches, without(i))(files)
		editRecords(fileEvents, func(list [][]byte) [][]byte { return slices.Delete(list, at, at+n) })(files)
		editRecords(fileOpenings, func(list [][]byte) [][]byte {
			return slices.DeleteFunc(list, func(b []byte) bool {
				o, _ := parseOpeningRecord(b)
				return o.index >= r.first && o.index < r.first+chain.Index(n)
			})
		})(files)
	}
}

// countOf is the number of leaves of a batch that lies wholly in the range.
func countOf(b []byte) uint32 {
	r, _ := parseBatchRecord(b)
	s, err := event.ParseStatement(r.statement)
	if err != nil || r.form == formWhole {
		return 1
	}
	return s.GetCount()
}

// hideEvents shows events as another run's.
func hideEvents(places ...int) func(files map[string][]byte) {
	return func(files map[string][]byte) {
		editRecords(fileEvents, func(list [][]byte) [][]byte {
			for _, i := range places {
				list[i] = []byte{byte(stateOutside)}
			}
			return list
		})(files)
	}
}

// Exporters who show a part of a tenant, and not all of it.
func TestDishonestParts(t *testing.T) {
	part := func(check string, exit int, run string, edit func(files map[string][]byte)) attack {
		return attack{check, exit, hidden("support-1", run, edit)}
	}
	runAttacks(t, map[string]attack{
		"a batch of the instance hidden among others":      part(CheckSelection, ExitBoundary, "", hideBatch(1)),
		"the first batch hidden":                           part(CheckSelection, ExitBoundary, "", hideBatch(0)),
		"the last batch hidden":                            part(CheckSelection, ExitBoundary, "", hideBatch(3)),
		"a batch of the run hidden among others":           part(CheckSelection, ExitBoundary, "ticket-1", hideBatch(0)),
		"an event of the instance hidden as another run's": part(CheckSelection, ExitBoundary, "", hideEvents(1)),
		"another's leaf swapped": part(CheckChain, ExitChain, "", func(files map[string][]byte) {
			swapLeaves(10, 11)(files)
		}),
		"another's leaf edited":                   part(CheckChain, ExitChain, "", editLeaf(10, func(leaf []byte) { leaf[90] ^= 1 })),
		"another instance named":                  part(CheckSelection, ExitBoundary, "", replace(fileScope, `"support-1"`, `"billing-1"`)),
		"the instance taken away":                 part(CheckFormat, ExitFormat, "", replace(fileScope, "  \"instance\": \"support-1\",\n", "")),
		"another run named":                       part(CheckSelection, ExitBoundary, "ticket-1", replace(fileScope, `"ticket-1"`, `"ticket-2"`)),
		"a run named":                             part(CheckSelection, ExitBoundary, "", replace(fileScope, `"support-1",`, "\"support-1\",\n  \"run\": \"ticket-1\",")),
		"the creation of the instance left out":   part(CheckSelection, ExitBoundary, "", editRecords(fileKeysBefore, without(1))),
		"the enrolment within the range left out": part(CheckKey, ExitKeys, "", editRecords(fileKeysRange, without(0))),
		"a tombstone within the range left out": part(CheckErasure, ExitOpening, "", func(files map[string][]byte) {
			editRecords(fileKeysRange, without(1))(files)
		}),
		"a key event from outside the range": part(CheckAdmission, ExitKeys, "", func(files map[string][]byte) {
			files[fileKeysRange] = append(bytes.Clone(files[fileKeysBefore]), files[fileKeysRange]...)
		}),
		"the middle of a run hidden":            part(CheckSelection, ExitBoundary, "ticket-1", hideEvents(2)),
		"an event too few counted as of others": part(CheckRedactions, ExitReport, "ticket-1", replace(fileManifest, `"outside": 15`, `"outside": 14`)),
		"key events within a whole tenant's range": {CheckAdmission, ExitKeys, func(t *testing.T) ([]byte, *Policy) {
			w := shared(t)
			some := unpack(t, w.exportScope(w.part("support-1", ""), ExportOptions{}))[fileKeysRange]
			return repack(t, w.export, w.bundle("08:30", "09:30"), func(files map[string][]byte) { files[fileKeysRange] = some }), w.policy()
		}},
		"a run without its instance": {CheckFormat, ExitFormat, hidden("support-1", "ticket-1", replace(fileScope, "  \"instance\": \"support-1\",\n", ""))},
		"an instance of Custody's":   {CheckFormat, ExitFormat, hidden("support-1", "", replace(fileScope, "support-1", "custody"))},
	})
}

// An operator who files an agent's records under another instance: the agent's own numbers show that they are missing.
func TestFiledUnderAnother(t *testing.T) {
	filed := func(check string, exit int, tell func(w *world, a *sender)) attack {
		return attack{check, exit, func(t *testing.T) ([]byte, *Policy) {
			w := newWorld(t, "acme")
			a := w.agent("support-1")
			w.agent("billing-1")
			w.clock("09:00")
			a.send(2)
			tell(w, a)
			a.send(1).say(a.closing())
			w.clock("12:00").access()
			bundle := w.exportScope(w.part("support-1", ""), ExportOptions{})
			return repack(t, w.export, bundle, hideBatch(1)), w.policy()
		}}
	}
	runAttacks(t, map[string]attack{
		"claimed as another instance's": filed(CheckNumbering, ExitVerdict, func(w *world, a *sender) {
			a.send(2, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Instance = w.tag("billing-1") } })
		}),
		"claimed as nobody's": filed(CheckNumbering, ExitVerdict, func(w *world, a *sender) {
			a.send(2, func(d *draft) { d.leaf = func(e *chain.Entry) { e.Instance = chain.Hash{} } })
		}),
	})
}

// tailHidden is a run whose end is shown as another run's, with every account made right.
func tailHidden(t *testing.T) ([]byte, *Policy) {
	w := shared(t)
	bundle := repack(t, w.export, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}), func(files map[string][]byte) {
		hideEvents(7)(files)
		replace(fileManifest, `"clear": 5`, `"clear": 4`)(files)
		replace(fileManifest, `"outside": 15`, `"outside": 16`)(files)
	})
	return repack(t, w.export, bundle, func(files map[string][]byte) { files[fileControls] = answered(t, bundle) }), w.policy()
}

// What is left out at the end of a run cannot be told from another run's records. The verdict then does not say that the run is complete.
func TestTailOfARunHidden(t *testing.T) {
	bundle, policy := tailHidden(t)
	v := verify(t, bundle, policy)
	want{ExitOpenTail, OpenTail, 20}.check(t, v)
	if diff := cmp.Diff(&Selection{Basis: Claimed, Emitters: 1, Others: 1, Outside: 16}, v.Selection); diff != "" {
		t.Error(diff)
	}
}

// What a run is missing because it never arrived, or because it cannot be read, is no lie of the exporter's.
func TestRunsWithGaps(t *testing.T) {
	for name, test := range map[string]struct {
		tell    func(a *sender, events []*eventv1.Event)
		want    want
		missing uint64
	}{
		"whole": {func(a *sender, x []*eventv1.Event) { a.batch(x) }, want{0, Complete, 5}, 0},
		"held":  {func(a *sender, x []*eventv1.Event) { a.batch(x, held(1)) }, want{ExitGaps, Gaps, 5}, 1},
		"lost":  {func(a *sender, x []*eventv1.Event) { a.batch(x[:1]).batch(x[1:3], lost).batch(x[3:]) }, want{ExitGaps, Gaps, 3}, 2},
		"late": {func(a *sender, x []*eventv1.Event) {
			var kept *draft
			a.batch(x[:1]).batch(x[1:3], lost, func(d *draft) { kept = d }).batch(x[3:])
			a.batch(kept.events, func(d *draft) { *d = *kept; d.lost, d.repeated, d.bytes = false, true, nil })
		}, want{0, Complete, 5}, 0},
		"open": {func(a *sender, x []*eventv1.Event) { a.batch(x[:3]) }, want{ExitOpenTail, OpenTail, 4}, 0},
		"begun before the period": {func(a *sender, x []*eventv1.Event) {
			a.w.clock("08:15")
			a.batch(x[:2])
			a.w.clock("09:00")
			a.batch(x[2:])
		}, want{ExitOpenTail, OpenTail, 3}, 0},
		"over two epochs": {func(a *sender, x []*eventv1.Event) {
			a.batch(x[:2]).newEpoch().batch(a.task("ticket-1", 1, true))
		}, want{ExitOpenTail, OpenTail, 5}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, policy := runWith(test.tell)(t)
			v := verify(t, bundle, policy)
			test.want.check(t, v)
			if v.Selection.Missing != test.missing {
				t.Errorf("%+v", v.Selection)
			}
		})
	}
}

// The first part of a run is shown as another run's: what is left has numbers from 1 to the end, and no start.
func TestBeginningOfARunHidden(t *testing.T) {
	bundle, policy := beginningHidden(t)
	v := verify(t, bundle, policy)
	want{ExitOpenTail, OpenTail, 7}.check(t, v)
	if diff := cmp.Diff(&Selection{Basis: Claimed, Emitters: 1, Outside: 2}, v.Selection); diff != "" {
		t.Error(diff)
	}
}

// beginningHidden is a run over two epochs of which the first is shown as another run's, with every account made right.
func beginningHidden(t *testing.T) ([]byte, *Policy) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.clock("09:00")
	x := a.task("ticket-1", 2, false)
	x[1] = a.starting()
	x[1].Run, x[1].RunSeq = "ticket-1", 2
	rest := a.task("ticket-1", 3, true)
	rest[0] = a.call("customer", "{}")
	rest[0].Run, rest[0].RunSeq = "ticket-1", 1
	a.batch(x).newEpoch().batch(rest).say(a.closing())
	w.clock("12:00").access()
	bundle := repack(t, w.export, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}), func(files map[string][]byte) {
		hideEvents(0, 1)(files)
		replace(fileManifest, `"clear": 7`, `"clear": 5`)(files)
		replace(fileManifest, `"expired": 0,`, "\"expired\": 0,\n    \"outside\": 2,")(files)
	})
	return repack(t, w.export, bundle, func(files map[string][]byte) { files[fileControls] = answered(t, bundle) }), w.policy()
}

// runWith is the bundle of a run of four records that somebody tells in his own way.
func runWith(tell func(a *sender, events []*eventv1.Event)) func(*testing.T) ([]byte, *Policy) {
	return func(t *testing.T) ([]byte, *Policy) {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		tell(a, a.task("ticket-1", 3, true))
		a.say(a.closing())
		w.clock("12:00").access()
		return w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}), w.policy()
	}
}

// The page for people says which part of the tenant it is about, and claims no more than the verdict does.
func TestReportsOfParts(t *testing.T) {
	for name, test := range map[string]struct {
		instance, run string
		says          []string
	}{
		"an instance":      {"support-1", "", []string{"instance <bdi>support-1</bdi>;", "COMPLETE", "filed under this instance", "whose they are"}},
		"an open instance": {"billing-1", "", []string{"instance <bdi>billing-1</bdi>;", "OPEN-TAIL"}},
		"a run":            {"support-1", "ticket-1", []string{"task <bdi>ticket-1</bdi>;", "records of others, only linked"}},
	} {
		w := shared(t)
		s := w.part(test.instance, test.run)
		s.Grace = 60
		page := string(unpack(t, w.exportScope(s, ExportOptions{}))[fileReport])
		for _, text := range append(test.says, "and what arrived after that until <time>2026-03-02 09:31:00 UTC</time>") {
			if !strings.Contains(page, text) {
				t.Errorf("%s: does not say %q", name, text)
			}
		}
		if strings.Contains(page, "Everything that the log received") || test.run != "" && strings.Contains(page, "COMPLETE<") {
			t.Errorf("%s: claims too much", name)
		}
	}
}
