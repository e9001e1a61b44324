package ingest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// CreateInstance creates an instance, or changes its labels or manifest. What is in force already is not
// recorded again.
func (a *Admin) CreateInstance(ctx context.Context, r *apiv1.CreateInstanceRequest) (*apiv1.CreateInstanceResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	if err := checkInstance(r.GetInstance()); err != nil {
		return nil, err
	}
	old, known := a.instance(r.GetTenant(), r.GetInstance())
	if err := mergeLabels(r, old.Labels); err != nil {
		return nil, err
	}
	changes, version, err := instanceChanges(caller(ctx), r, old, known)
	if err != nil {
		return nil, a.failed(ctx, "create instance", err)
	}
	if len(changes) > 0 {
		if err := a.change(ctx, event.TenantID(r.GetTenant()), changes...); err != nil {
			return nil, err
		}
	}
	return &apiv1.CreateInstanceResponse{ManifestVersion: version}, nil
}

// mergeLabels makes the request's labels whole: those that it does not name are the old ones.
func mergeLabels(r *apiv1.CreateInstanceRequest, old *eventv1.Labels) error {
	if len(r.GetLabelNames()) == 0 {
		return nil
	}
	merged, given := new(eventv1.Labels), r.GetLabels().ProtoReflect()
	proto.Merge(merged, old)
	for i, name := range r.GetLabelNames() {
		field := given.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field == nil {
			return badField(indexed("label_names", i), "is no label")
		}
		if merged.ProtoReflect().Clear(field); given.Has(field) {
			merged.ProtoReflect().Set(field, given.Get(field))
		}
	}
	r.Labels = merged
	return nil
}

func checkInstance(instance string) error {
	switch {
	case !event.ValidName(instance):
		return badField("instance", "must be 1 to 63 of a-z, 0-9 and -")
	case instance == string(event.InstanceCustody):
		return badField("instance", "is reserved for Custody itself")
	}
	return nil
}

func (a *Admin) instance(tenant, instance string) (i registry.Instance, known bool) {
	a.cfg.Admission.View(event.TenantID(tenant), func(s *registry.State) { i, known = s.Instance(instance) })
	return i, known
}

// instanceChanges are the events that lead from old to what was asked for, and the manifest version then.
func instanceChanges(actor string, r *apiv1.CreateInstanceRequest, old registry.Instance, known bool) (changes []*eventv1.System, version uint32, err error) {
	change := &eventv1.InstanceChange{Instance: r.GetInstance(), Labels: r.GetLabels()}
	if !known {
		change.Salt = make([]byte, event.SaltSize)
		if _, err := io.ReadFull(rand.Reader, change.Salt); err != nil {
			return nil, 0, fmt.Errorf("draw salt: %w", err)
		}
	}
	if !known || r.GetLabels() != nil && !proto.Equal(r.GetLabels(), old.Labels) {
		changes = append(changes, &eventv1.System{Actor: actor, Detail: &eventv1.System_Instance{Instance: change}})
	}
	version = old.Version()
	if m := newManifest(r, old); m != nil {
		changes = append(changes, &eventv1.System{Actor: actor, Detail: &eventv1.System_Manifest{Manifest: m}})
		version = m.GetVersion()
	}
	return changes, version, nil
}

// newManifest is the manifest that was asked for, nil if none was or if it is in force.
func newManifest(r *apiv1.CreateInstanceRequest, old registry.Instance) *eventv1.ManifestChange {
	if len(r.GetPermissions()) == 0 && len(r.GetManifestDigest()) == 0 {
		return nil
	}
	m := &eventv1.ManifestChange{
		Instance: r.GetInstance(), Version: old.Version(), Permissions: r.GetPermissions(), SourceDigest: r.GetManifestDigest(),
	}
	if proto.Equal(m, old.Manifest) {
		return nil
	}
	m.Version++
	return m
}

// CreateJoinToken makes a one-time token for one key of one instance.
func (a *Admin) CreateJoinToken(ctx context.Context, r *apiv1.CreateJoinTokenRequest) (*apiv1.CreateJoinTokenResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	if err := a.checkTokenRequest(r); err != nil {
		return nil, err
	}
	e := Enrolment{
		Tenant: r.GetTenant(), Instance: r.GetInstance(), Producer: r.GetProducer(), CreatedBy: caller(ctx),
		ExpiresAt: a.cfg.Now().Add(cmp.Or(time.Duration(r.GetTtl()), DefaultTokenTTL)).UnixNano(),
	}
	if err := a.cfg.Tokens.Sweep(); err != nil {
		return nil, a.failed(ctx, "sweep join tokens", err)
	}
	token, err := a.cfg.Tokens.Create(e)
	if err != nil {
		return nil, a.failed(ctx, "create join token", err)
	}
	a.cfg.Log.InfoContext(ctx, "join token created", slog.Any("for", e), slog.String("by", e.CreatedBy))
	return &apiv1.CreateJoinTokenResponse{Token: token, ExpiresAt: e.ExpiresAt, CaPem: a.cfg.Authority.CertPEM(), Address: a.cfg.Address()}, nil
}

