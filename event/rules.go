package event

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Which fields an action needs and which it allows ("?"). A field that an action does not name is refused, so that every
// stored column means one thing.

var identityRules = newRules(new(eventv1.Identity), map[eventv1.IdentityAction]string{
	eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_OPENED:        "epoch",
	eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED:        "epoch last_seq?",
	eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT:           "epoch interval last_seq?",
	eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED:         "workflow? model? agent_version? system_prompt_digest? tool_list_digest? runtime? session?",
	eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED:           "last_run_seq outcome?",
	eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_BOUND:    "credential",
	eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_USED:     "credential",
	eventv1.IdentityAction_IDENTITY_ACTION_CREDENTIAL_RELEASED: "credential",
	eventv1.IdentityAction_IDENTITY_ACTION_DELEGATED:           "delegate role?",
	eventv1.IdentityAction_IDENTITY_ACTION_ROLE_ASSUMED:        "role",
})

const (
	content = "source? resource? domain? data_class? content_digest? bytes? direction? "
	memory  = "source? memory_key? data_class? content_digest? bytes? direction? "
)

var dataRules = newRules(new(eventv1.Data), map[eventv1.DataAction]string{
	eventv1.DataAction_DATA_ACTION_INPUT_RECEIVED:     content,
	eventv1.DataAction_DATA_ACTION_DOCUMENT_RETRIEVED: content,
	eventv1.DataAction_DATA_ACTION_MEMORY_READ:        memory,
	eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN:     memory,
	eventv1.DataAction_DATA_ACTION_RESOURCE_READ:      content,
	eventv1.DataAction_DATA_ACTION_RESOURCE_WRITTEN:   content,
	eventv1.DataAction_DATA_ACTION_RESOURCE_EXPORTED:  content,
	eventv1.DataAction_DATA_ACTION_CONTENT_FINDING:    content + "detector detector_version? score? label?",
})

const (
	call  = "call tool? operation? connector? consequence? arguments_digest? destination? attempt? "
	ended = call + "outcome? cost_microunits? cost_unit? duration? "
)

var executionRules = newRules(new(eventv1.Execution), map[eventv1.ExecutionAction]string{
	eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED:  call,
	eventv1.ExecutionAction_EXECUTION_ACTION_DECIDED:   call + "decision policy? reason?",
	eventv1.ExecutionAction_EXECUTION_ACTION_STARTED:   call,
	eventv1.ExecutionAction_EXECUTION_ACTION_FINISHED:  ended,
	eventv1.ExecutionAction_EXECUTION_ACTION_FAILED:    ended + "reason?",
	eventv1.ExecutionAction_EXECUTION_ACTION_RETRIED:   call,
	eventv1.ExecutionAction_EXECUTION_ACTION_VALIDATED: call + "reason? outcome?",
})

// An approval names its subject by event, by call or by both.
const consent = "subject_event? call? tool? shown_digest? shown_at? valid_until? reason? "

var approvalRules = newRules(new(eventv1.Approval), map[eventv1.ApprovalAction]string{
	eventv1.ApprovalAction_APPROVAL_ACTION_REQUESTED: consent + "approver?",
	eventv1.ApprovalAction_APPROVAL_ACTION_APPROVED:  consent + "approver",
	eventv1.ApprovalAction_APPROVAL_ACTION_REJECTED:  consent + "approver",
	eventv1.ApprovalAction_APPROVAL_ACTION_ESCALATED: consent + "approver? escalated_to",
	eventv1.ApprovalAction_APPROVAL_ACTION_EXPIRED:   consent + "approver?",
})

var keyRules = newRules(new(eventv1.KeyChange), map[eventv1.KeyAction]string{
	eventv1.KeyAction_KEY_ACTION_ENROLLED:  "key_id public_key instance producer proof replaces?",
	eventv1.KeyAction_KEY_ACTION_REVOKED:   "key_id suspect_from?",
	eventv1.KeyAction_KEY_ACTION_SUSPECTED: "key_id suspect_from?",
})

