package event

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/event/class"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// MaxShown is how much of a call's arguments a question shows, in bytes: more than a person reads. What is not shown is said.
const MaxShown = 8 << 10

const (
	// maxIndented bounds what indenting may make of it: together with the names of a call it stays below MaxSealedInline.
	maxIndented = 2 * MaxShown
	// maxIndentDepth is how deep JSON may be to be indented: beyond it the indentation would be most of the text.
	maxIndentDepth = 32
)

// Question is what an approver is asked about one call.
type Question struct {
	Proposal    *eventv1.Event      // of the call
	Consequence eventv1.Consequence // by the gate
	Arguments   []byte              // as the proposal has sealed them, at least the first MaxShown bytes
	Size        uint64              // of all arguments, bytes
}

// Text is what the approver is shown: a function of the question and nothing else, so that whoever has the records can make it
// again. Everything that an agent wrote is escaped, and secrets are scrubbed; it is safe on a terminal.
func (q *Question) Text() []byte {
	var b strings.Builder
	b.WriteString("An agent asks for your approval of one call.\n\n")
	p, x := q.Proposal, q.Proposal.GetExecution()
	for _, row := range [...][2]string{
		{"tenant", p.GetTenant()},
		{"instance", p.GetInstance()},
		{"run", p.GetRun()},
		{"for", p.GetPrincipal()},
		{"on behalf of", strings.Join(p.GetOnBehalfOf(), ", ")},
		{"content", Trusts.Name(p.GetTrust())},
		{"call", x.GetCall()},
		{"tool", x.GetTool()},
		{"operation", x.GetOperation()},
		{"connector", x.GetConnector()},
		{"destination", x.GetDestination()},
		{"consequence", Consequences.Name(q.Consequence)},
		{"approvers", q.approvers()},
		{"digest", hex.EncodeToString(x.GetArgumentsDigest())},
	} {
		if row[1] != "" {
			fmt.Fprintf(&b, "%-12s  %s\n", row[0], Escape(row[1]))
		}
	}
	q.arguments(&b)
	text, _ := Scrub([]byte(b.String()))
	return text
}

// StepUp is the kind of act for which two persons must approve; empty if one is enough.
func (q *Question) StepUp() class.Kind {
	x := q.Proposal.GetExecution()
	return class.Of(x.GetTool(), x.GetOperation()).Kind
}

func (q *Question) approvers() string {
	if kind := q.StepUp(); kind != class.Ordinary {
		return "two persons, because it is " + string(kind)
	}
	return ""
}

// arguments are shown line by line, JSON indented where that does not make too much of it.
func (q *Question) arguments(b *strings.Builder) {
	shown := q.Arguments[:min(len(q.Arguments), MaxShown)]
	rest := max(q.Size, uint64(len(shown))) - uint64(len(shown))
	b.WriteString("\narguments\n")
	var indented bytes.Buffer
	if rest == 0 && depth(shown) <= maxIndentDepth && json.Indent(&indented, shown, "", "  ") == nil && indented.Len() <= maxIndented {
		shown = indented.Bytes()
	}
	for line := range strings.Lines(string(shown)) {
		b.WriteString("  " + Escape(strings.TrimSuffix(line, "\n")) + "\n")
	}
	if rest > 0 {
		fmt.Fprintf(b, "  ... and %d bytes more, which are NOT SHOWN\n", rest)
	}
}

// depth is how deep lists and objects of a JSON text go.
func depth(text []byte) (deepest int) {
	inside, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[', c == '{':
			inside++
			deepest = max(deepest, inside)
		case c == ']', c == '}':
			inside--
		}
	}
	return deepest
}
