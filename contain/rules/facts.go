package rules

import (
	"encoding/hex"
	"maps"
	"math"
	"slices"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Leaf is one leaf of a tenant's log.
type Leaf struct {
	Index    uint64
	Time     int64 // ns UTC, of the leaf
	Producer eventv1.ProducerClass
	Event    *eventv1.Event // nil where the content is held, expired or no event
}

// facts is what conditions see of one leaf: the event, and what the state says of it.
type facts struct {
	leaf   *Leaf
	event  *eventv1.Event
	action string
	seen   seen
	call   string // callKey, once it was asked for
}

// Variable is a name that conditions may use.
type Variable struct {
	Name string
	Type string // string, int or bool
	Doc  string

	get any // func(*facts) string, int64 or bool
}

// variables are the names, in the order in which they are explained.
var variables = []Variable{
	{"action", "string", "kind and action: execution.started", func(f *facts) string { return f.action }},
	{"instance", "string", "the deployed agent", func(f *facts) string { return f.event.GetInstance() }},
	{"run", "string", "one task of the agent", func(f *facts) string { return f.event.GetRun() }},
	{"workflow", "string", "the kind of task, from the run's start", func(f *facts) string { return f.seen.workflow }},
	{"producer", "string", "agent, gateway, importer or custody", func(f *facts) string { return event.Producers.Name(f.leaf.Producer) }},
	{"principal", "string", "who triggered it", func(f *facts) string { return f.event.GetPrincipal() }},
	{"trust", "string", "trusted, untrusted, checked or empty", func(f *facts) string { return event.Trusts.Name(f.event.GetTrust()) }},
	{"hour", "int", "of the day, UTC, 0 to 23", func(f *facts) int64 { return int64(time.Unix(0, f.leaf.Time).UTC().Hour()) }},

	{"call", "string", "of an execution or approval, or that a finding is about", func(f *facts) string { return f.seen.about }},
	{"tool", "string", "as the agent called it, also of the call that a finding is about", func(f *facts) string { return f.seen.tool }},
	{"operation", "string", "of a tool that has several", func(f *facts) string { return f.event.GetExecution().GetOperation() }},
	{"connector", "string", "the integration that serves the tool", func(f *facts) string { return f.event.GetExecution().GetConnector() }},
	{"destination", "string", "host or domain that the act reaches", func(f *facts) string { return f.event.GetExecution().GetDestination() }},
	{"consequence", "string", "low, moderate or high: of the manifest, or of the event, or guessed from the tool's name", func(f *facts) string { return f.seen.consequence }},
	{"consequence_basis", "string", "manifest, event or guessed", func(f *facts) string { return f.seen.consequenceBasis }},
	{"verb", "string", "what the tool's name says it does: read, write or send", func(f *facts) string { return f.seen.verb }},
	{"decision", "string", "allow, block or needs_approval", func(f *facts) string { return event.Decisions.Name(f.event.GetExecution().GetDecision()) }},
	{"outcome", "string", "ok, error, denied, cancelled or timeout", func(f *facts) string { return event.Outcomes.Name(outcomeOf(f.event)) }},
	{"attempt", "int", "of the call, from 1", func(f *facts) int64 { return int64(f.event.GetExecution().GetAttempt()) }},
	{"permitted", "bool", "the manifest in force allows the tool; false without one", func(f *facts) bool { return f.seen.permitted }},
	{"destination_named", "bool", "of an execution: the manifest in force names its destination, without a star", func(f *facts) bool { return f.seen.named }},
	{"manifest", "bool", "a manifest is in force", func(f *facts) bool { return f.seen.manifest }},

	{"source", "string", "tool or channel that content came from", func(f *facts) string { return f.event.GetData().GetSource() }},
	{"resource", "string", "of a data event", func(f *facts) string { return f.event.GetData().GetResource() }},
	{"domain", "string", "of a data event's resource", func(f *facts) string { return f.event.GetData().GetDomain() }},
	{"data_class", "string", "public, internal, customer, secret, …", func(f *facts) string { return f.event.GetData().GetDataClass() }},
	{"bytes", "int", "of the content", func(f *facts) int64 { return clamp(f.event.GetData().GetBytes()) }},
	{"memory_key", "string", "of a memory event", func(f *facts) string { return f.event.GetData().GetMemoryKey() }},
	{"digest", "string", "of the content of a data event, or of the arguments of a call, hexadecimal", func(f *facts) string { return digestOf(f.event) }},
	{"detector", "string", "of a content finding", func(f *facts) string { return f.event.GetData().GetDetector() }},
	{"label", "string", "of a content finding", func(f *facts) string { return f.event.GetData().GetLabel() }},
	{"score", "int", "of a content finding, 0 to 1000", func(f *facts) int64 { return int64(f.event.GetData().GetScore()) }},

	{"credential", "string", "fingerprint, hexadecimal", func(f *facts) string { return credentialOf(f.event) }},
	{"role", "string", "that was assumed or delegated", func(f *facts) string { return f.event.GetIdentity().GetRole() }},
	{"delegate", "string", "whom authority was handed to", func(f *facts) string { return f.event.GetIdentity().GetDelegate() }},
	{"approver", "string", "of an approval", func(f *facts) string { return f.event.GetApproval().GetApprover() }},

	{"tainted", "bool", "a recorded cause of it is untrusted content", func(f *facts) bool { return f.seen.tainted }},
	{"tainted_value", "bool", "a value in it came into the run only through untrusted content", func(f *facts) bool { return f.seen.taintedValue }},
	{"tainted_memory", "bool", "it reads a memory that a tainted event wrote", func(f *facts) bool { return f.seen.taintedMemory }},
	{"untrusted_seen", "bool", "the run has taken in untrusted content", func(f *facts) bool { return f.seen.untrusted }},
	{"sensitive_seen", "bool", "the run has read customer, confidential, personal or secret content", func(f *facts) bool { return f.seen.sensitive }},
	{"proposed", "bool", "the call was proposed before", func(f *facts) bool { return f.seen.call.Proposed }},
	{"decided", "bool", "the call was decided before", func(f *facts) bool { return f.seen.call.Decided }},
	{"allowed", "bool", "the last decision before was to allow it", func(f *facts) bool { return f.seen.call.Allowed }},
	{"approved", "bool", "an approval of the call is in force", func(f *facts) bool { return f.seen.approved }},
	{"approval_expired", "bool", "there was one, and it has run out", func(f *facts) bool { return f.seen.expired }},
	{"rejected", "bool", "the last answer of an approver was no", func(f *facts) bool { return f.seen.call.Rejected }},
	{"self_approved", "bool", "the approver is the principal", func(f *facts) bool { return f.seen.selfApproved }},
	{"arguments_changed", "bool", "the arguments are not those of the proposal", func(f *facts) bool { return f.seen.changed }},
	{"run_calls", "int", "calls that the run has started before", func(f *facts) int64 { return int64(f.seen.calls) }},
	{"run_retries", "int", "retries of the run before", func(f *facts) int64 { return int64(f.seen.retries) }},
	{"run_cost", "int", "micro-units that the run has spent before", func(f *facts) int64 { return clamp(f.seen.cost) }},
	{"credential_shared", "bool", "another instance has used the credential", func(f *facts) bool { return f.seen.credentialShared }},
	{"credential_bound", "bool", "the credential was bound to this instance before", func(f *facts) bool { return f.seen.credentialBound }},
	{"manifest_widened", "bool", "a new manifest allows something that the one in force does not, or calls it milder", func(f *facts) bool { return f.seen.manifestWidened }},
	{"manifest_unscoped", "bool", "a new manifest lets something be written or sent and names neither resource nor connector", func(f *facts) bool { return f.seen.manifestUnscoped }},
	{"memory_foreign", "bool", "another instance has written the memory", func(f *facts) bool { return f.seen.memoryForeign }},
}

var variableNamed = func() map[string]*Variable {
	named := map[string]*Variable{}
	for i := range variables {
		named[variables[i].Name] = &variables[i]
	}
	return named
}()

// Variables are the names that conditions may use.
func Variables() []Variable { return slices.Clone(variables) }

var celTypes = map[string]*cel.Type{"string": cel.StringType, "int": cel.IntType, "bool": cel.BoolType}

// ResolveName gives conditions their variables when they ask for them, and macros their value.
func (f *facts) ResolveName(name string) (any, bool) {
	v := variableNamed[name]
	if v == nil {
		return nil, false
	}
	switch get := v.get.(type) {
	case func(*facts) string:
		return get(f), true
	case func(*facts) int64:
		return get(f), true
	case func(*facts) bool:
		return get(f), true
	}
	return nil, false
}

// Parent is none.
func (f *facts) Parent() cel.Activation { return nil }

// joins are how events belong together; an empty text belongs to nothing.
var joins = map[string]func(*facts) string{
	"tenant":     func(*facts) string { return "*" },
	"run":        func(f *facts) string { return f.event.GetRun() },
	"instance":   func(f *facts) string { return f.event.GetInstance() },
	"workflow":   func(f *facts) string { return f.seen.workflow },
	"principal":  func(f *facts) string { return f.event.GetPrincipal() },
	"call":       (*facts).callKey,
	"credential": func(f *facts) string { return credentialOf(f.event) },
	"connector":  func(f *facts) string { return f.event.GetExecution().GetConnector() },
	"resource":   func(f *facts) string { return f.event.GetData().GetResource() },
	"memory_key": func(f *facts) string { return f.event.GetData().GetMemoryKey() },
	"digest":     func(f *facts) string { return digestOf(f.event) },
}

func joinNames() []string { return slices.Sorted(maps.Keys(joins)) }

// knownAction reports whether an action exists.
func knownAction(name string) bool { return slices.Contains(event.Actions(), name) }

func callOf(e *eventv1.Event) string {
	if x := e.GetApproval(); x != nil {
		return x.GetCall()
	}
	return e.GetExecution().GetCall()
}

// callKey tells calls of different runs apart; empty for what is no call.
func (f *facts) callKey() string {
	if call := callOf(f.event); call != "" && f.call == "" {
		f.call = f.event.GetRun() + "\x00" + call
	}
	return f.call
}

func toolOf(e *eventv1.Event) string {
	if x := e.GetApproval(); x != nil {
		return x.GetTool()
	}
	return e.GetExecution().GetTool()
}

func outcomeOf(e *eventv1.Event) eventv1.Outcome {
	if x := e.GetIdentity(); x != nil {
		return x.GetOutcome()
	}
	return e.GetExecution().GetOutcome()
}

func credentialOf(e *eventv1.Event) string {
	return hex.EncodeToString(e.GetIdentity().GetCredential().GetFingerprint())
}

// digestOf is the same for the same content, wherever it goes, and for the same arguments; empty where the event has none.
func digestOf(e *eventv1.Event) string {
	if x := e.GetData(); x != nil {
		return hex.EncodeToString(x.GetContentDigest())
	}
	return hex.EncodeToString(e.GetExecution().GetArgumentsDigest())
}

// clamp is a count as CEL's int.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64)) }
