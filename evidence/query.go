package evidence

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// A query picks records by conditions that must all hold: "action=execution.started consequence=moderate|high approval!=none".
// A condition is a term, = or !=, and values of the term, of which one must hold, or none. There is nothing else: no nesting, no text of an
// agent, no arithmetic. Every term has few values, so a query over a million records costs little and means the same everywhere.

// ErrQuery says that a text is no query.
var ErrQuery = errors.New("malformed query")

const (
	// maxQuery is the length in bytes of a query: a screen line or two.
	maxQuery = 512
	// maxValues is the number of values of a term, so that a set of them is one word.
	maxValues = 64
)

// condition holds for a record whose term has one of the values in the set.
type condition struct {
	term *term
	set  uint64
}

// query is a parsed query.
type query struct {
	conditions []condition
}

// parseQuery reads a query in its one form. The empty text is the query that every record fulfils. The error is ErrQuery.
func parseQuery(text string) (q query, err error) {
	if len(text) > maxQuery {
		return q, fmt.Errorf("%d bytes: %w", len(text), ErrQuery)
	}
	if text == "" {
		return q, nil
	}
	for word := range strings.SplitSeq(text, " ") {
		c, err := parseCondition(word)
		if err != nil {
			return q, err
		}
		q.conditions = append(q.conditions, c)
	}
	return q, nil
}

func parseCondition(word string) (c condition, err error) {
	name, values, found := strings.Cut(word, "=")
	name, negated := strings.CutSuffix(name, "!")
	at := slices.IndexFunc(terms, func(t *term) bool { return t.name == name })
	if !found || at < 0 {
		return c, fmt.Errorf("%q: no such term: %w", word, ErrQuery)
	}
	c.term = terms[at]
	for value := range strings.SplitSeq(values, "|") {
		code := slices.Index(c.term.values, value)
		if code < 0 || c.set>>code&1 == 1 {
			return c, fmt.Errorf("%q: no such value of %s, or twice: %w", value, name, ErrQuery)
		}
		c.set |= 1 << code
	}
	if negated {
		c.set = ^c.set
	}
	return c, nil
}

// holds reports whether a record fulfils the query.
func (q *query) holds(f *fact) bool {
	for i := range q.conditions {
		c := &q.conditions[i]
		if c.set>>c.term.of(f)&1 == 0 {
			return false
		}
	}
	return true
}

// actions is the set of actions that a record must have one of to fulfil the query.
func (q *query) actions() uint64 {
	set := uint64(1)<<len(termAction.values) - 1
	for _, c := range q.conditions {
		switch c.term {
		case termAction:
			set &= c.set
		case termKind:
			set &= actionsOf(c.set)
		}
	}
	return set
}

// actionsOf is the set of actions of a set of kinds.
func actionsOf(kinds uint64) (set uint64) {
	for code, action := range termAction.values {
		kind, _, _ := strings.Cut(action, ".")
		if at := slices.Index(termKind.values, kind); at >= 0 && kinds>>at&1 == 1 {
			set |= 1 << code
		}
	}
	return set
}

// kindsOf is the set of kinds, by the number that leaves write, of a set of actions.
func kindsOf(actions uint64) (set uint64) {
	for rest := actions; rest != 0; rest &= rest - 1 {
		name, _, _ := strings.Cut(termAction.values[bits.TrailingZeros64(rest)], ".")
		if kind, known := event.ParseKind(name); known {
			set |= 1 << kind
		}
	}
	return set
}

// term is something that a query can ask of a record.
type term struct {
	name   string
	values []string // at most maxValues
	of     func(f *fact) uint8
}

// named is the values of an enumeration, whose first is "none".
func named(names []string) []string { return append([]string{none}, names...) }

const none = "none"

var (
	noneGiven = []string{none, "given"}
	noYes     = []string{"no", "yes"}
)

func given(holds bool) uint8 {
	if holds {
		return 1
	}
	return 0
}

var (
	termKind   = &term{"kind", []string{none, "identity", "data", "execution", "approval", "system"}, func(f *fact) uint8 { return event.Kind(f.event) }}
	termAction = &term{"action", named(event.Actions()), func(f *fact) uint8 { return f.action }}
)

// actionCodes is the place of each action among the values of its term.
var actionCodes = func() map[string]uint8 {
	codes := map[string]uint8{}
	for code, action := range termAction.values {
		codes[action] = uint8(code)
	}
	return codes
}()

