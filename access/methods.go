package access

import (
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Scope says how a request's tenant field counts.
type Scope uint8

// Scopes; the package comment explains them.
const (
	OneTenant Scope = iota + 1
	SeenTenants
	TenantOrAll
	AllTenants
	OneOfAll
	ByEmitter
	ByToken
)

// Rule is one row of the table.
type Rule struct {
	Roles    Roles // any one of them suffices; none for ByEmitter and ByToken
	Scope    Scope
	Recorded bool // each call is a System.access leaf in the log of each tenant that it reads
}

// people is whoever has a role.
const people = EveryRole

// Methods is the table of all methods, by full gRPC name.
var Methods = map[string]Rule{
	apiv1.IngestService_Emit_FullMethodName:   {Scope: ByEmitter},
	apiv1.EnrolService_Join_FullMethodName:    {Scope: ByToken},
	apiv1.ControlService_Watch_FullMethodName: {Scope: ByEmitter},

	apiv1.ContainmentService_ResolveTarget_FullMethodName:   {Roles: RolesOf(admin, operator, responder), Scope: SeenTenants},
	apiv1.ContainmentService_PlanContainment_FullMethodName: {Roles: RolesOf(admin, operator, responder), Scope: OneTenant, Recorded: true},
	apiv1.ContainmentService_Contain_FullMethodName:         {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.ContainmentService_Release_FullMethodName:         {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.ContainmentService_ListContained_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: SeenTenants, Recorded: true,
	},

	apiv1.FiringService_ListFirings_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: SeenTenants, Recorded: true,
	},
	apiv1.FiringService_GetFiring_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: OneTenant, Recorded: true,
	},
	apiv1.FiringService_ChangeFiring_FullMethodName: {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.FiringService_ListRules_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: OneTenant, Recorded: true,
	},
	apiv1.FiringService_SetRuleMode_FullMethodName: {Roles: RolesOf(admin, responder), Scope: OneTenant},
	// Whoever may contain may not approve what goes on, and nobody approves by managing people.
	apiv1.ApprovalService_ListApprovals_FullMethodName: {
		Roles: RolesOf(approver, auditor, analyst, responder), Scope: SeenTenants, Recorded: true,
	},
	apiv1.ApprovalService_ShowApproval_FullMethodName: {
		Roles: RolesOf(approver, auditor, analyst, responder), Scope: OneTenant, Recorded: true,
	},
	apiv1.ApprovalService_DecideApproval_FullMethodName: {Roles: RolesOf(approver), Scope: OneTenant},

	apiv1.ArmedService_ListArmed_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: SeenTenants, Recorded: true,
	},
	apiv1.ArmedService_Drill_FullMethodName:        {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.ArmedService_ExtendLeases_FullMethodName: {Roles: RolesOf(admin, operator), Scope: OneTenant},

	apiv1.AdminService_CreateTenant_FullMethodName: {Roles: RolesOf(admin, operator), Scope: AllTenants},
	// Names and sizes of logs; nothing of what is in them. A shell asks for it whenever somebody completes a name.
	apiv1.AdminService_ListTenants_FullMethodName:     {Roles: people, Scope: SeenTenants},
	apiv1.AdminService_CreateInstance_FullMethodName:  {Roles: RolesOf(admin, operator), Scope: OneTenant},
	apiv1.AdminService_CreateJoinToken_FullMethodName: {Roles: RolesOf(admin, operator), Scope: OneTenant},
	apiv1.AdminService_RevokeKey_FullMethodName:       {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.AdminService_SuspectKey_FullMethodName:      {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.AdminService_RotateExportKey_FullMethodName: {Roles: RolesOf(admin), Scope: OneTenant},
	apiv1.AdminService_ListKeys_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: OneTenant, Recorded: true,
	},
	apiv1.AdminService_AddUser_FullMethodName:    {Roles: RolesOf(admin), Scope: TenantOrAll},
	apiv1.AdminService_RemoveUser_FullMethodName: {Roles: RolesOf(admin), Scope: TenantOrAll},
	apiv1.AdminService_ListUsers_FullMethodName:  {Roles: RolesOf(admin, auditor), Scope: SeenTenants, Recorded: true},
	apiv1.AdminService_RecordReview_FullMethodName: {
		Roles: RolesOf(admin, operator, auditor, analyst, responder), Scope: OneTenant,
	},

	// Whoever may erase may not lift what keeps from it.
	apiv1.RetentionService_Erase_FullMethodName:                {Roles: RolesOf(admin), Scope: OneTenant},
	apiv1.RetentionService_Expire_FullMethodName:               {Roles: RolesOf(admin), Scope: OneTenant},
	apiv1.RetentionService_RotateFingerprintKey_FullMethodName: {Roles: RolesOf(admin), Scope: OneTenant},
	apiv1.RetentionService_PlaceHold_FullMethodName:            {Roles: RolesOf(admin, auditor, responder), Scope: OneTenant},
	apiv1.RetentionService_LiftHold_FullMethodName:             {Roles: RolesOf(auditor), Scope: OneTenant},
	apiv1.RetentionService_ListHolds_FullMethodName: {
		Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: OneTenant, Recorded: true,
	},

	apiv1.QueryService_Search_FullMethodName:        {Roles: RolesOf(auditor, analyst, responder), Scope: OneTenant, Recorded: true},
	apiv1.QueryService_Trace_FullMethodName:         {Roles: RolesOf(auditor, analyst, responder), Scope: OneTenant, Recorded: true},
	apiv1.QueryService_Why_FullMethodName:           {Roles: RolesOf(auditor, analyst, responder), Scope: OneTenant, Recorded: true},
	apiv1.QueryService_Content_FullMethodName:       {Roles: RolesOf(auditor, analyst, responder), Scope: OneTenant, Recorded: true},
	apiv1.QueryService_ListInstances_FullMethodName: {Roles: people, Scope: SeenTenants, Recorded: true},

	apiv1.BlastService_Blast_FullMethodName:     {Roles: RolesOf(auditor, analyst, responder), Scope: OneTenant, Recorded: true},
	apiv1.CaseService_OpenCase_FullMethodName:   {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.CaseService_RecordCase_FullMethodName: {Roles: RolesOf(admin, operator, responder), Scope: OneTenant},
	apiv1.CaseService_ListCases_FullMethodName:  {Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: SeenTenants, Recorded: true},
	apiv1.CaseService_GetCase_FullMethodName:    {Roles: RolesOf(admin, operator, responder, auditor, analyst), Scope: OneTenant, Recorded: true},

	// Where notifications go is the operator's business, and no tenant's.
	apiv1.NotifyService_ListReceivers_FullMethodName: {Roles: RolesOf(admin, operator, responder), Scope: AllTenants},
	apiv1.NotifyService_TestReceivers_FullMethodName: {Roles: RolesOf(admin, operator), Scope: AllTenants},

	apiv1.LedgerService_Status_FullMethodName:  {Roles: people, Scope: AllTenants},
	apiv1.LedgerService_Check_FullMethodName:   {Roles: RolesOf(admin, operator, auditor), Scope: SeenTenants},
	apiv1.LedgerService_Rebuild_FullMethodName: {Roles: RolesOf(admin, operator, auditor), Scope: AllTenants},

	// Leaves hold no content and no name, and whoever follows a log would make it grow: reading it is not recorded.
	apiv1.LogService_ReadLog_FullMethodName: {Roles: RolesOf(admin, operator, auditor), Scope: OneTenant},

	apiv1.EvidenceService_Export_FullMethodName:       {Roles: RolesOf(auditor), Scope: OneTenant, Recorded: true},
	apiv1.EvidenceService_ExportPolicy_FullMethodName: {Roles: RolesOf(admin, auditor), Scope: OneTenant},
	apiv1.EvidenceService_Isolation_FullMethodName:    {Roles: RolesOf(admin, auditor), Scope: OneOfAll, Recorded: true},
}
