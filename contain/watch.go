package contain

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// The handshake of Watch.
const (
	// ProtocolVersion is the only version of the protocol.
	ProtocolVersion = 1
	// WatchDomain separates the proof of Watch from every other signature.
	WatchDomain = "custody/watch/v1\x00"

	nonceSize = 32
	// handshakePatience bounds the time from the first byte to the proof.
	handshakePatience = 10 * time.Second
	// maxReported is how many calls of each sort a renewal may name.
	maxReported = 64
)

var (
	// notEnrolled is the one answer to whatever is wrong with a gate's key.
	notEnrolled = status.Error(codes.PermissionDenied, "hello: no such key is enrolled for this tenant and instance")
	keyEnded    = status.Error(codes.PermissionDenied, "the key was revoked or rotated out")
	stopping    = status.Error(codes.Unavailable, "the server is stopping: connect again")
)

type watchStream = grpc.BidiStreamingServer[apiv1.WatchRequest, apiv1.WatchResponse]

// Watch serves one gate.
func (e *Engine) Watch(link watchStream) error {
	ended := make(chan struct{})
	defer close(ended)
	requests := receive(link, ended)
	w, err := e.greet(link, requests)
	if err != nil {
		return err
	}
	defer e.leases.connected(w.key.ID, w.asks)()
	return w.serve(requests)
}

type received struct {
	request *apiv1.WatchRequest
	err     error
}

// receive passes on what comes until an error, or until the method has ended.
func receive(link watchStream, ended <-chan struct{}) <-chan received {
	requests := make(chan received)
	go func() {
		for {
			request, err := link.Recv()
			select {
			case requests <- received{request, err}:
			case <-ended:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return requests
}

// watcher is one gate's stream. It belongs to one goroutine.
type watcher struct {
	engine *Engine
	link   watchStream
	tenant event.TenantID
	key    registry.Key

	sent *apiv1.Control // the newest

	judged  chan uint64    // numbers of questions that the rules have answered
	waiting int            // questions that are open
	nonce   []byte         // of the connection
	asks    chan ask       // exercises that somebody wants
	open    map[uint64]ask // exercises that the gate has not answered
	count   uint64         // of exercises

	put map[event.ID]*putQuestion // to approvers
}

// greet learns which gate this is, and has it prove its key.
func (e *Engine) greet(link watchStream, requests <-chan received) (*watcher, error) {
	timer := time.NewTimer(handshakePatience)
	defer timer.Stop()
	first, err := e.next(requests, timer)
	if err != nil {
		return nil, err
	}
	hello := first.GetHello()
	if hello.GetVersion() != ProtocolVersion || len(hello.GetKeyId()) != event.DigestSize {
		return nil, status.Errorf(codes.InvalidArgument, "hello: must be the first message, with version %d and a key id of %d bytes", ProtocolVersion, event.DigestSize)
	}
	nonce := make([]byte, nonceSize)
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, status.Errorf(codes.Internal, "challenge: %v", err)
	}
	if err := link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Challenge{Challenge: &apiv1.Challenge{Nonce: nonce}}}); err != nil {
		return nil, err
	}
	second, err := e.next(requests, timer)
	if err != nil {
		return nil, err
	}
	binding, err := access.ChannelBinding(link.Context())
	if err != nil {
		return nil, err
	}
	w, err := e.admit(link, hello, ProofMessage(nonce, binding), second.GetProof().GetSignature())
	if err != nil {
		return nil, err
	}
	w.nonce, w.asks, w.open = nonce, make(chan ask), make(map[uint64]ask)
	return w, nil
}

// ProofMessage is what a gate signs to prove its key on one connection.
func ProofMessage(nonce, binding []byte) []byte {
	return append(append([]byte(WatchDomain), nonce...), binding...)
}

// next waits for one message of the handshake, not for ever.
func (e *Engine) next(requests <-chan received, timer *time.Timer) (*apiv1.WatchRequest, error) {
	select {
	case r := <-requests:
		return r.request, r.err
	case <-e.drained:
		return nil, stopping
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "handshake: not done within %s", handshakePatience)
	}
}

