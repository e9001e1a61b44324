package live_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// noted is a book with a clock of its own.
type noted struct {
	*live.Book
	now   int64
	count uint64
	set   *rules.Set
}

const bookRules = `rules:
- {rule: low-one, version: 1, description: d, severity: low, on: [execution.started], action: restrict}
- {rule: high-one, version: 1, description: d, severity: high, on: [execution.started], action: pause}
- {rule: critical-one, version: 1, description: d, severity: critical, on: [execution.started], action: quarantine}
- {rule: critical-two, version: 1, description: d, severity: critical, on: [execution.started], action: pause, reach: instance}
- {rule: quiet-one, version: 1, description: d, severity: high, on: [execution.started]}
`

func newBook(tb testing.TB) *noted {
	tb.Helper()
	set, err := rules.Parse([]byte(bookRules))
	if err != nil {
		tb.Fatal(err)
	}
	return &noted{Book: live.NewBook("acme"), now: 1_700_000_000e9, set: set}
}

// fire notes one firing of a rule, of many instances.
func (b *noted) fire(rule, instance, run, silent string) *live.Firing {
	f := b.made(rule, instance, run, silent)
	b.Note([]rules.Firing{f}, 1000)
	return b.Find(f.ID)
}

func (b *noted) made(rule, instance, run, silent string) rules.Firing {
	b.count++
	b.now += int64(time.Millisecond)
	f := rules.Firing{Rule: b.set.Rule(rule), Index: b.count, Time: b.now, Instance: instance, Run: run, Silent: silent}
	binary.BigEndian.PutUint64(f.ID[8:], b.count)
	return f
}

func (b *noted) say(x *eventv1.Containment) {
	b.Apply(b.now, &eventv1.System{Detail: &eventv1.System_Containment{Containment: x}})
}

const (
	stateRequested = eventv1.ContainmentState_CONTAINMENT_STATE_REQUESTED
	stateReleased  = eventv1.ContainmentState_CONTAINMENT_STATE_RELEASED
)

// TestWhatAFiringAsksFor: the run, or the instance; nothing in shadow, without an action, or where something in force covers it.
func TestWhatAFiringAsksFor(t *testing.T) {
	tests := map[string]struct {
		rule, run, silent string
		inForce           string // target paused before
		asks              bool
		target            string
	}{
		"the run":               {"high-one", "r", "", "", true, "run/acme/r"},
		"outside a run":         {"high-one", "", "", "", true, "instance/acme/a"},
		"a rule of instances":   {"critical-two", "r", "", "", true, "instance/acme/a"},
		"a quarantine":          {"critical-one", "r", "", "", true, "instance/acme/a"},
		"in shadow":             {"high-one", "r", "shadow", "", false, ""},
		"imported":              {"high-one", "r", "imported", "", false, ""},
		"without an action":     {"quiet-one", "r", "", "", false, ""},
		"the run is paused":     {"high-one", "r", "", "run/acme/r", false, "run/acme/r"},
		"the instance is":       {"high-one", "r", "", "instance/acme/a", false, "run/acme/r"},
		"the tenant is":         {"high-one", "r", "", "tenant/acme", false, "run/acme/r"},
		"another instance is":   {"high-one", "r", "", "instance/acme/b", true, "run/acme/r"},
		"a run of the instance": {"critical-two", "r", "", "run/acme/r", true, "instance/acme/a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			if test.inForce != "" {
				b.say(&eventv1.Containment{State: stateRequested, Plan: "c-1", Target: test.inForce, Level: "pause"})
			}
			f := b.fire(test.rule, "a", test.run, test.silent)
			if f.Asked != test.asks || f.Target != test.target || len(b.Pending()) > 0 != test.asks {
				t.Errorf("got %+v", f)
			}
		})
	}
}

