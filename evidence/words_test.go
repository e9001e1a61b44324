package evidence

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/timestamp"
)

// numberedList is a list of n things.
func numberedList[T any](n int, of func(i int) T) (list []T) {
	for i := range n {
		list = append(list, of(i))
	}
	return list
}

// What the text says where a bundle of the tests has no case: one thing at a time, beside the same without it.
func TestWords(t *testing.T) {
	emitter := func(edit func(*Emitter)) Emitter {
		e := Emitter{Instance: "support-1", Begins: "first", Epochs: []Epoch{{No: 1, First: 1, Last: 9, Ends: "closed"}}}
		edit(&e)
		return e
	}
	const noon = Instant(12 * 3600 * 1e9)
	log, outside := &Bound{At: noon - 1e9, Record: 7, By: "log"}, &Bound{At: noon - 2e9, Record: 6, By: "w1, w2"}
	when := func(edit func(*When)) func(*page) {
		w := When{Event: "e-1", Found: true, Record: 9, Instance: "support-1", Claimed: noon, Received: noon + 1e9}
		edit(&w)
		return w.text
	}
	part := func(run string, edit func(*Selection)) *Verdict {
		v := &Verdict{Scope: &Scope{Instance: "support-1", Run: run}, Selection: &Selection{Basis: Claimed, Contiguous: 1, Emitters: 2}}
		edit(v.Selection)
		return v
	}
	receiptsOf := func(list ...Receipt) func(*page) {
		return (&Verdict{Receipts: &Receipts{Undecided: uint64(len(list)), List: list}}).receipts
	}
	heading := func(edit func(*Scope)) func(*page) {
		s := &Scope{Tenant: "acme", Origin: "example.com/acme", From: noon, To: noon + 1e9, Begin: 4, End: 9, Requester: "ann", Purpose: "review"}
		edit(s)
		return (&Verdict{Scope: s}).heading
	}
	failures := func(checks ...Check) func(*page) {
		return func(p *page) { p.failures(rules, checks) }
	}
	records := func(n int) []uint64 { return numberedList(n, func(i int) uint64 { return uint64(i) }) }
	listing := func(result Result) func(*page) {
		list := []Check{{Name: CheckPopulation, Result: result}, {Name: CheckControls, Result: result}}
		return (&Verdict{Checks: list, Controls: Controls{Supported: 1, Exceptions: 2, NotEvidenced: 3}}).lists
	}
	cases := map[string]func(*page){
		"heading":                      heading(func(*Scope) {}),
		"heading, no records":          heading(func(s *Scope) { s.End = s.Begin }),
		"heading, of nobody":           heading(func(s *Scope) { s.Requester, s.Purpose = "", "" }),
		"heading, a grace":             heading(func(s *Scope) { s.Grace = 60 }),
		"heading, of a run":            part("ticket-1", func(s *Selection) { s.Outside = 2 }).heading,
		"heading, of an unknown part":  (&Verdict{Scope: &Scope{Instance: "support-1"}}).heading,
		"outside, nobody asked":        (&Verdict{}).outside,
		"outside, none of them":        (&Verdict{Witnesses: &Witnessing{Known: 2}}).outside,
		"outside, some of them":        (&Verdict{Witnesses: &Witnessing{Confirmed: 1, Known: 2, Names: []string{"w1"}}}).outside,
		"outside, authorities":         (&Verdict{TimeStamps: []TimeStamp{{Of: ofLog, At: noon, Authority: "a", Qualified: true, Revocation: timestamp.NotRevoked}, {Of: ofExport, At: noon, Authority: "b", Revocation: timestamp.RevocationNotChecked}}}).outside,
		"when, nobody asked":           (&Verdict{}).times,
		"when, not here":               (&Verdict{When: []When{{Event: "e-1"}}}).times,
		"when":                         when(func(*When) {}),
		"when, brought in":             when(func(w *When) { w.Made = true }),
		"when, after a record":         when(func(w *When) { w.After = log }),
		"when, after what others saw":  when(func(w *When) { w.Since = outside }),
		"when, after both":             when(func(w *When) { w.After, w.Since = log, outside }),
		"when, before what others saw": when(func(w *When) { w.Before = outside }),
		"rests, on nothing":            (&Verdict{Scope: &Scope{}}).rests,
		"rests, not claimed":           func(p *page) { v := part("", func(*Selection) {}); v.Completeness = NoClaim; v.rests(p) },
		"rests, on the operator":       part("", func(s *Selection) { s.Contiguous = 0 }).rests,
		"rests, on nobody":             part("", func(s *Selection) { s.Contiguous, s.Emitters = 0, 0 }).rests,
		"rests, on some":               part("", func(*Selection) {}).rests,
		"rests, on some and others":    part("ticket-1", func(s *Selection) { s.Others = 1 }).rests,
		"rests, on all but others":     part("ticket-1", func(s *Selection) { s.Contiguous, s.Others = 2, 1 }).rests,
		"rests, on all":                part("", func(s *Selection) { s.Contiguous, s.Basis = 2, Contiguous }).rests,
		"rests, on all of a run":       part("ticket-1", func(s *Selection) { s.Contiguous, s.Basis = 2, Contiguous }).rests,
		"limits of a part":             func(p *page) { p.line("%s", part("", func(*Selection) {}).limitsOfPart()) },
		"limits of a part, others": func(p *page) {
			p.line("%s", part("", func(s *Selection) { s.Others, s.Outside = 2, 1 }).limitsOfPart())
		},
		"receipts, none":                (&Verdict{}).receipts,
		"receipts, of all sorts":        (&Verdict{Receipts: &Receipts{Present: 1, Undecided: 2, Missing: 3, Unsigned: 4}}).receipts,
		"receipts, before":              receiptsOf(Receipt{Number: 1, Result: ReceiptUndecided, Why: BeforeRange, First: 3, Count: 2, Instance: "a", Taken: noon}),
		"receipts, after":               receiptsOf(Receipt{Number: 1, Result: ReceiptUndecided, Why: AfterRange, Deadline: noon}),
		"receipts, not proven":          receiptsOf(Receipt{Number: 1, Result: ReceiptUndecided, Why: NotProven}),
		"receipts, missing":             receiptsOf(Receipt{Number: 1, Result: ReceiptMissing, Deadline: noon}),
		"receipts, unsigned":            receiptsOf(Receipt{Number: 1, Result: ReceiptUnsigned}),
		"receipts, present":             receiptsOf(Receipt{Number: 1, Result: ReceiptPresent}),
		"receipts, as many as fit":      receiptsOf(numberedList(maxLines, func(i int) Receipt { return Receipt{Number: i, Result: ReceiptUnsigned} })...),
		"receipts, one too many":        receiptsOf(numberedList(maxLines+1, func(i int) Receipt { return Receipt{Number: i, Result: ReceiptUnsigned} })...),
		"failures, none":                failures(Check{Result: Passed}),
		"failures, of a record":         failures(Check{Result: Failed, Failures: 1, Records: records(1)}),
		"failures, of some records":     failures(Check{Result: Failed, Failures: 2, Records: records(2)}),
		"failures, as many as fit":      failures(Check{Result: Failed, Failures: maxShown, Records: records(maxShown)}),
		"failures, one too many":        failures(Check{Result: Failed, Failures: maxShown + 1, Records: records(maxShown)}),
		"failures, of few often":        failures(Check{Result: Failed, Failures: maxShown + 1, Records: records(2)}),
		"failures, in a file":           failures(Check{Result: Passed}, Check{Result: Failed, Detail: fileScope + ": wrong"}),
		"failures, in no file":          failures(Check{Result: Failed, Detail: "elsewhere: wrong"}),
		"sources, none":                 (&Verdict{}).sources,
		"sources, all":                  (&Verdict{Vantage: Vantage{1, 2, 3, 4, 5}, Verdicts: map[string]uint64{chain.Gap.String(): 1, chain.Malformed.String(): 2}, Arrivals: &Arrivals{1, 2}}).sources,
		"contents, none":                (&Verdict{}).contents,
		"contents, all":                 (&Verdict{Records: Disclosure{Clear: 1, Held: 2, Withheld: 3, Expired: 4, FieldsDisclosed: 5, FieldsWithheld: 6, FieldsErased: 7}, Redactions: []Reason{{Reason: "privilege", Fields: 3, Records: 2}, {Reason: "", Records: 1}}}).contents,
		"contents, reasons as many":     (&Verdict{Redactions: numberedList(maxLines, func(i int) Reason { return Reason{Reason: fmt.Sprint(i), Fields: 1} })}).contents,
		"contents, reasons too many":    (&Verdict{Redactions: numberedList(maxLines+3, func(i int) Reason { return Reason{Reason: fmt.Sprint(i), Fields: 1} })}).contents,
		"producers, none":               (&Verdict{}).producers,
		"producers, whole":              (&Verdict{Emitters: []Emitter{emitter(func(*Emitter) {})}}).producers,
		"producers, silent":             (&Verdict{SilentKeys: 2}).producers,
		"producers, a gap":              (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Epochs[0].Missing = [][2]uint64{{3, 5}, {7, 7}} })}}).producers,
		"producers, an epoch missing":   (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Skipped = true })}}).producers,
		"producers, late":               (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Late = 1 })}}).producers,
		"producers, contradictions":     (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Equivocations = 2 })}}).producers,
		"producers, begins later":       (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Begins = beginClaimed })}}).producers,
		"producers, open":               (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Epochs[0].Ends = endOpen })}}).producers,
		"producers, of no epoch":        (&Verdict{Emitters: []Emitter{emitter(func(e *Emitter) { e.Epochs, e.Late = nil, 1 })}}).producers,
		"producers, as many as fit":     (&Verdict{Emitters: numberedList(maxLines, func(int) Emitter { return emitter(func(e *Emitter) { e.Late = 1 }) })}).producers,
		"producers, three too many":     (&Verdict{Emitters: numberedList(maxLines+3, func(int) Emitter { return emitter(func(e *Emitter) { e.Late = 1 }) })}).producers,
		"lists, passed":                 listing(Passed),
		"lists, failed":                 listing(Failed),
		"limits, suspects":              (&Verdict{Suspects: []Suspect{{Instance: "support-1", From: 3, To: 9}}}).limits,
		"limits, closed and left out":   (&Verdict{Records: Disclosure{Held: 1, Withheld: 1}}).limits,
		"limits, fields and left out":   (&Verdict{Records: Disclosure{FieldsWithheld: 1, Withheld: 1}}).limits,
		"limits, fields, closed":        (&Verdict{Records: Disclosure{FieldsWithheld: 1, Held: 1}}).limits,
		"limits, nothing is left out":   (&Verdict{}).limits,
		"limits, no longer kept":        (&Verdict{Records: Disclosure{Expired: 1}}).limits,
		"limits, erased":                (&Verdict{Records: Disclosure{FieldsErased: 1}}).limits,
		"limits, clocks":                (&Verdict{Clock: Clock{Ahead: 1, Behind: 2}}).limits,
		"limits, silent":                (&Verdict{SilentKeys: 1, EndOfLog: true, Completeness: Gaps, Anchoring: AnchoredNot, Authenticity: Authentic}).limits,
		"limits, who says so":           (&Verdict{Vantage: Vantage{SelfReported: 1, Imported: 1}, Completeness: OpenTail, Receipts: &Receipts{Undecided: 1}}).limits,
		"limits, receipts that all are": (&Verdict{Receipts: &Receipts{}}).limits,
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		var p page
		cases[name](&p)
		fmt.Fprintf(&all, "=== %s\n%s\n", name, p.String())
	}
	golden(t, filepath.Join("testdata", "text", "words.txt"), all.String())
}

