package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	tests := map[string]struct {
		events string
		want   string
		fails  bool
	}{
		"passing test prints the closing line only": {
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`,
			want: "ok  \tp\t0.1s\n1 passed, 0 failed, 0 skipped\n",
		},
		"failing test prints what it said": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: wrong root\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			want:  "    a_test.go:7: wrong root\n--- FAIL: TestA (0.00s)\nFAIL\tp\t0.1s\n0 passed, 1 failed, 0 skipped\n",
			fails: true,
		},
		"test cut short prints what it said": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"waiting\n"}
{"Action":"output","Package":"p","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}`,
			want:  "waiting\npanic: test timed out\n0 passed, 0 failed, 0 skipped\n",
			fails: true,
		},
		"skip is counted and says why": {
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: CUSTODY_DATA is not set\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}`,
			want: "skipped: p: TestB: b_test.go:9: CUSTODY_DATA is not set\n1 passed, 0 failed, 1 skipped\n",
		},
		"silent skip fails": {
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}`,
			want:  "--- FAIL: p: TestB skips without saying why\n1 passed, 1 failed, 0 skipped\n",
			fails: true,
		},
		"package that does not build fails": {
			events: `{"ImportPath":"p","Action":"build-output","Output":"a.go:3: undefined: b\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
{"Action":"pass","Package":"q","Test":"TestA"}`,
			want:  "a.go:3: undefined: b\nFAIL\tp [build failed]\n1 passed, 0 failed, 0 skipped\n",
			fails: true,
		},
		"the go command's own words are passed on": {
			events: "go: no such tool\n" + `{"Action":"pass","Package":"p","Test":"TestA"}`,
			want:   "go: no such tool\n1 passed, 0 failed, 0 skipped\n",
		},
		"no test at all fails": {want: "0 passed, 0 failed, 0 skipped\n", fails: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := report(strings.NewReader(test.events), &out)
			if (err != nil) != test.fails {
				t.Errorf("got error %v, want an error: %v", err, test.fails)
			}
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}