// TestRepeats: a rule that fires again in the same run is one firing, until its containment is released, it is quiet for an hour, or it goes
// live; one that a person has called false stays one.
func TestRepeats(t *testing.T) {
	b := newBook(t)
	first := b.fire("high-one", "a", "r", "")
	if again := b.fire("high-one", "a", "r", ""); again != nil || first.Repeats != 1 {
		t.Errorf("a repeat: %+v", again)
	}
	for name, other := range map[string]*live.Firing{
		"another run":  b.fire("high-one", "a", "r2", ""),
		"another rule": b.fire("critical-two", "a", "r", ""),
		"in shadow":    b.fire("low-one", "a", "r", "shadow"),
		"gone live":    b.fire("low-one", "a", "r", ""),
	} {
		if other == nil {
			t.Errorf("%s is a repeat", name)
		}
	}
	b.say(&eventv1.Containment{State: stateRequested, Plan: first.Plan(), Target: first.Target, Level: "pause"})
	b.say(&eventv1.Containment{State: stateReleased, Plan: first.Plan(), Target: first.Target, Level: "pause"})
	second := b.fire("high-one", "a", "r", "")
	if second == nil {
		t.Fatal("after the release it is a repeat")
	}
	b.now += int64(2 * time.Hour)
	third := b.fire("high-one", "a", "r", "")
	if third == nil {
		t.Fatal("after two hours it is a repeat")
	}
	b.Apply(b.now, &eventv1.System{Actor: "ann", Detail: &eventv1.System_Firing{Firing: &eventv1.FiringChange{Firing: third.ID[:], State: "false_positive"}}})
	b.now += int64(2 * time.Hour)
	if again := b.fire("high-one", "a", "r", ""); again != nil || third.Actor != "ann" {
		t.Errorf("what was called false fires again: %+v", again)
	}
}

// TestAHundredThousandAtOnce: they are one list of bounded size, no more is asked for than a minute allows, the most severe has room whatever
// came before, and the rest needs a person.
func TestAHundredThousandAtOnce(t *testing.T) {
	b := newBook(t)
	const flood = 100_000
	for i := range flood {
		b.now -= int64(time.Millisecond) // all in one moment
		b.fire([]string{"low-one", "high-one"}[i%2], fmt.Sprintf("i-%d", i), fmt.Sprintf("r-%d", i), "")
	}
	most := live.MostContained * 3 / 4
	if n := len(b.Pending()); n > most || n < live.MostContained/4 {
		t.Errorf("%d are asked for, want at most %d", n, most)
	}
	critical := b.fire("critical-one", "i-1", "r-1", "")
	if critical == nil || !critical.Asked || b.Pending()[0] != critical {
		t.Errorf("the most severe one is not first: %+v", critical)
	}
	if all := len(b.All()); uint64(all)+b.Forgotten() != flood+1 || all > 4096 {
		t.Errorf("%d are remembered, %d forgotten", all, b.Forgotten())
	}
	for _, f := range b.All() {
		if !f.Asked && !strings.Contains(f.NeedsPerson, "needs") && f.NeedsPerson == "" {
			t.Fatalf("neither asked for nor given to a person: %+v", f)
		}
	}
	b.now += int64(2 * time.Minute)
	if later := b.fire("high-one", "later", "later", ""); !later.Asked {
		t.Errorf("after a minute: %+v", later)
	}
}

// TestAFloodDrivesOutNothingGrave: what waits for a person is remembered before what is in shadow, and the grave before the small; a firing
// that was called false goes on to keep its repeats quiet.
func TestAFloodDrivesOutNothingGrave(t *testing.T) {
	for name, flood := range map[string]struct{ rule, silent string }{"in shadow": {"critical-one", "shadow"}, "of small things": {"low-one", ""}} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			b.say(&eventv1.Containment{State: stateRequested, Plan: "c-1", Target: "tenant/acme", Level: "quarantine"}) // so that nothing is asked for
			grave, wrong := b.fire("high-one", "a", "r", ""), b.fire("high-one", "b", "r", "")
			b.Apply(b.now, &eventv1.System{Detail: &eventv1.System_Firing{Firing: &eventv1.FiringChange{Firing: wrong.ID[:], State: string(live.StateFalsePositive)}}})
			for i := range 5000 {
				b.fire(flood.rule, fmt.Sprintf("i-%d", i), fmt.Sprintf("r-%d", i), flood.silent)
			}
			if b.Find(grave.ID) == nil || b.Find(wrong.ID) == nil {
				t.Errorf("remembered: the grave one %v, the false one %v", b.Find(grave.ID) != nil, b.Find(wrong.ID) != nil)
			}
			if again := b.fire("high-one", "b", "r", ""); again != nil {
				t.Errorf("what was called false fires again: %+v", again)
			}
		})
	}
}

