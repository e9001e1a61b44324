package importer

import (
	"bytes"
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// FuzzAgentdojoLine: whatever a line says, it is refused with a reason or becomes valid events, the same each time.
func FuzzAgentdojoLine(f *testing.F) {
	b, err := os.ReadFile("testdata/library.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		f.Add(bytes.TrimSpace(line))
	}
	f.Add([]byte(`{"suite_name":"s","pipeline_name":"p","messages":[{"role":"assistant","tool_calls":[{"function":"f","id":"1"},{"function":"f","id":"1"}]},{"role":"tool","tool_call_id":"1"},{"role":"tool","tool_call":{"function":"f"}}]}`))
	f.Fuzz(func(t *testing.T, line []byte) { fuzz(t, agentdojo(""), line) })
}

// FuzzTaubench is the same for a file of tau-bench, cut into its runs.
func FuzzTaubench(f *testing.F) {
	b, err := os.ReadFile("testdata/gpt-x-harbour.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`[{"traj":[{"role":"assistant","content":"May I?"},{"role":"user","content":"yes"},{"role":"assistant","tool_calls":[{"function":{"name":"cancel_reservation"}}]}]}]`))
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, lines := range []bool{false, true} {
			next := splitter(bytes.NewReader(file), lines)
			for {
				raw, _, err := next()
				if err != nil {
					break
				}
				fuzz(t, taubench("model-harbour.json"), raw)
			}
		}
	})
}

// fuzz decodes one record and checks what comes of it.
func fuzz(t *testing.T, d *dialect, raw []byte) {
	t.Helper()
	j := &job{dialect: d, raw: raw, done: make(chan struct{})}
	j.decode()
	if j.run == nil {
		if j.where.Reason == "" {
			t.Fatal("refused without a reason")
		}
		return
	}
	again := &job{dialect: d, raw: raw, done: make(chan struct{})}
	again.decode()
	known := map[string]bool{}
	for i, ev := range j.run.events {
		checkEvent(t, ev.Plain, i, known)
		for _, c := range ev.Sealed {
			if len(c.Value) == 0 || len(c.Value) > event.MaxSealedInline || c.MediaType == "" {
				t.Fatalf("event %d seals %d bytes of %q", i, len(c.Value), c.MediaType)
			}
		}
		if ev.Plain.RunSeq = 0; !bytes.Equal(ev.Plain.Id, again.run.events[i].Plain.Id) {
			t.Fatalf("event %d has another id the second time", i)
		}
	}
}

// checkEvent holds an event to the format: valid, with an id of its own and causes that came before it.
func checkEvent(t *testing.T, e *eventv1.Event, i int, known map[string]bool) {
	t.Helper()
	for _, c := range e.Causes {
		if !known[string(c.Id)] {
			t.Fatalf("event %d has a cause that is not before it", i)
		}
	}
	if known[string(e.Id)] {
		t.Fatalf("event %d has the id of another", i)
	}
	known[string(e.Id)] = true
	e = proto.CloneOf(e)
	e.RunSeq = uint64(i) + 1
	if x := e.GetIdentity(); x.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		x.LastRunSeq = e.RunSeq
	}
	if _, err := event.Marshal(e); err != nil {
		t.Fatalf("event %d: %v", i, err)
	}
}

// BenchmarkMap decodes and maps the runs of the fixture on one core.
func BenchmarkMap(b *testing.B) {
	data, err := os.ReadFile("testdata/library.jsonl")
	if err != nil {
		b.Fatal(err)
	}
	d, events := agentdojo(""), 0
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		for line := range bytes.Lines(data) {
			t, err := d.decode(line)
			if err != nil {
				b.Fatal(err)
			}
			events += len(d.mapRun(t).events)
		}
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
