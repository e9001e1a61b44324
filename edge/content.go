package edge

import (
	"context"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Trust of content.
type Trust = eventv1.Trust

// Trust of content: untrusted stays untrusted until Validated says otherwise.
const (
	// Trusted is from the user, the manifest or the instance's own configuration.
	Trusted = eventv1.Trust_TRUST_TRUSTED
	// Untrusted is what anybody could have written: mail, documents, web pages, most results of tools.
	Untrusted = eventv1.Trust_TRUST_UNTRUSTED
	// Checked is untrusted content that a validation has passed.
	Checked = eventv1.Trust_TRUST_CHECKED
)

// Details of content, all optional.
type Details struct {
	Resource  string // the resource's plain name, if it is not personal
	Domain    string // its host or domain
	DataClass string // "public", "internal", "customer", "secret", …
	MediaType string // of the content
	Subject   string // pseudonymous id of whom the content is about
}

func (d *Details) content(path, text string) []Content {
	return []Content{Cut(Content{Path: path, MediaType: d.MediaType, Subject: d.Subject, Value: []byte(text)})}
}

// contentPath is the sealed field that holds the content of a data event.
const contentPath = "content"

// Input records what the run has received from a user, a trigger or another agent.
func Input(ctx context.Context, source, content string, trust Trust, details ...Details) context.Context {
	d := only(details)
	x := d.incoming(eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED, source)
	return bring(ctx, eventv1.Relation_RELATION_INPUT, x, content, trust, &d)
}

// Retrieve records a document that enters the context: of a search, a knowledge base, a web page.
func Retrieve(ctx context.Context, source, content string, trust Trust, details ...Details) context.Context {
	d := only(details)
	x := d.incoming(eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED, source)
	return bring(ctx, eventv1.Relation_RELATION_RETRIEVED, x, content, trust, &d)
}

// ReadResource records a read of an outside resource that no call stands for.
func ReadResource(ctx context.Context, source, content string, trust Trust, details ...Details) context.Context {
	d := only(details)
	x := d.incoming(eventv1.DataAction_DATA_ACTION_RESOURCE_READ, source)
	return bring(ctx, eventv1.Relation_RELATION_RETRIEVED, x, content, trust, &d)
}

// ReadMemory records a read of the agent's memory. What another run wrote keeps the trust it was written with: the caller
// must know it.
func ReadMemory(ctx context.Context, key, content string, trust Trust, details ...Details) context.Context {
	d := only(details)
	x := memory(eventv1.DataAction_DATA_ACTION_MEMORY_READ, eventv1.Direction_DIRECTION_IN, key, content, &d)
	return bring(ctx, eventv1.Relation_RELATION_MEMORY, x, content, trust, &d)
}

func (d *Details) incoming(action eventv1.DataAction, source string) *eventv1.Data {
	return &eventv1.Data{
		Action: action, Source: source, Resource: d.Resource, Domain: d.Domain, DataClass: d.DataClass,
		Direction: eventv1.Direction_DIRECTION_IN,
	}
}

// bring records an event that brings content, and returns a context that knows it. Outside a run it does nothing: the
// next Call says ErrNoRun.
func bring(ctx context.Context, relation eventv1.Relation, x *eventv1.Data, content string, trust Trust, d *Details) context.Context {
	s := scopeOf(ctx)
	if s == nil {
		return ctx
	}
	s = s.child()
	ctx = s.into(ctx)
	x.Bytes = uint64(len(content))
	s.bring(ctx, item{relation: relation, trust: trust}, func(causes []*eventv1.Cause) *Event {
		return &Event{Plain: dataEvent(x, trust, causes), Sealed: d.content(contentPath, content)}
	})
	return ctx
}

// only is the one element of an optional last argument.
func only[T any](list []T) (one T) {
	if len(list) > 0 {
		return list[0]
	}
	return one
}

func dataEvent(x *eventv1.Data, trust Trust, causes []*eventv1.Cause) *eventv1.Event {
	return &eventv1.Event{Trust: trust, Causes: causes, Body: &eventv1.Event_Data{Data: x}}
}

// WriteMemory records a write to the agent's memory, before it is made. Everything in the context is its cause, and its
// trust is that of the context.
func WriteMemory(ctx context.Context, key, content string, details ...Details) (event.ID, error) {
	if err := Err(ctx); err != nil {
		return event.ID{}, err
	}
	s, d := scopeOf(ctx), only(details)
	x := memory(eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN, eventv1.Direction_DIRECTION_OUT, key, content, &d)
	return s.run.emitter.Record(ctx, &Event{Plain: dataEvent(x, s.trust(), s.causes()), Sealed: d.content(contentPath, content)})
}

func memory(action eventv1.DataAction, direction eventv1.Direction, key, content string, d *Details) *eventv1.Data {
	return &eventv1.Data{
		Action: action, MemoryKey: key, DataClass: d.DataClass, Bytes: uint64(len(content)), Direction: direction,
	}
}

// Export records content that leaves the boundary other than by a call, before it leaves.
func Export(ctx context.Context, destination, content string, details ...Details) (event.ID, error) {
	if err := Err(ctx); err != nil {
		return event.ID{}, err
	}
	s, d := scopeOf(ctx), only(details)
	x := &eventv1.Data{
		Action: eventv1.DataAction_DATA_ACTION_RESOURCE_EXPORTED, Resource: d.Resource, Domain: destination,
		DataClass: d.DataClass, Bytes: uint64(len(content)), Direction: eventv1.Direction_DIRECTION_OUT,
	}
	return s.run.emitter.Record(ctx, &Event{Plain: dataEvent(x, s.trust(), s.causes()), Sealed: d.content(contentPath, content)})
}

// Validated records that a named check has passed or failed on what is in the context: all of it, or the events named.
// If it passed, untrusted content there is checked from now on.
func Validated(ctx context.Context, check string, outcome Outcome, reason string, ids ...event.ID) (event.ID, error) {
	if err := Err(ctx); err != nil {
		return event.ID{}, err
	}
	s := scopeOf(ctx)
	x := &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_VALIDATED, Call: newCall(), Tool: check, Outcome: outcome, Reason: reason,
	}
	id, err := s.run.emitter.Record(ctx, &Event{Plain: &eventv1.Event{
		Trust: s.trust(), Causes: s.validated(ids), Body: &eventv1.Event_Execution{Execution: x},
	}})
	if err == nil && outcome == OK {
		s.checked(ids)
	}
	return id, err
}

// validated are the causes of a validation: the events that it looked at.
func (s *scope) validated(ids []event.ID) []*eventv1.Cause {
	if len(ids) == 0 {
		return s.causes()
	}
	causes := make([]*eventv1.Cause, len(ids))
	for i, id := range ids {
		causes[i] = recorded(id, eventv1.Relation_RELATION_RETRIEVED)
	}
	return causes
}

func newCall() string { return event.NewID(time.Now(), nil).String() }
