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
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
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
	asked   []*apiv1.AskApproval
	answer  func(*apiv1.AskApproval) *apiv1.ApprovalAnswer
}

func newBrake(s *Server) *brake {
	return &brake{server: s, control: &apiv1.Control{Version: 1}, ttl: time.Minute, changed: make(chan struct{}), answer: nobody}
}

// nobody is the answer where there is no approver.
func nobody(a *apiv1.AskApproval) *apiv1.ApprovalAnswer {
	return &apiv1.ApprovalAnswer{Request: a.GetRequest(), State: eventv1.ApprovalState_APPROVAL_STATE_WITHDRAWN, Reason: "nobody to ask"}
}

// Answer sets how questions are answered from now on; nil is not at all. At first there is nobody to ask.
func (s *Server) Answer(answer func(*apiv1.AskApproval) *apiv1.ApprovalAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brake.answer = answer
}

// Asked are the questions and withdrawals that gates have sent, in order.
func (s *Server) Asked() []*apiv1.AskApproval {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.brake.asked)
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
	requests := make(chan *apiv1.WatchRequest)
	go func() {
		defer close(requests)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- r:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	return b.serve(stream, requests)
}

func (b *brake) serve(stream watchStream, requests <-chan *apiv1.WatchRequest) error {
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
			if err := b.respond(stream, r, ttl); err != nil {
				return err
			}
		}
	}
}

// respond answers a question or a renewal.
func (b *brake) respond(stream watchStream, r *apiv1.WatchRequest, ttl time.Duration) error {
	if a := r.GetAsk(); a != nil {
		if answer := b.answerTo(a); answer != nil {
			return stream.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Answer{Answer: answer}})
		}
		return nil
	}
	b.note(r.GetRenew())
	lease := &apiv1.Lease{Number: r.GetRenew().GetNumber(), Ttl: int64(ttl)}
	return stream.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Lease{Lease: lease}})
}

// answerTo is the answer to a question; a withdrawal has none.
func (b *brake) answerTo(a *apiv1.AskApproval) *apiv1.ApprovalAnswer {
	b.server.mu.Lock()
	b.asked = append(b.asked, a)
	answer := b.answer
	b.server.mu.Unlock()
	if answer == nil || a.GetWithdrawn() {
		return nil
	}
	return answer(a)
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
