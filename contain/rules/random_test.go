package rules

import (
	"fmt"
	"math/rand/v2"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// chance makes events of every kind that rules look at, out of few names, so that what one says is about what another has said.
type chance struct {
	*rand.Rand
	ids []event.ID
}

// RandomLog is a log of n events, the same for the same seed. Time goes on by up to twenty seconds a leaf.
func RandomLog(seed uint64, n int) (log []*Leaf) {
	c, now := &chance{Rand: rand.New(rand.NewPCG(seed, 1))}, int64(1_700_000_000e9)
	for i := range n {
		now += c.Int64N(20e9)
		log = append(log, &Leaf{Index: uint64(i), Time: now, Producer: eventv1.ProducerClass(c.IntN(5)), Event: c.event()})
	}
	return log
}

func (c *chance) name(prefix string, of int) string {
	if i := c.IntN(of + 1); i > 0 {
		return fmt.Sprintf("%s-%d", prefix, i)
	}
	return ""
}

func (c *chance) of(names ...string) string { return names[c.IntN(len(names))] }

func (c *chance) event() *eventv1.Event {
	var own event.ID
	for i := range own {
		own[i] = byte(c.Uint32())
	}
	e := &eventv1.Event{
		Id: own[:], Tenant: "acme", Instance: fmt.Sprintf("support-%d", c.IntN(3)), Run: c.name("run", 6), Principal: c.name("user", 2),
		Trust: eventv1.Trust(c.IntN(4)),
	}
	for range c.IntN(3) {
		if len(c.ids) > 0 {
			cause := c.ids[len(c.ids)-1-c.IntN(min(len(c.ids), 40))]
			e.Causes = append(e.Causes, &eventv1.Cause{Id: cause[:]})
		}
		e.Fingerprints = append(e.Fingerprints, &eventv1.Fingerprint{Value: []byte{byte(c.IntN(60)), 1, 2, 3, 4, 5, 6, 7}})
	}
	c.body(e)
	c.ids = append(c.ids, own)
	return e
}

func (c *chance) body(e *eventv1.Event) {
	digest := make([]byte, 32)
	digest[0] = byte(c.IntN(2))
	tool := c.of("send_email", "read_ticket", "delete_file", "update_ticket", "frobnicate", "issue_refund", "")
	switch c.IntN(8) {
	case 0:
		e.Body = &eventv1.Event_Identity{Identity: &eventv1.Identity{
			Action: eventv1.IdentityAction(c.IntN(9)), Workflow: c.name("flow", 2), Role: c.name("role", 2), Delegate: c.name("agent", 2),
			Outcome: eventv1.Outcome(c.IntN(6)), Credential: &eventv1.Credential{Fingerprint: []byte{byte(c.IntN(4))}},
		}}
	case 1, 2:
		e.Body = &eventv1.Event_Data{Data: &eventv1.Data{
			Action: eventv1.DataAction(c.IntN(10)), Source: c.name("tool", 3), Resource: c.name("file", 300), Domain: c.name("host", 3),
			DataClass: c.of("", "public", "internal", "customer", "secret"), Bytes: c.Uint64N(9000), MemoryKey: c.name("notes", 3),
			Detector: c.of("provenance", "prose", "mcp-tools", "d"), Score: c.Uint32N(1001), Direction: eventv1.Direction(c.IntN(4)),
			Label: c.of("secret", "injection", "changed", "prose_destination borrowed", "unasked unasked_act borrowed", "prose_value pointed delegated", "instructed addressed spoken_to unasked_object"),
		}}
	case 3:
		e.Body = &eventv1.Event_Approval{Approval: &eventv1.Approval{
			Action: eventv1.ApprovalAction(c.IntN(6)), Call: c.name("call", 9), Tool: tool, Approver: c.name("user", 2), ValidUntil: c.Int64N(2) * 1_700_000_900e9,
		}}
	default:
		e.Body = &eventv1.Event_Execution{Execution: &eventv1.Execution{
			Action: eventv1.ExecutionAction(c.IntN(9)), Call: c.name("call", 9), Tool: tool, Operation: c.name("op", 2), Connector: c.name("connector", 2),
			Destination: c.of("", "a.example", "b.example"), Consequence: eventv1.Consequence(c.IntN(4)), Decision: eventv1.Decision(c.IntN(4)),
			Outcome: eventv1.Outcome(c.IntN(6)), Attempt: c.Uint32N(4), ArgumentsDigest: digest, CostMicrounits: c.Uint64N(40_000_000),
		}}
	}
}
