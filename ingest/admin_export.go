package ingest

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// RotateExportKey puts a new export key in force. Its private key is durable before the log names it, and that of the one before
// is taken away once the stream has the change: it signs nothing more. A key that a crash leaves without a record is of no use.
func (a *Admin) RotateExportKey(ctx context.Context, r *apiv1.RotateExportKeyRequest) (*apiv1.RotateExportKeyResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(ctx, r.GetTenant(), r); err != nil {
		return nil, err
	}
	switch r.GetAlgorithm() {
	case signer.AlgorithmEd25519, signer.AlgorithmP256:
	default:
		return nil, badField("algorithm", signer.ErrAlgorithm.Error())
	}
	if r.GetReason() == "" {
		return nil, badField("reason", "missing")
	}
	tenant, old := event.TenantID(r.GetTenant()), signer.KeyID{}
	if !a.cfg.Admission.View(tenant, func(s *registry.State) { old = signer.KeyID(s.ExportKey().ID) }) {
		return nil, a.failed(ctx, "rotate", ErrNoTenant)
	}
	public, err := a.exchange(ctx, tenant, old, r)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Exports.Remove(old); err != nil { // the change is in force all the same
		a.cfg.Log.WarnContext(ctx, "a replaced export key is still there", slog.String("tenant", string(tenant)), slog.String("key", old.String()), slog.Any("error", err))
	}
	id := public.ID()
	return &apiv1.RotateExportKeyResponse{KeyId: id[:], PublicKey: []byte(public)}, nil
}

// exchange makes a key and records that it replaces the old one.
func (a *Admin) exchange(ctx context.Context, tenant event.TenantID, old signer.KeyID, r *apiv1.RotateExportKeyRequest) (signer.ExportKey, error) {
	public, err := a.cfg.Exports.Create(r.GetAlgorithm())
	if err != nil {
		return "", a.failed(ctx, "make export key", err)
	}
	return public, a.change(ctx, tenant, &eventv1.System{
		Actor: caller(ctx), Reason: r.GetReason(),
		Detail: &eventv1.System_ExportKey{ExportKey: &eventv1.ExportKeyChange{PublicKey: []byte(public), Replaces: old[:]}},
	})
}

// exportKeys lists the keys that signed exports of a log, the one in force last.
func exportKeys(state *registry.State) []*apiv1.ExportKeyInfo {
	var list []*apiv1.ExportKeyInfo
	for _, k := range state.ExportKeys() {
		info := &apiv1.ExportKeyInfo{
			KeyId: bytes.Clone(k.ID[:]), PublicKey: []byte(k.PublicKey), Algorithm: signer.ExportKey(k.PublicKey).Algorithm(), ValidFrom: k.From,
		}
		if k.To != registry.Forever {
			info.ValidTo, info.Replaced = k.To, true
		}
		list = append(list, info)
	}
	return list
}
