package event

import (
	"bytes"
	"crypto/sha256"
	"strings"

	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

func validate(e *eventv1.Event) *FieldError {
	if err := version("version", e.GetVersion(), Version); err != nil {
		return err
	}
	if err := first(header(e), causes(e), sealed(e), fingerprints(e)); err != nil {
		return err
	}
	return body(e)
}

// header checks who, when and trust.
func header(e *eventv1.Event) *FieldError {
	return first(
		eventID("id", e.Id),
		name("tenant", e.Tenant),
		name("instance", e.Instance),
		text("run", e.Run, MaxID),
		counter("run_seq", e.RunSeq),
		runSeq(e),
		text("principal", e.Principal, MaxID),
		texts("on_behalf_of", e.OnBehalfOf, MaxDelegation),
		instantGiven("occurred_at", e.OccurredAt),
		enumGiven("time_basis", e.TimeBasis, eventv1.TimeBasis_TIME_BASIS_MADE),
		enum("trust", e.Trust, eventv1.Trust_TRUST_CHECKED),
	)
}

// runSeq is given exactly where a run is.
func runSeq(e *eventv1.Event) *FieldError {
	switch {
	case e.Run == "" && e.RunSeq != 0:
		return &FieldError{"run_seq", "given without a run"}
	case e.Run != "" && e.RunSeq == 0:
		return &FieldError{"run_seq", "missing"}
	}
	return nil
}

// causes are other events, each named once for each relation.
func causes(e *eventv1.Event) *FieldError {
	if err := atMost("causes", len(e.Causes), MaxCauses); err != nil {
		return err
	}
	for i, c := range e.Causes {
		if err := cause(e, c, e.Causes[:i]); err != nil {
			return err.under(at("causes", i))
		}
	}
	return nil
}

func cause(e *eventv1.Event, c *eventv1.Cause, before []*eventv1.Cause) *FieldError {
	if bytes.Equal(c.GetId(), e.Id) {
		return &FieldError{"id", "the event itself"}
	}
	for _, b := range before {
		if b.GetRelation() == c.GetRelation() && bytes.Equal(b.GetId(), c.GetId()) {
			return &FieldError{"id", "named twice with one relation"}
		}
	}
	return first(
		eventID("id", c.GetId()),
		enumGiven("relation", c.GetRelation(), eventv1.Relation_RELATION_DELEGATION),
		enumGiven("basis", c.GetBasis(), eventv1.CauseBasis_CAUSE_BASIS_INFERRED),
	)
}

// sealed fields keep the producer's order; each path stands once.
func sealed(e *eventv1.Event) *FieldError {
	if err := atMost("sealed", len(e.Sealed), MaxSealed); err != nil {
		return err
	}
	for i, s := range e.Sealed {
		if err := sealedField(s, e.Sealed[:i]); err != nil {
			return err.under(at("sealed", i))
		}
	}
	return nil
}

func sealedField(s *eventv1.Sealed, before []*eventv1.Sealed) *FieldError {
	for _, b := range before {
		if b.GetPath() == s.GetPath() {
			return &FieldError{"path", "given twice"}
		}
	}
	return first(
		given("path", s.GetPath(), MaxID),
		given("media_type", s.GetMediaType(), MaxID),
		counter("size", s.GetSize()),
		text("subject", s.GetSubject(), MaxID),
		exactly("digest", s.GetDigest(), DigestSize),
	)
}

// fingerprints come in the order of the sealed fields, and within one field strictly ascending by key, normaliser
// and value.
func fingerprints(e *eventv1.Event) *FieldError {
	if err := atMost("fingerprints", len(e.Fingerprints), MaxFingerprints); err != nil {
		return err
	}
	rest := e.Sealed
	for i, f := range e.Fingerprints {
		for len(rest) > 0 && rest[0].GetPath() != f.GetPath() {
			rest = rest[1:]
		}
		if err := fingerprint(f, len(rest) > 0); err != nil {
			return err.under(at("fingerprints", i))
		}
		if i > 0 && e.Fingerprints[i-1].GetPath() == f.GetPath() && compareFingerprints(e.Fingerprints[i-1], f) >= 0 {
			return &FieldError{at("fingerprints", i), "not in ascending order"}
		}
	}
	return nil
}

func fingerprint(f *eventv1.Fingerprint, placed bool) *FieldError {
	if !placed {
		return &FieldError{"path", "not a sealed field, or not in the order of the sealed fields"}
	}
	return first(
		positive("key_id", uint64(f.GetKeyId())),
		version("normaliser", f.GetNormaliser(), NormaliserV1),
		exactly("value", f.GetValue(), FingerprintSize),
	)
}

func body(e *eventv1.Event) *FieldError {
	switch b := e.Body.(type) {
	case *eventv1.Event_Identity:
		return identity(e, b.Identity).under("identity")
	case *eventv1.Event_Data:
		return data(b.Data).under("data")
	case *eventv1.Event_Execution:
		return execution(b.Execution).under("execution")
	case *eventv1.Event_Approval:
		return approval(b.Approval).under("approval")
	case *eventv1.Event_System:
		return system(e, b.System).under("system")
	}
	return &FieldError{"body", "missing"}
}

func identity(e *eventv1.Event, x *eventv1.Identity) *FieldError {
	if err := identityRules.check(int32(x.GetAction()), identitySet(x)); err != nil {
		return err
	}
	return first(
		exactlyIf("epoch", x.Epoch, EpochSize),
		counter("last_seq", x.LastSeq),
		span("interval", x.Interval),
		text("workflow", x.Workflow, MaxID),
		text("model", x.Model, MaxID),
		text("agent_version", x.AgentVersion, MaxID),
		exactlyIf("system_prompt_digest", x.SystemPromptDigest, DigestSize),
		exactlyIf("tool_list_digest", x.ToolListDigest, DigestSize),
		runtime(x.Runtime).under("runtime"),
		enum("outcome", x.Outcome, eventv1.Outcome_OUTCOME_TIMEOUT),
		credential(x.Credential).under("credential"),
		text("delegate", x.Delegate, MaxID),
		text("role", x.Role, MaxID),
		text("session", x.Session, MaxID),
		runEnds(e, x),
	)
}

// runEnds: the start and the end of a run stand in it, and the end has the run's last number.
func runEnds(e *eventv1.Event, x *eventv1.Identity) *FieldError {
	switch x.Action {
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_STARTED:
		if e.Run == "" {
			return &FieldError{"action", "needs a run"}
		}
	case eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED:
		if x.LastRunSeq != e.RunSeq {
			return &FieldError{"last_run_seq", "not this event's own run_seq"}
		}
	}
	return nil
}

func runtime(x *eventv1.RuntimeBoundary) *FieldError {
	return first(
		text("host", x.GetHost(), MaxID),
		text("container", x.GetContainer(), MaxID),
		text("image", x.GetImage(), MaxID),
	)
}

func credential(x *eventv1.Credential) *FieldError {
	if x == nil {
		return nil
	}
	return first(
		checkSize("fingerprint", len(x.Fingerprint), 1, DigestSize),
		texts("scopes", x.Scopes, MaxScopes),
		instant("expires_at", x.ExpiresAt),
		text("connector", x.Connector, MaxID),
	)
}

func data(x *eventv1.Data) *FieldError {
	if err := dataRules.check(int32(x.GetAction()), dataSet(x)); err != nil {
		return err
	}
	return first(
		text("source", x.Source, MaxText),
		text("resource", x.Resource, MaxText),
		text("domain", x.Domain, MaxID),
		text("data_class", x.DataClass, MaxID),
		exactlyIf("content_digest", x.ContentDigest, DigestSize),
		counter("bytes", x.Bytes),
		enum("direction", x.Direction, eventv1.Direction_DIRECTION_OUT),
		text("memory_key", x.MemoryKey, MaxID),
		text("detector", x.Detector, MaxID),
		text("detector_version", x.DetectorVersion, MaxID),
		atMost("score", int(x.Score), MaxScore),
		text("label", x.Label, MaxID),
	)
}

func execution(x *eventv1.Execution) *FieldError {
	if err := executionRules.check(int32(x.GetAction()), executionSet(x)); err != nil {
		return err
	}
	return first(
		text("call", x.Call, MaxID),
		text("tool", x.Tool, MaxText),
		text("operation", x.Operation, MaxText),
		text("connector", x.Connector, MaxID),
		enum("consequence", x.Consequence, eventv1.Consequence_CONSEQUENCE_HIGH),
		exactlyIf("arguments_digest", x.ArgumentsDigest, DigestSize),
		text("destination", x.Destination, MaxText),
		enum("decision", x.Decision, eventv1.Decision_DECISION_NEEDS_APPROVAL),
		text("policy", x.Policy, MaxID),
		text("reason", x.Reason, MaxText),
		enum("outcome", x.Outcome, eventv1.Outcome_OUTCOME_TIMEOUT),
		cost(x),
		span("duration", x.Duration),
	)
}

// cost has a unit.
func cost(x *eventv1.Execution) *FieldError {
	if x.CostMicrounits > 0 && x.CostUnit == "" {
		return &FieldError{"cost_unit", "missing"}
	}
	return first(
		counter("cost_microunits", x.CostMicrounits),
		text("cost_unit", x.CostUnit, MaxName),
	)
}

func approval(x *eventv1.Approval) *FieldError {
	if err := approvalRules.check(int32(x.GetAction()), approvalSet(x)); err != nil {
		return err
	}
	if len(x.SubjectEvent) == 0 && x.Call == "" {
		return &FieldError{"subject_event", "missing, and no call either"}
	}
	return first(
		text("approver", x.Approver, MaxID),
		exactlyIf("shown_digest", x.ShownDigest, DigestSize),
		eventIDIf("subject_event", x.SubjectEvent),
		instant("shown_at", x.ShownAt),
		instant("valid_until", x.ValidUntil),
		text("call", x.Call, MaxID),
		text("tool", x.Tool, MaxText),
		text("reason", x.Reason, MaxText),
		text("escalated_to", x.EscalatedTo, MaxID),
	)
}

// system events come from Custody's own emitter alone.
func system(e *eventv1.Event, x *eventv1.System) *FieldError {
	if e.Instance != string(InstanceCustody) {
		return &FieldError{"", "only instance custody makes system events"}
	}
	return first(
		text("actor", x.GetActor(), MaxID),
		text("reason", x.GetReason(), MaxText),
		detail(x),
	)
}

func detail(x *eventv1.System) *FieldError {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Genesis:
		return genesis(d.Genesis).under("genesis")
	case *eventv1.System_Instance:
		return instanceChange(d.Instance).under("instance")
	case *eventv1.System_Manifest:
		return manifest(d.Manifest).under("manifest")
	case *eventv1.System_Key:
		return keyChange(d.Key).under("key")
	case *eventv1.System_Grant:
		return grant(d.Grant).under("grant")
	case *eventv1.System_Rule:
		return ruleChange(d.Rule).under("rule")
	case *eventv1.System_Containment:
		return containment(d.Containment).under("containment")
	case *eventv1.System_Hold:
		return hold(d.Hold).under("hold")
	case *eventv1.System_Erasure:
		return erasure(d.Erasure).under("erasure")
	case *eventv1.System_Access:
		return access(d.Access).under("access")
	case *eventv1.System_Refusal:
		return refusal(d.Refusal).under("refusal")
	case *eventv1.System_Finding:
		return finding(d.Finding).under("finding")
	case *eventv1.System_Review:
		return review(d.Review).under("review")
	case *eventv1.System_Firing:
		return firingChange(d.Firing).under("firing")
	case *eventv1.System_Approval:
		return approvalStep(d.Approval).under("approval")
	}
	return readiness(x)
}

