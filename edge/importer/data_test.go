package importer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// dataFolder is the folder of public traces, which docs/DATA.md says how to get.
func dataFolder(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("CUSTODY_DATA")
	if dir == "" {
		tb.Skip("CUSTODY_DATA names no folder of traces: see docs/DATA.md")
	}
	return dir
}

// figures of one tenant.
type figures struct{ Runs, Calls, Results, Denials, OddNames, Inputs, Failed, Errors int }

// counter is a world that counts and checks, and forgets.
type counter struct {
	mu       sync.Mutex
	figures  map[string]*figures
	requests map[string]int // approvals by tenant
	approved map[string]int
	errs     []error
}

func newCounter() *counter {
	return &counter{figures: map[string]*figures{}, requests: map[string]int{}, approved: map[string]int{}}
}

func (c *counter) open(_ context.Context, tenant event.TenantID, _ event.InstanceID) (importer.Sink, error) {
	return &counting{counter: c, tenant: string(tenant)}, nil
}

// counting counts for one instance.
type counting struct {
	*counter
	tenant                   string
	runSeq                   uint64
	own                      figures
	ownRequests, ownApproved int
}

func (c *counting) Record(_ context.Context, ev *edge.Event) (event.ID, error) {
	c.validate(ev)
	switch x := ev.Plain.Body.(type) {
	case *eventv1.Event_Identity:
		c.identity(x.Identity)
	case *eventv1.Event_Data:
		c.data(x.Data)
	case *eventv1.Event_Execution:
		c.execution(x.Execution)
	case *eventv1.Event_Approval:
		c.approval(x.Approval)
	}
	return event.ID(ev.Plain.Id), nil
}

// validate holds the event to the format, with the numbers of an emitter that starts each run at 1.
func (c *counting) validate(ev *edge.Event) {
	e := ev.Plain
	start := e.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED
	if c.runSeq++; start {
		c.runSeq = 1
	}
	e.RunSeq = c.runSeq
	if x := e.GetIdentity(); x != nil && !start {
		x.LastRunSeq = c.runSeq
	}
	if err := event.Validate(e); err != nil {
		c.mu.Lock()
		c.errs = append(c.errs, err)
		c.mu.Unlock()
	}
}

func (c *counting) identity(x *eventv1.Identity) {
	if x.Action == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED {
		c.own.Runs++
	}
	if x.Outcome == eventv1.Outcome_OUTCOME_ERROR {
		c.own.Failed++
	}
}

func (c *counting) data(x *eventv1.Data) {
	if x.Action == eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED {
		c.own.Inputs++
	} else {
		c.own.Results++
	}
}

func (c *counting) execution(x *eventv1.Execution) {
	switch x.Action {
	case eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED:
		c.own.Calls++
		if !usual.MatchString(x.Tool) {
			c.own.OddNames++
		}
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		c.own.Denials++
	case eventv1.ExecutionAction_EXECUTION_ACTION_FAILED:
		c.own.Errors++
	}
}

func (c *counting) approval(x *eventv1.Approval) {
	if x.Action == eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED {
		c.ownApproved++
	} else {
		c.ownRequests++
	}
}

func (c *counting) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.figures[c.tenant] == nil {
		c.figures[c.tenant] = new(figures)
	}
	c.figures[c.tenant].add(c.own)
	c.requests[c.tenant] += c.ownRequests
	c.approved[c.tenant] += c.ownApproved
	return nil
}

func (f *figures) add(g figures) {
	f.Runs += g.Runs
	f.Calls += g.Calls
	f.Results += g.Results
	f.Denials += g.Denials
	f.OddNames += g.OddNames
	f.Inputs += g.Inputs
	f.Failed += g.Failed
	f.Errors += g.Errors
}

