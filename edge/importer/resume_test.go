package importer_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
)

// TestResumeAfterPowerCut stops the import after every possible number of events and lets another one go on: the world
// takes each event once and in order, as without any stop.
func TestResumeAfterPowerCut(t *testing.T) {
	whole := newWorld()
	stats, _, err := agentdojo(t, whole, "", "testdata/library.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	want := whole.text(t)
	for credit := range int(stats.Events) {
		w, state := newWorld(), t.TempDir()
		w.credit, w.blind = credit, true
		if _, _, err := agentdojo(t, w, state, "testdata/library.jsonl"); !errors.Is(err, errPower) {
			t.Fatalf("after %d events: %v", credit, err)
		}
		w.credit = -1
		resumed, _, err := agentdojo(t, w, state, "testdata/library.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.text(t)); diff != "" {
			t.Fatalf("after %d events (-want +got):\n%s", credit, diff)
		}
		if resumed.Runs+resumed.Resumed != stats.Runs {
			t.Fatalf("%d runs and %d resumed, want %d together", resumed.Runs, resumed.Resumed, stats.Runs)
		}
	}
}

// TestResumeWhereTheSinkIsAhead is a crash between the sink's taking an event and the cursor's saying so.
func TestResumeWhereTheSinkIsAhead(t *testing.T) {
	whole := newWorld()
	if _, _, err := agentdojo(t, whole, "", "testdata/library.jsonl"); err != nil {
		t.Fatal(err)
	}
	const instance = "agentdojo-library/local"
	for n := range whole.taken[instance] {
		w, state := newWorld(), t.TempDir()
		w.credit = n
		if n > 0 {
			_, _, _ = agentdojo(t, w, state, onlyLocal(t))
		}
		w.taken[instance] = append(w.taken[instance], whole.taken[instance][n])
		w.credit = -1
		if _, _, err := agentdojo(t, w, state, onlyLocal(t)); err != nil {
			t.Fatal(err)
		}
		if got, want := len(w.taken[instance]), len(whole.taken[instance]); got != want {
			t.Errorf("ahead by event %d: %d events, want %d", n+1, got, want)
		}
	}
}

// onlyLocal is a file with the fixture's runs of one pipeline.
func onlyLocal(t *testing.T) string {
	t.Helper()
	text := ""
	for _, run := range fixture(t, "library.jsonl") {
		if run["pipeline_name"] == "local" {
			text += encode(t, run)
		}
	}
	return write(t, text, "local.jsonl")
}

// TestImportTwice records nothing the second time.
func TestImportTwice(t *testing.T) {
	w, state := newWorld(), t.TempDir()
	for i := range 2 {
		stats, _, err := agentdojo(t, w, state, "testdata/library.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(3 * i); stats.Resumed != want || stats.Runs != 3-want {
			t.Errorf("import %d: %d runs, %d resumed", i+1, stats.Runs, stats.Resumed)
		}
	}
}

// TestJournalCutShort loses the line that was being written: the cursor still knows that its run is whole.
func TestJournalCutShort(t *testing.T) {
	w, state := newWorld(), t.TempDir()
	if _, _, err := agentdojo(t, w, state, onlyLocal(t)); err != nil {
		t.Fatal(err)
	}
	want := w.text(t)
	journal := filepath.Join(state, "agentdojo.journal")
	info, err := os.Stat(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(journal, info.Size()-5); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := agentdojo(t, w, state, onlyLocal(t)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, w.text(t)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestJournalThatIsNone(t *testing.T) {
	file := write(t, "no journal\n", "agentdojo.journal")
	if _, _, err := agentdojo(t, newWorld(), filepath.Dir(file), "testdata/library.jsonl"); err == nil {
		t.Error("imported with a journal that cannot be read")
	}
}

// choosy refuses one tool's proposals for good.
type choosy struct{ importer.Sink }

func (c choosy) Record(ctx context.Context, ev *edge.Event) (event.ID, error) {
	if ev.Plain.GetExecution().GetTool() == "find_books" {
		return event.ID{}, &event.FieldError{Field: "execution.tool", Reason: "too good"}
	}
	return c.Sink.Record(ctx, ev)
}

// TestRefusedEventIsLeftOut reports an event that the sink can never take, and goes on.
func TestRefusedEventIsLeftOut(t *testing.T) {
	w, problems := newWorld(), []string(nil)
	_, err := importer.Agentdojo(t.Context(), []string{"testdata/library.jsonl"}, importer.Options{
		Open: func(ctx context.Context, tenant event.TenantID, instance event.InstanceID) (importer.Sink, error) {
			s, err := w.open(ctx, tenant, instance)
			return choosy{s}, err
		},
		Problem: func(p importer.Problem) { problems = append(problems, p.Error()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"testdata/library.jsonl:1: execution.tool: too good", // proposed
		"testdata/library.jsonl:1: execution.tool: too good", // started
		"testdata/library.jsonl:1: execution.tool: too good", // finished
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestOpenFails stops the import and names the instance.
func TestOpenFails(t *testing.T) {
	_, err := importer.Agentdojo(t.Context(), []string{"testdata/library.jsonl"}, importer.Options{
		Open: func(context.Context, event.TenantID, event.InstanceID) (importer.Sink, error) { return nil, errPower },
	})
	if !errors.Is(err, errPower) {
		t.Errorf("error %v, want %v", err, errPower)
	}
}

// TestCancelled stops with the context's error.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := importer.Agentdojo(ctx, []string{"testdata/library.jsonl"}, importer.Options{Open: newWorld().open})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
