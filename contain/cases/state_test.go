package cases

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// log builds the system events of one tenant: each is a nanosecond after the one before.
type log struct {
	state State
	at    int64
	all   []*eventv1.Event
}

func idAt(n int64) event.ID {
	id := event.ID{6: 0x70, 8: 0x80}
	binary.BigEndian.PutUint32(id[:4], uint32(n))
	return id
}

// say adds an event and returns its id.
func (l *log) say(x *eventv1.System) event.ID {
	l.at++
	id := idAt(l.at)
	x.Actor, x.Reason = "dana", "because"
	e := &eventv1.Event{Id: id[:], Body: &eventv1.Event_System{System: x}}
	l.all = append(l.all, e)
	l.state.Apply(l.at, e)
	return id
}

func (l *log) act(action eventv1.CaseAction, x *eventv1.Case) event.ID {
	x.Action = action
	return l.say(&eventv1.System{Detail: &eventv1.System_Case{Case: x}})
}

func (l *log) open(target string, trigger int64) {
	l.act(opened, &eventv1.Case{Case: "c", Target: target, TriggerAt: trigger})
}

func (l *log) manifest(instance string) event.ID {
	return l.say(&eventv1.System{Detail: &eventv1.System_Manifest{Manifest: &eventv1.ManifestChange{Instance: instance, Version: 2}}})
}

func (l *log) rule(mode string) event.ID {
	return l.say(&eventv1.System{Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{Rule: "r", Version: 1, Mode: mode}}})
}

func (l *log) enrol(name, replaces, instance string) event.ID {
	key := sha256.Sum256([]byte(name))
	x := &eventv1.KeyChange{Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: key[:], Instance: instance}
	if replaces != "" {
		old := sha256.Sum256([]byte(replaces))
		x.Replaces = old[:]
	}
	return l.say(&eventv1.System{Detail: &eventv1.System_Key{Key: x}})
}

func (l *log) contained(target, level, path string, state eventv1.ContainmentState) event.ID {
	return l.say(&eventv1.System{Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
		Plan: "k-" + target, Target: target, Level: level, Path: path, State: state,
	}}})
}

func (l *log) cite(action eventv1.CaseAction, class string, ids ...event.ID) {
	l.act(action, &eventv1.Case{Case: "c", Class: class, Events: bytesOf(ids)})
}

// ready brings a case to where only a fix is missing.
func (l *log) ready() {
	l.cite(trigger, "retrieval", idAt(1))
	l.cite(failure, "permissions", idAt(1))
	for _, item := range event.CaseItems {
		l.act(settled, &eventv1.Case{Case: "c", Class: item, NotNeeded: true})
	}
}

func (l *log) close() *Case {
	l.act(closed, &eventv1.Case{Case: "c"})
	return l.state.Find("c")
}

const (
	requested = eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED
	verified  = eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED
	released  = eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED
)

