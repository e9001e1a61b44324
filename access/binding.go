package access

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// BindingLabel is the label of the TLS keying material (RFC 5705) that an emitter's proof is bound to.
const BindingLabel = "EXPORTER-custody-hello"

// BindingSize is the length of that keying material in bytes.
const BindingSize = 32

// ChannelBinding is keying material that only the two ends of this TLS connection have. The error is a status.
func ChannelBinding(ctx context.Context) ([]byte, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "handshake: the connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, status.Error(codes.FailedPrecondition, "handshake: the connection must use TLS")
	}
	binding, err := info.State.ExportKeyingMaterial(BindingLabel, nil, BindingSize)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "handshake: %v", err)
	}
	return binding, nil
}
