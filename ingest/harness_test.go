package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"go.uber.org/goleak"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/ca"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ledgerAtTip is a ledger that has committed whatever admission has applied. Its leaf indexes are made up.
type ledgerAtTip struct {
	admission *Admission
	mu        sync.Mutex
	backlog   uint64
}

func (l *ledgerAtTip) setBacklog(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backlog = n
}

func (l *ledgerAtTip) Backlog() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.backlog
}

func (l *ledgerAtTip) LastLeaf(tenant event.TenantID) (uint64, [32]byte, bool) {
	known := l.admission.View(tenant, func(*registry.State) {})
	return 7, [32]byte{7}, known
}

func (l *ledgerAtTip) Registry(_ context.Context, tenant event.TenantID) (state *registry.State, err error) {
	if !l.admission.View(tenant, func(s *registry.State) { state = s.Clone() }) {
		return nil, ErrNoTenant
	}
	return state, nil
}

func (l *ledgerAtTip) WaitCommitted(ctx context.Context, seq uint64) error {
	return l.admission.Await(ctx, seq)
}

// site is everything that ingest is, on an embedded stream, behind gRPC with TLS.
type site struct {
	t         testing.TB
	dir       string
	cfg       siteConfig
	stream    *stream.Stream
	vault     *vault.Vault
	objects   *object.Store
	authority *ca.CA
	system    *System
	admission *Admission
	ledger    *ledgerAtTip
	door      *Service
	admin     *Admin
	retention *Retention
	contents  *contentsAtTip
	tokens    *Tokens
	clock     *clock
	server    *grpc.Server
	listener  *bufconn.Listener
	root      ca.Client // may do everything
}

type siteConfig struct {
	stream        stream.Config
	maxBacklog    uint64
	objectReserve int64
	keys          func(Keys) Keys // for faults
}

// clock is the time of a site: the machine's, moved by the tests.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func newSite(t testing.TB, cfg siteConfig) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), cfg: cfg, clock: new(clock)}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// ok returns a function that fails the test on err, and otherwise returns value.
func ok[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func (s *site) start() {
	t := s.t
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	streams := s.cfg.stream
	streams.Dir, streams.NoSync = filepath.Join(s.dir, "stream"), true
	s.stream = ok(stream.Open(ctx, streams))(t)
	s.vault = ok(vault.OpenDir(filepath.Join(s.dir, "vault")))(t)
	s.authority = ok(ca.Open(filepath.Join(s.dir, "ca"), ca.Options{}))(t)
	s.tokens = ok(OpenTokens(filepath.Join(s.dir, "tokens"), s.clock.now))(t)
	system, log := ok(signer.LoadOrCreate(filepath.Join(s.dir, "system.pem")))(t), ok(signer.LoadOrCreate(filepath.Join(s.dir, "log.pem")))(t)
	quiet := slog.New(slog.DiscardHandler)
	s.system = NewSystem(system, s.stream, s.clock.now)
	s.admission = NewAdmission(s.stream, system.Public(), nil, 0, quiet)
	s.ledger = &ledgerAtTip{admission: s.admission}
	s.admin = NewAdmin(AdminConfig{
		Exports: signer.ExportKeys(filepath.Join(s.dir, "export")),
		System:  s.system, Admission: s.admission, Ledger: s.ledger, Authority: s.authority, Tokens: s.tokens,
		LogKey: log.Public(), Domain: "test.example", Address: func() string { return "test:1" }, Now: s.clock.now, Log: quiet,
	})
	if err := s.admin.Bootstrap(ctx, "root", func(c ca.Client) error { s.root = c; return nil }, access.EveryRole.List()...); err != nil {
		t.Fatal(err)
	}
	s.objects = ok(object.Open(filepath.Join(s.dir, "objects"), s.vault, s.cfg.objectReserve))(t)
	s.door = NewService(Config{
		Stream: s.stream, Ledger: s.ledger, Vault: s.vault, Objects: s.objects, System: s.system, Admission: s.admission, Receipts: system,
		MaxBacklog: s.cfg.maxBacklog, Now: s.clock.now, Log: quiet,
	})
	if err := s.admission.CatchUpAll(ctx); err != nil {
		t.Fatal(err)
	}
	s.contents = new(contentsAtTip)
	var keys Keys = s.vault
	if s.cfg.keys != nil {
		keys = s.cfg.keys(keys)
	}
	s.retention = NewRetention(RetentionConfig{Admin: s.admin, Door: s.door, Keys: keys, Contents: s.contents, Floor: testFloor})
	s.serve()
}

func (s *site) serve() {
	guard := &access.Guard{Grants: s.admission, Recorder: s.system, Now: s.clock.now}
	s.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.authority.ServerTLS(tls.VerifyClientCertIfGiven))), grpc.MaxRecvMsgSize(MaxMessage),
		grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream), grpc.WaitForHandlers(true),
	)
	apiv1.RegisterIngestServiceServer(s.server, s.door)
	apiv1.RegisterAdminServiceServer(s.server, s.admin)
	apiv1.RegisterRetentionServiceServer(s.server, s.retention)
	apiv1.RegisterEnrolServiceServer(s.server, NewEnrol(s.admin, s.door))
	s.listener = bufconn.Listen(1 << 20)
	go s.server.Serve(s.listener) //nolint:errcheck // ends with Stop
}