// Who confirms the log's times: the best of those who do.
func TestWhoConfirmsTheTimes(t *testing.T) {
	w := newWorld(t, "acme")
	w.time = w.key()
	own := signer.Cosignature{Key: w.time.Public(), Seconds: 7}
	other := signer.Cosignature{Key: w.log.Public(), Seconds: 9}
	qualified, ours := TimeStamp{Of: ofLog, At: 5e9, Qualified: true}, TimeStamp{Of: ofLog, At: 6e9}
	for name, test := range map[string]struct {
		v    *verification
		want string
		at   int64
	}{
		"nobody":                             {&verification{}, AnchoredNot, 0},
		"the operator":                       {&verification{head: signer.SignedCheckpoint{Cosignatures: []signer.Cosignature{own}}}, AnchoredByLog, 7},
		"somebody":                           {&verification{head: signer.SignedCheckpoint{Cosignatures: []signer.Cosignature{other}}}, AnchoredNot, 9},
		"an authority":                       {&verification{stamps: []TimeStamp{qualified}}, AnchoredByStamp, 5},
		"the operator's authority":           {&verification{stamps: []TimeStamp{ours}}, AnchoredByLog, 6},
		"an authority, and the operator's":   {&verification{stamps: []TimeStamp{qualified, ours}}, AnchoredByStamp, 6},
		"an authority of the export":         {&verification{stamps: []TimeStamp{{Of: ofExport, At: 5e9, Qualified: true}}}, AnchoredNot, 0},
		"witnesses":                          {&verification{witnessed: &Witnessing{Confirmed: 1, Known: 2, Met: true}, stamps: []TimeStamp{qualified}}, "witnessed 1 of 2", 5},
		"no witness, and none is asked for":  {&verification{witnessed: &Witnessing{Known: 2, Met: true}}, AnchoredNot, 0},
		"fewer witnesses than are asked for": {&verification{witnessed: &Witnessing{Confirmed: 1, Known: 2}}, AnchoredNot, 0},
	} {
		test.v.policy = w.policy()
		out := Verdict{Anchoring: AnchoredNot}
		if test.v.anchoring(&out); out.Anchoring != test.want || out.AnchoredAt != test.at {
			t.Errorf("%s: %s, %d", name, out.Anchoring, out.AnchoredAt)
		}
	}
}

