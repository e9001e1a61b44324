package torture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ingest"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// agent speaks the wire protocol by hand: it keeps the rules until a test makes it break one.
type agent struct {
	t       testing.TB
	id      edge.Identity
	key     *signer.Key
	conn    *grpc.ClientConn
	link    grpc.BidiStreamingClient[apiv1.EmitRequest, apiv1.EmitResponse]
	welcome *apiv1.Welcome

	epochNo  uint64
	epoch    [16]byte
	previous *eventv1.EpochEnd
	seq      uint64
	prev     []byte
}

// newAgent takes over the key of a folder that edge.Join made.
func newAgent(t testing.TB, dir string) *agent {
	t.Helper()
	a := &agent{t: t, epochNo: 1, epoch: [16]byte{1}}
	text, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err == nil {
		err = json.Unmarshal(text, &a.id)
	}
	if err == nil {
		a.key, err = signer.LoadOrCreate(filepath.Join(dir, "key.pem"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// open opens a stream and says hello; change may spoil both messages.
func (a *agent) open(change func(*apiv1.Hello, *apiv1.Proof)) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(a.id.CA))
	var state tls.ConnectionState
	creds := &stateCreds{credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}), &state}
	conn, err := grpc.NewClient(a.id.Address, grpc.WithTransportCredentials(creds))
	if err != nil {
		return err
	}
	a.t.Cleanup(func() { conn.Close() })
	a.conn = conn
	if a.link, err = apiv1.NewIngestServiceClient(conn).Emit(a.t.Context()); err != nil {
		return err
	}
	return a.shakeHands(&state, change)
}

func (a *agent) shakeHands(state *tls.ConnectionState, change func(*apiv1.Hello, *apiv1.Proof)) error {
	id := a.key.ID()
	hello, proof := &apiv1.Hello{Version: 1, Tenant: string(a.id.Tenant), Instance: string(a.id.Instance), KeyId: id[:]}, new(apiv1.Proof)
	change(hello, proof)
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Hello{Hello: hello}})
	answer, err := a.link.Recv()
	if err != nil {
		return err
	}
	binding, err := state.ExportKeyingMaterial(ingest.BindingLabel, nil, 32)
	if err == nil {
		proof.Signature, err = a.key.Sign(ingest.ProofMessage(answer.GetChallenge().GetNonce(), binding))
	}
	if err != nil {
		return err
	}
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

// event is a proposed call of a tool.
func (a *agent) event(tool string) *eventv1.Event {
	id := event.NewID(time.Now(), nil)
	return &eventv1.Event{
		Version: 1, Id: id[:], Tenant: string(a.id.Tenant), Instance: string(a.id.Instance), Run: "run-1", RunSeq: 1,
		OccurredAt: time.Now().UnixNano(), TimeBasis: eventv1.TimeBasis_TIME_BASIS_OBSERVED,
		Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{
			Action: eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, Call: "call-1", Tool: tool,
		}},
	}
}

// sealedEvent is a call with sealed arguments, and their opening.
func (a *agent) sealedEvent(tool string, value []byte) (*eventv1.Event, *eventv1.Opening) {
	e, salt := a.event(tool), sha256.Sum256(value)
	digest := event.SealedDigest(event.ID(e.GetId()), "arguments", "text/plain", &salt, value)
	e.Sealed = []*eventv1.Sealed{{Path: "arguments", MediaType: "text/plain", Size: uint64(len(value)), Digest: digest[:]}}
	e.Fingerprints = event.Fingerprints(a.welcome.GetFingerprintKey(), a.welcome.GetFingerprintKeyId(), "arguments", value, nil)
	return e, &eventv1.Opening{Path: "arguments", Salt: salt[:], Value: value}
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

// sign continues the agent's numbering over encoded events; change may spoil the statement before it is signed.
func (a *agent) sign(events [][]byte, change func(*eventv1.BatchStatement)) *eventv1.SignedBatch {
	a.t.Helper()
	hashes := make([]chain.Hash, len(events))
	for i, b := range events {
		hashes[i] = chain.EventHash(b)
	}
	root, id := chain.EventRoot(hashes), a.key.ID()
	st := &eventv1.BatchStatement{
		Version: 1, Tenant: string(a.id.Tenant), Instance: string(a.id.Instance), KeyId: id[:], EpochNo: a.epochNo, Epoch: bytes.Clone(a.epoch[:]),
		PreviousEpoch: a.previous, FirstSeq: a.seq + 1, Count: uint32(len(events)), PrevBatch: bytes.Clone(a.prev),
		EventRoot: root[:], CreatedAt: time.Now().UnixNano(),
	}
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

// batch makes the next batch, of one call of each tool.
func (a *agent) batch(tools ...string) *eventv1.SignedBatch {
	a.t.Helper()
	var events []*eventv1.Event
	for _, tool := range tools {
		events = append(events, a.event(tool))
	}
	return a.sign(a.raw(events...), asIs)
}

// deliver sends a message and returns the answer, or the end of the stream.
func (a *agent) deliver(b *eventv1.SignedBatch) (*apiv1.EmitResponse, error) {
	a.send(&apiv1.EmitRequest{Message: &apiv1.EmitRequest_Batch{Batch: b}})
	return a.link.Recv()
}

// receipt sends a batch that must get a receipt.
func (a *agent) receipt(b *eventv1.SignedBatch) *apiv1.Receipt {
	a.t.Helper()
	answer, err := a.deliver(b)
	if err != nil || answer.GetReceipt() == nil {
		a.t.Fatalf("no receipt: %v, %v", answer.GetRefused(), err)
	}
	return answer.GetReceipt()
}

// accept sends a batch that must get a receipt, and goes on behind it.
func (a *agent) accept(b *eventv1.SignedBatch) *apiv1.Receipt {
	a.t.Helper()
	receipt := a.receipt(b)
	a.seq += uint64(len(b.GetEvents()))
	a.prev = receipt.GetBatchDigest()
	return receipt
}