// stop is an orderly end.
func (s *site) stop() {
	s.door.Drain()
	s.server.Stop()
	s.retention.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.door.Close(ctx)
	s.system.Close()
	s.admission.Close()
	s.vault.Close()
	s.stream.Close()
}

func (s *site) restart() {
	s.stop()
	s.start()
}

// dial connects as a person, or as nobody.
func (s *site) dial(person ca.Client) *grpc.ClientConn {
	s.t.Helper()
	config := ok(ca.ClientTLS(s.authority.CertPEM(), person.CertPEM, person.KeyPEM))(s.t)
	listener := s.listener
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

func (s *site) asRoot() apiv1.AdminServiceClient { return apiv1.NewAdminServiceClient(s.dial(s.root)) }

// tenant makes a tenant with one instance that has a manifest.
func (s *site) tenant(tenant, instance string) {
	s.t.Helper()
	root := s.asRoot()
	if _, err := root.CreateTenant(s.t.Context(), &apiv1.CreateTenantRequest{Tenant: tenant}); err != nil {
		s.t.Fatal(err)
	}
	s.instance(tenant, instance)
}

func (s *site) instance(tenant, instance string) {
	s.t.Helper()
	_, err := s.asRoot().CreateInstance(s.t.Context(), &apiv1.CreateInstanceRequest{
		Tenant: tenant, Instance: instance,
		Permissions: []*eventv1.Permission{{Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "*", Consequence: eventv1.Consequence_CONSEQUENCE_LOW}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) token(tenant, instance string) string {
	s.t.Helper()
	r, err := s.asRoot().CreateJoinToken(s.t.Context(), &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.GetToken()
}

// joinRequest is a right request to join with a new key.
func joinRequest(t testing.TB, token, tenant, instance string, key *signer.Key) *apiv1.JoinRequest {
	t.Helper()
	public := key.Public()
	proof := ok(key.Sign(JoinMessage(token, public)))(t)
	enrolment := ok(key.Sign(registry.EnrolmentMessage(tenant, instance, eventv1.ProducerClass_PRODUCER_CLASS_AGENT, public[:])))(t)
	return &apiv1.JoinRequest{Token: token, PublicKey: public[:], Proof: proof, Enrolment: enrolment}
}

// enrol makes an agent with a key of its own.
func (s *site) enrol(tenant, instance string) *agent {
	s.t.Helper()
	key, token := ok(signer.Generate())(s.t), s.token(tenant, instance)
	_, err := apiv1.NewEnrolServiceClient(s.dial(ca.Client{})).Join(s.t.Context(), joinRequest(s.t, token, tenant, instance, key))
	if err != nil {
		s.t.Fatal(err)
	}
	return &agent{t: s.t, site: s, tenant: tenant, instance: instance, key: key, epoch: [16]byte{1}, epochNo: 1}
}

// agent is an emitter that keeps the rules, until a test makes it break one.
type agent struct {
	t                testing.TB
	site             *site
	tenant, instance string
	key              *signer.Key
	link             grpc.BidiStreamingClient[apiv1.EmitRequest, apiv1.EmitResponse]
	welcome          *apiv1.Welcome

	epochNo  uint64
	epoch    [16]byte
	previous *eventv1.EpochEnd
	seq      uint64
	prev     []byte
}

// open opens a stream and says hello; change may spoil the messages.
func (a *agent) open(change func(*apiv1.Hello, *apiv1.Proof)) error {
	listener := a.site.listener
	config, err := ca.ClientTLS(a.site.authority.CertPEM(), nil, nil)
	if err != nil {
		return err
	}
	var state tls.ConnectionState
	creds := &stateCreds{TransportCredentials: credentials.NewTLS(config), state: &state}
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		return err
	}
	a.t.Cleanup(func() { conn.Close() })
	if a.link, err = apiv1.NewIngestServiceClient(conn).Emit(a.t.Context()); err != nil {
		return err
	}
	return a.shakeHands(&state, change)
}

func (a *agent) shakeHands(state *tls.ConnectionState, change func(*apiv1.Hello, *apiv1.Proof)) error {
	id := a.key.ID()
	hello, proof := &apiv1.Hello{Version: 1, Tenant: a.tenant, Instance: a.instance, KeyId: id[:], Software: "test"}, new(apiv1.Proof)
	change(hello, proof)
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Hello{Hello: hello}})
	answer, err := a.link.Recv()
	if err != nil {
		return err
	}
	binding, err := state.ExportKeyingMaterial(BindingLabel, nil, 32)
	if err != nil {
		return err
	}
	proof.Signature, _ = a.key.Sign(ProofMessage(answer.GetChallenge().GetNonce(), binding))
	change(hello, proof)
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Proof{Proof: proof}})
	if answer, err = a.link.Recv(); err != nil {
		return err
	}
	a.welcome = answer.GetWelcome()
	return nil
}