// usual is the form of an ordinary tool's name.
var usual = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// TestAllAgentdojo imports every run of AgentDojo and compares the events with what a plain pass over the same files
// counts.
func TestAllAgentdojo(t *testing.T) {
	dir := filepath.Join(dataFolder(t), "agentdojo")
	files, err := filepath.Glob(filepath.Join(dir, "[a-z]*.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	want, paths, total := map[string]*figures{}, []string(nil), 0
	for _, file := range files {
		if suite := suiteOf(file); suite != "labels" {
			paths = append(paths, file)
			want["agentdojo-"+suite] = plainPass(t, file)
			total += want["agentdojo-"+suite].Runs
		}
	}
	if len(paths) == 0 {
		t.Skip("CUSTODY_DATA has no agentdojo/SUITE.jsonl.zst: see docs/DATA.md")
	}
	if total != 30785 {
		t.Errorf("the files hold %d runs, want 30785", total)
	}
	c, began := newCounter(), time.Now()
	stats, err := importer.Agentdojo(t.Context(), paths, importer.Options{
		Open:    c.open,
		Problem: func(p importer.Problem) { t.Error(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events in %v: %+v", stats.Events, time.Since(began).Round(time.Millisecond), stats)
	if len(c.errs) > 0 {
		t.Errorf("%d events are not valid, the first: %v", len(c.errs), c.errs[0])
	}
	if diff := cmp.Diff(want, c.figures); diff != "" {
		t.Errorf("figures (-counted +imported):\n%s", diff)
	}
	if stats.Runs != 30785 || stats.Duplicates != 0 || stats.Unlinked != 0 || stats.Cut != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

func suiteOf(file string) string {
	base := filepath.Base(file)
	return base[:len(base)-len(".jsonl.zst")]
}

// plainPass counts in one file, without the importer's readers.
func plainPass(t *testing.T, file string) *figures {
	t.Helper()
	r := unpack(t, file)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	f := new(figures)
	for lines.Scan() {
		var run struct {
			Error    any
			Messages []struct {
				Role      string
				Content   json.RawMessage
				Error     any
				ToolCalls []struct{ Function string } `json:"tool_calls"`
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &run); err != nil {
			t.Fatal(err)
		}
		f.Runs++
		f.Failed += one(run.Error != nil)
		for _, m := range run.Messages {
			f.Inputs += one(m.Role == "user")
			f.Results += one(m.Role == "tool")
			f.Errors += one(m.Role == "tool" && m.Error != nil)
			f.Denials += one(m.Role == "tool" && notice.Match(m.Content))
			for _, call := range m.ToolCalls {
				f.Calls++
				f.OddNames += one(!usual.MatchString(call.Function))
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return f
}

// notice is the whole content of a withheld result, as JSON in either form.
var notice = regexp.MustCompile(`^(\[\{"type": "text", "content": )?"<Data omitted because a prompt injection was detected>"(\}\])?$`)

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func unpack(tb testing.TB, file string) io.Reader {
	tb.Helper()
	f, err := os.Open(file)
	if err != nil {
		tb.Fatal(err)
	}
	z, err := zstd.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		z.Close()
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return z
}

// TestOriginalsAreTheSameRuns: a file as the benchmark writes it holds the same run as its line in the published list.
func TestOriginalsAreTheSameRuns(t *testing.T) {
	dir := filepath.Join(dataFolder(t), "agentdojo")
	c := newCounter()
	stats, err := importer.Agentdojo(t.Context(), []string{filepath.Join(dir, "original"), filepath.Join(dir, "slack.jsonl.zst")}, importer.Options{
		Open:    c.open,
		Problem: func(p importer.Problem) { t.Error(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Files != 4 || stats.Duplicates != 1 {
		t.Errorf("%d files and %d duplicates, want 4 and 1", stats.Files, stats.Duplicates)
	}
}

// TestAllTaubench imports every run of tau-bench. The figures are those published with the data.
func TestAllTaubench(t *testing.T) {
	file := filepath.Join(dataFolder(t), "taubench", "gpt-4o-airline.json.zst")
	c := newCounter()
	stats, err := importer.Taubench(t.Context(), file, importer.Options{
		Open:    c.open,
		Problem: func(p importer.Problem) { t.Error(p) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.errs) > 0 {
		t.Errorf("%d events are not valid, the first: %v", len(c.errs), c.errs[0])
	}
	const tenant, writes, unconfirmed = "taubench-airline", 250, 57
	if stats.Runs != 200 || stats.Writes != writes || stats.Approvals != writes-unconfirmed || stats.Unlinked != 0 {
		t.Errorf("stats: %+v", stats)
	}
	if c.requests[tenant] != writes-unconfirmed || c.approved[tenant] != writes-unconfirmed {
		t.Errorf("%d requests and %d approvals, want %d of each", c.requests[tenant], c.approved[tenant], writes-unconfirmed)
	}
}

// TestSameBytesEachTime: a second import of the same data gives the same bytes, whatever the concurrency.
func TestSameBytesEachTime(t *testing.T) {
	var runs [2][]byte
	for i, workers := range []int{1, 7} {
		w := newWorld()
		_, err := importer.Agentdojo(t.Context(), []string{"testdata/library.jsonl"}, importer.Options{Open: w.open, Concurrency: workers})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"agentdojo-library/local", "agentdojo-library/model-1-5-filtered-b92aef91c954"} {
			for _, ev := range w.taken[name] {
				b, err := proto.MarshalOptions{Deterministic: true}.Marshal(ev.Plain)
				if err != nil {
					t.Fatal(err)
				}
				runs[i] = append(runs[i], b...)
			}
		}
	}
	if len(runs[0]) == 0 || string(runs[0]) != string(runs[1]) {
		t.Error("not the same bytes")
	}
}