// readiness is the part of detail that says how ready the brake is.
func readiness(x *eventv1.System) *FieldError {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Lease:
		return leaseExtension(d.Lease).under("lease")
	case *eventv1.System_Armed:
		return armed(d.Armed).under("armed")
	case *eventv1.System_Drill:
		return drill(d.Drill).under("drill")
	case *eventv1.System_Case:
		return caseAct(d.Case).under("case")
	case *eventv1.System_Expiry:
		return instantGiven("before", d.Expiry.GetBefore()).under("expiry")
	case *eventv1.System_Fingerprint:
		return positive("number", uint64(d.Fingerprint.GetNumber())).under("fingerprint")
	case *eventv1.System_ExportKey:
		return exportKeyChange(d.ExportKey).under("export_key")
	}
	return &FieldError{"detail", "missing"}
}

func genesis(x *eventv1.Genesis) *FieldError {
	return first(
		given("origin", x.GetOrigin(), MaxID),
		exactly("system_key", x.GetSystemKey(), PublicKeySize),
		exactly("log_key", x.GetLogKey(), PublicKeySize),
		text("display_name", x.GetDisplayName(), MaxID),
		exactly("system_salt", x.GetSystemSalt(), SaltSize),
	)
}

func instanceChange(x *eventv1.InstanceChange) *FieldError {
	return first(
		emitterName("instance", x.GetInstance()),
		exactlyIf("salt", x.GetSalt(), SaltSize),
		labels(x.GetLabels()).under("labels"),
	)
}

