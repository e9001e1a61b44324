package rules

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// leaf makes the event of an example. Digests and fingerprints are made from the texts that stand for them.
func (x *Example) leaf(index uint64, now int64) (*Leaf, error) {
	var id event.ID
	binary.BigEndian.PutUint64(id[8:], index+1)
	e := &eventv1.Event{
		Id: id[:], Instance: cmp.Or(x.Instance, "agent"), Run: cmp.Or(x.Run, "run"), Principal: x.Principal,
	}
	for _, v := range x.Values {
		sum := sha256.Sum256([]byte(v))
		e.Fingerprints = append(e.Fingerprints, &eventv1.Fingerprint{Path: "arguments", Value: sum[:event.FingerprintSize]})
	}
	var ok bool
	if e.Trust, ok = event.Trusts.Parse(x.Trust); !ok {
		return nil, fmt.Errorf("trust: no %q", x.Trust)
	}
	producer, ok := event.Producers.Parse(cmp.Or(x.Producer, "agent"))
	if !ok {
		return nil, fmt.Errorf("producer: no %q", x.Producer)
	}
	return &Leaf{Index: index, Time: now, Producer: producer, Event: e}, x.body(e, now)
}

func (x *Example) body(e *eventv1.Event, now int64) error {
	kind, action, _ := strings.Cut(x.Action, ".")
	ok := false
	switch kind {
	case "identity":
		var a eventv1.IdentityAction
		a, ok = event.IdentityActions.Parse(action)
		e.Body = &eventv1.Event_Identity{Identity: x.identity(a)}
	case "data":
		var a eventv1.DataAction
		a, ok = event.DataActions.Parse(action)
		e.Body = &eventv1.Event_Data{Data: x.data(a)}
	case "execution":
		var a eventv1.ExecutionAction
		a, ok = event.ExecutionActions.Parse(action)
		e.Body = &eventv1.Event_Execution{Execution: x.execution(a)}
	case "system":
		ok = action == "manifest"
		e.Body = &eventv1.Event_System{System: manifestOf(x.Manifest)}
	case "approval":
		var a eventv1.ApprovalAction
		a, ok = event.ApprovalActions.Parse(action)
		e.Body = &eventv1.Event_Approval{Approval: x.approval(a, now)}
	}
	if !ok || action == "" {
		return fmt.Errorf("action: no %q", x.Action)
	}
	return nil
}

func (x *Example) identity(action eventv1.IdentityAction) *eventv1.Identity {
	i := &eventv1.Identity{Action: action, Workflow: x.Workflow, Role: x.Role, Delegate: x.Delegate}
	if x.Credential != "" {
		i.Credential = &eventv1.Credential{Fingerprint: digest(x.Credential)}
	}
	i.Outcome, _ = event.Outcomes.Parse(x.Outcome)
	return i
}

func (x *Example) data(action eventv1.DataAction) *eventv1.Data {
	d := &eventv1.Data{
		Action: action, Source: x.Source, Resource: x.Resource, Domain: x.Domain, DataClass: x.DataClass, Bytes: x.Bytes,
		MemoryKey: x.MemoryKey, Detector: x.Detector, Label: x.Label, Score: x.Score,
	}
	if x.Content != "" {
		d.ContentDigest = digest(x.Content)
	}
	d.Direction, _ = event.Directions.Parse(x.Direction)
	return d
}

func (x *Example) execution(action eventv1.ExecutionAction) *eventv1.Execution {
	c := &eventv1.Execution{
		Action: action, Call: cmp.Or(x.Call, "call"), Tool: x.Tool, Connector: x.Connector, Destination: x.Destination,
		Attempt: x.Attempt, CostMicrounits: x.Cost,
	}
	if x.Arguments != "" {
		c.ArgumentsDigest = digest(x.Arguments)
	}
	c.Consequence, _ = event.Consequences.Parse(x.Consequence)
	c.Decision, _ = event.Decisions.Parse(x.Decision)
	c.Outcome, _ = event.Outcomes.Parse(x.Outcome)
	return c
}

func (x *Example) approval(action eventv1.ApprovalAction, now int64) *eventv1.Approval {
	a := &eventv1.Approval{Action: action, Call: cmp.Or(x.Call, "call"), Tool: x.Tool, Approver: x.Approver}
	if x.ValidFor != 0 {
		a.ValidUntil = now + int64(x.ValidFor)
	}
	return a
}

func digest(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}
