package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/detect"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// evalFlags are the flags of eval.
type evalFlags struct {
	ruleFiles
	labels  string
	exclude []string
	sample  uint32
	missed  bool
}

func (a *app) rulesEval() *cobra.Command {
	var f evalFlags
	cmd := &cobra.Command{
		Use:   "eval FILE...",
		Short: "Score rules on labelled traces",
		Long: "Replay traces of AgentDojo or tau-bench through the importer's events, the edge's detectors and the rule engine, and score\n" +
			"what the rules would have stopped if all were in force. Fingerprints are made with a key that is thrown away; no server is\n" +
			"asked. Labels (lines of JSON: id, attack, attack_succeeded, attacker_calls, pipeline) are for the score alone: neither\n" +
			"importer, detector nor rule sees them. Runs without a label are shown apart, as background. An engine sees one run and no\n" +
			"other, so baselines learn from nothing else. docs/DETECTION.md says what each column means.",
		Example: "  custody rules eval slack.jsonl.zst --labels labels.jsonl.zst\n" +
			"  custody rules eval *.jsonl.zst --labels labels.jsonl.zst --exclude-pipelines gpt-4o-2024-05-13,command-r -o json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.eval(cmd.Context(), &f, args) },
	}
	f.register(cmd)
	cmd.Flags().StringVar(&f.labels, "labels", "", "file of labels (required)")
	cmd.Flags().StringSliceVar(&f.exclude, "exclude-pipelines", nil, "leave out the runs of these pipelines, separated by commas")
	cmd.Flags().Uint32Var(&f.sample, "sample", 1, "take one run in so many, chosen by the hash of its id")
	cmd.Flags().BoolVar(&f.missed, "missed", false, "name the attacks that the pack missed and the benign runs that it stopped, on standard error")
	_ = cmd.MarkFlagRequired("labels")
	return cmd
}

func (a *app) eval(ctx context.Context, f *evalFlags, paths []string) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	labels, err := readLabels(f.labels)
	if err != nil {
		return fail(orNotFound(err), err, "nothing was run", "name a file of labels with --labels")
	}
	paths = slices.DeleteFunc(paths, func(path string) bool { return filepath.Clean(path) == filepath.Clean(f.labels) })
	e := &evaluation{flags: f, set: set, labels: labels, total: rules.NewEvaluation(set), left: map[string]bool{}}
	rand.Read(e.key[:])
	if f.missed {
		e.notes = a.err
	}
	bar := a.progress("eval")
	defer bar.done()
	stats, err := importer.Traces(ctx, paths, importer.Options{
		Open:     e.open,
		Progress: func(s importer.Stats) { bar.show("%d runs", s.Runs) },
		Problem:  a.problems(bar),
	})
	if err != nil {
		return fail(orNotFound(err), err, "nothing was changed", "check the files and run the command again")
	}
	bar.done()
	return a.printEval(e, stats)
}

// orNotFound is the exit code of input that is missing or wrong.
func orNotFound(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitInput
}

// readLabels reads lines of JSON, by the run's id.
func readLabels(name string) (labels map[string]*runLabel, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	var r io.Reader = file
	if strings.HasSuffix(name, ".zst") {
		z, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxLabels))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	}
	labels = map[string]*runLabel{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLabel)
	for n := 1; lines.Scan(); n++ {
		l := new(runLabel)
		if err := json.Unmarshal(lines.Bytes(), l); err != nil || l.ID == "" {
			return nil, fmt.Errorf("read labels %s: line %d: %w", name, n, errors.Join(err, errLabel))
		}
		slices.Sort(l.AttackerCalls)
		labels[l.ID] = l
	}
	return labels, lines.Err()
}

const (
	maxLabel  = 1 << 20 // bytes of a line
	maxLabels = 1 << 30 // bytes of the file
)

var errLabel = errors.New("want a JSON object with an id")

// runLabel is a label as it is written.
type runLabel struct {
	ID            string `json:"id"`
	Attack        string `json:"attack"` // "none" is a benign run
	Succeeded     bool   `json:"attack_succeeded"`
	AttackerCalls []int  `json:"attacker_calls"`
	Pipeline      string `json:"pipeline"`
}

func (l *runLabel) score() *rules.Label {
	if l == nil {
		return nil
	}
	attack := l.Attack != "" && l.Attack != "none"
	return &rules.Label{Attack: attack, Succeeded: attack && l.Succeeded, AttackerCalls: l.AttackerCalls}
}

// evaluation is one call of eval.
type evaluation struct {
	flags  *evalFlags
	set    *rules.Set
	labels map[string]*runLabel
	key    [32]byte
	notes  io.Writer // nil: none

	mu    sync.Mutex // guards what follows
	total *rules.Evaluation
	left  map[string]bool // pipelines that were left out
	runs  int
}

// open gives an instance's runs a replay of their own.
func (e *evaluation) open(context.Context, event.TenantID, event.InstanceID) (importer.Sink, error) {
	return &evalSink{evaluation: e, scores: rules.NewEvaluation(e.set), finger: event.NewFingerprinter(e.key[:], 1), watcher: detect.NewWatcher()}, nil
}

// evalSink replays the runs of one instance.
type evalSink struct {
	*evaluation
	scores   *rules.Evaluation
	finger   *event.Fingerprinter
	watcher  *detect.Watcher
	pipeline string
	message  int
	trial    *rules.Trial
	taken    int
}

// From is the message of the next event.
func (s *evalSink) From(message int) { s.message = message }

