package rules_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func defaults(tb testing.TB) *rules.Set {
	tb.Helper()
	set, err := rules.Parse(rules.DefaultSource)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// TestPack runs the examples of every rule that comes with Custody. Each rule has one that fires and one that does not, and a
// name by which others know it.
func TestPack(t *testing.T) {
	set := defaults(t)
	for _, r := range set.Rules {
		t.Run(r.ID, func(t *testing.T) {
			fires := map[bool]int{}
			for i := range r.Tests {
				fires[r.Tests[i].Fires]++
				if err := set.Run(r, &r.Tests[i]); err != nil {
					t.Error(err)
				}
			}
			if fires[true] == 0 || fires[false] == 0 {
				t.Error("has no example for both")
			}
			if len(r.Requirements) == 0 {
				t.Error("shows no requirement")
			}
		})
	}
}

// joined are two events that belong together by each join but the workflow, which only a run's start names, and one that does not.
var joined = map[string][3]string{
	"tenant":     {"instance: a, run: a, action: data.resource_read", "instance: b, run: b, action: execution.started", "action: data.resource_read"},
	"run":        {"run: a, action: data.resource_read", "run: a, action: execution.started", "run: b, action: execution.started"},
	"instance":   {"instance: a, action: data.resource_read", "instance: a, run: other, action: execution.started", "instance: b, action: execution.started"},
	"principal":  {"principal: a, action: data.resource_read", "principal: a, action: execution.started", "principal: b, action: execution.started"},
	"call":       {"call: a, action: execution.proposed", "call: a, action: execution.started", "call: b, action: execution.started"},
	"credential": {"credential: a, action: identity.credential_bound", "credential: a, run: x, action: identity.credential_used", "credential: b, action: identity.credential_used"},
	"connector":  {"connector: a, action: execution.proposed", "connector: a, action: execution.started", "connector: b, action: execution.started"},
	"resource":   {"resource: a, action: data.resource_read", "resource: a, action: data.resource_exported", "resource: b, action: data.resource_exported"},
	"memory_key": {"memory_key: a, action: data.memory_written", "memory_key: a, run: x, action: data.memory_read", "memory_key: b, action: data.memory_read"},
	"digest":     {"content: a, action: data.resource_read", "content: a, instance: x, run: x, action: data.resource_exported", "content: b, action: data.resource_exported"},
}

// TestJoins: the steps of a sequence are joined by what they share, and by nothing else.
func TestJoins(t *testing.T) {
	const source = `rules:
- rule: joined
  version: 1
  description: d
  severity: low
  on: [data.resource_read, data.resource_exported, data.memory_written, data.memory_read, execution.proposed, execution.started,
       identity.credential_bound, identity.credential_used]
  sequence: {by: %s, within: 1m, steps: ['action != %q', 'action == %q']}
  tests:
  - {name: together, fires: true, events: [{%s}, {%s}]}
  - {name: apart, fires: false, events: [{%s}, {%s}]}
`
	for by, events := range joined {
		t.Run(by, func(t *testing.T) {
			_, last, _ := strings.Cut(events[1], "action: ")
			last, _, _ = strings.Cut(last, ",")
			set, err := rules.Parse(fmt.Appendf(nil, source, by, last, last, events[0], events[1], events[0], events[2]))
			if err != nil {
				t.Fatal(err)
			}
			for i := range set.Rules[0].Tests {
				if err := set.Run(set.Rules[0], &set.Rules[0].Tests[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestRefused: what is wrong with a rule is said, and nothing of the file is taken.
func TestRefused(t *testing.T) {
	const head = "rules:\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.started], "
	tests := map[string]struct{ source, says string }{
		"empty rule":          {"rules:\n-", "rules[0] is empty"},
		"unknown field":       {head + "colour: red}", "colour"},
		"no such variable":    {head + "when: toool == 'x'}", "toool"},
		"not a condition":     {head + "when: tool}", "want a bool"},
		"not CEL":             {head + "when: 'tool =='}", "Syntax error"},
		"no such macro":       {head + "when: never()}", `no macro is called "never"`},
		"unknown action":      {"rules:\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.stopped]}", "execution.stopped"},
		"unknown severity":    {"rules:\n- {rule: abc, version: 1, description: d, severity: bad, on: [execution.started]}", "severity"},
		"no version":          {"rules:\n- {rule: abc, description: d, severity: low, on: [execution.started]}", "version"},
		"bad id":              {"rules:\n- {rule: A B, version: 1}", "rule: want"},
		"twice":               {head + "}\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.started]}", "given twice"},
		"two shapes":          {head + "threshold: {by: run, within: 1m, count: 3}, baseline: {by: run, of: tool, learn: 1}}", "one of them"},
		"joins nothing":       {head + "threshold: {by: moon, within: 1m, count: 3}}", "moon"},
		"endless threshold":   {head + "threshold: {by: run, within: 1m, count: 100000}}", "threshold.count"},
		"no window":           {head + "threshold: {by: run, count: 3}}", "within"},
		"negative window":     {head + "threshold: {by: run, within: -1m, count: 3}}", "duration"},
		"one step":            {head + "sequence: {by: run, within: 1m, steps: ['true']}}", "sequence.steps"},
		"step does not read":  {head + "sequence: {by: run, within: 1m, steps: ['true', 'tool']}}", "steps[1]"},
		"deadline of nothing": {head + "deadline: {by: run, within: 1m}}", "after and until"},
		"exception unowned":   {head + "exceptions: [{name: x, when: 'true', expires: 2027-01-01}]}", "owns"},
		"exception for ever":  {head + "exceptions: [{name: x, when: 'true', owner: me}]}", "expires"},
		"macro of itself":     {"macros: [{macro: me, when: me()}]", `no macro is called "me"`},
		"macro named tool":    {"macros: [{macro: tool, when: 'true'}]", "taken"},
		"condition too long":  {head + "when: '" + strings.Repeat("true || ", 1000) + "true'}", "longer than"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := rules.Parse([]byte(test.source))
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want %q", err, test.says)
			}
			if set != nil {
				t.Error("a set came back all the same")
			}
		})
	}
}

// TestMacrosDoNotExplode: macros of macros may not grow by doubling.
func TestMacrosDoNotExplode(t *testing.T) {
	source := "macros:\n- {macro: m0, when: 'tool == \"x\" || tool == \"y\"'}\n"
	for i := range 20 {
		source += strings.NewReplacer("A", string(rune('a'+i)), "B", prior(i)).Replace("- {macro: mA, when: 'B() || B()'}\n")
	}
	if _, err := rules.Parse([]byte(source)); err == nil || !strings.Contains(err.Error(), "with its macros") {
		t.Errorf("got %v", err)
	}
}

func prior(i int) string {
	if i == 0 {
		return "m0"
	}
	return "m" + string(rune('a'+i-1))
}

// leaves is a log of the benchmark's agents with all that the default rules look at, more or less.
func leaves(tb testing.TB, n int) (all []*rules.Leaf) {
	tb.Helper()
	emitters := []*workload.Emitter{workload.NewEmitter("acme", "support-1", 1), workload.NewEmitter("acme", "support-2", 2)}
	for len(all) < n {
		b, err := emitters[len(all)/64%2].Batch(64)
		if err != nil {
			tb.Fatal(err)
		}
		for _, encoded := range b.GetEvents() {
			e, err := event.Parse(encoded)
			if err != nil {
				tb.Fatal(err)
			}
			all = append(all, &rules.Leaf{Index: uint64(len(all)), Time: 1_700_000_000e9 + int64(len(all))*50e6, Producer: 1, Event: e})
		}
	}
	return all[:n]
}

// fold runs an engine over a log, with a restart before each of the given leaves.
func fold(tb testing.TB, set *rules.Set, log []*rules.Leaf, restarts ...int) (firings []event.ID, hash [32]byte) {
	tb.Helper()
	engine := rules.New(set)
	for i, l := range log {
		if slices.Contains(restarts, i) {
			var err error
			if engine, err = rules.Restore(set, engine.Snapshot()); err != nil {
				tb.Fatal(err)
			}
		}
		for _, f := range engine.Observe(l) {
			firings = append(firings, f.ID)
		}
	}
	return firings, engine.Hash()
}

// TestDeterministic: the same log gives the same firings and the same state on one processor and on many, and over a hundred
// restarts at random places.
func TestDeterministic(t *testing.T) {
	for name, log := range map[string][]*rules.Leaf{"agents at work": leaves(t, 1000), "anything": rules.RandomLog(1, 3000)} {
		t.Run(name, func(t *testing.T) { deterministic(t, log) })
	}
}

func deterministic(t *testing.T, log []*rules.Leaf) {
	t.Helper()
	set := defaults(t)
	want, wantHash := fold(t, set, log)
	if len(want) == 0 {
		t.Fatal("nothing fires: the test shows nothing")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, processors := range []int{1, 8} {
		runtime.GOMAXPROCS(processors)
		rnd := rand.New(rand.NewPCG(1, uint64(processors)))
		restarts := make([]int, 50)
		for i := range restarts {
			restarts[i] = rnd.IntN(len(log))
		}
		got, hash := fold(t, set, log, restarts...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("firings (-straight +restarted):\n%s", diff)
		}
		if hash != wantHash {
			t.Errorf("%d processors: another state", processors)
		}
	}
}

// TestOtherRulesOtherState: a state is not read under rules that it was not made with.
func TestOtherRulesOtherState(t *testing.T) {
	set := defaults(t)
	snapshot := rules.New(set).Snapshot()
	other, err := rules.Parse([]byte("rules:\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.started]}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Restore(other, snapshot); err == nil {
		t.Error("it was read")
	}
}

// TestSilence: a rule in shadow and an imported event fire, and say why nothing is done. The log decides on the mode, from the leaf
// after a person's word on, for this version and this meaning alone.
func TestSilence(t *testing.T) {
	const source = "rules:\n- {rule: abc, version: 2, description: d, severity: low, on: [data.content_finding]}"
	set, err := rules.Parse([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	digest := set.Rules[0].Digest()
	tests := map[string]struct {
		log      []*rules.Leaf
		producer int
		silent   string
		fires    int
	}{
		"nobody has said anything": {nil, 1, "shadow", 1},
		"live":                     {[]*rules.Leaf{promoted(2, digest, "live")}, 1, "", 1},
		"imported":                 {[]*rules.Leaf{promoted(2, digest, "live")}, 3, "imported", 1},
		"off":                      {[]*rules.Leaf{promoted(2, digest, "off")}, 1, "", 0},
		"taken back":               {[]*rules.Leaf{promoted(2, digest, "live"), promoted(2, digest, "shadow")}, 1, "shadow", 1},
		"another version":          {[]*rules.Leaf{promoted(3, digest, "live")}, 1, "shadow", 1},
		"another meaning":          {[]*rules.Leaf{promoted(2, [32]byte{1}, "live")}, 1, "shadow", 1},
		"an older word":            {[]*rules.Leaf{promoted(2, digest, "live"), promoted(1, digest, "off")}, 1, "", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			engine := rules.New(set)
			for _, l := range test.log {
				engine.Observe(l)
			}
			restored, err := rules.Restore(set, engine.Snapshot())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range []*rules.Engine{engine, restored} {
				firings := e.Observe(finding(test.producer))
				if len(firings) != test.fires || test.fires > 0 && firings[0].Silent != test.silent {
					t.Errorf("got %v", firings)
				}
			}
		})
	}
}

// promoted is a person's word on the rule abc.
func promoted(version uint32, digest [32]byte, mode string) *rules.Leaf {
	return &rules.Leaf{Index: 1, Time: 1, Producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, Event: &eventv1.Event{
		Id: make([]byte, 16), Instance: "custody", Body: &eventv1.Event_System{System: &eventv1.System{Actor: "ann", Detail: &eventv1.System_Rule{
			Rule: &eventv1.RuleChange{Rule: "abc", Version: version, SourceDigest: digest[:], Mode: mode},
		}}},
	}}
}

// TestMeaning: what a rule does makes its digest, with the macros and lists that it uses; how it is described and tested does not.
func TestMeaning(t *testing.T) {
	const base = "lists: {ll: [a, b], other: [c]}\nmacros: [{macro: mm, when: 'tool in ll'}]\nrules:\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.started], when: 'mm()'}"
	want := meaning(t, base)
	for _, same := range []string{"description: d/description: e", "[c]/[d]", "severity: low,/severity: low, tests: [{name: x}],"} {
		if meaning(t, replaced(base, same)) != want {
			t.Errorf("%s: another meaning", same)
		}
	}
	for _, other := range []string{"[a, b]/[a]", "tool in ll/!(tool in ll)", "severity: low/severity: high", "version: 1/version: 2", "mm()'}/mm()', action: pause}"} {
		if meaning(t, replaced(base, other)) == want {
			t.Errorf("%s: the same meaning", other)
		}
	}
}

func replaced(source, change string) string {
	from, to, _ := strings.Cut(change, "/")
	return strings.Replace(source, from, to, 1)
}

func meaning(tb testing.TB, source string) [32]byte {
	tb.Helper()
	set, err := rules.Parse([]byte(source))
	if err != nil {
		tb.Fatal(err)
	}
	return set.Rules[0].Digest()
}

// BenchmarkPack is the whole default pack over the benchmark's events.
func BenchmarkPack(b *testing.B) {
	set, log := defaults(b), leaves(b, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		engine := rules.New(set)
		for _, l := range log {
			engine.Observe(l)
		}
	}
	b.ReportMetric(float64(b.N*len(log))/b.Elapsed().Seconds(), "events/s")
}

// FuzzParse: a rule file is refused or taken, in bounded time; what is taken can be run.
func FuzzParse(f *testing.F) {
	f.Add(rules.DefaultSource)
	f.Add([]byte("rules:\n- {rule: abc, version: 1, description: d, severity: low, on: [execution.started], when: 'tool.matches(\"(a+)+\")'}"))
	f.Add([]byte("rules:\n-"))
	f.Add([]byte("lists: {x: [a]}\nmacros: [{macro: y, when: 'tool in x'}]"))
	f.Fuzz(func(t *testing.T, source []byte) {
		set, err := rules.Parse(source)
		if err != nil {
			return
		}
		engine := rules.New(set)
		for producer := range 5 {
			engine.Observe(finding(producer))
		}
		if _, err := rules.Restore(set, engine.Snapshot()); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzRestore: what is no snapshot is refused, and what is one is written again as it was.
func FuzzRestore(f *testing.F) {
	set := defaults(f)
	engine := rules.New(set)
	for _, l := range leaves(f, 200) {
		engine.Observe(l)
	}
	f.Add(engine.Snapshot())
	f.Add(rules.New(set).Snapshot())
	f.Fuzz(func(t *testing.T, snapshot []byte) {
		engine, err := rules.Restore(set, snapshot)
		if err != nil {
			return
		}
		if !bytes.Equal(engine.Snapshot(), snapshot) {
			t.Fatal("another snapshot came back")
		}
	})
}

// finding is the leaf of a detector's finding.
func finding(producer int) *rules.Leaf {
	id := event.ID{5: 1, 6: 0x70, 8: 0x80, 15: 9}
	return &rules.Leaf{Index: 7, Time: 1, Producer: eventv1.ProducerClass(producer), Event: &eventv1.Event{
		Id: id[:], Instance: "support-1", Body: &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction_DATA_ACTION_CONTENT_FINDING, Detector: "d", Label: "secret",
		}},
	}}
}
