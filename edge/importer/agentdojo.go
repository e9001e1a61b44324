package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// agentdojoRun is what is read of a run of AgentDojo. It has no field for a label: what is not here is not read.
type agentdojoRun struct {
	ID       string         `json:"id"`
	Suite    string         `json:"suite_name"`
	Pipeline string         `json:"pipeline_name"`
	Messages *agentdojoList `json:"messages"`
	Error    given          `json:"error"`
	Duration *float64       `json:"duration"` // seconds
}

type agentdojoList []agentdojoMessage

type agentdojoMessage struct {
	Role      role            `json:"role"`
	Content   content         `json:"content"`
	ToolCalls []agentdojoCall `json:"tool_calls"`
	// A tool message names the call that it answers twice: by id, and whole.
	CallID string        `json:"tool_call_id"`
	Call   agentdojoCall `json:"tool_call"`
	Error  *string       `json:"error"`
}

type agentdojoCall struct {
	ID           string          `json:"id"`
	Function     string          `json:"function"`
	Args         json.RawMessage `json:"args"`
	Placeholders json.RawMessage `json:"placeholder_args"`
}

// given is whether a value is there and not null. What it says is not kept.
type given bool

func (g *given) UnmarshalJSON(b []byte) error {
	*g = string(b) != "null"
	return nil
}

// content is a string, null, or a list of {"type":"text","content":string}, whose texts are joined by line breaks.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case 'n':
		*c = ""
		return nil
	case '"':
		return json.Unmarshal(b, (*string)(c))
	case '[':
		return c.parts(b)
	}
	return &json.UnmarshalTypeError{Value: kindOf(b[0]), Type: reflect.TypeFor[string]()}
}

func (c *content) parts(b []byte) error {
	var parts []struct {
		Type    string `json:"type"`
		Content string `json:"content"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	texts := make([]string, len(parts))
	for i, p := range parts {
		if p.Type != "text" {
			return wrong("content", "part %d is of type %q, not text", i, p.Type)
		}
		texts[i] = p.Content
	}
	*c = content(strings.Join(texts, "\n"))
	return nil
}

func kindOf(first byte) string {
	switch first {
	case '{':
		return "object"
	case 't', 'f':
		return "bool"
	}
	return "number"
}

// decodeAgentdojo reads one run. The error is a *event.FieldError.
func decodeAgentdojo(b []byte) (*trace, error) {
	var r agentdojoRun
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, explain[agentdojoMessage](b, "messages", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	t := &trace{id: r.ID, suite: r.Suite, pipeline: r.Pipeline, failed: bool(r.Error)}
	var err error
	if r.Duration != nil {
		t.duration, err = seconds(*r.Duration)
	}
	for i := 0; err == nil && i < len(*r.Messages); i++ {
		var m message
		m, err = (*r.Messages)[i].message(i)
		t.messages = append(t.messages, m)
	}
	if err != nil {
		return nil, err
	}
	return t, t.check()
}

func (r *agentdojoRun) check() error {
	switch {
	case r.Suite == "":
		return wrong("suite_name", "missing")
	case r.Pipeline == "":
		return wrong("pipeline_name", "missing")
	case r.Messages == nil:
		return wrong("messages", "missing")
	}
	return nil
}

func (m *agentdojoMessage) message(i int) (message, error) {
	out := message{role: m.Role, text: string(m.Content)}
	switch m.Role {
	case roleSystem, roleUser:
	case roleAssistant:
		for j := range m.ToolCalls {
			out.calls = append(out.calls, m.ToolCalls[j].call())
		}
	case roleTool:
		out.result = m.result()
	default:
		return out, wrong(fmt.Sprintf("messages[%d].role", i), "none of system, user, assistant, tool")
	}
	return out, nil
}

func (m *agentdojoMessage) result() result {
	answered := m.Call.call()
	r := result{id: m.CallID, tool: answered.tool, args: answered.args, failed: m.Error != nil}
	if r.id == "" {
		r.id = answered.id
	}
	if m.Error != nil {
		r.err = *m.Error
	}
	return r
}

func (c *agentdojoCall) call() call {
	args := c.Args
	if len(args) == 0 || string(args) == "null" {
		args = c.Placeholders
	}
	return call{id: c.ID, tool: c.Function, args: canonical(args)}
}

// agentdojo is how runs of AgentDojo are read and told.
func agentdojo(string) *dialect {
	return &dialect{
		decode:    decodeAgentdojo,
		tenant:    "agentdojo",
		user:      "user",
		principal: namedUser,
		outcome:   agentdojoOutcome,
	}
}

// userName is where AgentDojo's system prompt names the user.
var userName = regexp.MustCompile(`user's name is ([^,.\n]{1,100})`)

// namedUser is a pseudonym of the name in the system prompt, or "user".
func namedUser(t *trace, _ string) string {
	for i := range t.messages {
		if t.messages[i].role != roleSystem {
			continue
		}
		if found := userName.FindStringSubmatch(t.messages[i].text); found != nil {
			return pseudonym("user", t.suite, found[1])
		}
	}
	return "user"
}

// agentdojoOutcome: a run without an error ended as its agent meant it to, whether or not it did what it should.
func agentdojoOutcome(t *trace) eventv1.Outcome {
	if t.failed {
		return eventv1.Outcome_OUTCOME_ERROR
	}
	return eventv1.Outcome_OUTCOME_OK
}

// wrong is the error of one field.
func wrong(field, format string, args ...any) error {
	return &event.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// explain turns the error of decoding b into one that names the field, and in the list of messages the place. It is
// called when b is already known to be wrong, so speed does not matter.
func explain[M any](b []byte, list string, err error) error {
	var whole map[string]json.RawMessage
	var messages []json.RawMessage
	if json.Unmarshal(b, &whole) != nil || json.Unmarshal(whole[list], &messages) != nil {
		return fieldError("", err)
	}
	for i, raw := range messages {
		var m M
		if err := json.Unmarshal(raw, &m); err != nil {
			return fieldError(fmt.Sprintf("%s[%d]", list, i), err)
		}
	}
	return fieldError("", err)
}

// fieldError says what is wrong with a field of the given parent.
func fieldError(parent string, err error) error {
	var mismatch *json.UnmarshalTypeError
	var field *event.FieldError
	switch {
	case errors.As(err, &mismatch):
		return wrong(join(parent, mismatch.Field), "%s where %s belongs", mismatch.Value, jsonName(mismatch.Type))
	case errors.As(err, &field):
		return wrong(join(parent, field.Field), "%s", field.Reason)
	}
	return wrong(parent, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

// jsonName is what JSON calls a type of Go.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "object"
	case reflect.Slice:
		return "array"
	case reflect.Float64:
		return "number"
	}
	return t.Kind().String()
}

func join(parent, field string) string {
	if parent == "" || field == "" {
		return parent + field
	}
	return parent + "." + field
}