// emitterName is the name of an instance that is not Custody's own.
func emitterName(field, s string) *FieldError {
	if s == string(InstanceCustody) {
		return &FieldError{field, "reserved"}
	}
	return name(field, s)
}

func labels(x *eventv1.Labels) *FieldError {
	return first(
		text("client", x.GetClient(), MaxID),
		text("owner", x.GetOwner(), MaxID),
		text("on_call", x.GetOnCall(), MaxID),
		text("environment", x.GetEnvironment(), MaxID),
		texts("regulation", x.GetRegulation(), MaxRegulation),
	)
}

func manifest(x *eventv1.ManifestChange) *FieldError {
	if err := first(
		emitterName("instance", x.GetInstance()),
		positive("version", uint64(x.GetVersion())),
		atMost("permissions", len(x.GetPermissions()), MaxPermissions),
		exactlyIf("source_digest", x.GetSourceDigest(), DigestSize),
	); err != nil {
		return err
	}
	for i, p := range x.Permissions {
		if err := permission(p); err != nil {
			return err.under(at("permissions", i))
		}
	}
	return nil
}

func permission(x *eventv1.Permission) *FieldError {
	return first(
		enumGiven("verb", x.GetVerb(), eventv1.PermissionVerb_PERMISSION_VERB_TRIGGER),
		text("tool", x.GetTool(), MaxText),
		text("resource", x.GetResource(), MaxText),
		enum("consequence", x.GetConsequence(), eventv1.Consequence_CONSEQUENCE_HIGH),
		text("connector", x.GetConnector(), MaxID),
	)
}

