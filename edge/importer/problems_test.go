package importer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/edge/importer"
)

// good is a whole run of AgentDojo.
func good(id string) string {
	return fmt.Sprintf(`{"id":%q,"suite_name":"library","pipeline_name":"local","messages":[{"role":"user","content":"hello"}],"error":null}`, id)
}

// with is a run of AgentDojo with the given messages.
func with(messages string) string {
	return `{"suite_name":"library","pipeline_name":"local","messages":[` + messages + `]}`
}

func TestBadRunsAreReportedAndTheRestGoesOn(t *testing.T) {
	many := strings.Repeat(`{"role":"user","content":""},`, importer.MaxMessages) + `{"role":"user"}`
	calls := `{"role":"assistant","tool_calls":[` + strings.Repeat(`{},`, importer.MaxCalls) + `{}]}`
	tests := map[string]struct{ bad, want string }{
		"no JSON":            {`{"id":`, "unexpected end of JSON input"},
		"not an object":      {`[]`, "array where object belongs"},
		"not UTF-8":          {"{\"id\":\"\xff\"}", "not UTF-8"},
		"no suite":           {`{"pipeline_name":"p","messages":[]}`, "suite_name: missing"},
		"no pipeline":        {`{"suite_name":"s","messages":[]}`, "pipeline_name: missing"},
		"labels only":        {`{"id":"1","suite_name":"s","pipeline_name":"p","attack":"none"}`, "messages: missing"},
		"messages null":      {`{"suite_name":"s","pipeline_name":"p","messages":null}`, "messages: missing"},
		"id a number":        {`{"id":3}`, "id: number where string belongs"},
		"duration negative":  {`{"suite_name":"s","pipeline_name":"p","messages":[],"duration":-1}`, "duration: not between 0 and 2592000 seconds"},
		"duration endless":   {`{"suite_name":"s","pipeline_name":"p","messages":[],"duration":1e300}`, "duration: not between 0 and 2592000 seconds"},
		"duration a string":  {`{"duration":"4"}`, "duration: string where number belongs"},
		"role unknown":       {with(`{"role":"user"},{"role":"judge"}`), "messages[1].role: none of system, user, assistant, tool"},
		"role missing":       {with(`{}`), "messages[0].role: none of system, user, assistant, tool"},
		"content a number":   {with(`{"role":"user"},{"role":"user","content":7}`), "messages[1].content: number where string belongs"},
		"content an object":  {with(`{"role":"user","content":{}}`), "messages[0].content: object where string belongs"},
		"part of other type": {with(`{"role":"user","content":[{"type":"text"},{"type":"image"}]}`), `messages[0].content: part 1 is of type "image", not text`},
		"part's text":        {with(`{"role":"user","content":[{"type":"text","content":[]}]}`), "messages[0].content.content: array where string belongs"},
		"function a number":  {with(`{"role":"assistant","tool_calls":[{"function":1}]}`), "messages[0].tool_calls.function: number where string belongs"},
		"too many messages":  {with(many), "messages: more than 4096"},
		"too many calls":     {with(calls), "messages: more than 4096 tool calls"},
		"too long":           {`{"id":"` + strings.Repeat("x", importer.MaxRecord) + `"}`, "longer than 16777216 bytes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := good("a") + "\n\n" + test.bad + "\n" + good("b")
			w := newWorld()
			stats, problems, err := agentdojo(t, w, "", write(t, text, "runs.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"runs.jsonl:3: " + test.want}, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if stats.Runs != 2 || stats.Bad != 1 {
				t.Errorf("%d runs and %d bad, want 2 and 1", stats.Runs, stats.Bad)
			}
		})
	}
}

func TestBadRunOfTaubench(t *testing.T) {
	tests := map[string]struct{ bad, want string }{
		"no trajectory":     {`{"reward": 1}`, "traj: missing"},
		"unknown role":      {`{"traj": [{"role": "judge"}]}`, "traj[0].role: none of system, user, assistant, tool"},
		"function a string": {`{"traj": [{"role":"user"}, {"role":"assistant","tool_calls":[{"function":"f"}]}]}`, "traj[1].tool_calls.function: string where object belongs"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var problems []string
			stats, err := importer.Taubench(t.Context(), write(t, "[{\"traj\": []},\n"+test.bad+"]", "m-other.json"), importer.Options{
				Open:    newWorld().open,
				Problem: func(p importer.Problem) { problems = append(problems, p.Error()) },
			})
			if err != nil || stats.Runs != 1 {
				t.Fatal(stats, err)
			}
			if len(problems) != 1 || !strings.Contains(problems[0], "m-other.json:2: "+test.want) {
				t.Errorf("problems %q, want %q", problems, test.want)
			}
		})
	}
}