// connect opens a stream that must be welcome.
func (a *agent) connect() *agent {
	a.t.Helper()
	if err := a.open(func(*apiv1.Hello, *apiv1.Proof) {}); err != nil {
		a.t.Fatal(err)
	}
	return a
}

// send ignores the error: the server may have ended the stream, and Recv says why.
func (a *agent) send(m *apiv1.EmitRequest) { _ = a.link.Send(m) }

// stateCreds keeps the TLS state of the connection, for the channel binding.
type stateCreds struct {
	credentials.TransportCredentials
	state *tls.ConnectionState
}

func (c *stateCreds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if tlsInfo, ok := info.(credentials.TLSInfo); ok {
		*c.state = tlsInfo.State
	}
	return conn, info, err
}

func (c *stateCreds) Clone() credentials.TransportCredentials {
	return &stateCreds{c.TransportCredentials.Clone(), c.state}
}

// event is an execution event of the agent.
func (a *agent) event(tool string) *eventv1.Event {
	id := event.NewID(time.Now(), nil)
	return &eventv1.Event{
		Version: 1, Id: id[:], Tenant: a.tenant, Instance: a.instance, Run: "run-1", RunSeq: 1,
		OccurredAt: time.Now().UnixNano(), TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
		Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{
			Action: eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, Call: "call-1", Tool: tool,
		}},
	}
}

// sealedEvent is an event with one sealed field, and its opening.
func (a *agent) sealedEvent(tool, subject, value string) (*eventv1.Event, *eventv1.Opening) {
	e := a.event(tool)
	salt := sha256.Sum256([]byte(value))
	digest := event.SealedDigest(event.ID(e.GetId()), "arguments", "text/plain", &salt, []byte(value))
	e.Sealed = []*eventv1.Sealed{{Path: "arguments", MediaType: "text/plain", Size: uint64(len(value)), Subject: subject, Digest: digest[:]}}
	e.Fingerprints = event.Fingerprints(a.welcome.GetFingerprintKey(), a.welcome.GetFingerprintKeyId(), "arguments", []byte(value), nil)
	return e, &eventv1.Opening{Path: "arguments", Salt: salt[:], Value: []byte(value)}
}