func keyChange(x *eventv1.KeyChange) *FieldError {
	if err := keyRules.check(int32(x.GetAction()), keySet(x)); err != nil {
		return err
	}
	if err := first(
		exactly("key_id", x.KeyId, DigestSize),
		counter("suspect_from", x.SuspectFrom),
	); err != nil || x.Action != eventv1.KeyAction_KEY_ACTION_ENROLLED {
		return err
	}
	return enrolment(x)
}

func enrolment(x *eventv1.KeyChange) *FieldError {
	if id := sha256.Sum256(x.PublicKey); !bytes.Equal(id[:], x.KeyId) {
		return &FieldError{"key_id", "not the hash of the public key"}
	}
	if bytes.Equal(x.Replaces, x.KeyId) {
		return &FieldError{"replaces", "the key itself"}
	}
	return first(
		exactly("public_key", x.PublicKey, PublicKeySize),
		emitterName("instance", x.Instance),
		enumGiven("producer", x.Producer, eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER),
		exactlyIf("replaces", x.Replaces, DigestSize),
		exactly("proof", x.Proof, SignatureSize),
	)
}

// exportKeyChange looks at sizes alone: whether the bytes are a key is said by who verifies with it.
func exportKeyChange(x *eventv1.ExportKeyChange) *FieldError {
	if n := len(x.GetPublicKey()); n != PublicKeySize && n != ExportKeySize {
		return &FieldError{"public_key", "neither 32 nor 91 bytes"}
	}
	if id := sha256.Sum256(x.GetPublicKey()); bytes.Equal(id[:], x.GetReplaces()) {
		return &FieldError{"replaces", "the key itself"}
	}
	return exactly("replaces", x.GetReplaces(), DigestSize)
}