// admit checks the proof with the enrolled key. Every stranger gets the same answer.
func (e *Engine) admit(link watchStream, hello *apiv1.Hello, message, proof []byte) (*watcher, error) {
	w := &watcher{engine: e, link: link, tenant: event.TenantID(hello.GetTenant()), judged: make(chan uint64), put: make(map[event.ID]*putQuestion)}
	w.key.ID = registry.Hash(hello.GetKeyId())
	known := w.lookUp()
	if !known {
		if err := e.cfg.Roster.CatchUp(link.Context(), w.tenant); err != nil {
			e.cfg.Log.ErrorContext(link.Context(), "cannot answer a gate", slog.Any("error", err))
			return nil, status.Error(codes.Unavailable, "handshake: the server cannot do this now")
		}
		known = w.lookUp()
	}
	if !known || w.key.Instance != hello.GetInstance() || !signer.PublicKey(w.key.PublicKey).Verify(message, proof) {
		return nil, notEnrolled
	}
	return w, nil
}

// lookUp reads the key as it is now.
func (w *watcher) lookUp() (known bool) {
	w.engine.cfg.Roster.View(w.tenant, func(s *registry.State) {
		var key registry.Key
		if key, known = s.Key(w.key.ID); known {
			w.key = key
		}
		known = known && key.Instance != string(event.InstanceCustody)
	})
	return known
}

// serve sends what is in force whenever it changes, and answers renewals.
func (w *watcher) serve(requests <-chan received) error {
	listener := newListener(GatePath(w.key.ID), event.InstanceID(w.key.Instance))
	defer w.engine.listen(w.tenant, listener)()
	for {
		version, answered := w.engine.version(w.tenant)
		if err := w.update(version); err != nil {
			return err
		}
		if err := w.answers(); err != nil {
			return err
		}
		select {
		case <-listener.news:
		case <-answered:
		case <-w.engine.drained:
			return stopping
		case number := <-w.judged:
			if err := w.answer(number); err != nil {
				return err
			}
		case a := <-w.asks:
			if err := w.exercise(a); err != nil {
				return err
			}
		case r := <-requests:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			if err := w.obey(r.request); err != nil {
				return err
			}
		}
	}
}

// version is the newest event of a tenant that gates must know of, and a channel that is closed when a question has moved.
func (e *Engine) version(name event.TenantID) (version uint64, answered <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenant(name)
	return t.version, t.answered
}

// update sends all that is in force, unless the gate has it. What is contained does not wait for the registry.
func (w *watcher) update(version uint64) error {
	if w.sent != nil && w.sent.GetVersion() == version {
		return nil
	}
	control := w.engine.control(w.tenant, w.key, version)
	if w.sent == nil || !sameContained(w.sent, control) {
		if err := w.send(control); err != nil {
			return err
		}
	}
	if err := w.engine.cfg.Roster.Await(w.link.Context(), version); err != nil {
		return status.FromContextError(err).Err()
	}
	if known := w.lookUp(); !known || w.key.To != registry.Forever {
		return keyEnded
	}
	control = w.engine.control(w.tenant, w.key, version)
	if proto.Equal(w.sent, control) {
		return nil
	}
	return w.send(control)
}

func sameContained(a, b *apiv1.Control) bool {
	if len(a.GetContained()) != len(b.GetContained()) {
		return false
	}
	for i, c := range a.GetContained() {
		if c.GetId() != b.GetContained()[i].GetId() {
			return false
		}
	}
	return true
}

func (w *watcher) send(c *apiv1.Control) error {
	w.sent = c
	return w.link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Control{Control: c}})
}

// control is all that is in force for a gate.
func (e *Engine) control(name event.TenantID, key registry.Key, version uint64) *apiv1.Control {
	c := &apiv1.Control{
		Version: version, ModerateNeedsLease: e.cfg.Moderate, JudgeWait: int64(e.cfg.JudgeWait), JudgeRequired: e.cfg.JudgeRequired,
		HighNeedsApproval: e.cfg.ApproveHigh,
	}
	e.look(name, func(s *State) {
		for _, x := range s.All() {
			if x.Phase.Holds() && x.Target.Concerns(event.InstanceID(key.Instance)) {
				c.Contained = append(c.Contained, &apiv1.Contained{Id: string(x.ID), Target: x.Target.String(), Level: string(x.Level)})
			}
		}
	})
	e.cfg.Roster.View(name, func(s *registry.State) {
		if i, known := s.Instance(key.Instance); known {
			c.ManifestVersion, c.Permissions = i.Version(), i.Manifest.GetPermissions()
		}
	})
	return c
}

