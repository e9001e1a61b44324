package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = "./testdata/sample"

// survivors are the mutants of the sample that its tests do not notice.
var survivors = []string{
	"testdata/sample/sample.go Check: n < 3 → <=",
	"testdata/sample/sample.go Sum: case limit > 0 && sum >= limit → false",
	"testdata/sample/sample.go Sum: limit > 0 && sum >= limit: sum >= limit → true",
	"testdata/sample/sample.go Sum: sum >= limit → >",
	"testdata/sample/sample.go Sum: return sum → 0",
	"testdata/sample/sample.go Sum: return true → false",
}

func mutate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), append(args, sample), &out)
	return out.String(), err
}

// allow writes a list of survivors.
func allow(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mutants.allow")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// named are the mutants that a line begins with a word about.
func named(out, word string) (names []string) {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, word); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

func TestSurvivorsAreNamed(t *testing.T) {
	out, err := mutate(t)
	if !errors.Is(err, errSurvivors) {
		t.Errorf("%v, want errSurvivors", err)
	}
	if diff := cmp.Diff(survivors, named(out, "survives: ")); diff != "" {
		t.Errorf("survivors (-want +got):\n%s", diff)
	}
}

func TestSurvivorsWithAReasonAreAllowed(t *testing.T) {
	list := "# a comment\n\n" + strings.Join(survivors, "\n\tthe sample wants it so\n") + "\n\tthe sample wants it so\n"
	if out, err := mutate(t, "-allow", allow(t, list)); err != nil || !strings.Contains(out, "of which 6 are listed") {
		t.Errorf("%v\n%s", err, out)
	}
	const gone = "testdata/sample/sample.go Check: if n < 3 → true"
	out, err := mutate(t, "-only", "Check:", "-allow", allow(t, list+gone+"\n\tit is noticed\n"))
	if diff := cmp.Diff([]string{gone}, named(out, "listed, but no survivor any more: ")); diff != "" || !errors.Is(err, errSurvivors) {
		t.Errorf("%v\n%s", err, diff)
	}
}

// Of a file only its own mutants are taken.
func TestMutantsOfOneFile(t *testing.T) {
	for file, want := range map[string]bool{sample + "/sample.go": true, sample + "/other.go": false} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"-list", file}, &out); err != nil || strings.Contains(out.String(), "sample.go Sum: ") != want {
			t.Errorf("%s: %v\n%s", file, err, out.String())
		}
	}
}

// What is known is not tried again, and is judged as if it had been.
func TestARunGoesOn(t *testing.T) {
	known := filepath.Join(t.TempDir(), "known")
	first, _ := mutate(t, "-known", known)
	text, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if err := os.WriteFile(known, []byte(strings.Join(lines[:len(lines)/2], "")+"killed "+survivors[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := mutate(t, "-known", known)
	if diff := cmp.Diff(survivors[1:], named(again, "survives: ")); diff != "" || !errors.Is(err, errSurvivors) {
		t.Errorf("%v\n%s\n%s", err, first, diff)
	}
	if last, _ := os.ReadFile(known); strings.Count(string(last), "\n") != len(lines) {
		t.Errorf("what is known, after it went on:\n%s", last)
	}
}

func TestReasonsAreDemanded(t *testing.T) {
	for what, list := range map[string]string{"no reason": survivors[0] + "\n", "two names": survivors[0] + "\n" + survivors[1] + "\n\ta reason\n", "no name": "\ta reason\n"} {
		if _, err := mutate(t, "-allow", allow(t, list)); err == nil || errors.Is(err, errSurvivors) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSamplesFollowFromTheirSeed(t *testing.T) {
	all, err := mutate(t, "-list")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := mutate(t, "-list", "-sample", "5", "-seed", "7")
	again, _ := mutate(t, "-list", "-sample", "5", "-seed", "7")
	other, _ := mutate(t, "-list", "-sample", "5", "-seed", "8")
	if first != again || first == other || strings.Count(first, "\n") != 5 {
		t.Errorf("samples of %d:\n%s%s%s", strings.Count(all, "\n"), first, again, other)
	}
}