// TestForms reads the same two runs in every form of file.
func TestForms(t *testing.T) {
	one, two := good("a"), good("b")
	pretty := strings.NewReplacer("{", "{\n ", ",", ",\r\n\t").Replace(one)
	tests := map[string]string{
		"lines.jsonl":          one + "\n" + two + "\n",
		"last line open.jsonl": one + "\r\n\n  \n" + two,
		"list.json":            " [" + one + ",\n" + two + "]\n",
		"pretty.json":          "[\n" + pretty + " , " + two + "\n]",
		"packed.jsonl.zst":     packed(t, one+"\n"+two+"\n"),
		"packed.json.zst":      packed(t, "["+one+","+two+"]"),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			stats, problems, err := agentdojo(t, newWorld(), "", write(t, text, name))
			if err != nil || len(problems) > 0 || stats.Runs != 2 {
				t.Errorf("%d runs, problems %q, error %v", stats.Runs, problems, err)
			}
		})
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFilesThatEndEarly(t *testing.T) {
	one := good("a")
	tests := map[string]struct {
		text, want string
		runs       int64
	}{
		"empty.json":        {"", "empty.json:1: cut short", 0},
		"empty list.json":   {"[ ]", "empty list.json:1: no run in it", 0},
		"empty.jsonl":       {"", "empty.jsonl:1: no run in it", 0},
		"blank.jsonl":       {"\n \n", "blank.jsonl:3: no run in it", 0},
		"empty.jsonl.zst":   {packed(t, ""), "empty.jsonl.zst:1: no run in it", 0},
		"number.json":       {"17", "number.json:1: not an object, nor a list of objects", 0},
		"cut.json":          {one[:20], "cut.json:1: cut short", 0},
		"open list.json":    {"[" + one, "open list.json:1: cut short", 1},
		"open string.json":  {"[" + one + `,{"id": "a\`, "open string.json:1: cut short", 1},
		"no comma.json":     {"[" + one + "\n" + one + "]", "no comma.json:2: no comma between two runs", 1},
		"two values.json":   {one + "\n\n" + one, "two values.json:3: something follows the last run", 1},
		"after list.json":   {"[" + one + "] x", "after list.json:1: something follows the last run", 1},
		"mixed list.json":   {"[" + one + ", 4]", "mixed list.json:1: not an object, nor a list of objects", 1},
		"no zstd.jsonl.zst": {"plain text", "no zstd.jsonl.zst:1: invalid input: magic number mismatch", 0},
		"cut.jsonl.zst":     {packed(t, strings.Repeat(one+"\n", 3))[:60], "cut.jsonl.zst:1: unexpected EOF", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			stats, problems, err := agentdojo(t, newWorld(), "", write(t, test.text, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(problems, "; "); got != test.want {
				t.Errorf("problems %q, want %q", got, test.want)
			}
			if stats.Runs != test.runs {
				t.Errorf("%d runs, want %d", stats.Runs, test.runs)
			}
		})
	}
}

// TestFolders reads what is of a known kind in a folder, lists first, and passes over labels.
func TestFolders(t *testing.T) {
	dir := filepath.Dir(write(t, good("b"), "b.jsonl"))
	for name, text := range map[string]string{
		"a.json": good("a"), "deep/c.json": good("c"), "README.md": "no run", "labels.jsonl": `{"attack":"none"}`,
		"a again.json": strings.Replace(good("a"), `"id":"a",`, "", 1),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stats, problems, err := agentdojo(t, newWorld(), "", dir, filepath.Join(dir, "a.json"))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	// The runs say the same, so the one without an id is a copy of the first.
	if stats.Files != 4 || stats.Runs != 3 || stats.Duplicates != 1 {
		t.Errorf("files, runs and duplicates: got %d, %d, %d, want 4, 3, 1", stats.Files, stats.Runs, stats.Duplicates)
	}
}

func TestWrongPaths(t *testing.T) {
	for path, want := range map[string]error{
		"testdata/absent.json": fs.ErrNotExist, "testdata/library.golden": importer.ErrKind, t.TempDir(): importer.ErrKind,
	} {
		if _, _, err := agentdojo(t, newWorld(), "", path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// TestPipe is of a file that is no file: to open it would wait for somebody who writes, and nothing could end that.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe.jsonl")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems, err := agentdojo(t, newWorld(), "", path)
	if diff := cmp.Diff([]string{"pipe.jsonl: not a regular file"}, problems); diff != "" || err != nil {
		t.Errorf("error %v, problems (-want +got):\n%s", err, diff)
	}
}