// renew answers a renewal, and records what the gate says.
func (w *watcher) renew(r *apiv1.Renew) error {
	if r == nil || len(r.GetRunning()) > maxReported || len(r.GetRefused()) > maxReported {
		return status.Error(codes.InvalidArgument, "message: must be ask or renew after the handshake, renew with at most 64 calls of each sort")
	}
	w.engine.leases.reported(w.key.ID, r.GetRunning())
	w.exercised(r.GetExercised())
	current := r.GetControl() == w.sent.GetVersion()
	lease, err := w.lease(r.GetNumber(), current)
	if err != nil {
		return err
	}
	if err := w.link.Send(&apiv1.WatchResponse{Message: &apiv1.WatchResponse_Lease{Lease: lease}}); err != nil {
		return err
	}
	if !current {
		return nil
	}
	if err := w.observe(w.link.Context(), r); err != nil {
		w.engine.cfg.Log.ErrorContext(w.link.Context(), "what a gate says is not recorded", slog.Any("error", err))
	}
	return nil
}

// lease answers a renewal. A gate that is contained, or has not the newest control in force, is lent nothing.
func (w *watcher) lease(number uint64, current bool) (*apiv1.Lease, error) {
	lease := &apiv1.Lease{Number: number}
	if !current || w.stopped() {
		return lease, nil
	}
	ttl := w.engine.leases.ttl
	if extended := w.engine.extension(w.tenant); extended > ttl {
		ttl = extended
		signature, err := w.engine.cfg.Key.Sign(event.LeaseMessage(string(w.tenant), w.key.ID, w.nonce, number, int64(ttl)))
		if err != nil {
			return nil, status.Errorf(codes.Internal, "sign lease: %v", err)
		}
		lease.Extension = signature
	}
	w.engine.leases.lend(w.key.ID, ttl)
	lease.Ttl = int64(ttl)
	return lease, nil
}

// stopped reports whether the newest control stops everything that the instance does.
func (w *watcher) stopped() bool {
	all := event.Act{Tenant: w.tenant, Instance: event.InstanceID(w.key.Instance)}
	for _, c := range w.sent.GetContained() {
		target, err := event.ParseTarget(c.GetTarget())
		whole := target.Kind == event.TargetTenant || target.Kind == event.TargetInstance
		if err == nil && whole && target.Covers(all) && Level(c.GetLevel()).Covers(Pause) {
			return true
		}
	}
	return false
}

// observe records what the gate's word brings its steps to.
func (w *watcher) observe(ctx context.Context, r *apiv1.Renew) error {
	var events []*eventv1.System
	path := GatePath(w.key.ID)
	for _, sent := range w.sent.GetContained() {
		if c := w.engine.snapshot(w.tenant, ID(sent.GetId())); c != nil && c.Phase.Holds() {
			events = append(events, w.word(c, path, r)...)
		}
	}
	if len(events) == 0 {
		return nil
	}
	return w.engine.record(ctx, w.tenant, events...)
}

// word is what a gate's report means for its step of one containment.
func (w *watcher) word(c *Containment, path Path, r *apiv1.Renew) (events []*eventv1.System) {
	whole, s := wholeOf(c), c.step(path)
	if s == nil && c.isOfInstances() && r.GetStopping() == 0 && refusedUnder(r, c.ID) == nil {
		return nil // it has nothing of that run
	}
	if s == nil {
		s = &Step{Number: uint32(len(c.Steps)) + 1, Path: path}
		events = append(events, step(whole, s.Number, path, requested, byCustody, ""))
	}
	say := func(state eventv1.ContainmentState, evidence string) {
		if s.State < state {
			events = append(events, step(whole, s.Number, path, state, w.observer(), evidence))
		}
	}
	say(delivered, "the gate has it")
	if r.GetStopping() == 0 {
		say(acknowledged, "the gate is closed and nothing is running")
	}
	if call := refusedUnder(r, c.ID); call != nil && w.observer() == byGateway {
		say(verified, short(fmt.Sprintf("the gateway refused call %s of %s", call.GetCall(), call.GetTool())))
	}
	return events
}

func refusedUnder(r *apiv1.Renew, id ID) *apiv1.RefusedCall {
	for _, call := range r.GetRefused() {
		if ID(call.GetContainment()) == id {
			return call
		}
	}
	return nil
}

// observer is what the gate's word counts as.
func (w *watcher) observer() string { return observerOf(w.key) }

// observerOf is what the word of a gate counts as: a gateway stands outside the agent's process.
func observerOf(key registry.Key) string {
	if key.Producer == eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY {
		return byGateway
	}
	return byAgent
}
