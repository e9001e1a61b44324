package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// maxOpen is how many calls of one connection may have begun and not ended.
const maxOpen = 1024

// Paths of what a program seals for a call.
const (
	argumentsPath = "arguments"
	resultPath    = "result"
	errorPath     = "error"
)

// check holds a line for the gate to what such a line can say.
func (l *Line) check() error {
	p := l.Event.Plain
	x := p.GetExecution()
	switch {
	case l.Verb == Record:
		return nil
	case len(p.GetId()) > 0 || p.GetOccurredAt() != 0 || p.GetTimeBasis() != 0 || l.WriteAhead:
		return wrong(string(l.Verb), "takes no id, time or write_ahead: the sidecar sets them")
	case l.Verb == Watch && (!proto.Equal(p, &eventv1.Event{}) || len(l.Event.Sealed) > 0):
		return wrong(string(l.Verb), "takes nothing else")
	case l.Verb == Ask:
		return l.checkAsk(x)
	case l.Verb == Done:
		return l.checkDone(x)
	}
	return nil
}

func (l *Line) checkAsk(x *eventv1.Execution) error {
	said := &eventv1.Execution{
		Call: x.GetCall(), Tool: x.GetTool(), Operation: x.GetOperation(), Connector: x.GetConnector(),
		Consequence: x.GetConsequence(), Destination: x.GetDestination(), Attempt: x.GetAttempt(),
	}
	guess := func(c *eventv1.Cause) bool {
		return c.GetBasis() != eventv1.CauseBasis_CAUSE_BASIS_RECORDED || len(c.GetId()) == 0
	}
	switch {
	case x.GetCall() == "":
		return wrong("ask.call", "missing")
	case x.GetTool() == "":
		return wrong("ask.tool", "missing")
	case !proto.Equal(x, said):
		return wrong("ask", "takes call, tool, operation, connector, consequence, destination and attempt")
	case slices.ContainsFunc(l.Event.Plain.GetCauses(), guess):
		return wrong("causes", "of an ask are recorded events")
	case len(l.Event.Plain.GetCauses()) > event.MaxCauses/2:
		return wrong("causes", fmt.Sprintf("more than %d for an ask", event.MaxCauses/2))
	case l.Event.Plain.GetRun() == "":
		return wrong("run", "missing")
	}
	for i := range l.Event.Sealed {
		if c := &l.Event.Sealed[i]; c.Path != argumentsPath || !json.Valid(c.Value) {
			return wrong("sealed."+c.Path, "an ask seals arguments, which are JSON")
		}
	}
	return nil
}

func (l *Line) checkDone(x *eventv1.Execution) error {
	switch {
	case x.GetCall() == "":
		return wrong("done.call", "missing")
	case x.GetOutcome() == 0:
		return wrong("done.outcome", "missing")
	case !proto.Equal(x, &eventv1.Execution{Call: x.GetCall(), Outcome: x.GetOutcome()}):
		return wrong("done", "takes call and outcome")
	case len(l.Event.Plain.GetCauses()) > 0 || l.Event.Plain.GetRun() != "" || l.Event.Plain.GetPrincipal() != "" || len(l.Event.Plain.GetOnBehalfOf()) > 0:
		return wrong("done", "takes no run, principal or causes: they are those of the ask")
	}
	for i := range l.Event.Sealed {
		if path := l.Event.Sealed[i].Path; path != resultPath && path != errorPath {
			return wrong("sealed."+path, "a done seals result or error")
		}
	}
	return nil
}

// gate is the calls of one connection. It belongs to the goroutine that serves the connection.
type gate struct {
	to       Recorder
	open     map[string]*edge.Act
	asking   map[string]bool // calls that are not decided yet
	decided  chan decided    // has room for all of them
	pushes   chan push
	watching bool
}

// decided is what came of one ask.
type decided struct {
	call   string
	act    *edge.Act // nil if it could not be recorded
	answer answer
}

// push is a line that answers nothing.
type push struct {
	Stop      *stopped     `json:"stop,omitempty"`
	Contained *[]contained `json:"contained,omitempty"`
}

// stopped says that a call which runs must stop.
type stopped struct {
	Call   string `json:"call"`
	Reason string `json:"reason"`
}

type contained struct {
	ID     string `json:"id"`
	Target string `json:"target"`
	Level  string `json:"level"`
}

func newGate(to Recorder) *gate {
	return &gate{
		to: to, open: map[string]*edge.Act{}, asking: map[string]bool{}, decided: make(chan decided, maxOpen), pushes: make(chan push),
	}
}

// put asks in the background: an approver may take long, and other lines do not wait for him.
func (g *gate) put(ctx context.Context, l *Line, number int) {
	call := l.Event.Plain.GetExecution().GetCall()
	g.asking[call] = true
	go func() {
		act, a := g.ask(ctx, l)
		if !a.OK {
			a.Line = number
		}
		g.decided <- decided{call, act, a}
	}()
}

// settled takes in what came of an ask.
func (g *gate) settled(ctx context.Context, d decided) {
	delete(g.asking, d.call)
	if d.act != nil {
		g.begun(ctx, d.act)
	}
}

// waits reports whether an ask is not decided.
func (g *gate) waits() bool { return len(g.asking) > 0 }

