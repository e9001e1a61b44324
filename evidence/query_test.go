package evidence

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// What each term says of a record: this, and nothing else.
func TestWhatTermsSay(t *testing.T) {
	system := func(s *eventv1.System) *eventv1.Event { return &eventv1.Event{Body: &eventv1.Event_System{System: s}} }
	execution := func(x *eventv1.Execution) *eventv1.Event {
		return &eventv1.Event{Body: &eventv1.Event_Execution{Execution: x}}
	}
	approval := func(x *eventv1.Approval) *eventv1.Event {
		return &eventv1.Event{Principal: "ann", OnBehalfOf: []string{"bob"}, OccurredAt: 10e9, Body: &eventv1.Event_Approval{Approval: x}}
	}
	identity := func(x *eventv1.Identity) *eventv1.Event {
		return &eventv1.Event{Body: &eventv1.Event_Identity{Identity: x}}
	}
	causes := func(bases ...eventv1.CauseBasis) (e *eventv1.Event) {
		e = &eventv1.Event{}
		for _, b := range bases {
			e.Causes = append(e.Causes, &eventv1.Cause{Basis: b})
		}
		return e
	}
	const inferred, recorded = eventv1.CauseBasis_CAUSE_BASIS_INFERRED, eventv1.CauseBasis_CAUSE_BASIS_RECORDED
	for _, test := range []struct {
		f    fact
		says string
	}{
		{fact{}, "kind=none action=none judgement=none producer=none age=recent trust=none principal=none causes=none consequence=none decision=none " +
			"decided=none approval=none vouched=no pace=none attempts=none destination=none outcome=none direction=none approver=none shown=none " +
			"considered=unknown version=none prompt=none tools=none runtime=none scopes=none expiry=none actor=none change=none role=none " +
			"everywhere=no state=none opened=no topic=none result=none held=in_time next=none"},
		{
			fact{
				producer: eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY, verdict: chain.Malformed, old: true, late: true, pace: paceBurst,
				decided: eventv1.Decision_DECISION_BLOCK, consent: consentApproved, answer: &answer{vouched: true}, action: actionCodes["execution.started"],
			},
			"producer=gateway judgement=malformed age=old held=late pace=burst decided=block approval=approved vouched=yes action=execution.started",
		},
		{fact{answer: &answer{}, verdict: chain.Accepted}, "vouched=no judgement=accepted"},
		{fact{event: &eventv1.Event{Trust: eventv1.Trust_TRUST_TRUSTED, Principal: "ann"}}, "trust=trusted principal=given"},
		{fact{event: causes(inferred)}, "causes=inferred"},
		{fact{event: causes(inferred, recorded)}, "causes=recorded"},
		{
			fact{event: execution(&eventv1.Execution{Consequence: eventv1.Consequence_CONSEQUENCE_LOW, Decision: eventv1.Decision_DECISION_ALLOW, Attempt: 1, Destination: "d", Outcome: eventv1.Outcome_OUTCOME_OK})},
			"kind=execution consequence=low decision=allow attempts=few destination=given outcome=ok",
		},
		{fact{event: execution(&eventv1.Execution{Attempt: fewAttempts})}, "attempts=few"},
		{fact{event: execution(&eventv1.Execution{Attempt: fewAttempts + 1})}, "attempts=many"},
		{fact{event: &eventv1.Event{Body: &eventv1.Event_Data{Data: &eventv1.Data{Direction: eventv1.Direction_DIRECTION_IN}}}}, "kind=data direction=in"},
		{fact{event: approval(&eventv1.Approval{Approver: "eve", ShownDigest: []byte{1}, ShownAt: 7e9})}, "kind=approval approver=other shown=given considered=yes"},
		{fact{event: approval(&eventv1.Approval{Approver: "ann", ShownAt: 7e9 + 1})}, "approver=self shown=none considered=hasty"},
		{fact{event: approval(&eventv1.Approval{Approver: "bob", ShownAt: 10e9})}, "approver=self considered=hasty"},
		{fact{event: approval(&eventv1.Approval{ShownAt: 10e9 + 1})}, "approver=none considered=unknown"},
		{fact{event: approval(&eventv1.Approval{})}, "approver=none considered=unknown"},
		{
			fact{event: identity(&eventv1.Identity{
				AgentVersion: "v", SystemPromptDigest: []byte{1}, ToolListDigest: []byte{1}, Runtime: &eventv1.RuntimeBoundary{},
				Credential: &eventv1.Credential{Scopes: []string{"s"}, ExpiresAt: 1}, Outcome: eventv1.Outcome_OUTCOME_OK,
			})},
			"kind=identity version=given prompt=given tools=given runtime=given scopes=given expiry=given outcome=ok",
		},
		{fact{event: identity(&eventv1.Identity{})}, "version=none prompt=none tools=none runtime=none scopes=none expiry=none outcome=none"},
		{
			fact{event: system(&eventv1.System{Actor: "root", Detail: &eventv1.System_Grant{Grant: &eventv1.GrantChange{Role: eventv1.Role_ROLE_APPROVER, AllTenants: true}}})},
			"kind=system actor=given change=given role=approver everywhere=yes",
		},
		{fact{event: system(&eventv1.System{Detail: &eventv1.System_Grant{Grant: &eventv1.GrantChange{Revoked: true}}})}, "actor=none change=taken everywhere=no"},
		{fact{event: system(&eventv1.System{Detail: &eventv1.System_Manifest{}})}, "change=in_force"},
		{fact{event: system(&eventv1.System{Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{Mode: "live"}}})}, "change=live"},
		{fact{event: system(&eventv1.System{Detail: &eventv1.System_Access{Access: &eventv1.Access{Opened: true}}})}, "opened=yes change=none"},
		{
			fact{event: system(&eventv1.System{Detail: &eventv1.System_Review{Review: &eventv1.Review{Topic: "memory", Outcome: "rejected", NextAt: 1}}})},
			"topic=memory result=rejected next=given",
		},
		{fact{event: system(&eventv1.System{Detail: &eventv1.System_Review{Review: &eventv1.Review{Topic: "another"}}})}, "topic=none result=none next=none"},
		{
			fact{event: system(&eventv1.System{Detail: &eventv1.System_Containment{Containment: &eventv1.Containment{State: eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED}}})},
			"state=verified",
		},
	} {
		for word := range strings.SplitSeq(test.says, " ") {
			c, err := parseCondition(word)
			if err != nil {
				t.Errorf("%v", err)
			} else if got := c.term.values[c.term.of(&test.f)]; c.set != 1<<slices.Index(c.term.values, got) {
				t.Errorf("%v: %s, want %s", test.f.event, got, word)
			}
		}
	}
}

