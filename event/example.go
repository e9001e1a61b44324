package event

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The run that the examples tell: a support agent of tenant acme reads a ticket and sends a mail.
const (
	exampleTenant   = "acme"
	exampleInstance = "support-1"
	exampleRun      = "ticket-4711"
	exampleStart    = 1_767_225_600_000_000_000 // 2026-01-01T00:00:00Z
)

// Content of the examples' sealed fields.
var (
	exampleKey       = exampleDigest("fingerprint key")
	exampleTicket    = []byte("Please send the invoice INV-2026-00017 to bob@customer.example.")
	exampleArguments = []byte(`{"to":"Bob@customer.example","attachment":"INV-2026-00017.pdf"}`)
)

// Example is a valid event of the given action, as documentation and tests show it; nil if the action is unknown. Equal
// actions give equal events. Identifiers, digests and salts are hashes of their names.
func Example(action string) *eventv1.Event {
	at := slices.Index(Actions(), action)
	kind, name, _ := strings.Cut(action, ".")
	if at < 0 {
		return nil
	}
	e := exampleHeader(action, at)
	switch kind {
	case "identity":
		e.Body = &eventv1.Event_Identity{Identity: exampleIdentity(name, e)}
	case "data":
		e.Body = &eventv1.Event_Data{Data: exampleData(name)}
	case "execution":
		e.Body = &eventv1.Event_Execution{Execution: exampleExecution(name)}
	case "approval":
		e.Body = &eventv1.Event_Approval{Approval: exampleApproval(name)}
	case "system":
		e.Instance, e.Run, e.RunSeq, e.Principal = string(InstanceCustody), "", 0, ""
		e.Body = &eventv1.Event_System{System: exampleSystem(name)}
	}
	return exampleContent(e, action)
}

func exampleHeader(action string, at int) *eventv1.Event {
	id := exampleID(action)
	return &eventv1.Event{
		Version: Version, Id: id[:], Tenant: exampleTenant, Instance: exampleInstance, Run: exampleRun, RunSeq: uint64(at + 1),
		Principal: "user-7f3a", OccurredAt: exampleStart + int64(at)*int64(time.Second),
		TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
	}
}

// exampleID is the id of the example of an action.
func exampleID(action string) ID {
	at := slices.Index(Actions(), action)
	seed := sha256.Sum256([]byte("custody/example/id\x00" + action))
	return NewID(time.Unix(0, exampleStart+int64(at)*int64(time.Second)), bytes.NewReader(seed[:]))
}

func exampleDigest(name string) []byte {
	d := sha256.Sum256([]byte("custody/example/digest\x00" + name))
	return d[:]
}

// exampleContent seals content into the events that carry some, and names their causes.
func exampleContent(e *eventv1.Event, action string) *eventv1.Event {
	switch action {
	case "data.document_retrieved":
		e.Trust = eventv1.Trust_TRUST_UNTRUSTED
		exampleSeal(e, "content", "text/plain", exampleTicket)
	case "execution.proposed":
		e.Trust = eventv1.Trust_TRUST_UNTRUSTED
		exampleCause(e, "data.document_retrieved", eventv1.Relation_RELATION_RETRIEVED)
		exampleSeal(e, "arguments", "application/json", exampleArguments)
	case "execution.decided", "approval.requested":
		exampleCause(e, "execution.proposed", eventv1.Relation_RELATION_DECISION)
	case "execution.started":
		exampleCause(e, "approval.approved", eventv1.Relation_RELATION_APPROVAL)
	}
	return e
}

func exampleCause(e *eventv1.Event, action string, r eventv1.Relation) {
	id := exampleID(action)
	e.Causes = append(e.Causes, &eventv1.Cause{Id: id[:], Relation: r, Basis: eventv1.CauseBasis_CAUSE_BASIS_RECORDED})
}

func exampleSeal(e *eventv1.Event, path, mediaType string, value []byte) {
	digest := SealedDigest(ID(e.Id), path, mediaType, (*[SaltSize]byte)(exampleDigest("salt of "+path)), value)
	e.Sealed = append(e.Sealed, &eventv1.Sealed{
		Path: path, MediaType: mediaType, Size: uint64(len(value)), Subject: "customer-b0b", Digest: digest[:],
	})
	e.Fingerprints = Fingerprints(exampleKey, 1, path, value, e.Fingerprints)
}