// raw encodes events.
func (a *agent) raw(events ...*eventv1.Event) [][]byte {
	a.t.Helper()
	encoded := make([][]byte, len(events))
	for i, e := range events {
		b, err := event.Marshal(e)
		if err != nil {
			a.t.Fatal(err)
		}
		encoded[i] = b
	}
	return encoded
}

// statement continues the agent's numbering over encoded events.
func (a *agent) statement(events [][]byte) *eventv1.BatchStatement {
	hashes := make([]chain.Hash, len(events))
	for i, b := range events {
		hashes[i] = chain.EventHash(b)
	}
	root, id := chain.EventRoot(hashes), a.key.ID()
	return &eventv1.BatchStatement{
		Version: 1, Tenant: a.tenant, Instance: a.instance, KeyId: id[:], EpochNo: a.epochNo, Epoch: bytes.Clone(a.epoch[:]),
		PreviousEpoch: a.previous, FirstSeq: a.seq + 1, Count: uint32(len(events)), PrevBatch: bytes.Clone(a.prev),
		EventRoot: root[:], CreatedAt: time.Now().UnixNano(),
	}
}

// sign makes a batch; change may spoil the statement before it is signed.
func (a *agent) sign(events [][]byte, change func(*eventv1.BatchStatement)) *eventv1.SignedBatch {
	a.t.Helper()
	st := a.statement(events)
	change(st)
	statement, err := event.MarshalStatement(st)
	if err != nil {
		a.t.Fatal(err)
	}
	sig, err := signer.SignDSSE(a.key, signer.PayloadTypeBatch, statement)
	if err != nil {
		a.t.Fatal(err)
	}
	return &eventv1.SignedBatch{Statement: statement, Signature: sig, Events: events}
}

func asIs(*eventv1.BatchStatement) {}

// batch makes the next batch, of one event for each tool.
func (a *agent) batch(tools ...string) *eventv1.SignedBatch {
	var events []*eventv1.Event
	for _, tool := range tools {
		events = append(events, a.event(tool))
	}
	return a.sign(a.raw(events...), asIs)
}

// deliver sends a batch, or an empty message for nil, and returns the answer.
func (a *agent) deliver(b *eventv1.SignedBatch) *apiv1.EmitResponse {
	a.t.Helper()
	request := new(apiv1.EmitRequest)
	if b != nil {
		request.Message = &apiv1.EmitRequest_Batch{Batch: b}
	}
	a.send(request)
	answer, err := a.link.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return answer
}

// accept sends a batch that must be let in, and goes on behind it.
func (a *agent) accept(b *eventv1.SignedBatch) *apiv1.Receipt {
	a.t.Helper()
	answer := a.deliver(b)
	if answer.GetReceipt() == nil {
		a.t.Fatalf("refused: %v", answer.GetRefused())
	}
	a.seq += uint64(len(b.GetEvents()))
	a.prev = answer.GetReceipt().GetBatchDigest()
	return answer.GetReceipt()
}

// newEpoch opens the next epoch behind what was sent.
func (a *agent) newEpoch() {
	a.previous = &eventv1.EpochEnd{LastSeq: a.seq, LastDigest: a.prev}
	a.epochNo, a.epoch, a.seq, a.prev = a.epochNo+1, [16]byte{byte(a.epochNo + 1)}, 0, nil
}

// messages returns the stream's messages of a subject prefix.
func (s *site) messages(subject string) (found []stream.Message) {
	s.t.Helper()
	state, err := s.stream.State(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for seq := uint64(1); seq <= state.Last; seq++ {
		m, err := s.stream.Get(s.t.Context(), seq)
		if err != nil {
			s.t.Fatal(err)
		}
		if m.Subject == subject {
			found = append(found, m)
		}
	}
	return found
}

// systemEvents returns what Custody recorded in a tenant's log, in order.
func (s *site) systemEvents(tenant string) (events []*eventv1.Event) {
	s.t.Helper()
	for _, m := range s.messages(stream.SystemSubject(tenant)) {
		b, err := event.ParseStreamBatch(m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, encoded := range b.GetEvents() {
			e, err := event.Parse(encoded)
			if err != nil {
				s.t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events
}

func digestOf(b *eventv1.SignedBatch) string {
	d := event.BatchDigest(b.GetStatement())
	return hex.EncodeToString(d[:])
}
