// Package edgetest is a small Custody for tests of what runs beside an agent: it enrols emitters, takes their batches over
// TLS with all the checks that an emitter must pass, and can be told to fail in every way that matters.
//
//	server := edgetest.New(t)
//	dir := server.Join(t, "support-1")
//	e, err := edge.Open(ctx, edge.Config{Dir: dir})
//	…
//	server.Events("support-1")
package edgetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// Names of the one tenant.
const (
	Tenant = "acme"
	Origin = "edge.test/custody/acme"
)

// Server is the whole of Custody, as far as an emitter can see.
type Server struct {
	apiv1.UnimplementedIngestServiceServer

	Address string
	CA      []byte // PEM

	t       testing.TB
	creds   credentials.TransportCredentials
	key     *signer.Key // of receipts
	finger  []byte
	grpc    *grpc.Server
	mu      sync.Mutex
	members map[string]*member // by key id
	tokens  map[string]string  // instance by token
	judge   func(Batch) Verdict
	beat    time.Duration

	attempts map[[event.DigestSize]byte]int
	brake    *brake
	objects  objects
}

// member is an enrolled key and what was taken from it.
type member struct {
	instance string
	key      signer.PublicKey
	head     *apiv1.EmitterHead
	batches  []Batch
}

// Batch is what an emitter has sent.
type Batch struct {
	Instance  string
	Attempt   int // of this digest, from 1
	Statement *eventv1.BatchStatement
	Events    []*eventv1.Event
	Signed    *eventv1.SignedBatch

	objects map[string][]byte // by path and event id
}

// Verdict is what a test wants done with a batch that is right. The zero Verdict takes it.
type Verdict struct {
	Refuse *apiv1.Refused // answer with this
	Cut    bool           // break the connection before the batch is taken
	Lose   bool           // break it after the batch is taken, before the receipt
	Hang   bool           // neither take it nor answer
	Forge  bool           // answer with a receipt that another key has signed
}

// New starts a server on a port of its own. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	certificate, ca, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.Generate()
	if err != nil {
		t.Fatal(err)
	}
	finger := sha256.Sum256([]byte(t.Name()))
	s := &Server{
		Address: "127.0.0.1:0", CA: ca, t: t, creds: credentials.NewServerTLSFromCert(certificate), key: key, finger: finger[:],
		members: make(map[string]*member), tokens: make(map[string]string), beat: time.Hour,
		judge: func(Batch) Verdict { return Verdict{} }, attempts: make(map[[event.DigestSize]byte]int),
	}
	s.brake = newBrake(s)
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start listens again after Stop, on the same port.
func (s *Server) Start() {
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Address = listener.Addr().String()
	s.grpc = grpc.NewServer(grpc.Creds(s.creds), grpc.MaxRecvMsgSize(2*event.MaxBatch))
	apiv1.RegisterIngestServiceServer(s.grpc, s)
	apiv1.RegisterEnrolServiceServer(s.grpc, enrol{server: s})
	apiv1.RegisterControlServiceServer(s.grpc, s.brake)
	go s.grpc.Serve(listener) //nolint:errcheck // ends with Stop
}

// Stop breaks all connections. What was taken stays.
func (s *Server) Stop() { s.grpc.Stop() }

// Judge decides on each batch from now on.
func (s *Server) Judge(judge func(Batch) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = judge
}

// Heartbeat sets the interval for connections from now on.
func (s *Server) Heartbeat(interval time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat = interval
}

// Token is a join token for an instance.
func (s *Server) Token(instance string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := strings.Join([]string{"custody-join", Tenant, instance, "agent", strings.ToLower(rand.Text())}, "_")
	s.tokens[token] = instance
	return token
}

// Join makes an emitter's folder.
func (s *Server) Join(t testing.TB, instance string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if _, err := edge.Join(t.Context(), dir, s.Token(instance), s.Address, s.CA); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Batches returns what was taken from an instance, in order.
func (s *Server) Batches(instance string) (all []Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.instance == instance {
			all = append(all, m.batches...)
		}
	}
	return all
}

