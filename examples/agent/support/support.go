// Package support is the world of the example agents: a customer's message, three tools that pretend, and a model that
// follows a script, so that the example runs anywhere and always the same.
package support

import (
	"context"
	"fmt"
)

// ModelName is what the script calls itself.
const ModelName = "scripted-1"

// Message is an e-mail of a customer.
type Message struct {
	CustomerID string // pseudonymous
	Text       string
}

// Inbox returns the message that waits for an answer.
func Inbox() Message {
	return Message{CustomerID: "customer-9", Text: "Where is my order R4K922? Please write to alice@example.com."}
}

// Step is what the model wants done.
type Step struct {
	Tool      string
	Arguments map[string]string
}

// Model decides what to do next.
type Model struct {
	steps []Step
	seen  []string
}

// NewModel begins with a message.
func NewModel(m Message) *Model {
	return &Model{seen: []string{m.Text}, steps: []Step{
		{"search_help", map[string]string{"query": "delayed parcel"}},
		{"lookup_order", map[string]string{"order": "R4K922"}},
		{"send_email", map[string]string{"to": "alice@example.com", "text": "Your parcel is on its way."}},
	}}
}

// Next returns the next step; ok is false when the task is done.
func (m *Model) Next() (step Step, ok bool) {
	if len(m.steps) == 0 {
		return Step{}, false
	}
	step, m.steps = m.steps[0], m.steps[1:]
	return step, true
}

// Saw tells the model what came of its step.
func (m *Model) Saw(result string) { m.seen = append(m.seen, result) }

// Do runs a tool.
func Do(ctx context.Context, step Step) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	switch step.Tool {
	case "search_help":
		return "Parcels may take five days.", nil
	case "lookup_order":
		return "order " + step.Arguments["order"] + ": shipped", nil
	case "send_email":
		return "sent to " + step.Arguments["to"], nil
	}
	return "", fmt.Errorf("no tool %q", step.Tool)
}