func grant(x *eventv1.GrantChange) *FieldError {
	return first(
		given("principal", x.GetPrincipal(), MaxID),
		enumGiven("role", x.GetRole(), eventv1.Role_ROLE_OPERATOR),
		exactlyIf("certificate", x.GetCertificate(), DigestSize),
	)
}

func ruleChange(x *eventv1.RuleChange) *FieldError {
	return first(
		given("rule", x.GetRule(), MaxID),
		positive("version", uint64(x.GetVersion())),
		exactly("source_digest", x.GetSourceDigest(), DigestSize),
		oneOf("mode", x.GetMode(), "shadow", "live", "off"),
	)
}

func containment(x *eventv1.Containment) *FieldError {
	return first(
		enumGiven("state", x.GetState(), eventv1.ContainmentState_CONTAINMENT_STATE_EXPIRING),
		given("target", x.GetTarget(), MaxText),
		level("level", x.GetLevel()),
		text("plan", x.GetPlan(), MaxID),
		text("evidence", x.GetEvidence(), MaxText),
		text("path", x.GetPath(), MaxID),
		observer("observer", x),
		text("second", x.GetSecond(), MaxID),
		span("lasts", x.GetLasts()),
	)
}

func leaseExtension(x *eventv1.LeaseExtension) *FieldError {
	if err := span("lasts", x.GetLasts()); err != nil || x.GetLasts() <= int64(MaxLeaseExtension) {
		return err
	}
	return &FieldError{"lasts", "more than five minutes"}
}

func armed(x *eventv1.Armed) *FieldError {
	if err := atMost("checks", len(x.GetChecks()), MaxChecks); err != nil {
		return err
	}
	for i, c := range x.GetChecks() {
		err := first(
			emitterName("instance", c.GetInstance()),
			given("path", c.GetPath(), MaxID),
			oneOf("observer", c.GetObserver(), "agent", "gateway", "probe", "custody"),
			text("evidence", c.GetEvidence(), MaxText),
		)
		if err != nil {
			return err.under(at("checks", i))
		}
	}
	return nil
}

func drill(x *eventv1.Drill) *FieldError {
	if err := atMost("steps", len(x.GetSteps()), MaxChecks); err != nil {
		return err
	}
	for i, s := range x.GetSteps() {
		err := first(
			given("path", s.GetPath(), MaxID),
			span("requested_at", s.GetRequestedAt()), span("delivered_at", s.GetDeliveredAt()),
			span("acknowledged_at", s.GetAcknowledgedAt()), span("verified_at", s.GetVerifiedAt()),
			text("evidence", s.GetEvidence(), MaxText),
		)
		if err != nil {
			return err.under(at("steps", i))
		}
	}
	return first(
		emitterName("instance", x.GetInstance()),
		given("containment", x.GetContainment(), MaxID),
		oneOf("level", x.GetLevel(), "restrict", "pause", "quarantine"),
	)
}

// observer is one of four words or absent. Nothing is verified by its own word.
func observer(field string, x *eventv1.Containment) *FieldError {
	if x.GetObserver() == "agent" && x.GetState() == eventv1.ContainmentState_CONTAINMENT_STATE_VERIFIED {
		return &FieldError{field, "the target's own word verifies nothing"}
	}
	if x.GetObserver() == "" {
		return nil
	}
	return oneOf(field, x.GetObserver(), "agent", "gateway", "probe", "custody")
}

// level is absent where a step has none, as in the revocation of a credential.
func level(field, s string) *FieldError {
	if s == "" {
		return nil
	}
	return oneOf(field, s, "restrict", "pause", "quarantine")
}

func hold(x *eventv1.Hold) *FieldError {
	return first(
		given("hold", x.GetHold(), MaxID),
		text("scope", x.GetScope(), MaxText),
		scope("scope", x.GetScope()),
	)
}

