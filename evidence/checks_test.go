package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checksFile says of every bundle of the tests what each check has examined, and what it has found: "range 4; key 12, 1 wrong [7]:
// the first failure". What a verdict is made of is more than what it decides.
const checksFile = "testdata/checks.json"

var keptChecks struct {
	sync.Mutex
	of map[string][]string // by test
}

// holdChecks holds the checks of a test's verdict to those that are kept (-update keeps them).
func holdChecks(t testing.TB, v Verdict) {
	t.Helper()
	keptChecks.Lock()
	defer keptChecks.Unlock()
	if keptChecks.of == nil {
		file, err := os.ReadFile(checksFile)
		if err == nil {
			err = json.Unmarshal(file, &keptChecks.of)
		}
		if err != nil && !*update {
			t.Fatal(err)
		}
	}
	got := findingsOf(v)
	if *update {
		keepChecks(t, got)
	}
	if diff := cmp.Diff(keptChecks.of[t.Name()], got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", checksFile, diff)
	}
}

func keepChecks(t testing.TB, got []string) {
	t.Helper()
	if keptChecks.of == nil {
		keptChecks.of = map[string][]string{}
	}
	keptChecks.of[t.Name()] = got
	file, err := json.MarshalIndent(keptChecks.of, "", " ")
	if err == nil {
		err = os.WriteFile(checksFile, append(file, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// findingsOf is one line of what was examined and what did not run, and one for each check that failed.
func findingsOf(v Verdict) []string {
	var list, failed []string
	for _, c := range v.Checks {
		switch what := fmt.Sprint(c.Name, " ", c.Examined); c.Result {
		case Failed:
			failed = append(failed, fmt.Sprintf("%s: %d wrong %v: %s", what, c.Failures, c.Records, c.Detail))
		case NotRun, NotClaimed:
			list = append(list, what+" "+string(c.Result))
		default:
			list = append(list, what)
		}
	}
	return append([]string{strings.Join(list, ", ")}, failed...)
}
