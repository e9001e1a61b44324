package rules

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Test is an example that stands beside its rule: a few events, and whether the rule fires.
//
//   - name: an address from a ticket
//     fires: true
//     events:
//   - {action: data.document_retrieved, trust: untrusted, values: [mallory@example.net]}
//   - {action: execution.started, tool: send_email, consequence: high, values: [mallory@example.net]}
type Test struct {
	Name     string    `yaml:"name"`
	Fires    bool      `yaml:"fires"`
	Manifest []Allowed `yaml:"manifest"` // of instance "agent"; absent is none
	Events   []Example `yaml:"events"`
	Until    Duration  `yaml:"until"` // time that passes after the last event
}

// Allowed is an entry of an example's manifest.
type Allowed struct {
	Verb        string `yaml:"verb"`
	Tool        string `yaml:"tool"`
	Connector   string `yaml:"connector"`
	Resource    string `yaml:"resource"`
	Consequence string `yaml:"consequence"`
}

// Example is one event of a test. What is left out is empty, the run is "run" and the instance "agent". In the names of a resource
// and a destination "{n}" stands for which repetition it is, from 1.
type Example struct {
	After       Duration  `yaml:"after"` // time since the event before; a second if absent
	Repeat      int       `yaml:"repeat"`
	Action      string    `yaml:"action"`
	Instance    string    `yaml:"instance"`
	Run         string    `yaml:"run"`
	Producer    string    `yaml:"producer"`
	Principal   string    `yaml:"principal"`
	Trust       string    `yaml:"trust"`
	Causes      []int     `yaml:"causes"` // events of this test, from 1; absent is the one before in the run
	Values      []string  `yaml:"values"` // distinctive values of its sealed content
	Call        string    `yaml:"call"`
	Tool        string    `yaml:"tool"`
	Connector   string    `yaml:"connector"`
	Destination string    `yaml:"destination"`
	Consequence string    `yaml:"consequence"`
	Decision    string    `yaml:"decision"`
	Outcome     string    `yaml:"outcome"`
	Attempt     uint32    `yaml:"attempt"`
	Arguments   string    `yaml:"arguments"` // stands for their digest
	Cost        uint64    `yaml:"cost"`
	Source      string    `yaml:"source"`
	Resource    string    `yaml:"resource"`
	Domain      string    `yaml:"domain"`
	DataClass   string    `yaml:"data_class"`
	Direction   string    `yaml:"direction"`
	Bytes       uint64    `yaml:"bytes"`
	MemoryKey   string    `yaml:"memory_key"`
	Content     string    `yaml:"content"` // of a data event: stands for its digest
	Detector    string    `yaml:"detector"`
	Label       string    `yaml:"label"`
	Score       uint32    `yaml:"score"`
	Credential  string    `yaml:"credential"`
	Role        string    `yaml:"role"`
	Delegate    string    `yaml:"delegate"`
	Workflow    string    `yaml:"workflow"`
	Approver    string    `yaml:"approver"`
	ValidFor    Duration  `yaml:"valid_for"`
	Manifest    []Allowed `yaml:"manifest"` // of system.manifest
}

// testStart is when every test begins: a Monday morning.
var testStart = time.Date(2026, 1, 5, 9, 0, 0, 0, time.UTC).UnixNano()

// Run runs a rule's test in an engine of its own, and says what is wrong, nil if nothing is.
func (s *Set) Run(r *Rule, t *Test) error {
	leaves, err := t.leaves()
	if err != nil {
		return fmt.Errorf("test %q: %w", t.Name, err)
	}
	engine, fired := New(s), false
	note := func(firings []Firing) {
		for _, f := range firings {
			fired = fired || f.Rule == r
		}
	}
	now := testStart
	for _, l := range leaves {
		note(engine.Observe(l))
		now = l.Time
	}
	note(engine.Advance(now + int64(t.Until)))
	if failed := engine.Stats().Failed; failed > 0 {
		return fmt.Errorf("test %q: %d conditions could not be evaluated", t.Name, failed)
	}
	if fired != t.Fires {
		return fmt.Errorf("test %q: fires: %t, want %t", t.Name, fired, t.Fires)
	}
	return nil
}

// leaves are the events of a test as a log has them.
func (t *Test) leaves() (all []*Leaf, err error) {
	now := testStart
	if t.Manifest != nil {
		all = append(all, &Leaf{Time: now, Producer: eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY, Event: t.manifest()})
	}
	ids := map[int][]byte{}
	last := map[string][]byte{}
	for i := range t.Events {
		x := &t.Events[i]
		for n := range max(1, x.Repeat) {
			now += int64(cmp.Or(x.After, Duration(time.Second)))
			l, err := x.numbered(n+1).leaf(uint64(len(all)), now)
			if err != nil {
				return nil, fmt.Errorf("events[%d]: %w", i, err)
			}
			x.cause(l.Event, ids, last)
			ids[i+1], last[l.Event.Instance+" "+l.Event.Run] = l.Event.Id, l.Event.Id
			all = append(all, l)
		}
	}
	return all, nil
}

// numbered is the example's n-th repetition.
func (x *Example) numbered(n int) *Example {
	y := *x
	y.Resource = strings.ReplaceAll(x.Resource, "{n}", strconv.Itoa(n))
	y.Destination = strings.ReplaceAll(x.Destination, "{n}", strconv.Itoa(n))
	return &y
}

func (t *Test) manifest() *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_System{System: manifestOf(t.Manifest)}}
}

func manifestOf(allowed []Allowed) *eventv1.System {
	m := &eventv1.ManifestChange{Instance: "agent", Version: 1}
	for _, a := range allowed {
		class, _ := event.Consequences.Parse(a.Consequence)
		verb, _ := event.PermissionVerbs.Parse(a.Verb)
		m.Permissions = append(m.Permissions, &eventv1.Permission{
			Verb: verb, Tool: a.Tool, Connector: a.Connector, Resource: a.Resource, Consequence: class,
		})
	}
	return &eventv1.System{Detail: &eventv1.System_Manifest{Manifest: m}}
}

// cause links an event to those it names, or to the one before it in its run.
func (x *Example) cause(e *eventv1.Event, ids map[int][]byte, last map[string][]byte) {
	for _, n := range x.Causes {
		e.Causes = append(e.Causes, &eventv1.Cause{Id: ids[n]})
	}
	if before := last[e.Instance+" "+e.Run]; x.Causes == nil && before != nil {
		e.Causes = []*eventv1.Cause{{Id: before}}
	}
}