// A query is about records of the kinds that it names, by kind or by action; other terms say nothing of kinds.
func TestWhatQueriesAreAbout(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         {"none", "identity", "data", "execution", "approval", "system"},
		"kind=execution":           {"execution"},
		"kind=none":                {"none"},
		"kind=data|approval":       {"data", "approval"},
		"action=execution.started": {"execution"},
		"kind=data action=execution.started trust=trusted": {},
		"approval!=none": {"none", "identity", "data", "execution", "approval", "system"},
	} {
		q, err := parseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		kinds, got := kindsOf(q.actions()), []string{}
		if q.actions()&1 == 1 {
			got = append(got, none) // it is no kind that a leaf writes
		}
		for _, name := range termKind.values[1:] {
			if kind, _ := event.ParseKind(name); kinds>>kind&1 == 1 {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// The longest query is one; a longer one is none.
func TestLongestQuery(t *testing.T) {
	long := strings.Repeat("kind!=data ", 44) + "decided=allow judgement=late"
	if _, err := parseQuery(long); len(long) != maxQuery || err != nil {
		t.Errorf("%d bytes: %v", len(long), err)
	}
	if _, err := parseQuery(strings.Replace(long, "late", "held", 1) + "|gap"); !errors.Is(err, ErrQuery) {
		t.Errorf("longer: %v", err)
	}
}
