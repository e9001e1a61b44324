package ingest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

const joinDomain = "custody/join/v1\x00"

// JoinMessage is what a key signs to join with a token: "custody/join/v1\0" ‖ SHA-256(token) ‖ public key.
func JoinMessage(token string, key signer.PublicKey) []byte {
	sum := tokenHash(token)
	return append(append([]byte(joinDomain), sum[:]...), key[:]...)
}

// Enrol implements EnrolService. A token that comes with a request that is wrong is not used up.
type Enrol struct {
	apiv1.UnimplementedEnrolServiceServer
	admin   *Admin
	tallies *tallies
}

// NewEnrol returns the service. Refusals are counted with those of the door.
func NewEnrol(admin *Admin, door *Service) *Enrol { return &Enrol{admin: admin, tallies: door.tallies} }

// Join enrols a key with a one-time token.
func (e *Enrol) Join(ctx context.Context, r *apiv1.JoinRequest) (*apiv1.JoinResponse, error) {
	e.admin.mu.Lock()
	defer e.admin.mu.Unlock()
	response, err := e.join(ctx, r)
	if err != nil {
		e.tallies.add(tallyKey{tenant: event.TenantOperator, reason: "join"}, status.Convert(err).Message())
	}
	return response, err
}

func (e *Enrol) join(ctx context.Context, r *apiv1.JoinRequest) (*apiv1.JoinResponse, error) {
	allowed, err := e.admin.cfg.Tokens.Look(r.GetToken())
	if err != nil {
		return nil, e.tokenError(ctx, err)
	}
	key, err := readKey(r, allowed)
	if err != nil {
		return nil, err
	}
	if err := e.admin.catchUp(ctx, event.TenantID(allowed.Tenant)); err != nil {
		return nil, err
	}
	id := key.ID()
	if e.enrolled(r, allowed, key) { // the answer to an earlier request was lost
		if _, err := e.admin.cfg.Tokens.Take(r.GetToken()); err != nil {
			return nil, e.tokenError(ctx, err)
		}
		return e.answer(allowed, id), nil
	}
	change := systemEvent(&eventv1.System{Actor: allowed.CreatedBy, Detail: &eventv1.System_Key{Key: &eventv1.KeyChange{
		Action: eventv1.KeyAction_KEY_ACTION_ENROLLED, KeyId: id[:], PublicKey: key[:], Instance: allowed.Instance,
		Producer: allowed.Producer, Replaces: r.GetReplaces(), Proof: r.GetEnrolment(),
	}}})
	if err := e.admin.try(event.TenantID(allowed.Tenant), []*eventv1.Event{change}); err != nil {
		return nil, e.admin.failed(ctx, "join", err)
	}
	if _, err := e.admin.cfg.Tokens.Take(r.GetToken()); err != nil {
		return nil, e.tokenError(ctx, err)
	}
	if err := e.admin.change(ctx, event.TenantID(allowed.Tenant), change.GetSystem()); err != nil {
		return nil, err
	}
	e.admin.cfg.Log.InfoContext(ctx, "key enrolled", slog.Any("for", allowed), slog.String("key_id", id.String()))
	return e.answer(allowed, id), nil
}

// enrolled reports whether all that is asked for is in force already. Only the key's holder gets here, with a token for the same instance.
func (e *Enrol) enrolled(r *apiv1.JoinRequest, allowed Enrolment, key signer.PublicKey) (already bool) {
	e.admin.cfg.Admission.View(event.TenantID(allowed.Tenant), func(s *registry.State) {
		id := registry.Hash(key.ID())
		k, known := s.Key(id)
		already = known && k.To == registry.Forever && k.Instance == allowed.Instance && k.Producer == allowed.Producer
		if replaces := r.GetReplaces(); already && len(replaces) > 0 {
			old, _ := s.Key(registry.Hash(replaces))
			already = old.ReplacedBy == id
		}
	})
	return already
}

func (e *Enrol) answer(allowed Enrolment, id signer.KeyID) *apiv1.JoinResponse {
	return &apiv1.JoinResponse{
		Tenant: allowed.Tenant, Instance: allowed.Instance, KeyId: id[:], Producer: allowed.Producer, Origin: e.origin(allowed.Tenant),
	}
}

// readKey checks the key of a request and that its holder asks.
func readKey(r *apiv1.JoinRequest, allowed Enrolment) (signer.PublicKey, error) {
	key, err := signer.ParsePublicKey(r.GetPublicKey())
	if err != nil {
		return key, badField("public_key", "must be the 32 bytes of an Ed25519 public key")
	}
	if !key.Verify(JoinMessage(r.GetToken(), key), r.GetProof()) {
		return key, badField("proof", "is not the key's signature over the join message")
	}
	message := registry.EnrolmentMessage(allowed.Tenant, allowed.Instance, allowed.Producer, key[:])
	if !ed25519.Verify(key[:], message, r.GetEnrolment()) {
		return key, badField("enrolment", "is not the key's signature over the enrolment message")
	}
	if n := len(r.GetReplaces()); n != 0 && n != len(signer.KeyID{}) {
		return key, badField("replaces", fmt.Sprintf("must be %d bytes", len(signer.KeyID{})))
	}
	return key, nil
}

func (e *Enrol) origin(tenant string) (origin string) {
	e.admin.cfg.Admission.View(event.TenantID(tenant), func(s *registry.State) { origin = s.Genesis().GetOrigin() })
	return origin
}

// tokenError is the same for a token that is unknown, used or expired.
func (e *Enrol) tokenError(ctx context.Context, err error) error {
	if errors.Is(err, ErrToken) {
		return status.Error(codes.Unauthenticated, "token: "+ErrToken.Error())
	}
	return e.admin.failed(ctx, "read join token", err)
}
