package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/ca"
)

// personName is what people are called: pseudonymous, and safe in file names.
var personName = regexp.MustCompile(`^[a-z0-9._-]{1,63}$`)

// authorityName is whose certificate lies beside those of people, under this name.
const authorityName = "ca"

// AddUser grants a role and issues a client certificate. A grant over all tenants is written to the
// operator's log first, and then to every tenant's: what is missing after a crash is added by Reconcile.
func (a *Admin) AddUser(ctx context.Context, r *apiv1.AddUserRequest) (*apiv1.AddUserResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	if err := a.checkPerson(r); err != nil {
		return nil, err
	}
	client, fingerprint, err := a.issue(r.GetName())
	if err != nil {
		return nil, a.failed(ctx, "issue certificate", err)
	}
	grant := &eventv1.GrantChange{Principal: r.GetName(), Role: r.GetRole(), Certificate: fingerprint, AllTenants: r.GetTenant() == ""}
	for _, tenant := range a.logsOf(r.GetTenant()) {
		if err := a.change(ctx, tenant, &eventv1.System{Actor: caller(ctx), Detail: &eventv1.System_Grant{Grant: grant}}); err != nil {
			return nil, err
		}
	}
	a.cfg.Log.InfoContext(ctx, "role granted", slog.String("name", r.GetName()), slog.String("role", event.Roles.Name(r.GetRole())),
		slog.String("tenant", r.GetTenant()), slog.String("by", caller(ctx)))
	return &apiv1.AddUserResponse{CertificatePem: client.CertPEM, KeyPem: client.KeyPEM, CaPem: a.cfg.Authority.CertPEM()}, nil
}

// issue makes a client certificate and the fingerprint that a grant holds.
func (a *Admin) issue(name string) (ca.Client, []byte, error) {
	client, err := a.cfg.Authority.IssueClient(name)
	if err != nil {
		return ca.Client{}, nil, err
	}
	fingerprint, err := hex.DecodeString(client.Fingerprint)
	return client, fingerprint, err
}

// logsOf are the logs that a grant stands in: the tenant's, or the operator's and then everybody's.
func (a *Admin) logsOf(tenant string) []event.TenantID {
	if tenant != "" {
		return []event.TenantID{event.TenantID(tenant)}
	}
	all := slices.DeleteFunc(a.cfg.Admission.Tenants(), func(t event.TenantID) bool { return t == event.TenantOperator })
	return append([]event.TenantID{event.TenantOperator}, all...)
}

// checkPerson keeps a name from standing for two people in one log: one of a tenant, one of the operator.
func (a *Admin) checkPerson(r *apiv1.AddUserRequest) error {
	switch {
	case !personName.MatchString(r.GetName()):
		return badField("name", "must be 1 to 63 of a-z, 0-9, dot, _ and -")
	case r.GetName() == authorityName:
		return badField("name", "is reserved: "+authorityName+".crt is the authority's certificate")
	case event.Roles.Name(r.GetRole()) == "":
		return badField("role", "must be admin, auditor, analyst, responder, approver or operator")
	}
	for _, tenant := range a.logsOf(r.GetTenant()) {
		for _, g := range a.grantsOf(tenant, r.GetName()) {
			if g.AllTenants != (r.GetTenant() == "") {
				return status.Error(codes.AlreadyExists, "name: taken by another person, who has a role "+grantScope(g, tenant))
			}
		}
	}
	return nil
}

func grantScope(g registry.Grant, tenant event.TenantID) string {
	if g.AllTenants {
		return "over all tenants"
	}
	return "in tenant " + string(tenant)
}

func (a *Admin) grantsOf(tenant event.TenantID, name string) (grants []registry.Grant) {
	a.cfg.Admission.View(tenant, func(s *registry.State) {
		for _, g := range s.Grants() {
			if g.Principal == name {
				grants = append(grants, g)
			}
		}
	})
	return grants
}

// RemoveUser takes a person's roles away. Over all tenants the operator's log comes first: from then on
// none of the copies counts.
func (a *Admin) RemoveUser(ctx context.Context, r *apiv1.RemoveUserRequest) (*apiv1.RemoveUserResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	if err := a.checkRemoval(r); err != nil {
		return nil, err
	}
	for _, tenant := range a.logsOf(r.GetTenant()) {
		changes := revocations(caller(ctx), a.grantsOf(tenant, r.GetName()))
		if len(changes) == 0 {
			continue
		}
		if err := a.change(ctx, tenant, changes...); err != nil {
			return nil, err
		}
	}
	a.cfg.Log.InfoContext(ctx, "roles taken away", slog.String("name", r.GetName()), slog.String("tenant", r.GetTenant()), slog.String("by", caller(ctx)))
	return &apiv1.RemoveUserResponse{}, nil
}

func (a *Admin) checkRemoval(r *apiv1.RemoveUserRequest) error {
	first := a.logsOf(r.GetTenant())[0]
	grants := a.grantsOf(first, r.GetName())
	switch {
	case len(grants) == 0:
		return status.Error(codes.NotFound, "name: has no role here")
	case r.GetTenant() != "" && grants[0].AllTenants:
		return status.Error(codes.FailedPrecondition, "name: the role was given over all tenants, and can only be taken away over all")
	case r.GetTenant() == "" && !a.otherAdmin(r.GetName()):
		return status.Error(codes.FailedPrecondition, "name: is the last admin over all tenants")
	}
	return nil
}

// otherAdmin reports whether somebody else is admin over all tenants.
func (a *Admin) otherAdmin(name string) (other bool) {
	a.cfg.Admission.View(event.TenantOperator, func(s *registry.State) {
		other = slices.ContainsFunc(s.Grants(), func(g registry.Grant) bool {
			return g.Role == eventv1.Role_ROLE_ADMIN && g.Principal != name
		})
	})
	return other
}