// terms are all terms. docs/FORMAT.md says what each means.
var terms = []*term{
	termKind,
	termAction,
	{"judgement", verdictNames(), func(f *fact) uint8 { return uint8(f.verdict) }},
	{"producer", named(event.Producers.All()), func(f *fact) uint8 { return uint8(f.producer) }},
	{"age", []string{"recent", "old"}, func(f *fact) uint8 { return given(f.old) }},
	{"trust", named(event.Trusts.All()), func(f *fact) uint8 { return uint8(f.event.GetTrust()) }},
	{"principal", noneGiven, func(f *fact) uint8 { return given(f.event.GetPrincipal() != "") }},
	{"causes", []string{none, "inferred", "recorded"}, causesOf},
	{"consequence", named(event.Consequences.All()), func(f *fact) uint8 { return uint8(f.event.GetExecution().GetConsequence()) }},
	{"decision", named(event.Decisions.All()), func(f *fact) uint8 { return uint8(f.event.GetExecution().GetDecision()) }},
	{"decided", named(event.Decisions.All()), func(f *fact) uint8 { return uint8(f.decided) }},
	{"approval", consentNames[:], func(f *fact) uint8 { return uint8(f.consent) }},
	{"vouched", noYes, func(f *fact) uint8 { return given(f.answer != nil && f.answer.vouched) }},
	{"pace", paceNames, func(f *fact) uint8 { return f.pace }},
	{"attempts", []string{none, "few", "many"}, attemptsOf},
	{"destination", noneGiven, func(f *fact) uint8 { return given(f.event.GetExecution().GetDestination() != "") }},
	{"outcome", named(event.Outcomes.All()), outcomeOf},
	{"direction", named(event.Directions.All()), func(f *fact) uint8 { return uint8(f.event.GetData().GetDirection()) }},
	{"approver", []string{none, "self", "other"}, approverOf},
	{"shown", noneGiven, func(f *fact) uint8 { return given(len(f.event.GetApproval().GetShownDigest()) > 0) }},
	{"considered", []string{"unknown", "hasty", "yes"}, consideredOf},
	{"version", noneGiven, func(f *fact) uint8 { return given(f.event.GetIdentity().GetAgentVersion() != "") }},
	{"prompt", noneGiven, func(f *fact) uint8 { return given(len(f.event.GetIdentity().GetSystemPromptDigest()) > 0) }},
	{"tools", noneGiven, func(f *fact) uint8 { return given(len(f.event.GetIdentity().GetToolListDigest()) > 0) }},
	{"runtime", noneGiven, func(f *fact) uint8 { return given(f.event.GetIdentity().GetRuntime() != nil) }},
	{"scopes", noneGiven, func(f *fact) uint8 { return given(len(f.event.GetIdentity().GetCredential().GetScopes()) > 0) }},
	{"expiry", noneGiven, func(f *fact) uint8 { return given(f.event.GetIdentity().GetCredential().GetExpiresAt() > 0) }},
	{"actor", noneGiven, func(f *fact) uint8 { return given(f.event.GetSystem().GetActor() != "") }},
	{"change", changeNames, changeOf},
	{"role", named(event.Roles.All()), func(f *fact) uint8 { return uint8(f.event.GetSystem().GetGrant().GetRole()) }},
	{"everywhere", noYes, func(f *fact) uint8 { return given(f.event.GetSystem().GetGrant().GetAllTenants()) }},
	{"state", named(event.ContainmentStates.All()), func(f *fact) uint8 { return uint8(f.event.GetSystem().GetContainment().GetState()) }},
	{"opened", noYes, func(f *fact) uint8 { return given(f.event.GetSystem().GetAccess().GetOpened()) }},
	{"topic", topicNames, func(f *fact) uint8 { return codeOf(topicNames, f.event.GetSystem().GetReview().GetTopic()) }},
	{"result", resultNames, func(f *fact) uint8 { return codeOf(resultNames, f.event.GetSystem().GetReview().GetOutcome()) }},
	{"held", []string{"in_time", "late"}, func(f *fact) uint8 { return given(f.late) }},
	{"next", noneGiven, func(f *fact) uint8 { return given(f.event.GetSystem().GetReview().GetNextAt() > 0) }},
}

var (
	changeNames = []string{none, "enrolled", "revoked", "suspected", "in_force", "given", "taken", "shadow", "live", "off"}
	topicNames  = []string{none, "memory", "retrieval", "access", "scope", "sharing"}
	resultNames = []string{none, "approved", "rejected", "changes"}
	paceNames   = []string{none, "steady", "burst"}
)

// codeOf is where a name stands, 0 if it is not there.
func codeOf(names []string, name string) uint8 { return uint8(max(slices.Index(names, name), 0)) }

func verdictNames() []string {
	names := []string{none}
	for v := chain.Accepted; v <= chain.Malformed; v++ {
		names = append(names, v.String())
	}
	return names
}

func changeOf(f *fact) uint8 { return codeOf(changeNames, changeName(f.event.GetSystem())) }

func outcomeOf(f *fact) uint8 {
	return uint8(max(f.event.GetExecution().GetOutcome(), f.event.GetIdentity().GetOutcome()))
}

// causesOf is "recorded" if the program that acted names a cause, "inferred" if only an importer does.
func causesOf(f *fact) (code uint8) {
	for _, c := range f.event.GetCauses() {
		code = max(code, 1)
		if c.GetBasis() == eventv1.CauseBasis_CAUSE_BASIS_RECORDED {
			return 2
		}
	}
	return code
}

// fewAttempts is how often a call may be tried before somebody should ask why.
const fewAttempts = 5

func attemptsOf(f *fact) uint8 {
	switch n := f.event.GetExecution().GetAttempt(); {
	case n == 0:
		return 0
	case n <= fewAttempts:
		return 1
	}
	return 2
}

// approverOf is "self" if the approver is the very user for whom the agent acts.
func approverOf(f *fact) uint8 {
	switch approver := f.event.GetApproval().GetApprover(); {
	case approver == "":
		return 0
	case approver == f.event.GetPrincipal(), slices.Contains(f.event.GetOnBehalfOf(), approver):
		return 1
	}
	return 2
}

// hasty is the time in nanoseconds, 3 s, below which nobody reads a question and answers it.
const hasty = 3e9

func consideredOf(f *fact) uint8 {
	switch shown := max(f.event.GetApproval().GetShownAt(), f.event.GetSystem().GetApproval().GetShownAt()); {
	case shown == 0 || f.event.GetOccurredAt() < shown:
		return 0
	case f.event.GetOccurredAt()-shown < hasty:
		return 1
	}
	return 2
}
