package edgetest

import (
	"crypto/rand"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// brake is the ControlService of a server.
type brake struct {
	apiv1.UnimplementedControlServiceServer
	server *Server

	// Guarded by the server's mutex.
	control *apiv1.Control
	ttl     time.Duration
	changed chan struct{} // closed and replaced with every change
	renewed []*apiv1.Renew
}

func newBrake(s *Server) *brake {
	return &brake{server: s, control: &apiv1.Control{Version: 1}, ttl: time.Minute, changed: make(chan struct{})}
}

// Control puts something in force for every gate from now on. The version is set.
func (s *Server) Control(c *apiv1.Control) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Version = s.brake.control.GetVersion() + 1
	s.brake.control = c
	close(s.brake.changed)
	s.brake.changed = make(chan struct{})
}

// Lease is how long leases are from now on; 0 lends none.
func (s *Server) Lease(ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brake.ttl = ttl
}

// Renewals are what gates have said, in order.
func (s *Server) Renewals() []*apiv1.Renew {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.brake.renewed)
}

type watchStream = grpc.BidiStreamingServer[apiv1.WatchRequest, apiv1.WatchResponse]

// Watch implements ControlService.
func (b *brake) Watch(stream watchStream) error {
	if err := b.handshake(stream); err != nil {
		return err
	}
	requests := make(chan *apiv1.Renew)
	go func() {
		defer close(requests)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r.GetRenew():
			case <-stream.Context().Done():
				return
			}
		}
	}()
	return b.serve(stream, requests)
}

func (b *brake) serve(stream watchStream, requests <-chan *apiv1.Renew) error {
	sent := uint64(0)
	for {
		control, changed, ttl := b.now()
		if control.GetVersion() != sent {
			sent = control.GetVersion()
			if err := stream.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Control{Control: control}}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case r, more := <-requests:
			if !more {
				return nil
			}
			b.note(r)
			lease := &apiv1.Lease{Number: r.GetNumber(), Ttl: int64(ttl)}
			if err := stream.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Lease{Lease: lease}}); err != nil {
				return err
			}
		}
	}
}

func (b *brake) now() (*apiv1.Control, <-chan struct{}, time.Duration) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return b.control, b.changed, b.ttl
}

func (b *brake) note(r *apiv1.Renew) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	b.renewed = append(b.renewed, r)
}

func (b *brake) handshake(stream watchStream) error {
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	err = stream.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Challenge{Challenge: &apiv1.Challenge{Nonce: nonce}}})
	if err != nil {
		return err
	}
	proof, err := stream.Recv()
	if err != nil {
		return err
	}
	p, _ := peer.FromContext(stream.Context())
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	binding, err := info.State.ExportKeyingMaterial("EXPORTER-custody-hello", nil, 32)
	if err != nil {
		return err
	}
	m := b.server.member(hello.GetHello().GetKeyId())
	if m == nil || !m.key.Verify(slices.Concat([]byte("custody/watch/v1\x00"), nonce, binding), proof.GetProof().GetSignature()) {
		return status.Error(codes.PermissionDenied, "hello: not enrolled")
	}
	return nil
}
