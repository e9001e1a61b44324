package evidence

import (
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// population is one file of populations/: a row for each record of the range that belongs to it, in the order of the log.
type population struct {
	file   string
	what   string // for a person
	header string
	has    func(f *fact) bool
	row    func(r *row, f *fact) // the cells after those that every row has
}

// common are the columns that every file begins with.
const common = "record,received,judgement,event,producer,instance,"

// populations are all of them, in the order of layout. They are derived from the records of the range whose plain content is in
// the bundle, and from nothing else.
var populations = [...]population{
	{
		fileActions, "actions of high consequence that were started",
		common + "run,principal,call,attempt,tool,operation,connector,destination,arguments_sha256,decision,approval,approval_record\n",
		isSensitive, actionRow,
	},
	{
		fileApprovals, "approvals that were asked for, given, refused or left open",
		common + "run,principal,action,approver,call,tool,subject_event,shown_sha256,shown_at,valid_until,escalated_to,reason\n",
		func(f *fact) bool { return f.event.GetApproval() != nil }, approvalRow,
	},
	{
		fileGrants, "roles that were given to people or taken from them",
		common + "actor,principal,role,change,all_tenants,certificate_sha256,reason\n",
		func(f *fact) bool { return f.event.GetSystem().GetGrant() != nil }, grantRow,
	},
	{
		fileChanges, "changes of keys, manifests and rules",
		common + "actor,object,change,name,version,sha256,reason\n",
		isChange, changeRow,
	},
	{
		fileContainments, "steps of containments",
		common + "actor,state,target,level,plan,step,evidence,reason\n",
		func(f *fact) bool { return f.event.GetSystem().GetContainment() != nil }, containmentRow,
	},
	{
		fileReviews, "reviews of memory, retrieval, access, scopes and what tenants share",
		common + "actor,topic,subject,outcome,next_at,reason\n",
		func(f *fact) bool { return f.event.GetSystem().GetReview() != nil }, reviewRow,
	},
}

// write makes the row of a record that belongs to the population.
func (p *population) write(r *row, f *fact) []byte {
	r.begin()
	r.number(uint64(f.index))
	r.time(f.time)
	r.name(f.verdict.String())
	r.id(f.event.GetId())
	r.name(event.Producers.Name(f.producer))
	r.text(f.event.GetInstance())
	p.row(r, f)
	return r.end()
}

func isSensitive(f *fact) bool {
	x := f.event.GetExecution()
	return x.GetAction() == eventv1.ExecutionAction_EXECUTION_ACTION_STARTED && x.GetConsequence() == eventv1.Consequence_CONSEQUENCE_HIGH
}

func actionRow(r *row, f *fact) {
	x := f.event.GetExecution()
	r.text(f.event.GetRun())
	r.text(f.event.GetPrincipal())
	r.text(x.GetCall())
	r.number(uint64(x.GetAttempt()))
	r.text(x.GetTool())
	r.text(x.GetOperation())
	r.text(x.GetConnector())
	r.text(x.GetDestination())
	r.hex(x.GetArgumentsDigest())
	r.name(event.Decisions.Name(f.decided))
	r.name(f.consent.String())
	if f.answer == nil {
		r.name("")
	} else {
		r.number(uint64(f.answer.record))
	}
}

func approvalRow(r *row, f *fact) {
	x := f.event.GetApproval()
	r.text(f.event.GetRun())
	r.text(f.event.GetPrincipal())
	r.name(event.ApprovalActions.Name(x.GetAction()))
	r.text(x.GetApprover())
	r.text(x.GetCall())
	r.text(x.GetTool())
	r.id(x.GetSubjectEvent())
	r.hex(x.GetShownDigest())
	r.time(x.GetShownAt())
	r.time(x.GetValidUntil())
	r.text(x.GetEscalatedTo())
	r.text(x.GetReason())
}

func grantRow(r *row, f *fact) {
	s, x := f.event.GetSystem(), f.event.GetSystem().GetGrant()
	r.text(s.GetActor())
	r.text(x.GetPrincipal())
	r.name(event.Roles.Name(x.GetRole()))
	r.name(changeName(s))
	r.name(yesNo(x.GetAllTenants()))
	r.hex(x.GetCertificate())
	r.text(s.GetReason())
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func isChange(f *fact) bool {
	s := f.event.GetSystem()
	return s.GetKey() != nil || s.GetManifest() != nil || s.GetRule() != nil || s.GetExportKey() != nil
}

// changeName says what a system event does to its object: a key is enrolled, revoked or suspected, a manifest or an export key put in force, a
// role given or taken, a rule set to one of its modes.
func changeName(s *eventv1.System) string {
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Key:
		return event.KeyActions.Name(d.Key.GetAction())
	case *eventv1.System_Manifest, *eventv1.System_ExportKey:
		return "in_force"
	case *eventv1.System_Rule:
		return d.Rule.GetMode()
	case *eventv1.System_Grant:
		if d.Grant.GetRevoked() {
			return "taken"
		}
		return "given"
	}
	return ""
}

func changeRow(r *row, f *fact) {
	s := f.event.GetSystem()
	r.text(s.GetActor())
	switch d := s.GetDetail().(type) {
	case *eventv1.System_Key:
		r.name("key")
		r.name(changeName(s))
		r.text(d.Key.GetInstance())
		r.name("")
		r.hex(d.Key.GetKeyId())
	case *eventv1.System_Manifest:
		r.name("manifest")
		r.name(changeName(s))
		r.text(d.Manifest.GetInstance())
		r.number(uint64(d.Manifest.GetVersion()))
		r.hex(d.Manifest.GetSourceDigest())
	case *eventv1.System_Rule:
		r.name("rule")
		r.name(changeName(s))
		r.text(d.Rule.GetRule())
		r.number(uint64(d.Rule.GetVersion()))
		r.hex(d.Rule.GetSourceDigest())
	case *eventv1.System_ExportKey:
		id := sha256Of(d.ExportKey.GetPublicKey())
		r.name("export_key")
		r.name(changeName(s))
		r.text("")
		r.name("")
		r.hex(id[:])
	}
	r.text(s.GetReason())
}

func containmentRow(r *row, f *fact) {
	s, x := f.event.GetSystem(), f.event.GetSystem().GetContainment()
	r.text(s.GetActor())
	r.name(event.ContainmentStates.Name(x.GetState()))
	r.text(x.GetTarget())
	r.name(x.GetLevel())
	r.text(x.GetPlan())
	r.number(uint64(x.GetStep()))
	r.text(x.GetEvidence())
	r.text(s.GetReason())
}

func reviewRow(r *row, f *fact) {
	s, x := f.event.GetSystem(), f.event.GetSystem().GetReview()
	r.text(s.GetActor())
	r.name(x.GetTopic())
	r.text(x.GetSubject())
	r.name(x.GetOutcome())
	r.time(x.GetNextAt())
	r.text(s.GetReason())
}