// Events returns the events that were taken from an instance, in order, without those about the emitter itself.
func (s *Server) Events(instance string) (all []*eventv1.Event) {
	for _, b := range s.Batches(instance) {
		for _, e := range b.Events {
			if !aboutEmitter(e) {
				all = append(all, e)
			}
		}
	}
	return all
}

func aboutEmitter(e *eventv1.Event) bool {
	switch e.GetIdentity().GetAction() {
	case eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_OPENED, eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED,
		eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT:
		return true
	}
	return false
}

// Opened returns the content of a sealed field, as it was sent beside the event.
func (b Batch) Opened(position int, path string) (value []byte, ok bool) {
	for _, o := range b.Signed.GetOpenings() {
		if int(o.GetPosition()) == position && o.GetPath() == path {
			if object, ok := b.objects[o.GetPath()+string(b.Events[position].GetId())]; ok {
				return object, true
			}
			return o.GetValue(), true
		}
	}
	return nil, false
}

// Opened returns the content of a sealed field of an event.
func (s *Server) Opened(e *eventv1.Event, path string) string {
	for _, b := range s.Batches(e.GetInstance()) {
		for i, other := range b.Events {
			if bytes.Equal(other.GetId(), e.GetId()) {
				value, _ := b.Opened(i, path)
				return string(value)
			}
		}
	}
	return ""
}

// Forget makes the server lose everything after the first n batches of an instance, as a restored backup would.
func (s *Server) Forget(instance string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m.instance == instance {
			m.batches, m.head = m.batches[:n], nil
			if n > 0 {
				m.head = headAfter(m.batches[n-1].Statement, m.batches[n-1].Signed)
			}
		}
	}
}

// join enrols a key.
func (s *Server) join(r *apiv1.JoinRequest) (*apiv1.JoinResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	instance, known := s.tokens[r.GetToken()]
	public, err := signer.ParsePublicKey(r.GetPublicKey())
	enrolment := event.EnrolmentMessage(Tenant, instance, eventv1.ProducerClass_PRODUCER_CLASS_AGENT, r.GetPublicKey())
	if !known || err != nil || !public.Verify(edge.JoinMessage(r.GetToken(), public), r.GetProof()) || !public.Verify(enrolment, r.GetEnrolment()) {
		return nil, status.Error(codes.PermissionDenied, "token: not valid")
	}
	delete(s.tokens, r.GetToken())
	id := public.ID()
	s.members[string(id[:])] = &member{instance: instance, key: public}
	return &apiv1.JoinResponse{
		Tenant: Tenant, Instance: instance, KeyId: id[:], Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Origin: Origin,
	}, nil
}

// enrol is the EnrolService of a server: its method would collide with Server.Join.
type enrol struct {
	apiv1.UnimplementedEnrolServiceServer
	server *Server
}

func (e enrol) Join(_ context.Context, r *apiv1.JoinRequest) (*apiv1.JoinResponse, error) {
	return e.server.join(r)
}

type emitStream = grpc.BidiStreamingServer[apiv1.EmitRequest, apiv1.EmitResponse]

// Emit implements IngestService.
func (s *Server) Emit(stream emitStream) error {
	m, err := s.handshake(stream)
	if err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		if part := request.GetObject(); part != nil {
			if err := s.takePart(stream, m, part); err != nil {
				return err
			}
			continue
		}
		if err := s.take(stream, m, request.GetBatch()); err != nil {
			return err
		}
	}
}

func (s *Server) handshake(stream emitStream) (*member, error) {
	hello, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 32)
	rand.Read(nonce)
	err = stream.Send(&apiv1.EmitResponse{Message: &apiv1.EmitResponse_Challenge{Challenge: &apiv1.Challenge{Nonce: nonce}}})
	if err != nil {
		return nil, err
	}
	proof, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	m := s.member(hello.GetHello().GetKeyId())
	if m == nil || !m.key.Verify(proofMessage(stream, nonce), proof.GetProof().GetSignature()) {
		return nil, status.Error(codes.PermissionDenied, "hello: not enrolled")
	}
	return m, stream.Send(&apiv1.EmitResponse{Message: &apiv1.EmitResponse_Welcome{Welcome: s.welcome(m)}})
}