// When something that arrived after the period is said to have happened: in the period, or not.
func TestArrivalsAtTheEnds(t *testing.T) {
	w := &worker{scope: &Scope{From: 100, To: 200}}
	for _, test := range []struct {
		received, happened int64
		want               Arrivals
	}{
		{199, 150, Arrivals{}},
		{200, 99, Arrivals{0, 1}},
		{200, 100, Arrivals{1, 0}},
		{200, 199, Arrivals{1, 0}},
		{200, 200, Arrivals{0, 1}},
	} {
		j := new(job)
		if w.arrived(j, &chain.Leaf{Time: test.received}, &eventv1.Event{OccurredAt: test.happened}); j.arrivals != test.want {
			t.Errorf("received %d, happened %d: %+v", test.received, test.happened, j.arrivals)
		}
	}
}

// Whether an approval of an agent names what Custody recorded: of this call, by this person, of this text.
func TestWhatVouches(t *testing.T) {
	p := newPeople()
	id := event.ID{1}
	ours := &eventv1.Event{Id: id[:], Body: &eventv1.Event_System{System: &eventv1.System{Actor: "bob", Detail: &eventv1.System_Approval{Approval: &eventv1.ApprovalStep{
		State: eventv1.ApprovalState_APPROVAL_STATE_APPROVED, Instance: "a", Run: "r", Call: "c", ShownDigest: []byte{7},
	}}}}}
	p.system(&fact{event: ours})
	for name, test := range map[string]struct {
		edit func(*eventv1.Event)
		want bool
	}{
		"right":            {func(*eventv1.Event) {}, true},
		"names nothing":    {func(e *eventv1.Event) { e.Causes = nil }, false},
		"names another":    {func(e *eventv1.Event) { e.Causes[0].Id = make([]byte, 16) }, false},
		"not as approval":  {func(e *eventv1.Event) { e.Causes[0].Relation = eventv1.Relation_RELATION_INPUT }, false},
		"of another call":  {func(e *eventv1.Event) { e.GetApproval().Call = "d" }, false},
		"by another":       {func(e *eventv1.Event) { e.GetApproval().Approver = "eve" }, false},
		"of another text":  {func(e *eventv1.Event) { e.GetApproval().ShownDigest = []byte{8} }, false},
		"another is named": {func(e *eventv1.Event) { e.Causes = append([]*eventv1.Cause{{Id: make([]byte, 16)}}, e.Causes...) }, true},
	} {
		e := &eventv1.Event{
			Instance: "a", Run: "r", Causes: []*eventv1.Cause{{Id: id[:], Relation: eventv1.Relation_RELATION_APPROVAL}},
			Body: &eventv1.Event_Approval{Approval: &eventv1.Approval{Call: "c", Approver: "bob", ShownDigest: []byte{7}}},
		}
		test.edit(e)
		if got := p.vouch(e, e.GetApproval()); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A review is late after it was due, and a person approves fast with the fifth within a minute.
func TestPaces(t *testing.T) {
	p := newPeople()
	review := func(at, next int64) bool {
		f := &fact{time: at, event: &eventv1.Event{Body: &eventv1.Event_System{System: &eventv1.System{Detail: &eventv1.System_Review{Review: &eventv1.Review{
			Topic: "memory", Subject: "notes", NextAt: next,
		}}}}}}
		p.system(f)
		return f.late
	}
	for i, test := range []struct {
		at, next int64
		late     bool
	}{{10, 20, false}, {20, 30, false}, {31, 0, true}, {40, 50, false}} {
		if got := review(test.at, test.next); got != test.late {
			t.Errorf("review %d: %t", i, got)
		}
	}
	for name, test := range map[string]struct {
		times []int64
		want  uint8
	}{
		"four":                    {[]int64{0, 1, 2, 3}, paceSteady},
		"five":                    {[]int64{0, 1, 2, 3, 4}, paceBurst},
		"six":                     {[]int64{0, 1, 2, 3, 4, 5}, paceBurst},
		"five within a minute":    {[]int64{0, 1, 2, 3, burstTime - 1}, paceBurst},
		"five in just a minute":   {[]int64{0, 1, 2, 3, burstTime}, paceSteady},
		"five, the last of them":  {[]int64{0, 1, 2, 3, burstTime, burstTime}, paceBurst},
		"long ago, and then five": {[]int64{0, 2 * burstTime, 2 * burstTime, 2 * burstTime, 2 * burstTime}, paceSteady},
	} {
		p, got := newPeople(), uint8(0)
		for _, at := range test.times {
			got = p.pace("bob", at)
		}
		if got != test.want {
			t.Errorf("%s: %d", name, got)
		}
	}
}