func (a *Admin) checkTokenRequest(r *apiv1.CreateJoinTokenRequest) error {
	if err := checkInstance(r.GetInstance()); err != nil {
		return err
	}
	switch p := r.GetProducer(); {
	case p < eventv1.ProducerClass_PRODUCER_CLASS_AGENT || p > eventv1.ProducerClass_PRODUCER_CLASS_IMPORTER:
		return badField("producer", "must be agent, gateway or importer")
	case r.GetTtl() < 0 || time.Duration(r.GetTtl()) > MaxTokenTTL:
		return badField("ttl", fmt.Sprintf("must be at most %s", MaxTokenTTL))
	}
	if _, known := a.instance(r.GetTenant(), r.GetInstance()); !known {
		return status.Error(codes.NotFound, "instance: unknown")
	}
	return nil
}

// firstOfEmitters is the least index that a leaf of an emitter can have: leaf 0 is the genesis. In a revocation 0 says that nothing is in
// doubt.
const firstOfEmitters = 1

// RevokeKey makes a key invalid from the next leaf on.
func (a *Admin) RevokeKey(ctx context.Context, r *apiv1.RevokeKeyRequest) (*apiv1.RevokeKeyResponse, error) {
	change := &eventv1.KeyChange{Action: eventv1.KeyAction_KEY_ACTION_REVOKED, KeyId: r.GetKeyId()}
	if r.GetSuspect() {
		change.SuspectFrom = max(r.GetSuspectFrom(), firstOfEmitters)
	}
	if err := a.changeKey(ctx, r, change, r.GetTenant(), r.GetReason()); err != nil {
		return nil, err
	}
	return &apiv1.RevokeKeyResponse{}, nil
}

// SuspectKey marks leaves from an index on as in doubt.
func (a *Admin) SuspectKey(ctx context.Context, r *apiv1.SuspectKeyRequest) (*apiv1.SuspectKeyResponse, error) {
	change := &eventv1.KeyChange{Action: eventv1.KeyAction_KEY_ACTION_SUSPECTED, KeyId: r.GetKeyId(), SuspectFrom: r.GetSuspectFrom()}
	if err := a.changeKey(ctx, r, change, r.GetTenant(), r.GetReason()); err != nil {
		return nil, err
	}
	return &apiv1.SuspectKeyResponse{}, nil
}

func (a *Admin) changeKey(ctx context.Context, request proto.Message, change *eventv1.KeyChange, tenant, reason string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, tenant, request); err != nil {
		return err
	}
	index, _, leaves := a.cfg.Ledger.LastLeaf(event.TenantID(tenant))
	switch {
	case len(change.GetKeyId()) != len(signer.KeyID{}):
		return badField("key_id", fmt.Sprintf("must be %d bytes", len(signer.KeyID{})))
	case change.GetSuspectFrom() > 0 && (!leaves || change.GetSuspectFrom() > index):
		return badField("suspect_from", fmt.Sprintf("is beyond the newest leaf, %d", index))
	}
	return a.change(ctx, event.TenantID(tenant), &eventv1.System{
		Actor: caller(ctx), Reason: reason, Detail: &eventv1.System_Key{Key: change},
	})
}

// ListKeys lists the emitter keys with their validity by index, which the ledger alone knows.
func (a *Admin) ListKeys(ctx context.Context, r *apiv1.ListKeysRequest) (*apiv1.ListKeysResponse, error) {
	state, err := a.committed(ctx, event.TenantID(r.GetTenant()))
	if err != nil {
		return nil, a.failed(ctx, "list keys", err)
	}
	response := new(apiv1.ListKeysResponse)
	for _, k := range keysInOrder(state) {
		info := &apiv1.KeyInfo{
			KeyId: bytes.Clone(k.ID[:]), Instance: k.Instance, Producer: k.Producer, ValidFrom: k.From,
			SuspectFrom: k.SuspectFrom, Suspect: k.Suspect,
		}
		if k.To != registry.Forever {
			info.ValidTo, info.Revoked = k.To, true
		}
		response.Keys = append(response.Keys, info)
	}
	response.ExportKeys = exportKeys(state)
	return response, nil
}

func keysInOrder(state *registry.State) []registry.Key {
	keys := state.Keys()
	slices.SortFunc(keys, func(x, y registry.Key) int {
		return cmp.Or(cmp.Compare(x.From, y.From), bytes.Compare(x.ID[:], y.ID[:]))
	})
	return keys
}

// committed waits until the ledger has everything that the stream has for the tenant, and returns its
// registry.
func (a *Admin) committed(ctx context.Context, tenant event.TenantID) (*registry.State, error) {
	ctx, cancel := context.WithTimeout(ctx, ledgerPatience)
	defer cancel()
	seq, err := a.cfg.Admission.LastSeq(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Ledger.WaitCommitted(ctx, seq); err != nil {
		return nil, err
	}
	return a.cfg.Ledger.Registry(ctx, tenant)
}
