package access

import (
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Short names of the roles, for the table.
const (
	admin     = eventv1.Role_ROLE_ADMIN
	auditor   = eventv1.Role_ROLE_AUDITOR
	analyst   = eventv1.Role_ROLE_ANALYST
	responder = eventv1.Role_ROLE_RESPONDER
	approver  = eventv1.Role_ROLE_APPROVER
	operator  = eventv1.Role_ROLE_OPERATOR
)

// Roles is a set of roles.
type Roles uint32

// EveryRole is the set of all roles that a person can have.
const EveryRole = Roles(1)<<admin | 1<<auditor | 1<<analyst | 1<<responder | 1<<approver | 1<<operator

// RolesOf makes a set. Roles that are not known are left out.
func RolesOf(roles ...eventv1.Role) Roles {
	var set Roles
	for _, r := range roles {
		if r >= admin && r <= operator {
			set |= 1 << r
		}
	}
	return set
}

// Any says whether the sets have a role in common.
func (s Roles) Any(other Roles) bool { return s&other != 0 }

// Has says whether r is in the set.
func (s Roles) Has(r eventv1.Role) bool { return s.Any(RolesOf(r)) }

// List returns the roles of the set in ascending order.
func (s Roles) List() []eventv1.Role {
	var list []eventv1.Role
	for r := admin; RolesOf(r) != 0; r++ {
		if s.Has(r) {
			list = append(list, r)
		}
	}
	return list
}
