package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// The handshake, as package ingest has it.
const (
	protocolVersion = 1
	helloDomain     = "custody/hello/v1\x00"
	bindingLabel    = "EXPORTER-custody-hello"
	bindingSize     = 32
	nonceSize       = 32
)

const (
	// leastBackoff is the first pause after a failure; it doubles with each failure up to Config.MaxBackoff.
	leastBackoff = 100 * time.Millisecond
	// handshakeTimeout bounds connection and handshake.
	handshakeTimeout = 15 * time.Second
	// writeBuffer is what one system call sends of a batch.
	writeBuffer = 128 << 10
	// keepaliveTime and keepaliveTimeout find a connection that is dead but not closed.
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
)

type emitStream = grpc.BidiStreamingClient[apiv1.EmitRequest, apiv1.EmitResponse]

// deliver connects, sends and connects again until the emitter stops.
func (e *Emitter) deliver(ctx context.Context) {
	defer close(e.done)
	for failures := 0; ctx.Err() == nil; failures++ {
		e.stats.attempts.Add(1)
		progress, err := e.connect(ctx)
		e.stats.connected.Store(false)
		if ctx.Err() != nil {
			break
		}
		if progress {
			failures = 0
		}
		e.lost(err, failures)
		pause(ctx, backoff(failures, e.config.MaxBackoff))
	}
	if err := errors.Join(e.receipts.close(), e.archive.close()); err != nil {
		e.report(err)
	}
}

// lost notes why the connection ended; only the first failure in a row is reported.
func (e *Emitter) lost(err error, failures int) {
	text := err.Error()
	e.stats.lastError.Store(&text)
	if failures == 0 {
		e.report(fmt.Errorf("connection to %s: %w", e.config.Address, err))
	}
}

// backoff doubles from leastBackoff to most, and is cut by a random part of up to a half, so that a fleet of emitters does
// not come back all at once.
func backoff(failures int, most time.Duration) time.Duration {
	pause := most
	if failures < 20 {
		pause = min(most, leastBackoff<<failures)
	}
	return pause - rand.N(pause/2+1) //nolint:gosec // spread, not secrecy
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// transport is TLS 1.3, which the channel binding needs, with the given authorities or those of the system.
func transport(caPEM []byte) (credentials.TransportCredentials, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if len(caPEM) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(caPEM) {
			return nil, errors.New("no certificate in the PEM of authorities")
		}
	}
	return credentials.NewTLS(config), nil
}

// connect serves one connection. progress says that a batch got its receipt.
func (e *Emitter) connect(ctx context.Context) (progress bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := e.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	s, err := e.greet(ctx, cancel, conn)
	if err != nil {
		return false, because(ctx, err)
	}
	e.stats.connected.Store(true)
	err = s.serve(ctx)
	return s.progress, because(ctx, err)
}

// because is the reason that a context was cancelled for, if there is one: gRPC only says that it was.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (e *Emitter) dial() (*grpc.ClientConn, error) {
	creds, err := transport(e.config.CA)
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithWriteBufferSize(writeBuffer),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
	}
	if e.config.dial != nil {
		options = append(options, grpc.WithContextDialer(e.config.dial))
	}
	return grpc.NewClient(e.config.Address, options...)
}

var errHandshakeTimeout = fmt.Errorf("no handshake within %s", handshakeTimeout)

// greet shakes hands, for at most handshakeTimeout.
func (e *Emitter) greet(ctx context.Context, cancel context.CancelCauseFunc, conn *grpc.ClientConn) (*session, error) {
	timer := time.AfterFunc(handshakeTimeout, func() { cancel(errHandshakeTimeout) })
	defer timer.Stop()
	stream, err := apiv1.NewIngestServiceClient(conn).Emit(ctx)
	if err != nil {
		return nil, err
	}
	welcome, err := e.handshake(stream)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return newSession(e, stream, welcome, cancel), e.welcomed(welcome)
}

