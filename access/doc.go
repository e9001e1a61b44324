// Package access decides who may call what, and has every read by a person recorded.
//
// # Who
//
// A person proves who they are with a TLS client certificate; its SHA-256 fingerprint is looked up in
// the grants that are in force. A grant is a leaf of a tenant's log, so who had access at a time is part
// of the record. A certificate that any grant in force of a log names stands for that grant's principal
// there, with all roles that this principal has in that log. Acts over all tenants need a grant in the
// log of the reserved tenant [event.TenantOperator].
//
// # What
//
// [Methods] is the one table: method → roles, scope and whether the call is recorded. A method that is
// not in it is refused. The scope says how the request's tenant field counts:
//
//	OneTenant      it must name a tenant in which the caller has one of the roles
//	SeenTenants    it may name one; empty is every tenant in which the caller has one of the roles
//	TenantOrAll    it may name one; empty is an act over all tenants
//	AllTenants     the act is over all tenants, whatever the field says
//	OneOfAll       it must name a tenant, and the act is over all tenants; it is recorded in the named tenant's log alone,
//	               because a record in the others would tell them of it
//	ByEmitter      the emitter proves its key in the call itself
//	ByToken        the join token proves itself in the call
//
// # What a stranger can learn
//
// A tenant that does not exist and a tenant in which the caller has no role take the same path and give
// the same bytes: code PermissionDenied, the message [noTenant], no details. The look-up goes from the
// certificate to its tenants, so whether a tenant exists is not even asked.
//
// # Records
//
// A recorded call is made durable in the log of each tenant that it reads, before the method runs: if
// that fails, nothing is disclosed. The record holds the method, the SHA-256 of the request, whether
// sealed content is disclosed, and the certificate.
package access
