package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Answers to calls that are refused. Those about tenants are constant, so that they tell nothing apart.
var (
	noCertificate = status.Error(codes.Unauthenticated, "a client certificate of this server's authority is needed")
	expired       = status.Error(codes.Unauthenticated, "the client certificate has expired")
	noTenant      = status.Error(codes.PermissionDenied, "no such tenant, or you have no role in it")
	noRole        = status.Error(codes.PermissionDenied, "your roles do not allow this")
	notAll        = status.Error(codes.PermissionDenied, "this needs a role over all tenants")
	noMethod      = status.Error(codes.Unimplemented, "no such method")
	noTenantNamed = status.Error(codes.InvalidArgument, "tenant: must be given")
	badTenant     = status.Error(codes.InvalidArgument, "tenant: must be 1 to 63 of a-z, 0-9 and -")
	notRecorded   = status.Error(codes.Unavailable, "the read could not be recorded, so nothing was read")
)

// recordsAtOnce bounds the records that one call over many tenants writes at the same time.
const recordsAtOnce = 16

// Guard authorises calls by the table. Its fields are set before the first call.
type Guard struct {
	Grants   Grants
	Recorder Recorder
	Now      func() time.Time // time.Now outside tests
}

// authorise decides about one call. m is the request.
func (g *Guard) authorise(ctx context.Context, method string, m any) (Call, error) {
	rule, known := Methods[method]
	if !known {
		return Call{}, noMethod
	}
	if rule.Scope == ByEmitter || rule.Scope == ByToken {
		return Call{}, nil
	}
	certificate, err := g.certificate(ctx)
	if err != nil {
		return Call{}, err
	}
	request, ok := m.(proto.Message)
	if !ok {
		return Call{}, noMethod
	}
	return decide(rule, g.Grants.Grants(certificate), certificate, text(request, "tenant"))
}

// certificate returns the fingerprint of the peer's certificate, which TLS has verified.
func (g *Guard) certificate(ctx context.Context) (Fingerprint, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Fingerprint{}, noCertificate
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return Fingerprint{}, noCertificate
	}
	leaf := info.State.VerifiedChains[0][0]
	if g.Now().After(leaf.NotAfter) { // the connection may be older than the certificate's end
		return Fingerprint{}, expired
	}
	return sha256.Sum256(leaf.Raw), nil
}

// decide applies one rule to what the caller is. It asks only about the caller's own tenants.
func decide(rule Rule, grants []Grant, certificate Fingerprint, tenant string) (Call, error) {
	if tenant != "" && !event.ValidName(tenant) && rule.Scope != AllTenants {
		return Call{}, badTenant
	}
	switch {
	case rule.Scope == OneOfAll && tenant != "":
		return overOne(rule, grants, certificate, event.TenantID(tenant))
	case rule.Scope == AllTenants || rule.Scope == TenantOrAll && tenant == "":
		return overAll(rule, grants, certificate)
	case rule.Scope == SeenTenants && tenant == "":
		return overSeen(rule, grants, certificate)
	case tenant == "":
		return Call{}, noTenantNamed
	}
	return inTenant(rule, grants, certificate, event.TenantID(tenant))
}

func overAll(rule Rule, grants []Grant, certificate Fingerprint) (Call, error) {
	at := slices.IndexFunc(grants, func(g Grant) bool { return g.Tenant == event.TenantOperator })
	if at < 0 || !grants[at].Roles.Any(rule.Roles) {
		return Call{}, notAll
	}
	call := newCall(seen(rule, grants), certificate)
	call.Principal.Name, call.All = grants[at].Name, true
	return call, nil
}

// overOne is an act over all tenants about one of them. A grant over all stands in every tenant's log.
func overOne(rule Rule, grants []Grant, certificate Fingerprint, tenant event.TenantID) (Call, error) {
	if _, err := overAll(rule, grants, certificate); err != nil {
		return Call{}, err
	}
	call, err := inTenant(rule, grants, certificate, tenant)
	call.All = err == nil
	return call, err
}