func (s *Server) member(keyID []byte) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[string(keyID)]
}

func proofMessage(stream emitStream, nonce []byte) []byte {
	p, _ := peer.FromContext(stream.Context())
	info, _ := p.AuthInfo.(credentials.TLSInfo)
	binding, err := info.State.ExportKeyingMaterial("EXPORTER-custody-hello", nil, 32)
	if err != nil {
		return nil
	}
	return slices.Concat([]byte("custody/hello/v1\x00"), nonce, binding)
}

func (s *Server) welcome(m *member) *apiv1.Welcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	leaf := sha256.Sum256([]byte("leaf"))
	return &apiv1.Welcome{
		Head: m.head, FingerprintKey: s.finger, FingerprintKeyId: 1, Origin: Origin,
		ReceiptVerifier: signer.VKey(Origin, s.key.Public()), LastSeenIndex: 7, LastSeenHash: leaf[:],
		ManifestVersion: 1, HeartbeatInterval: int64(s.beat),
	}
}

// take checks a batch as ingest does, asks the judge and answers.
func (s *Server) take(stream emitStream, m *member, signed *eventv1.SignedBatch) error {
	answer, verdict := s.decide(m, signed)
	switch {
	case verdict.Hang:
		<-stream.Context().Done()
		return stream.Context().Err()
	case verdict.Cut, verdict.Lose:
		return status.Error(codes.Unavailable, "cut by the test")
	}
	return stream.Send(answer)
}

func (s *Server) decide(m *member, signed *eventv1.SignedBatch) (*apiv1.EmitResponse, Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, events, err := s.check(m, signed)
	if errors.Is(err, errNoObject) {
		return refused(signed, &apiv1.Refused{Reason: apiv1.RefusalReason_REFUSAL_REASON_OBJECT, Field: "openings[0]", Message: err.Error()}), Verdict{}
	}
	if err != nil {
		s.t.Errorf("the emitter of %s sent a bad batch: %v", m.instance, err)
		return refused(signed, &apiv1.Refused{Reason: apiv1.RefusalReason_REFUSAL_REASON_MALFORMED, Message: err.Error()}), Verdict{}
	}
	b := Batch{Instance: m.instance, Attempt: s.attempt(signed), Statement: st, Events: events, Signed: signed, objects: s.objects.of(signed, events)}
	head := headAfter(st, signed)
	if bytes.Equal(head.GetBatchDigest(), m.head.GetBatchDigest()) {
		return s.receipt(m, head, false), Verdict{}
	}
	verdict := s.judge(b)
	switch {
	case verdict.Refuse != nil:
		return refused(signed, verdict.Refuse), verdict
	case verdict.Cut, verdict.Hang:
		return nil, verdict
	}
	if gap := gapOf(m.head, st); gap != "" {
		return refused(signed, &apiv1.Refused{Reason: apiv1.RefusalReason_REFUSAL_REASON_GAP, Field: "statement", Message: gap, Head: m.head}), Verdict{}
	}
	if m.batches = append(m.batches, b); !isLate(m.head, st) {
		m.head = head
	}
	return s.receipt(m, head, verdict.Forge), verdict
}

func (s *Server) attempt(signed *eventv1.SignedBatch) int {
	digest := event.BatchDigest(signed.GetStatement())
	s.attempts[digest]++
	return s.attempts[digest]
}