// ask begins a call, and says whether it may be made. It can wait for an approver.
func (g *gate) ask(ctx context.Context, l *Line) (*edge.Act, answer) {
	p, x := l.Event.Plain, l.Event.Plain.GetExecution()
	known := make([]edge.Known, len(p.GetCauses()))
	for i, c := range p.GetCauses() {
		known[i] = edge.Known{ID: event.ID(c.GetId()), Relation: c.GetRelation()}
	}
	options := edge.RunOptions{ID: p.GetRun(), Principal: p.GetPrincipal(), OnBehalfOf: p.GetOnBehalfOf()}
	arguments := json.RawMessage(l.Event.Content(argumentsPath))
	if arguments == nil {
		arguments = json.RawMessage("{}")
	}
	act, err := edge.Begin(g.to.Adopt(ctx, options, p.GetTrust(), known...), x.GetTool(), arguments, edge.CallOptions{
		ID: x.GetCall(), Operation: x.GetOperation(), Connector: x.GetConnector(), Consequence: x.GetConsequence(),
		Destination: x.GetDestination(), Attempt: x.GetAttempt(),
	})
	decided := answer{OK: true, Call: x.GetCall()}
	switch {
	case err == nil:
		decided.Decision, decided.ID = event.Decisions.Name(edge.Allow), act.Started().String()
	case errors.Is(err, edge.ErrRejected):
		decided.Decision, decided.Reason = event.Decisions.Name(edge.NeedsApproval), err.Error()
	case errors.Is(err, edge.ErrBlocked):
		decided.Decision, decided.Reason = event.Decisions.Name(edge.Deny), err.Error()
	default:
		return nil, answer{Error: err.Error()}
	}
	return act, decided
}

// refuseAsk is why a call cannot even be asked for.
func (g *gate) refuseAsk(call string) error {
	switch {
	case g.asking[call]:
		return wrong("ask.call", "was asked for, and is not decided")
	case g.open[call] != nil:
		return wrong("ask.call", "has begun, and is not done")
	case len(g.open)+len(g.asking) >= maxOpen:
		return wrong("ask", fmt.Sprintf("more than %d calls are not done", maxOpen))
	}
	return nil
}

// done ends a call.
func (g *gate) done(l *Line) answer {
	call := l.Event.Plain.GetExecution().GetCall()
	act := g.open[call]
	if act == nil {
		return answer{Field: "done.call", Error: "was not asked for, or is done"}
	}
	delete(g.open, call)
	why := context.Cause(act.Context())
	var result any
	if value := l.Event.Content(resultPath); value != nil {
		if act.Result(edge.Untrusted); l.Event.Plain.GetTrust() != 0 {
			act.Result(l.Event.Plain.GetTrust())
		}
		result = string(value)
	}
	if err := act.End(result, failureOf(l)); err != nil && act.Ended() == (event.ID{}) {
		return answer{Error: err.Error()}
	}
	ended := answer{OK: true, Call: call, ID: act.Ended().String()}
	if errors.Is(why, edge.ErrContained) {
		ended.Reason = why.Error()
	}
	return ended
}

// failureOf is the failure that an outcome stands for, nil if it is none.
func failureOf(l *Line) error {
	said := string(l.Event.Content(errorPath))
	kinds := map[edge.Outcome]error{edge.Denied: edge.ErrBlocked, edge.Cancelled: context.Canceled, edge.TimedOut: context.DeadlineExceeded}
	switch outcome := l.Event.Plain.GetExecution().GetOutcome(); {
	case outcome == edge.OK:
		return nil
	case kinds[outcome] == nil:
		return errors.New(said)
	case said == "":
		return kinds[outcome]
	default:
		return fmt.Errorf("%w: %s", kinds[outcome], said)
	}
}

// begun notes a call that runs, and tells the program when it must stop.
func (g *gate) begun(ctx context.Context, act *edge.Act) {
	g.open[act.ID()] = act
	go func() {
		<-act.Context().Done()
		if why := context.Cause(act.Context()); errors.Is(why, edge.ErrContained) {
			g.push(ctx, push{Stop: &stopped{act.ID(), why.Error()}})
		}
	}()
}

func (g *gate) push(ctx context.Context, p push) {
	select {
	case g.pushes <- p:
	case <-ctx.Done():
	}
}

// watch tells the program what is contained, now and whenever it changes.
func (g *gate) watch(ctx context.Context) {
	if g.watching {
		return
	}
	g.watching = true
	go func() {
		for last := []contained(nil); ; {
			now, changed := g.contained()
			if last == nil || !slices.Equal(last, now) {
				last = now
				g.push(ctx, push{Contained: &now})
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (g *gate) contained() (all []contained, changed <-chan struct{}) {
	in, changed := g.to.InForce()
	all = make([]contained, len(in))
	for i, c := range in {
		all[i] = contained(c)
	}
	return all, changed
}

// errGone is how a call ended whose program has gone.
var errGone = errors.New("the program has gone without a word about how the call ended")

// close ends what was not done. The context of the asks must have ended.
func (g *gate) close() (err error) {
	for g.waits() {
		d := <-g.decided
		if delete(g.asking, d.call); d.act != nil {
			g.open[d.call] = d.act
		}
	}
	for call, act := range g.open {
		delete(g.open, call)
		if failed := act.End(nil, errGone); act.Ended() == (event.ID{}) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