// ExampleOpening opens the sealed field of the example of an action, at a position in a batch; nil if it seals nothing.
func ExampleOpening(action string, position uint32) *eventv1.Opening {
	open := func(path string, value []byte) *eventv1.Opening {
		return &eventv1.Opening{Position: position, Path: path, Salt: exampleDigest("salt of " + path), Value: bytes.Clone(value)}
	}
	switch action {
	case "data.document_retrieved":
		return open("content", exampleTicket)
	case "execution.proposed":
		return open("arguments", exampleArguments)
	}
	return nil
}

// ExampleFingerprintKey is the key, number 1, of the examples' fingerprints.
func ExampleFingerprintKey() []byte { return bytes.Clone(exampleKey) }

func exampleIdentity(name string, e *eventv1.Event) *eventv1.Identity {
	action, _ := IdentityActions.Parse(name)
	x := &eventv1.Identity{Action: action}
	switch name {
	case "epoch_opened", "epoch_closed", "heartbeat":
		e.Run, e.RunSeq, e.Principal = "", 0, ""
		x.Epoch = exampleDigest("epoch")[:EpochSize]
	case "credential_bound", "credential_used", "credential_released":
		x.Credential = &eventv1.Credential{
			Fingerprint: exampleDigest("credential"), Scopes: []string{"mail.send"}, ExpiresAt: exampleStart + int64(time.Hour), Connector: "mail",
		}
	}
	switch name {
	case "epoch_closed":
		x.LastSeq = 1
	case "heartbeat":
		x.LastSeq, x.Interval = 1, int64(time.Minute)
	case "run_started":
		exampleRunStarted(x)
	case "run_ended":
		x.LastRunSeq, x.Outcome = e.RunSeq, eventv1.Outcome_OUTCOME_OK
	case "delegated":
		x.Delegate, x.Role = "billing-1", "invoice-reader"
	case "role_assumed":
		x.Role = "invoice-reader"
	}
	return x
}

func exampleRunStarted(x *eventv1.Identity) {
	x.Workflow, x.Model, x.AgentVersion, x.Session = "answer-ticket", "model-x", "1.4.0", "conversation-12"
	x.SystemPromptDigest, x.ToolListDigest = exampleDigest("system prompt"), exampleDigest("tool list")
	x.Runtime = &eventv1.RuntimeBoundary{Host: "node-3", Container: "c0ffee", Image: "registry.example/support:1.4.0"}
}

func exampleData(name string) *eventv1.Data {
	action, _ := DataActions.Parse(name)
	x := &eventv1.Data{Action: action, Source: "ticket-system", DataClass: "customer", Direction: eventv1.Direction_DIRECTION_IN}
	switch name {
	case "memory_read", "memory_written":
		x.MemoryKey = "customer-preferences"
	case "resource_written", "resource_exported":
		x.Resource, x.Domain, x.Direction = "mail", "customer.example", eventv1.Direction_DIRECTION_OUT
	case "content_finding":
		x.Detector, x.DetectorVersion, x.Score, x.Label = "prompt-injection", "2", 870, "instruction in data"
	default:
		x.Resource, x.Domain = "ticket/4711", "tickets.example"
	}
	x.ContentDigest, x.Bytes = exampleDigest("content"), uint64(len(exampleTicket))
	return x
}

func exampleExecution(name string) *eventv1.Execution {
	action, _ := ExecutionActions.Parse(name)
	x := &eventv1.Execution{
		Action: action, Call: "call-1", Tool: "send_mail", Operation: "send", Connector: "mail",
		Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, ArgumentsDigest: exampleDigest("arguments"),
		Destination: "customer.example", Attempt: 1,
	}
	switch name {
	case "decided":
		x.Decision, x.Policy, x.Reason = eventv1.Decision_DECISION_NEEDS_APPROVAL, "outbound@3", "sends customer data outside"
	case "finished":
		x.Outcome, x.CostMicrounits, x.CostUnit, x.Duration = eventv1.Outcome_OUTCOME_OK, 1200, "USD", int64(40*time.Millisecond)
	case "failed":
		x.Outcome, x.Reason, x.Duration = eventv1.Outcome_OUTCOME_TIMEOUT, "no answer in time", int64(10*time.Second)
	case "retried":
		x.Attempt = 2
	case "validated":
		x.Outcome, x.Reason = eventv1.Outcome_OUTCOME_OK, "recipient is the ticket's author"
	}
	return x
}

