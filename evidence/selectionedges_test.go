package evidence

import (
	"bufio"
	"bytes"
	"slices"
	"testing"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What is left out as another run's is what is here and of another run, and of what is kept whole what is here.
func TestWhatARunHides(t *testing.T) {
	ours, theirs := &eventv1.Event{Run: "ticket-1"}, &eventv1.Event{Run: "ticket-2"}
	for name, test := range map[string]struct {
		run   string
		whole bool
		state state
		event *eventv1.Event
		want  bool
	}{
		"of an instance":            {"", false, stateHere, theirs, false},
		"ours":                      {"ticket-1", false, stateHere, ours, false},
		"another's":                 {"ticket-1", false, stateHere, theirs, true},
		"that cannot be read":       {"ticket-1", false, stateHere, nil, false},
		"a message":                 {"ticket-1", true, stateHere, nil, true},
		"a message, expired":        {"ticket-1", true, stateExpired, nil, false},
		"another's, and it is held": {"ticket-1", false, stateHeld, theirs, false},
	} {
		x := &export{scope: Scope{Instance: "support-1", Run: test.run}}
		if got := x.hides(&part{whole: test.whole}, &eventRecord{state: test.state}, test.event); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A hold on the run bears on the run, though nothing of it was erased.
func TestHoldsOfARun(t *testing.T) {
	x := &export{scope: Scope{Instance: "support-1", Run: "ticket-1"}}
	for scope, want := range map[string]bool{
		"tenant": true, "instance/support-1": true, "run/ticket-1": true, "instance/billing-1": false, "run/ticket-2": false, "subject/customer": false,
	} {
		if x.holds(scope) != want {
			t.Errorf("%s: %t", scope, !want)
		}
	}
}

// A batch of another instance that is shown is surplus, at its first record in the range.
func TestSurplusBatch(t *testing.T) {
	for instance, want := range map[string]Result{"support-1": NotRun, "billing-1": Failed} {
		v := newVerification(nil, VerifyOptions{})
		v.scope = &Scope{Instance: "support-1"}
		(&judge{verification: v}).covered(&job{statement: &eventv1.BatchStatement{Instance: instance}, from: 7})
		if c := v.checks[CheckSelection]; c.Result != want || c.Examined != 1 || want == Failed && c.Records[0] != 7 {
			t.Errorf("%s: %+v", instance, c)
		}
	}
}

// A run's numbers are followed in batches of events, with what of them cannot be read.
func TestFollowingARun(t *testing.T) {
	v := newVerification(nil, VerifyOptions{})
	v.scope = &Scope{Instance: "support-1", Run: "ticket-1"}
	j := &judge{verification: v}
	statement := &eventv1.BatchStatement{KeyId: make([]byte, 32), EpochNo: 1}
	j.follow(&job{record: batchRecord{form: formWhole}, statement: statement, count: Disclosure{Held: 1}})
	if len(v.threads) != 0 {
		t.Errorf("a message that is kept whole: %v", v.threads)
	}
	j.follow(&job{record: batchRecord{form: formEvents}, statement: statement, count: Disclosure{Held: 1, Withheld: 2, Expired: 4}, runs: []runNumber{{number: 1}, {number: 2}, {number: 2}, {number: 3}, {3, eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED}}})
	thread := v.threads[threadID{epochNo: 1}]
	if thread == nil || thread.unread != 7 || thread.missing(true) != 0 || !thread.ended || thread.last != 3 {
		t.Errorf("%+v", thread)
	}
}

// What is hidden of a run beyond the numbers that were lost is found.
func TestMoreHiddenThanLost(t *testing.T) {
	for name, test := range map[string]struct {
		lost, hide []int // places in the run
		exit       int
	}{
		"one lost":             {[]int{2}, nil, ExitGaps},
		"two lost":             {[]int{2, 3}, nil, ExitGaps},
		"one lost, one hidden": {[]int{2}, []int{1}, ExitBoundary},
	} {
		w := newWorld(t, "acme")
		a := w.agent("support-1")
		w.clock("09:00")
		events := a.task("ticket-1", 5, true)
		first, last := test.lost[0], test.lost[len(test.lost)-1]
		a.batch(events[:first]).batch(events[first:last+1], lost).batch(events[last+1:]).say(a.closing())
		w.clock("12:00").access()
		bundle := repack(t, w.export, w.exportScope(w.part("support-1", "ticket-1"), ExportOptions{}), hideEvents(test.hide...))
		if v := verify(t, bundle, w.policy()); v.Exit != test.exit || (v.Check(CheckSelection).Result == Failed) != (len(test.hide) > 0) {
			t.Errorf("%s: exit %d, want %d\n%s", name, v.Exit, test.exit, details(v))
		}
	}
}

// Of an instance that says nothing nothing is known to be complete; how much was examined is said.
func TestSilentInstance(t *testing.T) {
	w := newWorld(t, "acme")
	a := w.agent("support-1")
	w.agent("quiet-1")
	w.clock("09:00")
	a.send(2).say(a.closing())
	w.clock("12:00").access()
	for instance, test := range map[string]struct {
		want     want
		examined uint64
	}{"quiet-1": {want{ExitOpenTail, OpenTail, 3}, 3}, "support-1": {want{ExitVerified, Complete, 3}, 2}} {
		v := verify(t, w.exportScope(w.part(instance, ""), ExportOptions{}), w.policy())
		test.want.check(t, v)
		if c := v.Check(CheckSelection); c.Examined != test.examined {
			t.Errorf("%s: %+v", instance, c)
		}
	}
}

// Others' leaves are read some at a time, however many there are.
func TestManyOthers(t *testing.T) {
	w := newWorld(t, "acme")
	a, b := w.agent("support-1"), w.agent("billing-1")
	w.clock("09:00")
	a.send(1)
	for range 3 {
		b.send(othersChunk * 3 / 4)
	}
	a.send(1).say(a.closing())
	w.clock("12:00").access()
	s := w.part("support-1", "")
	want{ExitVerified, Complete, 3 + othersChunk*9/4}.check(t, verify(t, w.exportScope(s, ExportOptions{}), w.policy()))
}

// Leaves of others are examined so many at a time.
func TestOthersComeInChunks(t *testing.T) {
	f := fed(&Scope{Instance: "support-1", Begin: 5, End: 5 + 2*othersChunk + 1}, bytes.NewReader(nil), nil, nil)
	f.leaves.r = bufio.NewReader(bytes.NewReader(make([]byte, 3*othersChunk*chain.LeafSize)))
	var sizes []int
	for {
		j := new(job)
		more, err := f.others(j)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		sizes = append(sizes, j.size())
	}
	if !slices.Equal(sizes, []int{othersChunk, othersChunk, 1}) {
		t.Error(sizes)
	}
}