// check is every check of ingest but numbering.
func (s *Server) check(m *member, signed *eventv1.SignedBatch) (*eventv1.BatchStatement, []*eventv1.Event, error) {
	if _, err := event.MarshalSignedBatch(signed); err != nil {
		return nil, nil, err
	}
	st, events, err := event.CheckBatch(signed)
	if err != nil {
		return nil, nil, err
	}
	if err = signer.VerifyDSSE(m.key, signer.PayloadTypeBatch, signed.GetStatement(), signed.GetSignature()); err != nil {
		return nil, nil, err
	}
	hashes := make([]chain.Hash, len(events))
	for i, e := range signed.GetEvents() {
		hashes[i] = chain.EventHash(e)
		if detector, found := event.ScanSecrets(e); found {
			return nil, nil, fmt.Errorf("event %d holds a secret: %s", i, detector)
		}
	}
	if root := chain.EventRoot(hashes); !bytes.Equal(root[:], st.GetEventRoot()) {
		return nil, nil, fmt.Errorf("event root is wrong")
	}
	for _, o := range signed.GetOpenings() {
		whole, err := s.objects.fill(events[o.GetPosition()], o)
		if err == nil {
			err = event.CheckOpening(events[o.GetPosition()], whole, s.finger, 1)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return st, events, nil
}

// gapOf is why a batch does not follow the head.
func gapOf(h *apiv1.EmitterHead, st *eventv1.BatchStatement) string {
	previous := st.GetPreviousEpoch()
	switch {
	case isLate(h, st):
		return "" // the fold judges
	case h != nil && st.GetEpochNo() == h.GetEpochNo():
		if !bytes.Equal(st.GetEpoch(), h.GetEpoch()) || st.GetFirstSeq() != h.GetLastSeq()+1 || !bytes.Equal(st.GetPrevBatch(), h.GetBatchDigest()) {
			return "does not continue the head"
		}
		return ""
	case st.GetEpochNo() != h.GetEpochNo()+1:
		return fmt.Sprintf("epoch_no %d does not follow %d", st.GetEpochNo(), h.GetEpochNo())
	case previous.GetLastSeq() != h.GetLastSeq() || !bytes.Equal(previous.GetLastDigest(), h.GetBatchDigest()):
		return "previous_epoch is not the head"
	case st.GetFirstSeq() != 1:
		return "an epoch begins with 1"
	}
	return ""
}

func isLate(h *apiv1.EmitterHead, st *eventv1.BatchStatement) bool {
	return st.GetEpochNo() < h.GetEpochNo() || (st.GetEpochNo() == h.GetEpochNo() && st.GetFirstSeq() <= h.GetLastSeq())
}

func headAfter(st *eventv1.BatchStatement, signed *eventv1.SignedBatch) *apiv1.EmitterHead {
	digest := event.BatchDigest(signed.GetStatement())
	return &apiv1.EmitterHead{
		EpochNo: st.GetEpochNo(), Epoch: st.GetEpoch(), LastSeq: st.GetFirstSeq() + uint64(st.GetCount()) - 1, BatchDigest: digest[:],
	}
}

func refused(signed *eventv1.SignedBatch, r *apiv1.Refused) *apiv1.EmitResponse {
	digest := event.BatchDigest(signed.GetStatement())
	r.BatchDigest = digest[:]
	return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_Refused{Refused: r}}
}

func (s *Server) receipt(m *member, head *apiv1.EmitterHead, forge bool) *apiv1.EmitResponse {
	key := s.key
	if forge {
		key, _ = signer.Generate()
	}
	noteSigner, err := signer.NoteSigner(key, Origin)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	now := time.Now().UnixNano()
	note, err := signer.SignReceipt(signer.Receipt{
		Origin: Origin, Batch: chain.Hash(head.GetBatchDigest()), Sequence: uint64(len(m.batches)), Time: now, Deadline: now + int64(time.Hour),
	}, noteSigner)
	if err != nil {
		s.t.Error(err)
		return nil
	}
	return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_Receipt{Receipt: &apiv1.Receipt{
		BatchDigest: head.GetBatchDigest(), Note: note, StreamSeq: uint64(len(m.batches)),
	}}}
}
