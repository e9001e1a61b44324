// Package workload makes the events that the benchmark sends: what a support agent does, about 400 bytes an
// event, with two sealed fields and three fingerprints in each.
//
//	a := workload.NewAgent(7)
//	e.Record(ctx, a.Next())
//
// The same seed gives the same events, but for ids and times.
package workload

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The size of the world. It decides how well columns compress and how many data keys there are.
const (
	customers  = 200 // each is a subject with a data key of its own
	users      = 500 // principals
	hosts      = 40  // destinations
	knownNames = 8   // tools
)

// RunLength is how many events a run has: as many as the public traces have on average.
const RunLength = 20

// Sealed and Fingerprints are how many of each every event has.
const (
	Sealed       = 2
	Fingerprints = 3
)

var tools = [knownNames]string{
	"send_email", "search_orders", "read_ticket", "update_ticket", "issue_refund", "web_fetch", "create_user", "query_crm",
}

// numbered are names that differ in their number.
func numbered(n int, format string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

// The names of the world are made once: what is measured is what becomes of an event, not how one is made up.
var (
	userNames    = numbered(users, "user-%04d")
	hostNames    = numbered(hosts, "host%02d.example.com")
	subjectNames = numbered(customers, "customer-%05d")
	addresses    = numbered(customers, `{"to":"person%03d@mail.example","order":"ORD-`)
)

var connectors = [knownNames]string{"mail", "shop", "desk", "desk", "shop", "web", "crm", "crm"}

// Agent is one agent's work. It is for one goroutine.
type Agent struct {
	rnd   *rand.Rand
	count uint64 // events made
	run   string
	last  event.ID // cause of the run's next event, if any
	open  call     // that the run makes
}

// call is one call of a tool.
type call struct {
	name  string
	tool  int
	stage eventv1.ExecutionAction // the last that was recorded; none before the first
}

// lastStage ends a call.
const lastStage = eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED

// NewAgent returns an agent with work of its own for each seed.
func NewAgent(seed uint64) *Agent { return &Agent{rnd: rand.New(rand.NewPCG(seed, 1))} } //nolint:gosec // data, not secrets

// made is the memory of one event. It is made at once, because what is measured is not how an agent makes up its events.
type made struct {
	event     edge.Event
	plain     eventv1.Event
	inBody    eventv1.Event_Execution
	execution eventv1.Execution
	cause     eventv1.Cause
	causes    [1]*eventv1.Cause
	id        event.ID // of the cause
	content   [Sealed]edge.Content
	arguments [usualArguments]byte
}

// Next is the agent's next event. Tell Caused its id, so that the one after it in the run names its cause.
func (a *Agent) Next() *edge.Event {
	if a.count%RunLength == 0 {
		a.run, a.last, a.open = fmt.Sprintf("run-%016x", a.rnd.Uint64()), event.ID{}, call{}
	}
	a.count++
	m := new(made)
	p := &m.plain
	p.Run, p.Principal, p.Trust, p.Causes = a.run, userNames[a.rnd.IntN(users)], eventv1.Trust_TRUST_TRUSTED, a.causes(m)
	tool := a.rnd.IntN(knownNames)
	if a.rnd.IntN(8) == 0 {
		p.Trust, p.Body = eventv1.Trust_TRUST_UNTRUSTED, &eventv1.Event_Data{Data: a.data(tool)}
	} else {
		tool = a.advance(tool)
		a.fill(&m.execution)
		m.inBody.Execution, p.Body = &m.execution, &m.inBody
	}
	m.event.Plain, m.event.Sealed = p, a.content(m, tool)
	return &m.event
}

// Caused makes id the cause of the next event.
func (a *Agent) Caused(id event.ID) { a.last = id }

func (a *Agent) causes(m *made) []*eventv1.Cause {
	if a.last == (event.ID{}) {
		return nil
	}
	m.id, m.causes[0] = a.last, &m.cause
	m.cause.Id, m.cause.Relation = m.id[:], eventv1.Relation_RELATION_DECISION
	m.cause.Basis = eventv1.CauseBasis_CAUSE_BASIS_RECORDED
	return m.causes[:]
}

// advance takes the run's call to its next stage, or begins one of the tool given where none is open. It returns the call's tool.
func (a *Agent) advance(tool int) int {
	if a.open.stage == 0 || a.open.stage == lastStage {
		a.open = call{name: a.name(), tool: tool}
	}
	a.open.stage++
	return a.open.tool
}

// fill makes x the open call's stage.
func (a *Agent) fill(x *eventv1.Execution) {
	tool := a.open.tool
	x.Action, x.Call, x.Tool = a.open.stage, a.open.name, tools[tool]
	x.Connector, x.Consequence, x.Attempt = connectors[tool], eventv1.Consequence(1+tool%3), 1
	switch x.Action {
	case eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:
		x.Decision, x.Policy = eventv1.Decision_DECISION_ALLOW, "baseline/7"
	case eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED:
		x.Outcome, x.Duration = eventv1.Outcome_OUTCOME_OK, a.rnd.Int64N(5e9)
		x.CostMicrounits, x.CostUnit = a.rnd.Uint64N(9000), "USD"
	default:
		x.Destination = a.host()
	}
}

func (a *Agent) data(tool int) *eventv1.Data {
	return &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, Source: tools[tool], Domain: a.host(), DataClass: "customer",
		Bytes: a.rnd.Uint64N(1e5), Direction: eventv1.Direction_DIRECTION_IN,
	}
}

func (a *Agent) host() string { return hostNames[a.rnd.IntN(hosts)] }

// name is that of a new call: 32 random bits.
func (a *Agent) name() string {
	var bits [4]byte
	binary.BigEndian.PutUint32(bits[:], a.rnd.Uint32())
	name := [13]byte{'c', 'a', 'l', 'l', '_'}
	hex.Encode(name[5:], bits[:])
	return string(name[:])
}

// appendNumber appends a number of eight digits.
func (a *Agent) appendNumber(b []byte) []byte {
	const least, beyond = 10_000_000, 100_000_000
	return strconv.AppendInt(b, least+a.rnd.Int64N(beyond-least), 10)
}

// usualArguments is room for a call's arguments, in bytes.
const usualArguments = 192

// results are what tools return, without anything distinctive.
var results = func() (all [knownNames][]byte) {
	for i, tool := range tools {
		all[i] = []byte("The " + tool + " call went through and the customer was told what happens next; nothing else is open now.")
	}
	return all
}()

// content is sealed: arguments with an address and the numbers of an order and a ticket, which are what is fingerprinted, and a
// result without any.
func (a *Agent) content(m *made, tool int) []edge.Content {
	customer := a.rnd.IntN(customers)
	subject := subjectNames[customer]
	arguments := append(m.arguments[:0], addresses[customer]...)
	arguments = append(a.appendNumber(arguments), `","ticket":"TCK-`...)
	arguments = append(a.appendNumber(arguments), `","body":"Thank you for your patience, we have looked at what happened and sent it again."}`...)
	m.content = [Sealed]edge.Content{
		{Path: "arguments", MediaType: "application/json", Subject: subject, Value: arguments},
		{Path: "result", MediaType: "text/plain", Subject: subject, Value: results[tool]},
	}
	return m.content[:]
}

// Read fills p, so that an agent can stand for a random source.
func (a *Agent) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], a.rnd.Uint64())
		copy(p[i:], word[:])
	}
	return len(p), nil
}
