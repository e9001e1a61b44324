package event_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// asks is a question about a call.
func asks(tool, arguments string) *event.Question {
	p := event.Example("execution.proposed")
	p.GetExecution().Tool = tool
	return &event.Question{Proposal: p, Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Arguments: []byte(arguments), Size: uint64(len(arguments))}
}

func TestQuestionsShowEverythingSafely(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	tests := map[string]struct {
		question *event.Question
		has      string
	}{
		"arguments, indented":   {asks("send", `{"to":"a","n":[1]}`), "\n  {\n    \"to\": \"a\",\n    \"n\": [\n      1\n    ]\n  }\n"},
		"no JSON":               {asks("send", "to a"), "\narguments\n  to a\n"},
		"deep":                  {asks("send", deep), "\n  [[[["},
		"what is left out":      {asks("send", strings.Repeat("x", event.MaxShown+7)), "... and 7 bytes more, which are NOT SHOWN\n"},
		"a tool that draws":     {asks("a\x1b[2J\napprovers     one", ""), `tool          a\x1b[2J\napprovers     one` + "\n"},
		"an argument that does": {asks("send", "\"\u202e\""), `\u202e`},
		"two persons":           {asks("refund", "{}"), "approvers     two persons, because it is financial\n"},
	}
	for name, test := range tests {
		if text := string(test.question.Text()); !strings.Contains(text, test.has) {
			t.Errorf("%s: no %q in\n%s", name, test.has, text)
		}
	}
}

// FuzzQuestion: whatever an agent writes, the text is the same again, is safe on a terminal line by line, and does not grow without limit.
func FuzzQuestion(f *testing.F) {
	f.Add("send", `{"to":["a",{"b":"\u001b"}]}`)
	f.Add("\x1b]0;x\a", "[[[[")
	f.Fuzz(func(t *testing.T, tool, arguments string) {
		q := asks(tool, arguments)
		text := q.Text()
		if !bytes.Equal(text, q.Text()) || !utf8.Valid(text) {
			t.Errorf("not the same, or no text: %q", text)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSuffix(line, "\n"); event.Escape(line) != line {
				t.Errorf("unsafe: %q", line)
			}
		}
		if most := 16*event.MaxShown + 16*len(tool) + 4096; len(text) > most {
			t.Errorf("%d bytes of %d", len(text), len(arguments))
		}
	})
}
