package importer

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// taubenchRun is what is read of a run of tau-bench. It has no field for a label: reward, info and task_id are not read.
type taubenchRun struct {
	Messages *taubenchList `json:"traj"`
}

type taubenchList []taubenchMessage

type taubenchMessage struct {
	Role      role           `json:"role"`
	Content   content        `json:"content"`
	ToolCalls []taubenchCall `json:"tool_calls"`
	CallID    string         `json:"tool_call_id"`
	Name      string         `json:"name"` // of the tool that answers
}

type taubenchCall struct {
	ID       string `json:"id"`
	Function struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"` // a string that holds JSON
	} `json:"function"`
}

// taubench is how runs of tau-bench in a file of that name are read and told.
func taubench(file string) *dialect {
	return &dialect{
		decode:    func(b []byte) (*trace, error) { return decodeTaubench(b, modelOf(file)) },
		tenant:    "taubench",
		user:      "customer",
		principal: unnamedCustomer,
		outcome:   taubenchOutcome,
		writes:    taubenchWrites,
	}
}

// decodeTaubench reads one run. The error is a *event.FieldError.
func decodeTaubench(b []byte, model string) (*trace, error) {
	var r taubenchRun
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, explain[taubenchMessage](b, "traj", err)
	}
	if r.Messages == nil {
		return nil, wrong("traj", "missing")
	}
	t := new(trace)
	for i := range *r.Messages {
		m, err := (*r.Messages)[i].message(i)
		if err != nil {
			return nil, err
		}
		t.messages = append(t.messages, m)
	}
	t.suite = domainOf(t)
	t.pipeline = withoutDomain(model, t.suite)
	return t, t.check()
}

func (m *taubenchMessage) message(i int) (message, error) {
	out := message{role: m.Role, text: string(m.Content)}
	switch m.Role {
	case roleSystem, roleUser:
	case roleAssistant:
		for j := range m.ToolCalls {
			out.calls = append(out.calls, m.ToolCalls[j].call())
		}
	case roleTool:
		out.result = result{id: m.CallID, tool: m.Name, failed: strings.HasPrefix(out.text, taubenchError)}
	default:
		return out, wrong(fmt.Sprintf("traj[%d].role", i), "none of system, user, assistant, tool")
	}
	return out, nil
}

func (c *taubenchCall) call() call {
	args := c.Function.Arguments
	var text string
	if json.Unmarshal(args, &text) == nil {
		args = json.RawMessage(text)
	}
	return call{id: c.ID, tool: c.Function.Name, args: canonical(args)}
}

// taubenchError begins the result of a tool that refused or failed.
const taubenchError = "Error"

// heading is the first line of tau-bench's system prompt, for example "# Airline Agent Policy".
var heading = regexp.MustCompile(`(?i)^\s*#\s*([a-z]{1,32}) agent policy`)

// domainOf is "airline" or "retail", from the system prompt; "other" if that does not say.
func domainOf(t *trace) string {
	if len(t.messages) > 0 && t.messages[0].role == roleSystem {
		if found := heading.FindStringSubmatch(t.messages[0].text); found != nil {
			return strings.ToLower(found[1])
		}
	}
	return "other"
}

// modelOf is the name of a file without its folder and endings.
func modelOf(file string) string {
	name := filepath.Base(file)
	for _, suffix := range []string{".zst", ".jsonl", ".json"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// withoutDomain is "gpt-4o" for "gpt-4o-airline".
func withoutDomain(model, domain string) string {
	if short := strings.TrimSuffix(model, "-"+domain); short != "" {
		return short
	}
	return model
}

// taubenchWrites are the tools that change the databases of tau-bench's two domains. The policies in its system prompts
// demand an explicit yes from the customer before each.
var taubenchWrites = map[string]bool{
	"book_reservation":               true,
	"cancel_reservation":             true,
	"send_certificate":               true,
	"update_reservation_baggages":    true,
	"update_reservation_flights":     true,
	"update_reservation_passengers":  true,
	"cancel_pending_order":           true,
	"exchange_delivered_order_items": true,
	"modify_pending_order_address":   true,
	"modify_pending_order_items":     true,
	"modify_pending_order_payment":   true,
	"modify_user_address":            true,
	"return_delivered_order_items":   true,
}

// consent is a customer's explicit yes.
type consent struct {
	shown  int // the agent's message that the customer answered
	answer int // the customer's
}

var (
	// yes is an explicit yes. "Sure", "okay" and a choice among options are none.
	yes = regexp.MustCompile(`(?i)\b(yes|yeah|yep|oui|proceed|go ahead|confirm|confirmed|confirming)\b`)
	// no takes a yes back: "do not proceed", "before you go ahead".
	no = regexp.MustCompile(`(?i)\b(not|don['’]t|never|before (you|we|i)|wait to)( \w+)? (yes|proceed|go ahead|confirm)\b`)
)

// consents gives each write the yes that it follows: the latest message of the customer before it, if that is an explicit
// yes to words of the agent's.
func consents(t *trace, a *acts, writes map[string]bool) {
	said := -1 // the agent's words that the customer has not answered yet
	var latest *consent
	for i := range t.messages {
		m := &t.messages[i]
		switch m.role {
		case roleUser:
			latest, said = answerTo(said, i, m.text), -1
		case roleAssistant:
			allow(a.asked[i], latest, writes)
			if m.text != "" {
				said = i
			}
		}
	}
}

// answerTo is the yes in message i, if it is one and something was said before.
func answerTo(said, i int, text string) *consent {
	if said < 0 || !yes.MatchString(text) || no.MatchString(text) {
		return nil
	}
	return &consent{shown: said, answer: i}
}

func allow(asked []*act, c *consent, writes map[string]bool) {
	for _, x := range asked {
		if writes[x.tool] {
			x.consent = c
		}
	}
}

// unnamedCustomer is a pseudonym of the customer of one conversation. Who that is only the agent's questions tell.
func unnamedCustomer(t *trace, run string) string { return pseudonym("customer", t.suite, run) }

// taubenchOutcome: the trace does not say how a run ended; its reward is a label.
func taubenchOutcome(*trace) eventv1.Outcome { return eventv1.Outcome_OUTCOME_UNSPECIFIED }
