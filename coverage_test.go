package custody_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentsNameWhatThereIs holds the documents that say what shows a promise to the tree: every folder, test, script and
// command that they name exists. A test is looked for in the folder that the line names before it.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	for _, name := range []string{"README.md", "docs/COVERAGE.md", "docs/GUARANTEES.md", "docs/OPERATIONS.md", "docs/RUNBOOK.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for line := range strings.Lines(string(text)) {
			at++
			for _, wrong := range notThere(t, line) {
				t.Errorf("%s:%d: %s", name, at, wrong)
			}
		}
	}
}

var (
	// named is what a line can name: something in backquotes, a test, or scripts.
	named       = regexp.MustCompile("`([^`]+)`|\\b(Test[A-Z]\\w*)|\\bscripts? ([a-z]+(?:, [a-z]+)*)")
	folderName  = regexp.MustCompile(`^[a-z]+(?:[/-][a-z]+)*$`)
	command     = regexp.MustCompile(`^custody ([a-z]+)`)
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	commandFlag = regexp.MustCompile(`--([a-z][a-z-]*)`)
	quotedWord  = regexp.MustCompile(`"([a-z][a-z-]*)"`)
	commandUse  = regexp.MustCompile(`(?:[Uu]se:\s+|group\()"([a-z]+)`)
)

// notThere lists what a line names and there is not.
func notThere(t *testing.T, line string) (wrong []string) {
	t.Helper()
	folder := "."
	for _, m := range named.FindAllStringSubmatch(line, -1) {
		quoted, test, scripts := m[1], m[2], m[3]
		switch {
		case test != "":
			if !matches(t, folder, "_test.go", testFunc)[test] {
				wrong = append(wrong, test+" is no test of "+folder)
			}
		case scripts != "":
			for script := range strings.SplitSeq(scripts, ", ") {
				if _, err := os.Stat(filepath.Join(folder, "testdata/script", script+".txtar")); err != nil {
					wrong = append(wrong, script+" is no script of "+folder)
				}
			}
		case command.MatchString(quoted):
			wrong = append(wrong, noCommand(t, quoted)...)
		case isFolder(quoted):
			folder = quoted
		case strings.HasPrefix(line, "|") && folderName.MatchString(quoted) && strings.Contains(quoted, "/"):
			wrong = append(wrong, "there is no folder "+quoted)
		}
	}
	return wrong
}

// noCommand says what of a command line there is not: the command or one of its flags.
func noCommand(t *testing.T, line string) (wrong []string) {
	t.Helper()
	if verb := command.FindStringSubmatch(line)[1]; !matches(t, "cmd/custody", ".go", commandUse)[verb] {
		wrong = append(wrong, "there is no command custody "+verb)
	}
	for _, flag := range commandFlag.FindAllStringSubmatch(line, -1) {
		if !matches(t, "cmd/custody", ".go", quotedWord)[flag[1]] && flag[1] != "help" {
			wrong = append(wrong, "no command has a flag --"+flag[1])
		}
	}
	return wrong
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return folderName.MatchString(name) && err == nil && info.IsDir()
}

// matches are the first groups of a pattern in the files of a folder whose names end so.
func matches(t *testing.T, folder, suffix string, pattern *regexp.Regexp) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != folder:
			return fs.SkipDir
		case !strings.HasSuffix(path, suffix):
			return nil
		}
		text, err := os.ReadFile(path) //nolint:gosec // of our own tree
		for _, m := range pattern.FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
