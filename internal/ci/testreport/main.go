// Command testreport reads what `go test -json` writes and prints what `go test` would have printed,
// then every skipped test with its reason, then one closing line:
//
//	12 passed, 0 failed, 1 skipped
//
// Tests and subtests are counted alike. A test that skips without saying why counts as failed: a
// missing service must never look like a passing test. testreport exits with 1 when anything failed,
// when a package did not build, and when no test ran at all.
//
//	go test -json ./... | go run ./internal/ci/testreport
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxLine is the longest line of JSON accepted, in bytes: a test may print a whole document at once.
const maxLine = 16 << 20

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
}

// event is one line of `go test -json`; see `go doc test2json` and `go help buildjson`.
type event struct {
	Action  string // run, output, pass, fail, skip, build-output, build-fail, …
	Package string
	Test    string // empty: the event is the package's
	Output  string
}

// test names a test, or a package where name is empty.
type test struct{ pkg, name string }

// tally collects a run. A test's output is kept only until the test ends.
type tally struct {
	out                     io.Writer
	output                  map[test][]string
	skips                   []string
	passed, failed, skipped int
	broken                  int // packages that failed: also where no test of theirs did
}

func report(in io.Reader, out io.Writer) error {
	t := &tally{out: out, output: make(map[test][]string)}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		t.line(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return t.close()
}

// line takes one line. What is no JSON is the go command's own word and is passed on.
func (t *tally) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		fmt.Fprintf(t.out, "%s\n", line)
		return
	}
	if e.Action == "build-output" {
		fmt.Fprint(t.out, e.Output)
		return
	}
	t.event(e, test{e.Package, e.Test})
}

func (t *tally) event(e event, id test) {
	switch {
	case e.Action == "output":
		t.output[id] = append(t.output[id], e.Output)
		return
	case e.Action != "pass" && e.Action != "fail" && e.Action != "skip":
		return
	case id.name == "":
		t.packageEnded(e.Action, id)
	default:
		t.testEnded(e.Action, id, t.output[id])
	}
	delete(t.output, id)
}

// packageEnded prints the package's closing line. Of a package that failed it prints everything that
// has not been printed, also of tests that a panic or a time-out cut short.
func (t *tally) packageEnded(action string, id test) {
	output := t.output[id]
	if action != "fail" {
		t.print(output[max(0, len(output)-1):])
		return
	}
	t.broken++
	for other := range t.output {
		if other.pkg == id.pkg && other.name != "" {
			t.print(t.output[other])
			delete(t.output, other)
		}
	}
	t.print(output)
}

func (t *tally) testEnded(action string, id test, output []string) {
	switch action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
		t.print(output)
	case "skip":
		t.testSkipped(id, said(output))
	}
}

func (t *tally) testSkipped(id test, reason string) {
	if reason == "" {
		t.failed++
		fmt.Fprintf(t.out, "--- FAIL: %s: %s skips without saying why\n", id.pkg, id.name)
		return
	}
	t.skipped++
	t.skips = append(t.skips, fmt.Sprintf("%s: %s: %s", id.pkg, id.name, reason))
}

// said returns what a test printed itself, on one line.
func said(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}

// close prints the skips and the closing line, and returns an error where the run must not pass.
func (t *tally) close() error {
	for _, skip := range t.skips {
		fmt.Fprintf(t.out, "skipped: %s\n", skip)
	}
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	switch {
	case t.failed > 0:
		return fmt.Errorf("%d tests failed", t.failed)
	case t.broken > 0:
		return fmt.Errorf("%d packages failed", t.broken)
	case t.passed == 0:
		return errors.New("no test ran")
	}
	return nil
}

func (t *tally) print(lines []string) {
	for _, line := range lines {
		fmt.Fprint(t.out, line)
	}
}