var caseRules = newRules(new(eventv1.Case), map[eventv1.CaseAction]string{
	eventv1.CaseAction_CASE_ACTION_OPENED:  "case target events? firings? containments? trigger_at?",
	eventv1.CaseAction_CASE_ACTION_ADDED:   "case events? firings? containments?",
	eventv1.CaseAction_CASE_ACTION_TRIGGER: "case class events",
	eventv1.CaseAction_CASE_ACTION_FAILURE: "case class events",
	eventv1.CaseAction_CASE_ACTION_SETTLED: "case class events? not_needed?",
	eventv1.CaseAction_CASE_ACTION_FIXED:   "case events",
	eventv1.CaseAction_CASE_ACTION_CLOSED:  "case",
})

// The sets of fields that are set, besides action. They are written out because reflection is too slow for each event; a
// test holds them against reflection.

func identitySet(x *eventv1.Identity) fields {
	return bit(2, len(x.GetEpoch()) > 0) | bit(3, x.GetLastSeq() != 0) | bit(4, x.GetInterval() != 0) |
		bit(5, x.GetWorkflow() != "") | bit(6, x.GetModel() != "") | bit(7, x.GetAgentVersion() != "") |
		bit(8, len(x.GetSystemPromptDigest()) > 0) | bit(9, len(x.GetToolListDigest()) > 0) |
		bit(10, x.GetRuntime() != nil) | bit(11, x.GetLastRunSeq() != 0) | bit(12, x.GetOutcome() != 0) |
		bit(13, x.GetCredential() != nil) | bit(14, x.GetDelegate() != "") | bit(15, x.GetRole() != "") |
		bit(16, x.GetSession() != "")
}

func dataSet(x *eventv1.Data) fields {
	return bit(2, x.GetSource() != "") | bit(3, x.GetResource() != "") | bit(4, x.GetDomain() != "") |
		bit(5, x.GetDataClass() != "") | bit(6, len(x.GetContentDigest()) > 0) | bit(7, x.GetBytes() != 0) |
		bit(8, x.GetDirection() != 0) | bit(9, x.GetMemoryKey() != "") | bit(10, x.GetDetector() != "") |
		bit(11, x.GetDetectorVersion() != "") | bit(12, x.GetScore() != 0) | bit(13, x.GetLabel() != "")
}

func executionSet(x *eventv1.Execution) fields {
	return bit(2, x.GetCall() != "") | bit(3, x.GetTool() != "") | bit(4, x.GetOperation() != "") |
		bit(5, x.GetConnector() != "") | bit(6, x.GetConsequence() != 0) | bit(7, len(x.GetArgumentsDigest()) > 0) |
		bit(8, x.GetDestination() != "") | bit(9, x.GetAttempt() != 0) | bit(10, x.GetDecision() != 0) |
		bit(11, x.GetPolicy() != "") | bit(12, x.GetReason() != "") | bit(13, x.GetOutcome() != 0) |
		bit(14, x.GetCostMicrounits() != 0) | bit(15, x.GetCostUnit() != "") | bit(16, x.GetDuration() != 0)
}

func approvalSet(x *eventv1.Approval) fields {
	return bit(2, x.GetApprover() != "") | bit(3, len(x.GetShownDigest()) > 0) | bit(4, len(x.GetSubjectEvent()) > 0) |
		bit(5, x.GetShownAt() != 0) | bit(6, x.GetValidUntil() != 0) | bit(7, x.GetCall() != "") |
		bit(8, x.GetTool() != "") | bit(9, x.GetReason() != "") | bit(10, x.GetEscalatedTo() != "")
}

func keySet(x *eventv1.KeyChange) fields {
	return bit(2, len(x.GetKeyId()) > 0) | bit(3, len(x.GetPublicKey()) > 0) | bit(4, x.GetInstance() != "") |
		bit(5, x.GetProducer() != 0) | bit(6, len(x.GetReplaces()) > 0) | bit(7, x.GetSuspectFrom() != 0) |
		bit(8, len(x.GetProof()) > 0)
}

func caseSet(x *eventv1.Case) fields {
	return bit(1, x.GetCase() != "") | bit(3, x.GetTarget() != "") | bit(4, x.GetClass() != "") | bit(5, len(x.GetEvents()) > 0) |
		bit(6, len(x.GetFirings()) > 0) | bit(7, len(x.GetContainments()) > 0) | bit(8, x.GetTriggerAt() != 0) | bit(9, x.GetNotNeeded())
}
