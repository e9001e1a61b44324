package ingest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// The handshake of Emit.
const (
	// ProtocolVersion is the only version of the protocol.
	ProtocolVersion = 1
	// BindingLabel is the label of the TLS keying material (RFC 5705) that a proof is bound to.
	BindingLabel = access.BindingLabel

	helloDomain = "custody/hello/v1\x00"
	nonceSize   = 32
	maxSoftware = 256 // bytes of Hello.software
)

// notEnrolled is the one answer to a tenant, instance or key that does not exist, is another's or was not
// proven.
var notEnrolled = status.Error(codes.PermissionDenied, "hello: no such key is enrolled for this tenant and instance")

// ProofMessage is what an emitter signs to prove its key on one connection.
func ProofMessage(nonce, binding []byte) []byte {
	return append(append([]byte(helloDomain), nonce...), binding...)
}

type emitStream = grpc.BidiStreamingServer[apiv1.EmitRequest, apiv1.EmitResponse]

// handshake learns who the emitter is. The error is a status.
func (s *Service) handshake(link emitStream, requests <-chan received) (*session, error) {
	timer := time.NewTimer(handshakeTimeout)
	defer timer.Stop()
	hello, err := s.await(requests, timer)
	if err != nil {
		return nil, err
	}
	who, err := readHello(hello.GetHello())
	if err != nil {
		return nil, err
	}
	nonce, err := challenge(link)
	if err != nil {
		return nil, err
	}
	proof, err := s.await(requests, timer)
	if err != nil {
		return nil, err
	}
	binding, err := access.ChannelBinding(link.Context())
	if err != nil {
		return nil, err
	}
	return s.admit(link.Context(), who, ProofMessage(nonce, binding), proof.GetProof().GetSignature())
}

// await waits for one message of the handshake, not for ever.
func (s *Service) await(requests <-chan received, timer *time.Timer) (*apiv1.EmitRequest, error) {
	select {
	case r := <-requests:
		return r.request, r.err
	case <-s.drained:
		return nil, stopping
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "handshake: not done within %s", handshakeTimeout)
	}
}

func readHello(h *apiv1.Hello) (*emitter, error) {
	switch {
	case h == nil:
		return nil, status.Error(codes.InvalidArgument, "message: the first must be hello")
	case h.GetVersion() != ProtocolVersion:
		return nil, status.Errorf(codes.InvalidArgument, "hello.version: must be %d", ProtocolVersion)
	case !event.ValidName(h.GetTenant()):
		return nil, status.Error(codes.InvalidArgument, "hello.tenant: must be 1 to 63 of a-z, 0-9 and -")
	case !event.ValidName(h.GetInstance()):
		return nil, status.Error(codes.InvalidArgument, "hello.instance: must be 1 to 63 of a-z, 0-9 and -")
	case len(h.GetKeyId()) != len(signer.KeyID{}):
		return nil, status.Errorf(codes.InvalidArgument, "hello.key_id: must be %d bytes", len(signer.KeyID{}))
	case len(h.GetSoftware()) > maxSoftware:
		return nil, status.Errorf(codes.InvalidArgument, "hello.software: longer than %d bytes", maxSoftware)
	}
	return &emitter{
		tenant: event.TenantID(h.GetTenant()), instance: event.InstanceID(h.GetInstance()), keyID: signer.KeyID(h.GetKeyId()),
	}, nil
}

func challenge(link emitStream) ([]byte, error) {
	nonce := make([]byte, nonceSize)
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, status.Errorf(codes.Internal, "challenge: %v", err)
	}
	return nonce, link.Send(&apiv1.EmitResponse{Message: &apiv1.EmitResponse_Challenge{Challenge: &apiv1.Challenge{Nonce: nonce}}})
}

// admit checks the proof with the enrolled key, and reads where the emitter stands. Every stranger gets the
// same answer.
func (s *Service) admit(ctx context.Context, who *emitter, message, proof []byte) (*session, error) {
	member, known, err := s.cfg.Admission.Find(ctx, who.tenant, who.keyID)
	if err != nil {
		return nil, s.unavailable(ctx, "handshake", err)
	}
	if !known || member.Instance != who.instance || !member.Key.Verify(message, proof) {
		s.tallies.add(tallyKey{tenant: event.TenantOperator, reason: "hello"}, "hello: not enrolled, or not proven")
		return nil, notEnrolled
	}
	if member.Ended {
		s.tallies.add(who.tallyKey(reasonName(badKey)), "hello: the key was revoked or rotated out")
		return nil, status.Error(codes.PermissionDenied, "hello.key_id: the key was revoked or rotated out")
	}
	who.key, who.verified = member.Key, s.cfg.Verified
	session := &session{service: s, emitter: *who, member: member}
	if err := session.open(ctx); err != nil {
		return nil, s.unavailable(ctx, "handshake", err)
	}
	return session, nil
}

// unavailable is the answer when the fault is ours. The cause stays in the log.
func (s *Service) unavailable(ctx context.Context, what string, err error) error {
	s.cfg.Log.ErrorContext(ctx, "cannot answer", slog.String("step", what), slog.Any("error", err))
	return status.Errorf(codes.Unavailable, "%s: %v", what, publicCause(err))
}

// errFault stands for a cause that is nobody's business outside.
var errFault = errors.New("the server cannot do this now; its log says why")

// publicCause is what an error tells the caller to do, without our names and paths.
func publicCause(err error) error {
	for _, cause := range []error{stream.ErrPushback, stream.ErrUnavailable, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, cause) {
			return cause
		}
	}
	return errFault
}