// TestMostSevereFirst: of what one leaf fires, the most severe is decided first.
func TestMostSevereFirst(t *testing.T) {
	b := newBook(t)
	low, critical := b.made("low-one", "a", "r", ""), b.made("critical-two", "a", "r", "")
	b.Note([]rules.Firing{low, critical}, 1000)
	if !b.Find(critical.ID).Asked || b.Find(low.ID).Asked || b.Find(low.ID).Containment != b.Find(critical.ID).Plan() {
		t.Error("the small one was asked for though the large one covers it")
	}
}

// TestARuleThatIsWrong: one that would stop more than its share of the tenant needs a person; another rule does not.
func TestARuleThatIsWrong(t *testing.T) {
	for _, test := range []struct{ instances, want int }{{1, 2}, {3, 2}, {15, 3}, {50, 10}} {
		b, asked := newBook(t), 0
		for i := range 14 {
			f := b.made("critical-two", fmt.Sprintf("i-%d", i), "", "")
			b.Note([]rules.Firing{f}, test.instances)
			if b.Find(f.ID).Asked {
				asked++
			}
		}
		if asked != test.want {
			t.Errorf("of %d instances %d are stopped, want %d", test.instances, asked, test.want)
		}
		other := b.made("critical-one", "i-13", "", "")
		if b.Note([]rules.Firing{other}, test.instances); !b.Find(other.ID).Asked {
			t.Errorf("another rule: %+v", b.Find(other.ID))
		}
	}
}

// TestDone: what the log has is not asked for again, and what could not be done is a person's.
func TestDone(t *testing.T) {
	b := newBook(t)
	first, second := b.fire("high-one", "a", "r", ""), b.fire("high-one", "b", "s", "")
	b.say(&eventv1.Containment{State: stateRequested, Plan: first.Plan(), Target: first.Target, Level: "pause"})
	b.Apply(b.now, &eventv1.System{Reason: "gone", Detail: &eventv1.System_Firing{Firing: &eventv1.FiringChange{Firing: second.ID[:], State: "needs_person"}}})
	if len(b.Pending()) != 0 || !first.Done || second.NeedsPerson != "gone" {
		t.Errorf("pending %v", b.Pending())
	}
}

// TestBookIsKept: a book that was written and read is the same, and goes on the same way.
func TestBookIsKept(t *testing.T) {
	b := newBook(t)
	for i := range 200 {
		b.fire([]string{"low-one", "high-one", "critical-one"}[i%3], fmt.Sprintf("i-%d", i%7), fmt.Sprintf("r-%d", i%31), []string{"", "shadow"}[i%2])
	}
	text, err := json.Marshal(b.Book)
	if err != nil {
		t.Fatal(err)
	}
	other := newBook(t)
	if err := json.Unmarshal(text, other.Book); err != nil {
		t.Fatal(err)
	}
	other.now, other.count = b.now, b.count
	for _, x := range []*noted{b, other} {
		x.fire("high-one", "i-1", "r-1", "")
		x.fire("critical-two", "i-9", "r-9", "")
	}
	if diff := cmp.Diff(b.All(), other.All()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(b.Pending(), other.Pending()); diff != "" {
		t.Errorf("pending (-before +after):\n%s", diff)
	}
}

// TestFiringIDs: ids are read as they are written, and nothing else is.
func TestFiringIDs(t *testing.T) {
	id := event.ID{1, 2, 3, 6: 0x80, 8: 0x80}
	if got, err := live.ParseFiring(id.String()); err != nil || got != id {
		t.Errorf("got %v, %v", got, err)
	}
	for _, wrong := range []string{"", "-", strings.ToUpper("0102030a-0000-8000-8000-000000000000"), "01020300000080008000000000000000", strings.Repeat("0", 4096)} {
		if _, err := live.ParseFiring(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
