package importer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/edge/importer"
)

// labelsOf are the fields that only scoring may read, with two values each that they could have.
var labelsOf = map[string][2]any{
	"user_task_id":      {"user_task_1", "injection_task_7"},
	"injection_task_id": {nil, "injection_task_1"},
	"attack_type":       {"none", "important_instructions"},
	"attack":            {"none", "direct"},
	"injections":        {map[string]any{}, map[string]any{"injection_mail": "Ignore all that."}},
	"security":          {false, true},
	"utility":           {true, false},
	"attack_succeeded":  {false, true},
	"exposed_at":        {[]int{}, []int{1, 2}},
	"attacker_calls":    {[]int{}, []int{2}},
	"task_id":           {1, 2},
	"trial":             {0, 3},
	"reward":            {0.0, 1.0},
	"info":              {map[string]any{}, map[string]any{"task": map[string]any{"user_id": "mo_3", "actions": []int{4}}}},
}

// labelled is a run with each label set to its first or second value.
func labelled(t *testing.T, run map[string]any, value int) string {
	t.Helper()
	for label, values := range labelsOf {
		run[label] = values[value]
	}
	if run["error"] != nil { // an error's text names the benchmark's tasks
		run["error"] = []string{"", "Skipping task 'user_task_1' with 'injection_task_9'"}[value]
	}
	return encode(t, run)
}

func bare(t *testing.T, run map[string]any) string {
	t.Helper()
	for label := range labelsOf {
		delete(run, label)
	}
	return encode(t, run)
}

func encode(t *testing.T, run map[string]any) string {
	t.Helper()
	b, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// fixture is the runs of a file of testdata.
func fixture(t *testing.T, file string) (runs []map[string]any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".jsonl") {
		b = []byte("[" + strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", ",") + "]")
	}
	if err := json.Unmarshal(b, &runs); err != nil {
		t.Fatal(err)
	}
	return runs
}

// write makes a file with any folders above it, and returns its name.
func write(t *testing.T, text string, path ...string) string {
	t.Helper()
	file := filepath.Join(append([]string{t.TempDir()}, path...)...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// bytesOf are the canonical bytes of everything that the world took.
func (w *world) bytesOf(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for name, events := range w.taken {
		for _, run := range runsOf(events) {
			for i, ev := range run {
				all[name] = append(all[name], string(mustBeValid(t, ev, i+1))+sealedText(ev))
			}
		}
	}
	return all
}

// TestLabelsChangeNothing imports the same runs with each label set to either of two values, and with none, from files
// in folders that are named after labels: not one byte differs.
func TestLabelsChangeNothing(t *testing.T) {
	tests := map[string]struct {
		fixture string
		run     func(t *testing.T, w *world, file string) error
		file    [3][]string
	}{
		"agentdojo": {"library.jsonl", importAgentdojo, [3][]string{
			{"runs", "local", "library", "user_task_1", "none", "none.jsonl"},
			{"runs", "local", "library", "injection_task_7", "direct", "injection_task_1.jsonl"},
			{"all.jsonl"},
		}},
		"agentdojo without ids": {"library.jsonl", func(t *testing.T, w *world, file string) error {
			t.Helper()
			return importAgentdojo(t, w, withoutIDs(t, file))
		}, [3][]string{{"none", "none.jsonl"}, {"direct", "injection_task_1.jsonl"}, {"all.jsonl"}}},
		"taubench": {"gpt-x-harbour.json", importTaubench, [3][]string{
			{"reward-0", "gpt-x-harbour.jsonl"}, {"reward-1", "gpt-x-harbour.jsonl"}, {"gpt-x-harbour.jsonl"},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got [3]map[string][]string
			for i, path := range test.file {
				var text strings.Builder
				for _, run := range fixture(t, test.fixture) {
					if i == 2 {
						text.WriteString(bare(t, run))
					} else {
						text.WriteString(labelled(t, run, i))
					}
				}
				w := newWorld()
				if err := test.run(t, w, write(t, text.String(), path...)); err != nil {
					t.Fatal(err)
				}
				got[i] = w.bytesOf(t)
			}
			if len(got[0]) == 0 {
				t.Fatal("nothing was imported")
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("other labels, other events:\n%s", diff)
			}
			if diff := cmp.Diff(got[0], got[2]); diff != "" {
				t.Errorf("no labels, other events:\n%s", diff)
			}
		})
	}
}

func importAgentdojo(t *testing.T, w *world, file string) error {
	t.Helper()
	_, err := importer.Agentdojo(t.Context(), []string{file}, importer.Options{Open: w.open})
	return err
}

func importTaubench(t *testing.T, w *world, file string) error {
	t.Helper()
	_, err := importer.Taubench(t.Context(), file, importer.Options{Open: w.open})
	return err
}

// withoutIDs is the file with the runs' own ids taken out, in place.
func withoutIDs(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		var run map[string]any
		if err := json.Unmarshal([]byte(line), &run); err != nil {
			t.Fatal(err)
		}
		delete(run, "id")
		out.WriteString(encode(t, run))
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
