package importer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
)

// Sink takes the events of one instance: an *edge.Emitter whose key is enrolled as an importer's. The import calls it
// from one goroutine, with one run after the other, each run's events in order, and each event once.
type Sink interface {
	// Record keeps the event: from its return on the sink delivers it, whatever happens to this process. The event has its
	// id, run, causes and time; the sink numbers, seals and signs it. An *event.FieldError leaves the event out; any other
	// error stops the import.
	Record(ctx context.Context, ev *edge.Event) (event.ID, error)
	// Close returns when all that was recorded is delivered, or with the reason why not.
	Close(ctx context.Context) error
}

// Holder is a Sink that knows what an earlier process left in it. With one, an import that was killed goes on exactly
// where it was; without one, it may give the sink one event of each instance again.
type Holder interface {
	// Holds reports whether the sink had the event when it was opened. It need not know events that were delivered before.
	Holds(id event.ID) bool
}

// Follower is a Sink that wants to know from where in the trace an event comes.
type Follower interface {
	// From says that the next event comes from this message of the run, counted from 0; a run's end from its last.
	From(message int)
}

// Options of an import. Open is required.
type Options struct {
	// Open gives the sink of an instance; see OpenEmitter. It is called once for each instance in the input, from any
	// goroutine.
	Open func(ctx context.Context, tenant event.TenantID, instance event.InstanceID) (Sink, error)
	// State is the folder of the journal; it is made if need be. Empty: an import that was interrupted begins anew. It
	// belongs beside the emitters' folders: with other emitters, or with those of another system, the journal would leave
	// out what these never had.
	State string
	// Concurrency is how many runs are decoded, and how many sinks are recorded to, at one time; 0 is GOMAXPROCS.
	Concurrency int
	// Progress is called now and then, and at the end, by one goroutine at a time.
	Progress func(Stats)
	// Problem is called for each run that was left out, by one goroutine at a time.
	Problem func(Problem)
}

// Counts of what runs hold.
type Counts struct {
	Messages   int64
	Calls      int64 // asked for by the model
	Results    int64 // tool messages
	Unanswered int64 // calls without a result
	Unlinked   int64 // results without a call
	Failures   int64 // results that are errors
	Denials    int64 // refused calls and withheld results
	OddNames   int64 // calls of a tool with an empty, long or unusual name
	Writes     int64 // calls that need the user's yes
	Approvals  int64 // of them, those that have it
	Cut        int64 // sealed values of which only the first event.MaxObject bytes are kept
	Events     int64
	Bytes      int64 // of sealed values
}

// Stats of an import so far.
type Stats struct {
	Files      int64 // begun
	Instances  int64 // opened
	Runs       int64 // recorded, now
	Resumed    int64 // recorded before: left out
	Duplicates int64 // given twice: left out
	Bad        int64 // problems
	Counts           // of the runs that were recorded now
}

func (c *Counts) add(d Counts) {
	c.Messages += d.Messages
	c.Calls += d.Calls
	c.Results += d.Results
	c.Unanswered += d.Unanswered
	c.Unlinked += d.Unlinked
	c.Failures += d.Failures
	c.Denials += d.Denials
	c.OddNames += d.OddNames
	c.Writes += d.Writes
	c.Approvals += d.Approvals
	c.Cut += d.Cut
	c.Events += d.Events
	c.Bytes += d.Bytes
}

// Problem is a run, or the rest of a file, that was left out.
type Problem struct {
	File   string
	Line   int    // on which the run begins, from 1; 0 for a file that cannot be read
	Field  string // for example "messages[3].content"; empty for the whole
	Reason string
}

// Error is "file:line: field: reason".
func (p Problem) Error() string {
	e := event.FieldError{Field: p.Field, Reason: p.Reason}
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, e.Error())
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, e.Error())
}

// Agentdojo imports runs of AgentDojo from files, and from folders with all that lies in them. Bad runs are counted in
// Stats.Bad and are no error. The error says that the import stopped: what was recorded till then stays recorded, and
// another import with the same Options.State goes on from there.
func Agentdojo(ctx context.Context, paths []string, opts Options) (Stats, error) {
	files, err := find(paths)
	if err != nil {
		return Stats{}, fmt.Errorf("import agentdojo: %w", err)
	}
	stats, err := run(ctx, "agentdojo", files, agentdojo, opts)
	if err != nil {
		return stats, fmt.Errorf("import agentdojo: %w", err)
	}
	return stats, nil
}

// Taubench imports the runs of one file of tau-bench, as Agentdojo does.
func Taubench(ctx context.Context, path string, opts Options) (Stats, error) {
	files, err := find([]string{path})
	if err != nil {
		return Stats{}, fmt.Errorf("import taubench: %w", err)
	}
	stats, err := run(ctx, "taubench", files, taubench, opts)
	if err != nil {
		return stats, fmt.Errorf("import taubench: %w", err)
	}
	return stats, nil
}

// Traces imports files of either benchmark, told apart by what their first run holds, as Agentdojo does.
func Traces(ctx context.Context, paths []string, opts Options) (Stats, error) {
	files, err := find(paths)
	if err != nil {
		return Stats{}, fmt.Errorf("import traces: %w", err)
	}
	stats, err := run(ctx, "traces", files, told, opts)
	if err != nil {
		return stats, fmt.Errorf("import traces: %w", err)
	}
	return stats, nil
}

// told is how runs of a file are read: only those of tau-bench have a traj.
func told(file string) *dialect {
	for r := range records(file) {
		var first struct {
			Traj json.RawMessage `json:"traj"`
		}
		if json.Unmarshal(r.raw, &first) == nil && first.Traj != nil {
			return taubench(file)
		}
		break
	}
	return agentdojo(file)
}
