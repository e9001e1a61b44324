package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/ca"
)

// ledgerPatience is how long a list that needs leaf indexes waits for the ledger.
const ledgerPatience = 5 * time.Second

// Authority issues client certificates. ca.CA is one.
type Authority interface {
	// IssueClient returns a new certificate and its key.
	IssueClient(name string) (ca.Client, error)
	// CertPEM is the authority's own certificate.
	CertPEM() []byte
}

// ExportKeys keeps private export keys. signer.ExportKeys is one.
type ExportKeys interface {
	// Create makes a key of an algorithm, durably. The error is signer.ErrAlgorithm if there is none of that name.
	Create(algorithm string) (signer.ExportKey, error)
	// Remove takes a private key away. One that is not there is no error.
	Remove(id signer.KeyID) error
}

// AdminConfig is what administration needs. Every field must be set unless it says otherwise.
type AdminConfig struct {
	System    *System
	Admission *Admission
	Ledger    Ledger
	Authority Authority
	Tokens    *Tokens
	Exports   ExportKeys

	LogKey  signer.PublicKey         // signs the checkpoints of every tenant's log
	Domain  string                   // begins the origin of every log
	Address func() string            // where emitters connect
	Notices func() []*eventv1.System // what a new log says from its beginning, besides who may read it; may be nil
	Now     func() time.Time
	Log     *slog.Logger
}

// Admin implements AdminService. Each change is a leaf of the tenant's log; it is tried on a copy of the
// tenant's registry first, so that what does not apply is refused and changes nothing. A call returns when
// its change is in force.
type Admin struct {
	apiv1.UnimplementedAdminServiceServer
	cfg AdminConfig
	mu  sync.Mutex // one change at a time
}

// NewAdmin returns the service.
func NewAdmin(cfg AdminConfig) *Admin { return &Admin{cfg: cfg} }

// begin starts a change: one at a time, on what the stream has now. The caller unlocks mu.
func (a *Admin) begin(ctx context.Context, tenant string, request proto.Message) error {
	if err := checkSecrets(request); err != nil {
		return err
	}
	if tenant == string(event.TenantOperator) {
		return badField("tenant", "is reserved for the operator's own log")
	}
	return a.catchUp(ctx, event.TenantID(tenant))
}

func (a *Admin) catchUp(ctx context.Context, tenant event.TenantID) error {
	if tenant == "" {
		tenant = event.TenantOperator
	}
	if err := a.cfg.Admission.CatchUp(ctx, tenant); err != nil {
		return a.failed(ctx, "read the registry", err)
	}
	return nil
}

// change records system events in a tenant's log and returns when they are in force.
func (a *Admin) change(ctx context.Context, tenant event.TenantID, changes ...*eventv1.System) error {
	events := make([]*eventv1.Event, len(changes))
	for i, c := range changes {
		events[i] = systemEvent(c)
	}
	if err := a.try(tenant, events); err != nil {
		return a.failed(ctx, "change", err)
	}
	seq, err := a.cfg.System.Record(ctx, tenant, events...)
	if err == nil {
		err = a.cfg.Admission.Await(ctx, seq)
	}
	if err != nil {
		return a.failed(ctx, "change", err)
	}
	return nil
}

// try applies events to a copy of the tenant's registry.
func (a *Admin) try(tenant event.TenantID, events []*eventv1.Event) error {
	var trial *registry.State
	if !a.cfg.Admission.View(tenant, func(s *registry.State) { trial = s.Clone() }) {
		return ErrNoTenant
	}
	for _, e := range events {
		e := proto.CloneOf(e)
		a.cfg.System.complete(e, tenant)
		if err := event.Validate(e); err != nil {
			return err
		}
		if err := trial.Apply(tipIndex, e); err != nil {
			return cmp.Or(errors.Unwrap(err), err) // without the index of a leaf that does not come to be
		}
	}
	return nil
}

// registryCodes says what a change that does not apply means to a caller.
var registryCodes = map[error]codes.Code{
	registry.ErrUnknown:  codes.NotFound,
	registry.ErrExists:   codes.AlreadyExists,
	ErrTenantExists:      codes.AlreadyExists,
	registry.ErrProof:    codes.InvalidArgument,
	registry.ErrIndex:    codes.InvalidArgument,
	registry.ErrVersion:  codes.Aborted,
	registry.ErrEnded:    codes.FailedPrecondition,
	registry.ErrInstance: codes.FailedPrecondition,
	registry.ErrHeld:     codes.FailedPrecondition,
}

// failed turns an error into a status. What is the caller's to mend is named; the rest goes to the log.
func (a *Admin) failed(ctx context.Context, what string, err error) error {
	if field, ok := errors.AsType[*event.FieldError](err); ok {
		return badField(requestField(field.Field), field.Reason)
	}
	for sentinel, code := range registryCodes {
		if errors.Is(err, sentinel) {
			return status.Error(code, err.Error())
		}
	}
	a.cfg.Log.ErrorContext(ctx, "administration failed", slog.String("step", what), slog.Any("error", err))
	return status.Errorf(codes.Unavailable, "%s: %v", what, publicCause(err))
}