// TestClosesOnlyWithAFix: whoever records the closing, a case closes only when everything is done and the system was changed after
// the trigger.
func TestClosesOnlyWithAFix(t *testing.T) {
	tests := map[string]struct {
		fix  func(*log) event.ID
		want string // kind of the fix; empty if there is none
	}{
		"a manifest":             {func(l *log) event.ID { return l.manifest("mole") }, "manifest"},
		"a rule that went live":  {func(l *log) event.ID { return l.rule("live") }, "rule"},
		"a key that was rotated": {func(l *log) event.ID { return l.enrol("new", "old", "mole") }, "credential"},
		"a connector's proof": {func(l *log) event.ID {
			return l.contained("instance/acme/mole", "quarantine", "connector/mail", verified)
		}, "connector"},
		"nothing":                     {func(*log) event.ID { return idAt(999) }, ""},
		"a rule in shadow":            {func(l *log) event.ID { return l.rule("shadow") }, ""},
		"a new key beside":            {func(l *log) event.ID { return l.enrol("new", "", "mole") }, ""},
		"a manifest of another":       {func(l *log) event.ID { return l.manifest("other") }, ""},
		"a containment":               {func(l *log) event.ID { return l.contained("instance/acme/mole", "pause", "", requested) }, ""},
		"a gate's proof":              {func(l *log) event.ID { return l.contained("instance/acme/mole", "pause", "gate/00", verified) }, ""},
		"a manifest from before":      {func(*log) event.ID { return idAt(1) }, ""},
		"an act of the case, no more": {func(l *log) event.ID { return idAt(l.at) }, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := &log{}
			l.manifest("mole")
			l.open("instance/acme/mole", 1)
			l.ready()
			l.cite(fixed, "", test.fix(l))
			c := l.close()
			var kinds []string
			for _, f := range c.Fixes {
				kinds = append(kinds, string(f.Kind))
			}
			if got := append(kinds, "")[0]; got != test.want || c.Open() == (test.want != "") {
				t.Errorf("fixes %q, open %v, missing %q", kinds, c.Open(), c.Missing())
			}
		})
	}
}

// TestEachHindersClosing: with everything but one thing, a case stays open and says which.
func TestEachHindersClosing(t *testing.T) {
	skip := append([]string{"trigger", "failure", "fix"}, event.CaseItems...)
	for _, left := range skip {
		l := &log{}
		l.open("instance/acme/mole", 0)
		for action, class := range map[eventv1.CaseAction]string{trigger: "user", failure: "prompt"} {
			if event.CaseActions.Name(action) != left {
				l.cite(action, class, idAt(1))
			}
		}
		for _, item := range event.CaseItems {
			if item != left {
				l.act(settled, &eventv1.Case{Case: "c", Class: item, NotNeeded: true})
			}
		}
		if left != "fix" {
			l.cite(fixed, "", l.rule("live"))
		}
		if c := l.close(); !c.Open() || !cmp.Equal(c.Missing(), []string{left}) {
			t.Errorf("without %s: open %v, missing %q", left, c.Open(), c.Missing())
		}
	}
}