// Record takes an event as the edge would: it makes fingerprints of the sealed content, and drops that.
func (s *evalSink) Record(_ context.Context, ev *edge.Event) (event.ID, error) {
	x := ev.Plain.GetIdentity()
	if x.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED {
		s.pipeline, s.trial = x.GetModel(), &rules.Trial{}
	}
	for _, c := range ev.Sealed {
		value, _ := event.Scrub(c.Value)
		ev.Plain.Fingerprints = s.finger.Append(ev.Plain.Fingerprints, c.Path, value)
	}
	s.leaf(ev.Plain)
	for i, f := range s.watcher.Observe(ev.Plain, ev.Content) {
		f.Id = findingID(ev.Plain.GetId(), i)
		s.leaf(f)
	}
	if x.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		s.score(ev.Plain.GetRun())
	}
	return event.ID(ev.Plain.GetId()), nil
}

// findingID is made from the id of the event that the finding is about, so that the same trace gives the same leaves.
func findingID(about []byte, n int) []byte {
	sum := sha256.Sum256(append(append([]byte("custody/eval/finding/v1\x00"), about...), byte(n)))
	return sum[:len(event.ID{})]
}

func (s *evalSink) leaf(e *eventv1.Event) {
	s.trial.Leaves = append(s.trial.Leaves, &rules.Leaf{
		Index: uint64(len(s.trial.Leaves)), Time: e.GetOccurredAt(), Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Event: e,
	})
	s.trial.Messages = append(s.trial.Messages, s.message)
}

func (s *evalSink) score(run string) {
	if s.excluded(run) {
		return
	}
	if h := fnv.New32a(); s.flags.sample > 1 {
		h.Write([]byte(run))
		if h.Sum32()%s.flags.sample != 0 {
			return
		}
	}
	s.taken++
	s.trial.Label = s.labels[run].score()
	s.note(run, s.scores.Observe(s.trial))
}

// note names the runs that a person wants to look at.
func (s *evalSink) note(run string, v rules.Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	benign := s.trial.Label == nil || !s.trial.Label.Attack
	switch {
	case s.notes == nil:
	case v.Missed:
		fmt.Fprintln(s.notes, "missed", plain(run, 0))
	case benign && v.Stopped:
		fmt.Fprintln(s.notes, "stopped benign", plain(run, 0))
	}
}

// excluded reports whether the run is of a pipeline to leave out, as the trace or its label names it.
func (s *evalSink) excluded(run string) bool {
	names := []string{s.pipeline}
	if l := s.labels[run]; l != nil {
		names = append(names, l.Pipeline)
	}
	for _, name := range names {
		if slices.Contains(s.flags.exclude, name) {
			s.mu.Lock()
			s.left[name] = true
			s.mu.Unlock()
			return true
		}
	}
	return false
}

// Close adds the instance's scores to the others'.
func (s *evalSink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(s.scores)
	s.runs += s.taken
	return nil
}

func (a *app) printEval(e *evaluation, stats importer.Stats) error {
	for _, name := range e.flags.exclude {
		if !e.left[name] {
			fmt.Fprintf(a.err, "no run is of pipeline %s\n", plain(name, 0))
		}
	}
	if a.format != formatTable {
		return a.printJSON(object{{"runs", e.runs}, {"bad", stats.Bad}, {"excluded_pipelines", append([]string{}, e.flags.exclude...)}, {"baselines_learnt_from", 0}, {"scores", evalScores(e.total)}})
	}
	t := newGrid("rule", "action", "attacks in time", "earlier", "calls prevented", "calls until", "benign contained", "background", "fired: attacks", "benign")
	for _, s := range e.total.Scores {
		t.row(s.Name, evalAction(s), percent(s.InTime), percent(s.Before), percent(s.Prevented), median(s.Until), percent(s.Benign), percent(s.Background),
			percent(s.FiredAttack), percent(s.FiredBenign))
	}
	t.print(a.out)
	pack := e.total.Scores[len(e.total.Scores)-1]
	fmt.Fprintf(a.out, "\n%d runs: %d benign, %d unlabelled background, %d successful attacks with a listed call;\n"+
		"apart from these %d successful attacks without one (%s contained) and %d attacks that failed (%s contained)\n",
		e.runs, pack.Benign.Of, pack.Background.Of, pack.InTime.Of, pack.Unplaced.Of, percent(pack.Unplaced), pack.Failed.Of, percent(pack.Failed))
	fmt.Fprintln(a.out, "baselines learnt from no run: each run was judged by an engine that had seen no other")
	return nil
}

func evalAction(s *rules.Score) string {
	if s.Rule == nil {
		return ""
	}
	return string(s.Rule.Action)
}

func percent(s rules.Share) string {
	if s.Of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(s.Part)/float64(s.Of))
}

func median(sorted []int) string {
	if len(sorted) == 0 {
		return "-"
	}
	return fmt.Sprint(sorted[len(sorted)/2])
}

func evalScores(v *rules.Evaluation) []any {
	out := make([]any, len(v.Scores))
	for i, s := range v.Scores {
		share := func(x rules.Share) any { return object{{"part", x.Part}, {"of", x.Of}} }
		out[i] = object{
			{"name", s.Name},
			{"action", evalAction(s)},
			{"attacks_in_time", share(s.InTime)},
			{"attacks_stopped_earlier", share(s.Before)},
			{"attacks_without_listed_call", share(s.Unplaced)},
			{"attacks_failed", share(s.Failed)},
			{"attacker_calls_prevented", share(s.Prevented)},
			{"calls_until_detection_median", median(s.Until)},
			{"benign_contained", share(s.Benign)},
			{"background_contained", share(s.Background)},
			{"fired_on_attacks", share(s.FiredAttack)},
			{"fired_on_benign", share(s.FiredBenign)},
		}
	}
	return out
}