func overSeen(rule Rule, grants []Grant, certificate Fingerprint) (Call, error) {
	visible := seen(rule, grants)
	if len(visible) == 0 {
		return Call{}, noRole
	}
	return newCall(visible, certificate), nil
}

func inTenant(rule Rule, grants []Grant, certificate Fingerprint, tenant event.TenantID) (Call, error) {
	at := slices.IndexFunc(grants, func(g Grant) bool { return g.Tenant == tenant })
	switch {
	case at < 0:
		return Call{}, noTenant
	case !grants[at].Roles.Any(rule.Roles):
		return Call{}, noRole
	}
	return newCall(grants[at:at+1], certificate), nil
}

// seen returns the caller's grants that have one of the rule's roles.
func seen(rule Rule, grants []Grant) []Grant {
	return slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool { return !g.Roles.Any(rule.Roles) })
}

// newCall makes the decision of a call by one person in the logs of at least one grant.
func newCall(grants []Grant, certificate Fingerprint) Call {
	call := Call{Principal: Principal{grants[0].Name, certificate}, as: grants}
	for _, g := range grants {
		call.Tenants = append(call.Tenants, g.Tenant)
	}
	return call
}

// record makes a recorded call durable in the log of each of its tenants.
func (g *Guard) record(ctx context.Context, method string, m any, call Call) (Call, error) {
	if !Methods[method].Recorded {
		return call, nil
	}
	reads, err := call.reads(method, m)
	if err == nil {
		call.Recorded, err = g.recordAll(ctx, reads)
	}
	if field, ok := errors.AsType[*event.FieldError](err); ok {
		return Call{}, status.Error(codes.InvalidArgument, "purpose: "+field.Reason)
	}
	if err != nil {
		slog.ErrorContext(ctx, "read refused: it could not be recorded", slog.String("method", method), slog.Any("error", err))
		return Call{}, notRecorded
	}
	return call, nil
}

// reads makes the record for each tenant of a call.
func (c Call) reads(method string, m any) ([]Read, error) {
	request, ok := m.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("record %s: %T is not a message", method, m)
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", method, err)
	}
	list := make([]Read, len(c.as))
	for i, grant := range c.as {
		list[i] = Read{
			Tenant: grant.Tenant, Principal: Principal{grant.Name, c.Principal.Certificate}, Method: method,
			QueryDigest: sha256.Sum256(encoded), Opened: opens(request), Purpose: text(request, "purpose"),
		}
	}
	return list, nil
}

// recordAll returns the last stream sequence of the records.
func (g *Guard) recordAll(ctx context.Context, reads []Read) (uint64, error) {
	seqs := make([]uint64, len(reads)+1)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(recordsAtOnce)
	for i, read := range reads {
		group.Go(func() (err error) {
			seqs[i], err = g.Recorder.RecordRead(ctx, read)
			return err
		})
	}
	err := group.Wait()
	return slices.Max(seqs), err
}

// opens says whether a request asks for sealed content.
func opens(request proto.Message) bool {
	switch request.(type) {
	case *apiv1.ContentRequest, *apiv1.ShowApprovalRequest:
		return true
	}
	if withheld, has := flag(request, "disclose_nothing"); has {
		return !withheld
	}
	open, _ := flag(request, "open")
	return open
}

func flag(m proto.Message, name protoreflect.Name) (value, has bool) {
	field := m.ProtoReflect().Descriptor().Fields().ByName(name)
	if field == nil || field.Kind() != protoreflect.BoolKind || field.IsList() {
		return false, false
	}
	return m.ProtoReflect().Get(field).Bool(), true
}

func text(m proto.Message, name protoreflect.Name) string {
	field := m.ProtoReflect().Descriptor().Fields().ByName(name)
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() {
		return ""
	}
	return m.ProtoReflect().Get(field).String()
}