// scope is "tenant", "instance/I", "run/R" or "subject/S".
func scope(field, s string) *FieldError {
	kind, what, named := strings.Cut(s, "/")
	switch {
	case s == "":
		return &FieldError{field, "missing"}
	case s == "tenant":
		return nil
	case !named || what == "":
		return &FieldError{field, "not tenant, instance/I, run/R or subject/S"}
	}
	return oneOf(field, kind, "instance", "run", "subject")
}

func erasure(x *eventv1.Erasure) *FieldError {
	return first(
		given("subject", x.GetSubject(), MaxID),
		positive("generation", uint64(x.GetGeneration())),
	)
}

func access(x *eventv1.Access) *FieldError {
	return first(
		given("method", x.GetMethod(), MaxID),
		exactlyIf("query_digest", x.GetQueryDigest(), DigestSize),
		exactlyIf("certificate", x.GetCertificate(), DigestSize),
	)
}

func refusal(x *eventv1.Refusal) *FieldError {
	return first(
		exactlyIf("emitter", x.GetEmitter(), DigestSize),
		given("reason", x.GetReason(), MaxID),
		positive("count", x.GetCount()),
		instant("first_at", x.GetFirstAt()),
		text("detail", x.GetDetail(), MaxText),
	)
}

func finding(x *eventv1.Finding) *FieldError {
	return first(
		given("verdict", x.GetVerdict(), MaxID),
		exactlyIf("emitter", x.GetEmitter(), DigestSize),
		counter("index", x.GetIndex()),
	)
}

func review(x *eventv1.Review) *FieldError {
	return first(
		oneOf("topic", x.GetTopic(), "memory", "retrieval", "access", "scope", sharing),
		text("subject", x.GetSubject(), MaxText),
		shared(x),
		oneOf("outcome", x.GetOutcome(), "approved", "rejected", "changes"),
		instant("next_at", x.GetNextAt()),
	)
}

// sharing is the topic of a review that allows or forbids that tenants share something.
const sharing = "sharing"

// shared names what is shared: "credential/HEX", "connector/NAME", "memory/KEY" or "artefact/HEX".
func shared(x *eventv1.Review) *FieldError {
	if x.GetTopic() != sharing {
		return nil
	}
	kind, what, named := strings.Cut(x.GetSubject(), "/")
	if !named || what == "" {
		return &FieldError{"subject", "not credential/HEX, connector/NAME, memory/KEY or artefact/HEX"}
	}
	return oneOf("subject", kind, "credential", "connector", "memory", "artefact")
}

func firingChange(x *eventv1.FiringChange) *FieldError {
	return first(
		exactly("firing", x.GetFiring(), IDSize),
		given("rule", x.GetRule(), MaxID),
		positive("version", uint64(x.GetVersion())),
		oneOf("state", x.GetState(), "acknowledged", "false_positive", "needs_person"),
	)
}

// approvalStep names its question and, beside the very text, the very arguments.
func approvalStep(x *eventv1.ApprovalStep) *FieldError {
	return first(
		enumGiven("state", x.GetState(), eventv1.ApprovalState_APPROVAL_STATE_WITHDRAWN),
		eventID("request", x.GetRequest()),
		eventID("subject_event", x.GetSubjectEvent()),
		emitterName("instance", x.GetInstance()),
		text("run", x.GetRun(), MaxID),
		text("principal", x.GetPrincipal(), MaxID),
		given("call", x.GetCall(), MaxID),
		text("tool", x.GetTool(), MaxText),
		enum("consequence", x.GetConsequence(), eventv1.Consequence_CONSEQUENCE_HIGH),
		exactly("shown_digest", x.GetShownDigest(), DigestSize),
		exactly("arguments_digest", x.GetArgumentsDigest(), DigestSize),
		instantGiven("valid_until", x.GetValidUntil()),
		instant("shown_at", x.GetShownAt()),
		span("took", x.GetTook()),
		text("escalated_to", x.GetEscalatedTo(), MaxID),
		exactlyIf("certificate", x.GetCertificate(), DigestSize),
	)
}
