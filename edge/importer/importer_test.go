package importer_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is the other side of an import: a memory that outlives the importing process, as a spool does.
type world struct {
	mu     sync.Mutex
	taken  map[string][]*edge.Event // by tenant/instance
	credit int                      // events until the power goes; negative: it never does
	blind  bool                     // its sinks do not know what they held
}

var errPower = errors.New("the power is gone")

func newWorld() *world { return &world{taken: map[string][]*edge.Event{}, credit: -1} }

func (w *world) open(_ context.Context, tenant event.TenantID, instance event.InstanceID) (importer.Sink, error) {
	s := &sink{w, string(tenant) + "/" + string(instance)}
	if w.blind {
		return struct{ importer.Sink }{s}, nil
	}
	return s, nil
}

// sink takes events until the world's credit is used up.
type sink struct {
	*world
	name string
}

func (s *sink) Record(_ context.Context, ev *edge.Event) (event.ID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credit == 0 {
		return event.ID{}, errPower
	}
	s.credit--
	s.taken[s.name] = append(s.taken[s.name], ev)
	return event.ID(ev.Plain.Id), nil
}

func (s *sink) Holds(id event.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.taken[s.name], func(ev *edge.Event) bool { return event.ID(ev.Plain.Id) == id })
}

func (s *sink) Close(context.Context) error { return nil }

// text is everything that the world took, for people and for comparing.
func (w *world) text(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	names := make([]string, 0, len(w.taken))
	for name := range w.taken {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, run := range runsOf(w.taken[name]) {
			fmt.Fprintf(&b, "%s run %s by %s\n", name, run[0].Plain.Run, run[0].Plain.Principal)
			story(t, &b, run)
		}
	}
	return b.String()
}

// runsOf parts an instance's events by run, in order.
func runsOf(events []*edge.Event) [][]*edge.Event {
	var runs [][]*edge.Event
	for _, r := range events {
		if n := len(runs); n == 0 || runs[n-1][0].Plain.Run != r.Plain.Run {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], r)
	}
	return runs
}

// story writes one run: each event with its time since the first, its causes by number and its sealed values.
func story(t *testing.T, b *strings.Builder, run []*edge.Event) {
	t.Helper()
	numbers := map[string]int{}
	for i, r := range run {
		numbers[string(r.Plain.Id)] = i + 1
	}
	for i, r := range run {
		mustBeValid(t, r, i+1)
		e := r.Plain
		since := time.Duration(e.OccurredAt - run[0].Plain.OccurredAt)
		fmt.Fprintf(b, "%3d %-12v %s %s%s\n", i+1, since, event.Action(e), short(e.Trust), body(e, numbers))
		for _, c := range e.Causes {
			fmt.Fprintf(b, "      from %d %s %s\n", numbers[string(c.Id)], short(c.Relation), short(c.Basis))
		}
		for _, c := range r.Sealed {
			fmt.Fprintf(b, "      %s (%s, of %s) %q\n", c.Path, c.MediaType, c.Subject, c.Value)
		}
	}
}

// short is the last part of an enumerated value's name.
func short(e fmt.Stringer) string {
	s := e.String()
	return strings.ToLower(s[strings.LastIndex(s, "_")+1:])
}

// body is what is set in the event's kind.
func body(e *eventv1.Event, numbers map[string]int) string {
	switch x := e.Body.(type) {
	case *eventv1.Event_Identity:
		i := x.Identity
		return fmt.Sprintf(" %q %q prompt=%.4x %s", i.Workflow, i.Model, i.SystemPromptDigest, short(i.Outcome))
	case *eventv1.Event_Data:
		d := x.Data
		return fmt.Sprintf(" %q %d bytes %.4x %s", d.Source, d.Bytes, d.ContentDigest, short(d.Direction))
	case *eventv1.Event_Execution:
		c := x.Execution
		return fmt.Sprintf(" %s %q %s %s %q %q %s", c.Call, c.Tool, short(c.Consequence), short(c.Decision), c.Policy, c.Reason, short(c.Outcome))
	case *eventv1.Event_Approval:
		a := x.Approval
		return fmt.Sprintf(" %s %q of %d by %s shown=%.4x", a.Call, a.Tool, numbers[string(a.SubjectEvent)], a.Approver, a.ShownDigest)
	}
	return "?"
}

// mustBeValid gives the event what an emitter gives it, and holds it to the format.
func mustBeValid(t *testing.T, r *edge.Event, seq int) []byte {
	t.Helper()
	e := proto.CloneOf(r.Plain)
	e.RunSeq = uint64(seq)
	if i := e.GetIdentity(); i.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		i.LastRunSeq = e.RunSeq
	}
	for _, c := range r.Sealed {
		digest := event.SealedDigest(event.ID(e.Id), c.Path, c.MediaType, new([32]byte), c.Value)
		e.Sealed = append(e.Sealed, &eventv1.Sealed{
			Path: c.Path, MediaType: c.MediaType, Size: uint64(len(c.Value)), Subject: c.Subject, Digest: digest[:],
		})
	}
	b, err := event.Marshal(e)
	if err != nil {
		t.Errorf("event %d of run %s: %v", seq, e.Run, err)
	}
	return b
}

// sealedText is what an event seals.
func sealedText(ev *edge.Event) string { return fmt.Sprintf("%q", ev.Sealed) }

// agentdojo imports and returns the world afterwards.
func agentdojo(t *testing.T, w *world, state string, paths ...string) (importer.Stats, []string, error) {
	t.Helper()
	var problems []string
	stats, err := importer.Agentdojo(t.Context(), paths, importer.Options{
		Open: w.open, State: state, Concurrency: 2,
		Problem: func(p importer.Problem) {
			p.File = filepath.Base(p.File)
			problems = append(problems, p.Error())
		},
	})
	return stats, problems, err
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestAgentdojo(t *testing.T) {
	w := newWorld()
	stats, problems, err := agentdojo(t, w, "", "testdata/library.jsonl")
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	golden(t, "testdata/library.golden", w.text(t))
	want := importer.Stats{Files: 1, Instances: 2, Runs: 3, Counts: importer.Counts{
		Messages: 18, Calls: 7, Results: 7, Unanswered: 1, Unlinked: 1, Failures: 2, Denials: 2, OddNames: 2, Events: 35,
	}}
	stats.Bytes = 0
	if diff := cmp.Diff(want, stats); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestTaubench(t *testing.T) {
	w := newWorld()
	stats, err := importer.Taubench(t.Context(), "testdata/gpt-x-harbour.json", importer.Options{Open: w.open})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/harbour.golden", w.text(t))
	want := importer.Stats{Files: 1, Instances: 1, Runs: 2, Counts: importer.Counts{
		Messages: 19, Calls: 5, Results: 4, Unanswered: 1, Failures: 1, Writes: 4, Approvals: 2, Events: 30,
	}}
	stats.Bytes = 0
	if diff := cmp.Diff(want, stats); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}