func (e *Emitter) handshake(stream emitStream) (*apiv1.Welcome, error) {
	if err := stream.Send(e.hello()); err != nil {
		return nil, streamError(stream, err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	proof, err := e.prove(stream, answer.GetChallenge().GetNonce())
	if err != nil {
		return nil, err
	}
	if err := stream.Send(proof); err != nil {
		return nil, streamError(stream, err)
	}
	if answer, err = stream.Recv(); err != nil {
		return nil, err
	}
	if answer.GetWelcome() == nil {
		return nil, errors.New("no welcome")
	}
	return answer.GetWelcome(), nil
}

// streamError finds why a stream cannot be sent on: gRPC says so on receiving.
func streamError(stream emitStream, err error) error {
	if _, cause := stream.Recv(); cause != nil {
		return cause
	}
	return err
}

func (e *Emitter) hello() *apiv1.EmitRequest {
	id := e.key.ID()
	return &apiv1.EmitRequest{Message: &apiv1.EmitRequest_Hello{Hello: &apiv1.Hello{
		Version: protocolVersion, Tenant: string(e.identity.Tenant), Instance: string(e.identity.Instance),
		KeyId: id[:], Software: e.config.Software,
	}}}
}

// prove signs the challenge together with this very TLS connection.
func (e *Emitter) prove(stream emitStream, nonce []byte) (*apiv1.EmitRequest, error) {
	if len(nonce) != nonceSize {
		return nil, fmt.Errorf("challenge: nonce of %d bytes", len(nonce))
	}
	binding, err := channelBinding(stream.Context())
	if err != nil {
		return nil, err
	}
	sig, err := e.key.Sign(append(append([]byte(helloDomain), nonce...), binding...))
	if err != nil {
		return nil, err
	}
	return &apiv1.EmitRequest{Message: &apiv1.EmitRequest_Proof{Proof: &apiv1.Proof{Signature: sig}}}, nil
}

// channelBinding is keying material that only the two ends of this TLS connection have (RFC 5705).
func channelBinding(ctx context.Context) ([]byte, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errors.New("connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, errors.New("connection is not TLS")
	}
	return info.State.ExportKeyingMaterial(bindingLabel, nil, bindingSize)
}

// welcomed keeps what the server says for every connection: receipt key, fingerprint key, newest leaf.
func (e *Emitter) welcomed(w *apiv1.Welcome) error {
	if e.identity.Origin != "" && w.GetOrigin() != e.identity.Origin {
		return fmt.Errorf("welcome: log %q is not %q, for which this emitter joined", w.GetOrigin(), e.identity.Origin)
	}
	if err := e.pin(w); err != nil {
		return err
	}
	e.seen(w.GetLastSeenIndex(), w.GetLastSeenHash())
	return e.takeFingerprintKey(&fingerprintKey{ID: w.GetFingerprintKeyId(), Key: w.GetFingerprintKey()})
}

// pin keeps the receipt verifier of the first contact, and refuses another one later.
func (e *Emitter) pin(w *apiv1.Welcome) error {
	switch pinned := e.pinned(); {
	case pinned == w.GetReceiptVerifier() && e.verifier != nil:
		return nil
	case pinned != "":
		return fmt.Errorf("welcome: receipts are signed by %q, but %q is pinned in %s", w.GetReceiptVerifier(), pinned, identityFile)
	}
	verifier, err := receiptVerifier(w.GetReceiptVerifier())
	if err != nil {
		return fmt.Errorf("welcome: %w", err)
	}
	id := e.identity
	id.ReceiptVerifier = w.GetReceiptVerifier()
	if err := writeJSON(filepath.Join(e.config.Dir, identityFile), id); err != nil {
		return fmt.Errorf("pin receipt verifier: %w", err)
	}
	e.verifier = verifier
	e.pinnedNow.Store(&id.ReceiptVerifier)
	return nil
}

// pinned is the verifier key of receipts, empty before the first contact.
func (e *Emitter) pinned() string {
	if now := e.pinnedNow.Load(); now != nil {
		return *now
	}
	return e.identity.ReceiptVerifier
}

func (e *Emitter) seen(index uint64, hash []byte) {
	if len(hash) == event.DigestSize {
		e.lastSeen = &eventv1.LastSeen{Index: index, LeafHash: hash}
	}
}

func (e *Emitter) takeFingerprintKey(key *fingerprintKey) error {
	current := e.fingerprint.Load()
	switch {
	case len(key.Key) != event.DigestSize || key.ID == 0:
		return errors.New("welcome: no fingerprint key of 32 bytes")
	case key.equal(current):
		return nil
	}
	if err := writeJSON(filepath.Join(e.config.Dir, fingerprintFile), key); err != nil {
		return fmt.Errorf("keep fingerprint key: %w", err)
	}
	e.fingerprint.Store(key)
	if current == nil {
		close(e.welcome)
	}
	return nil
}

// openReceipt checks that the note is the server's promise for exactly this batch.
func (e *Emitter) openReceipt(out *outgoing, r *apiv1.Receipt) error {
	receipt, err := signer.OpenReceipt(r.GetNote(), e.verifier)
	if err != nil {
		return err
	}
	switch {
	case receipt.Batch != [event.DigestSize]byte(out.statement.Digest):
		return errors.New("receipt is for another batch")
	case e.identity.Origin != "" && receipt.Origin != e.identity.Origin:
		return errors.New("receipt is for another log")
	case receipt.Sequence != r.GetStreamSeq():
		return errors.New("receipt is for another stream sequence")
	}
	e.took(receipt.Sequence)
	return nil
}