func exampleApproval(name string) *eventv1.Approval {
	action, _ := ApprovalActions.Parse(name)
	subject := exampleID("execution.proposed")
	x := &eventv1.Approval{
		Action: action, SubjectEvent: subject[:], Call: "call-1", Tool: "send_mail", ShownDigest: exampleDigest("shown text"),
		ShownAt: exampleStart, ValidUntil: exampleStart + int64(time.Hour),
	}
	switch name {
	case "approved", "rejected":
		x.Approver, x.Reason = "lead-2c91", "checked the recipient"
	case "escalated":
		x.EscalatedTo = "security"
	}
	return x
}

func exampleSystem(name string) *eventv1.System {
	x := &eventv1.System{Actor: "alice", Reason: "example"}
	switch name {
	case "genesis", "instance", "manifest", "key", "grant", "rule":
		exampleAdmission(x, name)
	default:
		exampleRecord(x, name)
	}
	return x
}

// ExampleKey is the Ed25519 key of a name in the examples: anybody can compute it.
func ExampleKey(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(exampleDigest("key of " + name))
}

func examplePublic(name string) []byte { return ExampleKey(name).Public().(ed25519.PublicKey) }

func exampleAdmission(x *eventv1.System, name string) {
	switch name {
	case "genesis":
		x.Detail = &eventv1.System_Genesis{Genesis: &eventv1.Genesis{
			Origin: "custody.example/custody/0123456789abcdef", SystemKey: examplePublic("system"), LogKey: examplePublic("log"),
			DisplayName: "Acme", SystemSalt: exampleDigest("system salt"),
		}}
	case "instance":
		x.Detail = &eventv1.System_Instance{Instance: &eventv1.InstanceChange{
			Instance: exampleInstance, Salt: exampleDigest("instance salt"),
			Labels: &eventv1.Labels{Client: "Acme", Owner: "support", OnCall: "support-pager", Environment: "production", Regulation: []string{"gdpr"}},
		}}
	case "manifest":
		x.Detail = &eventv1.System_Manifest{Manifest: exampleManifest()}
	case "key":
		x.Detail = &eventv1.System_Key{Key: exampleEnrolment()}
	case "grant":
		x.Detail = &eventv1.System_Grant{Grant: &eventv1.GrantChange{
			Principal: "bob", Role: eventv1.Role_ROLE_AUDITOR, Certificate: exampleDigest("certificate of bob"),
		}}
	case "rule":
		x.Detail = &eventv1.System_Rule{Rule: &eventv1.RuleChange{
			Rule: "outbound-burst", Version: 1, SourceDigest: exampleDigest("rule"), Mode: "shadow",
		}}
	}
}

func exampleManifest() *eventv1.ManifestChange {
	return &eventv1.ManifestChange{
		Instance: exampleInstance, Version: 1, SourceDigest: exampleDigest("manifest"),
		Permissions: []*eventv1.Permission{
			{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "tickets.*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW, Connector: "tickets"},
			{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "send_mail", Resource: "*.example", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH, Connector: "mail"},
		},
	}
}

func exampleEnrolment() *eventv1.KeyChange {
	public := examplePublic(exampleInstance)
	id := sha256.Sum256(public)
	producer := eventv1.ProducerClass_PRODUCER_CLASS_AGENT
	return &eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: public, Instance: exampleInstance, Producer: producer,
		Proof: ed25519.Sign(ExampleKey(exampleInstance), EnrolmentMessage(exampleTenant, exampleInstance, producer, public)),
	}
}