// requestField is the request's name of an event's field: "labels.client" of "system.instance.labels.client".
func requestField(field string) string {
	parts := strings.SplitN(field, ".", 3)
	if len(parts) == 3 && parts[0] == "system" {
		return parts[2]
	}
	return strings.TrimPrefix(field, "system.")
}

func badField(field, reason string) error {
	return status.Error(codes.InvalidArgument, field+": "+reason)
}

// checkSecrets refuses a request with what looks like a secret in a text: it would stand in the log for ever.
func checkSecrets(request proto.Message) error {
	return protorange.Range(request.ProtoReflect(), func(at protopath.Values) error {
		text, isText := at.Index(-1).Value.Interface().(string)
		if !isText {
			return nil
		}
		if detector, found := event.ScanSecrets([]byte(text)); found {
			return badField(strings.TrimPrefix(at.Path[1:].String(), "."), "looks like a secret ("+detector+"), and the record is for ever")
		}
		return nil
	})
}

// caller is the name of the person behind a call.
func caller(ctx context.Context) string {
	call, _ := access.From(ctx)
	return call.Principal.Name
}

// CreateTenant opens a tenant's log: the genesis, and the grants that the operator gave over all tenants.
func (a *Admin) CreateTenant(ctx context.Context, r *apiv1.CreateTenantRequest) (*apiv1.CreateTenantResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !event.ValidName(r.GetTenant()) {
		return nil, badField("tenant", "must be 1 to 63 of a-z, 0-9 and -")
	}
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	begin := grants(caller(ctx), a.grantsOverAll())
	if a.cfg.Notices != nil {
		begin = append(begin, a.cfg.Notices()...)
	}
	origin, err := a.open(ctx, event.TenantID(r.GetTenant()), r.GetDisplayName(), caller(ctx), begin)
	if err != nil {
		return nil, err
	}
	a.cfg.Log.InfoContext(ctx, "tenant created", slog.String("tenant", r.GetTenant()), slog.String("origin", origin))
	return &apiv1.CreateTenantResponse{Origin: origin}, nil
}

// grants are changes by a person.
func grants(actor string, changes []*eventv1.GrantChange) []*eventv1.System {
	list := make([]*eventv1.System, len(changes))
	for i, g := range changes {
		list[i] = &eventv1.System{Actor: actor, Detail: &eventv1.System_Grant{Grant: g}}
	}
	return list
}

// open writes a log's first batch.
func (a *Admin) open(ctx context.Context, tenant event.TenantID, name, actor string, begin []*eventv1.System) (origin string, err error) {
	genesis, err := a.genesis(name)
	if err != nil {
		return "", a.failed(ctx, "create tenant", err)
	}
	more := make([]*eventv1.Event, len(begin))
	for i, s := range begin {
		more[i] = systemEvent(s)
	}
	first := systemEvent(&eventv1.System{Actor: actor, Detail: &eventv1.System_Genesis{Genesis: genesis}})
	seq, err := a.cfg.System.Create(ctx, tenant, first, more...)
	if err == nil {
		err = a.cfg.Admission.Await(ctx, seq)
	}
	if err != nil {
		return "", a.failed(ctx, "create tenant", err)
	}
	return genesis.GetOrigin(), nil
}

// genesis draws what is random of a log: the end of its name and the salt of Custody's own instance.
func (a *Admin) genesis(name string) (*eventv1.Genesis, error) {
	var id [16]byte
	salt := make([]byte, event.SaltSize)
	_, err := io.ReadFull(rand.Reader, id[:])
	if err == nil {
		_, err = io.ReadFull(rand.Reader, salt)
	}
	if err != nil {
		return nil, fmt.Errorf("draw random bytes: %w", err)
	}
	system, log := a.cfg.System.key.Public(), a.cfg.LogKey
	return &eventv1.Genesis{
		Origin: a.cfg.Domain + "/custody/" + hex.EncodeToString(id[:]), SystemKey: system[:], LogKey: log[:],
		DisplayName: name, SystemSalt: salt,
	}, nil
}

// ListTenants lists the tenants that the caller may see.
func (a *Admin) ListTenants(ctx context.Context, _ *apiv1.ListTenantsRequest) (*apiv1.ListTenantsResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ListTenantsResponse)
	for _, tenant := range call.Tenants {
		if tenant == event.TenantOperator {
			continue
		}
		info := &apiv1.TenantInfo{Tenant: string(tenant)}
		if index, _, any := a.cfg.Ledger.LastLeaf(tenant); any {
			info.Size = index + 1
		}
		a.cfg.Admission.View(tenant, func(s *registry.State) {
			info.DisplayName, info.Origin = s.Genesis().GetDisplayName(), s.Genesis().GetOrigin()
			info.Instances = uint32(len(s.Instances()))
		})
		response.Tenants = append(response.Tenants, info)
	}
	return response, nil
}