// TestTheLogSettles: what the log shows of the case's instance after the opening settles items by itself.
func TestTheLogSettles(t *testing.T) {
	say := func(topic, subject, outcome string) func(*log) event.ID {
		return func(l *log) event.ID {
			return l.say(&eventv1.System{Detail: &eventv1.System_Review{Review: &eventv1.Review{Topic: topic, Subject: subject, Outcome: outcome}}})
		}
	}
	tests := map[string]struct {
		event func(*log) event.ID
		want  []string
	}{
		"manifest":             {func(l *log) event.ID { return l.manifest("mole") }, []string{"scopes"}},
		"of another":           {func(l *log) event.ID { return l.manifest("other") }, nil},
		"review of the scope":  {say("scope", "mole", "approved"), []string{"scopes", "review"}},
		"a scope rejected":     {say("scope", "mole", "rejected"), []string{"review"}},
		"review of all memory": {say("memory", "", "changes"), []string{"review"}},
		"review of one memory": {say("memory", "notes", "approved"), nil},
		"review of sharing":    {say("sharing", "memory/notes", "approved"), nil},
		"rotation":             {func(l *log) event.ID { return l.enrol("new", "old", "mole") }, []string{"secrets"}},
		"pause":                {func(l *log) event.ID { return l.contained("instance/acme/mole", "pause", "", requested) }, []string{"quarantine"}},
		"pause of its tenant":  {func(l *log) event.ID { return l.contained("tenant/acme", "pause", "", requested) }, []string{"quarantine"}},
		"restriction":          {func(l *log) event.ID { return l.contained("instance/acme/mole", "restrict", "", requested) }, nil},
		"pause of another":     {func(l *log) event.ID { return l.contained("instance/acme/other", "pause", "", requested) }, nil},
		"verified by connector": {func(l *log) event.ID {
			return l.contained("instance/acme/mole", "quarantine", "connector/mail", verified)
		}, []string{"secrets"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := &log{}
			l.open("instance/acme/mole", 0)
			id := test.event(l)
			var got []string
			for _, i := range l.state.Find("c").Items {
				if i.Done && i.Actor == "" && cmp.Equal(i.Events, []event.ID{id}) {
					got = append(got, i.Name)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("settled (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSecretsTakenBeforeTheOpening: who stops first and opens the case later has rotated what was rotated after the trigger.
func TestSecretsTakenBeforeTheOpening(t *testing.T) {
	tests := map[string]struct {
		trigger int64 // 0: nobody has named one
		change  func(*log) event.ID
		want    bool
	}{
		"rotated after the trigger": {1, func(l *log) event.ID { return l.enrol("new", "old", "mole") }, true},
		"revoked after the trigger": {1, func(l *log) event.ID {
			return l.contained("instance/acme/mole", "quarantine", "connector/mail", verified)
		}, true},
		"rotated before the trigger": {5, func(l *log) event.ID { return l.enrol("new", "old", "mole") }, false},
		"of another instance":        {1, func(l *log) event.ID { return l.enrol("new", "old", "other") }, false},
		"a manifest":                 {1, func(l *log) event.ID { return l.manifest("mole") }, false},
		"no trigger is named":        {0, func(l *log) event.ID { return l.enrol("new", "old", "mole") }, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l := &log{at: 2}
			id := test.change(l)
			l.open("instance/acme/mole", test.trigger)
			got := l.state.Find("c").item("secrets")
			if got.Done != test.want || test.want && !cmp.Equal(got.Events, []event.ID{id}) {
				t.Errorf("secrets: %+v", got)
			}
		})
	}
}

// TestGathersFirings: the firing that asked for a containment of the target belongs to the case with it; those that are named at the
// opening too, each once.
func TestGathersFirings(t *testing.T) {
	l := &log{}
	first, second := idAt(70), idAt(71)
	l.act(opened, &eventv1.Case{Case: "c", Target: "instance/acme/mole", Firings: bytesOf([]event.ID{first}), Containments: []string{"f-of-a-run"}})
	for _, plan := range []string{"f-" + hex.EncodeToString(first[:]), "f-" + hex.EncodeToString(second[:]), "f-0", "c-1"} {
		l.say(&eventv1.System{Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{
			Plan: plan, Target: "instance/acme/mole", Level: "pause", State: requested,
		}}})
	}
	c := l.state.Find("c")
	if diff := cmp.Diff([][16]byte{first, second}, c.Firings); diff != "" {
		t.Errorf("firings (-want +got):\n%s", diff)
	}
	if len(c.Containments) != 5 || c.Containments[0] != "f-of-a-run" {
		t.Errorf("containments %v", c.Containments)
	}
}

// TestGathersContainments: those in force at the opening and later ones belong to the case, released ones do not.
func TestGathersContainments(t *testing.T) {
	l := &log{}
	l.contained("run/acme/old", "pause", "", requested)
	l.contained("instance/acme/mole", "pause", "", requested)
	l.contained("connector/acme/mole/mail", "pause", "", requested)
	l.contained("connector/acme/mole/mail", "pause", "", released)
	l.open("instance/acme/mole", 0)
	l.contained("tenant/acme", "restrict", "", requested)
	l.act(added, &eventv1.Case{Case: "c", Containments: []string{"k-run/acme/old"}})
	want := []string{"k-instance/acme/mole", "k-tenant/acme", "k-run/acme/old"}
	if diff := cmp.Diff(want, l.state.Find("c").Containments); diff != "" {
		t.Errorf("containments (-want +got):\n%s", diff)
	}
}

// TestOneCaseAboutATarget: a second opening about a target changes nothing, also under another id; a new one may come after.
func TestOneCaseAboutATarget(t *testing.T) {
	l := &log{}
	l.open("instance/acme/mole", 0)
	first := l.state.NextID(event.Target{Kind: event.TargetInstance, Tenant: "acme", Instance: "mole"})
	l.act(opened, &eventv1.Case{Case: "d", Target: "instance/acme/mole"})
	l.open("run/acme/mole", 0) // the id is taken
	if n := len(l.state.All()); n != 1 {
		t.Errorf("%d cases", n)
	}
	l.ready()
	l.cite(fixed, "", l.rule("live"))
	l.close()
	l.act(added, &eventv1.Case{Case: "c", Containments: []string{"x"}})
	if c := l.state.Find("c"); c.Open() || len(c.Containments) != 0 {
		t.Errorf("open %v, containments %q", c.Open(), c.Containments)
	}
	l.act(opened, &eventv1.Case{Case: string(first), Target: "instance/acme/mole"})
	if n := len(l.state.All()); n != 2 {
		t.Errorf("%d cases", n)
	}
}

// TestFoldIsDeterministic: random acts, valid and not, give the same state each time, with and without repeats; and no case is
// ever closed that something hinders.
func TestFoldIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &log{}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			l.random(t)
		}
		var again State
		for i, e := range l.all {
			again.Apply(int64(i+1), e)
			if act := e.GetSystem().GetCase(); act.GetAction() == opened || act.GetAction() == closed {
				again.Apply(int64(i+1), e) // a repeat
			}
		}
		if l.state.Hash() != again.Hash() {
			t.Fatal("the states differ")
		}
		for _, c := range l.state.All() {
			if !c.Open() && len(c.Missing()) > 0 {
				t.Fatalf("closed, and %q is missing", c.Missing())
			}
		}
	})
}

func (l *log) random(t *rapid.T) {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	cited := idAt(int64(rapid.IntRange(1, 60).Draw(t, "cited")))
	switch id := pick("case", "c", "d"); pick("what", "open", "trigger", "failure", "settle", "fix", "close", "manifest", "rule", "key", "pause") {
	case "open":
		l.act(opened, &eventv1.Case{Case: id, Target: pick("target", "instance/acme/mole", "tenant/acme", "nothing")})
	case "trigger":
		l.act(trigger, &eventv1.Case{Case: id, Class: "user", Events: [][]byte{cited[:]}})
	case "failure":
		l.act(failure, &eventv1.Case{Case: id, Class: "policy", Events: [][]byte{cited[:]}})
	case "settle":
		l.act(settled, &eventv1.Case{Case: id, Class: pick("item", event.CaseItems...), NotNeeded: true})
	case "fix":
		l.act(fixed, &eventv1.Case{Case: id, Events: [][]byte{cited[:]}})
	case "close":
		l.act(closed, &eventv1.Case{Case: id})
	case "manifest":
		l.manifest(pick("instance", "mole", "other"))
	case "rule":
		l.rule(pick("mode", "live", "shadow"))
	case "key":
		l.enrol(pick("key", "a", "b"), pick("replaces", "", "a", "b"), "mole")
	case "pause":
		l.contained("instance/acme/mole", pick("level", "pause", "restrict"), "", requested)
	}
}

// TestStateIsBounded: however much is recorded, what is kept has an end.
func TestStateIsBounded(t *testing.T) {
	l := &log{}
	for range maxChanges + 10 {
		l.rule("live")
	}
	for i := range maxContainments + 10 {
		l.contained("run/acme/"+string(idText(i)), "pause", "", requested)
	}
	if len(l.state.changes) != maxChanges || len(l.state.containments) != maxContainments {
		t.Errorf("%d changes, %d containments", len(l.state.changes), len(l.state.containments))
	}
	last := l.state.changes[len(l.state.changes)-1].ID
	if !slices.ContainsFunc(l.state.changes, func(c Change) bool { return c.ID == last }) {
		t.Error("the newest change is forgotten")
	}
}

func idText(n int) []byte { return []byte(idAt(int64(n)).String()) }
