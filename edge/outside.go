package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What is here is for programs that stand beside an agent and see its calls from outside: gateways and sidecars. An agent that
// is written in Go uses Call.

// Act is a call that has begun. Its two ends are seen apart.
type Act struct {
	call   *call
	outer  context.Context
	inside context.Context
	leave  func()
	began  time.Time
}

// Begin brings a call to its start, as Call does: proposed, decided, approved if that is needed, started. The errors are those of
// Call; then nothing has begun. An act must be ended, once.
func Begin(ctx context.Context, tool string, arguments any, options ...CallOptions) (*Act, error) {
	c, err := begin(ctx, tool, arguments, only(options))
	if err != nil {
		return nil, err
	}
	a := &Act{call: c, outer: ctx, began: time.Now()}
	var failure error
	if a.inside, a.leave, failure = c.enter(ctx, arguments); failure != nil {
		return nil, errors.Join(failure, c.end(ctx, nil, failure, 0))
	}
	return a, nil
}

// Context is that of the act: it ends when a containment stops the act, and its cause is ErrContained then.
func (a *Act) Context() context.Context { return a.inside }

// ID is the call's id, equal over all its attempts.
func (a *Act) ID() string { return a.call.options.ID }

// Started is the event that says so: the cause of a retry.
func (a *Act) Started() event.ID { return a.call.startedID }

// Ended is the event that says how it ended, zero before.
func (a *Act) Ended() event.ID { return a.call.endedID }

// Result says, before the end, what the result is as content: see CallOptions.Result.
func (a *Act) Result(trust Trust) { a.call.options.Result = trust }

// End records how the act ended: with a result, or with a failure.
func (a *Act) End(result any, failure error) error {
	failure = becauseContained(a.inside, failure)
	a.leave()
	return a.call.end(a.outer, result, failure, time.Since(a.began))
}

// Standing says whether an act of the context's run, by a connector, would be stopped now: ErrContained, or nil.
func Standing(ctx context.Context, connector string) error {
	s := scopeOf(ctx)
	if s == nil {
		return ErrNoRun
	}
	e := s.run.emitter
	if !e.isGated() {
		return nil
	}
	e.control.awaitFirst(ctx)
	v := e.control.view()
	act := e.control.actOf(&Proposal{Run: s.run, Options: CallOptions{Connector: connector}})
	if level, by := v.level(act); stops(level) {
		return fmt.Errorf("%w: %s", ErrContained, by.reason())
	}
	return nil
}

// Containment is one containment in force, as gates know it.
type Containment struct {
	ID     string
	Target string // as event.ParseTarget reads it
	Level  string // restrict, pause or quarantine
}

// InForce is what Custody has in force for this emitter's instance, as far as is known here, and a channel that is closed when
// that may have changed.
func (e *Emitter) InForce() (all []Containment, changed <-chan struct{}) {
	c := e.control
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.now.contained {
		all = append(all, Containment{x.ID, x.Target, x.Level})
	}
	return all, c.changed
}

// Known is an event that somebody else has recorded, and what it brought.
type Known struct {
	ID       event.ID
	Relation eventv1.Relation
	Trust    Trust
}

// Adopt returns the context of a run that somebody else starts, records and ends. Events in it are of that run; what is known
// already are their causes. Given is the trust of what led here, if that is worse than the trust of what is known.
func (e *Emitter) Adopt(ctx context.Context, o RunOptions, given Trust, known ...Known) context.Context {
	r := &Run{emitter: e, id: o.ID, options: o, tools: map[string]*Tool{}}
	if e.isGated() {
		e.control.begin()
	}
	r.root = &scope{run: r, given: given}
	for _, k := range known {
		r.root.add(item{id: k.ID, relation: k.Relation, trust: k.Trust})
	}
	return r.root.into(ctx)
}

// Taken is content that has come in beside the results of calls.
type Taken struct {
	Action  eventv1.DataAction // what happened to it
	Source  string             // the channel that it came through
	Path    string             // of the sealed content; empty: "content"
	Content string
	Trust   Trust
	Details Details
	// Resource is the resource's name if that may be personal: it is sealed.
	Resource string
	Because  event.ID // the event that asked for it, if any
}

// Take records content and adds it to what ctx itself knows. Input, Retrieve and the like give a new context instead; a program
// that stands outside the agent has one context for everything that the agent sees.
func Take(ctx context.Context, t Taken) error {
	s := scopeOf(ctx)
	if s == nil {
		return ErrNoRun
	}
	x := t.Details.incoming(t.Action, t.Source)
	x.Bytes = uint64(len(t.Content))
	orDefault(&t.Path, contentPath)
	var first []*eventv1.Cause
	if t.Because != (event.ID{}) {
		first = append(first, recorded(t.Because, eventv1.Relation_RELATION_DECISION))
	}
	s.bring(context.WithoutCancel(ctx), item{relation: eventv1.Relation_RELATION_RETRIEVED, trust: t.Trust}, func(causes []*eventv1.Cause) *Event {
		return &Event{Plain: dataEvent(x, t.Trust, causes), Sealed: t.sealed()}
	}, first...)
	return s.failed()
}

// sealed is what is not plain: the content, and the resource's name.
func (t *Taken) sealed() []Content {
	all := t.Details.content(t.Path, t.Content)
	if t.Resource != "" {
		all = append(all, Cut(Content{Path: "resource", MediaType: textType, Subject: t.Details.Subject, Value: []byte(t.Resource)}))
	}
	return all
}