func exampleRecord(x *eventv1.System, name string) {
	emitter := sha256.Sum256(examplePublic(exampleInstance))
	switch name {
	case "containment":
		x.Detail = &eventv1.System_Containment{Containment: &eventv1.Containment{
			State: eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED, Target: "instance/acme/support-1", Level: "pause",
			Plan: "plan-1", Step: 1, Evidence: "gateway refused a call at 00:00:41",
		}}
	case "hold":
		x.Detail = &eventv1.System_Hold{Hold: &eventv1.Hold{Hold: "case-12", Scope: "run/" + exampleRun}}
	case "erasure":
		x.Detail = &eventv1.System_Erasure{Erasure: &eventv1.Erasure{Subject: "customer-b0b", Generation: 1}}
	case "access":
		x.Detail = &eventv1.System_Access{Access: &eventv1.Access{
			Method: "QueryService.Trace", QueryDigest: exampleDigest("query"), Opened: true, Certificate: exampleDigest("certificate of bob"),
		}}
	case "refusal":
		x.Detail = &eventv1.System_Refusal{Refusal: &eventv1.Refusal{
			Emitter: emitter[:], Reason: "signature", Count: 3, FirstAt: exampleStart, Detail: "ed25519: signature does not verify",
		}}
	case "finding":
		x.Detail = &eventv1.System_Finding{Finding: &eventv1.Finding{Verdict: "gap", Emitter: emitter[:], Index: 41}}
	case "review":
		x.Detail = &eventv1.System_Review{Review: &eventv1.Review{
			Topic: "memory", Subject: "customer-notes", Outcome: "approved", NextAt: exampleStart + 90*24*3600*1e9,
		}}
	case "firing":
		x.Detail = &eventv1.System_Firing{Firing: &eventv1.FiringChange{
			Firing: exampleDigest("firing")[:IDSize], Rule: "outbound-burst", Version: 1, State: "acknowledged",
		}}
	case "approval":
		request, subject := exampleID("approval.requested"), exampleID("execution.proposed")
		x.Detail = &eventv1.System_Approval{Approval: &eventv1.ApprovalStep{
			State: eventv1.ApprovalState_APPROVAL_STATE_APPROVED, Request: request[:], SubjectEvent: subject[:], Instance: exampleInstance, Run: exampleRun,
			Principal: "user-7", Call: "call-1", Tool: "send_mail", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH,
			ShownDigest: exampleDigest("shown"), ArgumentsDigest: exampleDigest("arguments"), ValidUntil: exampleStart + 60*1e9,
			ShownAt: exampleStart + 8*1e9, Took: 20 * 1e9, Certificate: exampleDigest("certificate of bob"),
		}}
	}
	exampleReadiness(x, name)
}

func exampleReadiness(x *eventv1.System, name string) {
	switch name {
	case "lease":
		x.Detail = &eventv1.System_Lease{Lease: &eventv1.LeaseExtension{Lasts: int64(2 * time.Minute)}}
	case "armed":
		x.Detail = &eventv1.System_Armed{Armed: &eventv1.Armed{Checks: []*eventv1.PathCheck{{
			Instance: exampleInstance, Path: "connector/mail", Proven: true, Observer: "probe", Evidence: "the token is accepted",
		}}}}
	case "drill":
		x.Detail = &eventv1.System_Drill{Drill: &eventv1.Drill{
			Instance: exampleInstance, Containment: "c-0123456789ab", Level: "pause", Proven: true, Steps: []*eventv1.DrillStep{{
				Path: "connector/mail", RequestedAt: exampleStart, DeliveredAt: exampleStart + 1e6, AcknowledgedAt: exampleStart + 2e6,
				VerifiedAt: exampleStart + 3e6, Evidence: "the token is refused",
			}},
		}}
	case "expiry":
		x.Detail = &eventv1.System_Expiry{Expiry: &eventv1.Expiry{Before: exampleStart - 183*24*3600*1e9}}
	case "export_key":
		x.Detail = &eventv1.System_ExportKey{ExportKey: &eventv1.ExportKeyChange{PublicKey: examplePublic("export"), Replaces: exampleDigest("log key")}}
	case "fingerprint":
		x.Detail = &eventv1.System_Fingerprint{Fingerprint: &eventv1.FingerprintKey{Number: 2}}
	case "case":
		read := exampleID("data.document_retrieved")
		x.Detail = &eventv1.System_Case{Case: &eventv1.Case{
			Case: "case-1", Action: eventv1.CaseAction_CASE_ACTION_TRIGGER, Class: "retrieval", Events: [][]byte{read[:]},
		}}
	}
}