func revocations(actor string, grants []registry.Grant) []*eventv1.System {
	changes := make([]*eventv1.System, len(grants))
	for i, g := range grants {
		change := &eventv1.GrantChange{Principal: g.Principal, Role: g.Role, AllTenants: g.AllTenants, Revoked: true}
		changes[i] = &eventv1.System{Actor: actor, Detail: &eventv1.System_Grant{Grant: change}}
	}
	return changes
}

// ListUsers lists the grants of the tenants that the caller may see, each grant over all tenants once.
func (a *Admin) ListUsers(ctx context.Context, _ *apiv1.ListUsersRequest) (*apiv1.ListUsersResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ListUsersResponse)
	for _, tenant := range call.Tenants {
		a.cfg.Admission.View(tenant, func(s *registry.State) {
			response.Grants = appendGrants(response.Grants, tenant, s.Grants())
		})
	}
	slices.SortFunc(response.Grants, compareGrants)
	response.Grants = slices.CompactFunc(response.Grants, func(x, y *apiv1.GrantInfo) bool { return compareGrants(x, y) == 0 })
	return response, nil
}

func appendGrants(list []*apiv1.GrantInfo, tenant event.TenantID, grants []registry.Grant) []*apiv1.GrantInfo {
	for _, g := range grants {
		where := string(tenant)
		if g.AllTenants {
			where = ""
		}
		for _, certificate := range g.Certificates {
			list = append(list, &apiv1.GrantInfo{Name: g.Principal, Tenant: where, Role: g.Role, Certificate: bytes.Clone(certificate[:])})
		}
	}
	return list
}

func compareGrants(x, y *apiv1.GrantInfo) int {
	return cmp.Or(cmp.Compare(x.GetName(), y.GetName()), cmp.Compare(x.GetTenant(), y.GetTenant()),
		cmp.Compare(x.GetRole(), y.GetRole()), bytes.Compare(x.GetCertificate(), y.GetCertificate()))
}

// grantsOverAll are the operator's grants over all tenants, one for each certificate, as events.
func (a *Admin) grantsOverAll() (grants []*eventv1.GrantChange) {
	a.cfg.Admission.View(event.TenantOperator, func(s *registry.State) {
		for _, g := range s.Grants() {
			grants = append(grants, grantChanges(g)...)
		}
	})
	return grants
}

func grantChanges(g registry.Grant) []*eventv1.GrantChange {
	changes := make([]*eventv1.GrantChange, len(g.Certificates))
	for i, certificate := range g.Certificates {
		changes[i] = &eventv1.GrantChange{Principal: g.Principal, Role: g.Role, Certificate: bytes.Clone(certificate[:]), AllTenants: true}
	}
	return changes
}

// Bootstrap opens the operator's log, if there is none, with one person who has the given roles over all
// tenants. keep makes the person's certificate durable before the log is opened: a crash in between costs
// nothing, as the next start issues another.
func (a *Admin) Bootstrap(ctx context.Context, name string, keep func(ca.Client) error, roles ...eventv1.Role) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.catchUp(ctx, event.TenantOperator); err != nil {
		return err
	}
	if a.cfg.Admission.View(event.TenantOperator, func(*registry.State) {}) {
		return nil
	}
	client, fingerprint, err := a.issue(name)
	if err != nil {
		return fmt.Errorf("issue certificate: %w", err)
	}
	if err := keep(client); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	var changes []*eventv1.GrantChange
	for _, role := range roles {
		changes = append(changes, &eventv1.GrantChange{Principal: name, Role: role, Certificate: fingerprint, AllTenants: true})
	}
	_, err = a.open(ctx, event.TenantOperator, "operator", "", grants("", changes))
	return err
}

// Reconcile brings every tenant's grants over all tenants in line with the operator's log, after a crash in
// the middle of AddUser or RemoveUser.
func (a *Admin) Reconcile(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	want := a.grantsOverAll()
	for _, tenant := range a.cfg.Admission.Tenants() {
		if changes := a.differences(tenant, want); tenant != event.TenantOperator && len(changes) > 0 {
			if err := a.change(ctx, tenant, changes...); err != nil {
				return err
			}
		}
	}
	return nil
}

// differences are the changes that make a tenant's grants over all tenants those that are wanted.
func (a *Admin) differences(tenant event.TenantID, want []*eventv1.GrantChange) (changes []*eventv1.System) {
	var have []*eventv1.GrantChange
	a.cfg.Admission.View(tenant, func(s *registry.State) {
		for _, g := range s.Grants() {
			if g.AllTenants {
				have = append(have, grantChanges(g)...)
			}
		}
	})
	for _, g := range missing(want, have) {
		changes = append(changes, &eventv1.System{Detail: &eventv1.System_Grant{Grant: g}})
	}
	for _, g := range missing(have, want) {
		g.Revoked = true
		changes = append(changes, &eventv1.System{Detail: &eventv1.System_Grant{Grant: g}})
	}
	return changes
}

// missing are the grants of one list that are not in the other.
func missing(list, from []*eventv1.GrantChange) []*eventv1.GrantChange {
	return slices.DeleteFunc(slices.Clone(list), func(g *eventv1.GrantChange) bool {
		return slices.ContainsFunc(from, func(f *eventv1.GrantChange) bool {
			return f.GetPrincipal() == g.GetPrincipal() && f.GetRole() == g.GetRole() && bytes.Equal(f.GetCertificate(), g.GetCertificate())
		})
	})
}
