package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// MaxCited is how many events, firings and containments one act of a case cites: as many as an event can have causes.
const MaxCited = MaxCauses

// What a case says of its trigger, of what failed, and which items must be settled before it closes.
var (
	CaseTriggers = []string{"user", "retrieval", "memory", "connector"}
	CaseFailures = []string{"permissions", "policy", "prompt", "monitoring"}
	CaseItems    = []string{"scopes", "secrets", "rollback", "quarantine", "review"}
)

// caseClasses are the classes that an action can name.
var caseClasses = map[eventv1.CaseAction][]string{
	eventv1.CaseAction_CASE_ACTION_TRIGGER: CaseTriggers,
	eventv1.CaseAction_CASE_ACTION_FAILURE: CaseFailures,
	eventv1.CaseAction_CASE_ACTION_SETTLED: CaseItems,
}

func caseAct(x *eventv1.Case) *FieldError {
	if err := caseRules.check(int32(x.GetAction()), caseSet(x)); err != nil {
		return err
	}
	return first(
		text("case", x.GetCase(), MaxID),
		text("target", x.GetTarget(), MaxText),
		caseClass("class", x),
		cited("events", x.GetEvents(), func(b []byte) *FieldError { return eventID("", b) }),
		cited("firings", x.GetFirings(), func(b []byte) *FieldError { return exactly("", b, IDSize) }),
		texts("containments", x.GetContainments(), MaxCited),
		instant("trigger_at", x.GetTriggerAt()),
		settled("not_needed", x),
	)
}

func caseClass(field string, x *eventv1.Case) *FieldError {
	if words := caseClasses[x.GetAction()]; words != nil {
		return oneOf(field, x.GetClass(), words...)
	}
	return nil
}

// cited is at most MaxCited ids.
func cited(field string, ids [][]byte, check func([]byte) *FieldError) *FieldError {
	if err := atMost(field, len(ids), MaxCited); err != nil {
		return err
	}
	for i, id := range ids {
		if err := check(id); err != nil {
			return err.under(at(field, i))
		}
	}
	return nil
}

// settled: an item was done, as events show, or it was not needed.
func settled(field string, x *eventv1.Case) *FieldError {
	if x.GetAction() == eventv1.CaseAction_CASE_ACTION_SETTLED && x.GetNotNeeded() == (len(x.GetEvents()) > 0) {
		return &FieldError{field, "exactly one of events and not_needed must be given"}
	}
	return nil
}
