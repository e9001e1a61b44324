package access

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Unary authorises and records unary calls.
func (g *Guard) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call, err := g.authorise(ctx, info.FullMethod, request)
	if err != nil {
		return nil, err
	}
	if call, err = g.record(ctx, info.FullMethod, request, call); err != nil {
		return nil, err
	}
	return handler(With(ctx, call), request)
}

// Stream authorises and records server streams at their request, and again before each answer: a role
// that is taken away ends the stream. Streams in which the caller proves itself pass through.
func (g *Guard) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	rule, known := Methods[info.FullMethod]
	switch {
	case !known:
		return noMethod
	case rule.Scope == ByEmitter:
		return handler(server, stream)
	}
	return handler(server, &guarded{ServerStream: stream, guard: g, method: info.FullMethod, ctx: stream.Context()})
}

// guarded is a server stream with one request. The generated handler receives the request before it
// calls the method, so the method's context carries the decision.
type guarded struct {
	grpc.ServerStream
	guard   *Guard
	method  string
	ctx     context.Context //nolint:containedctx // a stream has its context by design
	request proto.Message   // nil before the request
}

// Context carries the decision once the request has been received.
func (s *guarded) Context() context.Context { return s.ctx }

// RecvMsg receives the request, authorises and records it.
func (s *guarded) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	call, err := s.guard.authorise(s.ctx, s.method, m)
	if err != nil {
		return err
	}
	if call, err = s.guard.record(s.ctx, s.method, m, call); err != nil {
		return err
	}
	s.request, _ = m.(proto.Message)
	s.ctx = With(s.ctx, call)
	return nil
}

// SendMsg sends an answer if the caller may still have it.
func (s *guarded) SendMsg(m any) error {
	if s.request == nil {
		return noMethod
	}
	if _, err := s.guard.authorise(s.ctx, s.method, s.request); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}
