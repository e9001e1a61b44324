package access

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Allow authorises and records a call that came over HTTP as if it were the gRPC call of the same method, and returns a context that
// carries the decision. Its errors are those of the interceptors.
func (g *Guard) Allow(ctx context.Context, state *tls.ConnectionState, method string, request proto.Message) (context.Context, error) {
	if state == nil {
		return nil, noCertificate
	}
	ctx = peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: *state}})
	call, err := g.authorise(ctx, method, request)
	if err != nil {
		return nil, err
	}
	if call, err = g.record(ctx, method, request, call); err != nil {
		return nil, err
	}
	return With(ctx, call), nil
}

// HTTPStatus is the status code for an error of a call. That of a tenant that does not exist is that of one that is somebody else's.
func HTTPStatus(err error) int {
	if errors.Is(err, noTenant) {
		return http.StatusNotFound
	}
	switch status.Code(err) {
	case codes.OK:
		return http.StatusOK
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.NotFound:
		return http.StatusNotFound
	case codes.InvalidArgument:
		return http.StatusBadRequest
	default:
		return http.StatusServiceUnavailable
	}
}
