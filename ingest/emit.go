package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// maxConflicts is how often a batch is placed anew because another message of its subject came first: more
// than two streams of one emitter are a mistake.
const maxConflicts = 8

// stopping ends streams when the server stops.
var stopping = status.Error(codes.Unavailable, "the server is stopping: connect again")

// Emit serves one emitter. All that changes a session happens on this goroutine; a second one receives, so
// that a stream without traffic ends when the server stops.
func (s *Service) Emit(link emitStream) error {
	ended := make(chan struct{})
	defer close(ended)
	requests := receive(link, ended)
	session, err := s.handshake(link, requests)
	if err != nil {
		return err
	}
	defer func() { session.upload.end() }()
	s.accepted.streams.Add(1)
	if err := link.Send(session.welcome()); err != nil {
		return err
	}
	for {
		select {
		case <-s.drained:
			return stopping
		case r := <-requests:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return session.receiveError(r.err)
			}
			if err := link.Send(session.answer(link.Context(), r.request)); err != nil {
				return err
			}
		}
	}
}

// received is what came from the emitter.
type received struct {
	request *apiv1.EmitRequest
	err     error // io.EOF at the orderly end; nothing comes after an error
}

// receive passes on what comes, one message at a time, until an error or until the method has ended.
func receive(link emitStream, ended <-chan struct{}) <-chan received {
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

// receiveError counts a message that is too large for the connection. gRPC has answered it: with
// ResourceExhausted, both sizes, and the end of the stream.
func (s *session) receiveError(err error) error {
	if status.Code(err) == codes.ResourceExhausted {
		s.service.refused(&s.emitter, refuse(tooLarge, "", "a message of more than %d bytes", MaxMessage))
	}
	return err
}

// session is one emitter's stream. It belongs to one goroutine.
type session struct {
	service *Service
	emitter
	member   Member
	receipts note.Signer
	prints   *prints
	seals    seals

	head  placedHead // of the emitter's subject
	known bool       // head is what the stream has

	upload  *upload // object that is being taken; nil if none is
	pending uint64  // bytes of objects since the last batch
}

// placedHead is a head with its place in the stream.
type placedHead struct {
	head
	seq  uint64 // 0 if there is none
	time int64  // ns when the stream took it
}

// open prepares a session for its first batch.
func (s *session) open(ctx context.Context) (err error) {
	if s.receipts, err = signer.NoteSigner(s.service.cfg.Receipts, s.member.Origin); err != nil {
		return err
	}
	keys, err := s.service.cfg.Vault.FingerprintKeys(string(s.tenant))
	if err != nil {
		return err
	}
	s.prints = newPrints(keys)
	s.seals = seals{tenant: s.tenant, vault: s.service.cfg.Vault, erased: func(subject string) registry.Erasure {
		return s.service.cfg.Admission.Erasure(s.tenant, subject)
	}}
	return s.readHead(ctx)
}

// readHead learns the emitter's last message from the stream, unless it is known.
func (s *session) readHead(ctx context.Context) error {
	if s.known {
		return nil
	}
	last, found, err := s.service.cfg.Stream.Last(ctx, s.subject())
	if err != nil || !found {
		s.head, s.known = placedHead{}, err == nil
		return err
	}
	h, err := headOf(last.Data)
	if err != nil {
		return err
	}
	s.head, s.known = placedHead{h, last.Seq, last.Time}, true
	return nil
}

func (s *session) subject() string { return stream.EventSubject(string(s.tenant), s.keyID) }

func (s *session) welcome() *apiv1.EmitResponse {
	index, hash, seen := s.service.cfg.Ledger.LastLeaf(s.tenant)
	number, key := s.prints.newest()
	w := &apiv1.Welcome{
		Head: s.head.proto(), FingerprintKey: key, FingerprintKeyId: number,
		Origin: s.member.Origin, ReceiptVerifier: signer.VKey(s.member.Origin, s.service.cfg.Receipts.Public()),
		ManifestVersion: s.member.Manifest, HeartbeatInterval: int64(HeartbeatInterval),
	}
	if seen {
		w.LastSeenIndex, w.LastSeenHash = index, hash[:]
	}
	return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_Welcome{Welcome: w}}
}

// answer takes one message of the emitter.
func (s *session) answer(ctx context.Context, request *apiv1.EmitRequest) *apiv1.EmitResponse {
	if part := request.GetObject(); part != nil {
		return s.takeObject(ctx, part)
	}
	s.pending = 0
	b := &batch{signed: request.GetBatch()}
	if b.signed == nil {
		return s.refuse(b, notBatch(request))
	}
	receipt, r := s.take(ctx, b)
	if r == nil {
		return receipt
	}
	return s.refuse(b, r)
}

// refuse counts a refusal and makes the answer.
func (s *session) refuse(b *batch, r *refusal) *apiv1.EmitResponse {
	s.service.refused(&s.emitter, r)
	return r.answer(b.digestBytes())
}

// refused counts a refusal.
func (s *Service) refused(who *emitter, r *refusal) {
	s.tallies.add(who.tallyKey(reasonName(r.reason)), r.Error())
}

// take lets one batch in, or says why not.
func (s *session) take(ctx context.Context, b *batch) (*apiv1.EmitResponse, *refusal) {
	if backlog := s.service.cfg.Ledger.Backlog(); backlog >= s.service.cfg.MaxBacklog {
		return nil, pushedBack("the ledger is %d events behind", backlog)
	}
	defer s.service.flight.board()()
	message, r := s.check(ctx, b)
	switch {
	case r != nil:
		return nil, r
	case b.place == isHead:
		s.service.accepted.duplicates.Add(1)
		return s.receipt(b, s.head.seq, s.head.time)
	}
	if r := s.claimObjects(b); r != nil {
		return nil, r
	}
	// What was checked is published, also if the sender is gone by now.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	seq, r := s.publish(ctx, b, message)
	s.service.messages.give(message)
	if r != nil {
		return nil, r
	}
	s.flagSecrets(b)
	return s.receipt(b, seq, s.service.cfg.Now().UnixNano())
}

func pushedBack(format string, args ...any) *refusal {
	r := refuse(pushback, "", format, args...)
	r.retry = pushbackDelay
	return r
}

// check does all the computing on one batch, at most cfg.Workers at a time. Of the head itself it checks
// only that it is the head.
func (s *session) check(ctx context.Context, b *batch) (message []byte, r *refusal) {
	w := s.service.hire(ctx)
	if w == nil {
		return nil, pushedBack("the stream has ended")
	}
	defer func() {
		b.events = nil // they are the worker's
		s.service.dismiss(w)
	}()
	if r := b.readStatement(&s.emitter); r != nil {
		return nil, r
	}
	if r := s.admitted(); r != nil {
		return nil, r
	}
	if r := s.placeBatch(ctx, b); r != nil || b.place == isHead {
		return nil, r
	}
	if r := b.checkSignature(&s.emitter, w); r != nil {
		return nil, r
	}
	if r := b.readEvents(s.prints, &w.checker); r != nil {
		return nil, r
	}
	if r := s.checkObjects(b); r != nil {
		return nil, r
	}
	return s.wrap(b, w)
}

// admitted holds the emitter to what is in force now: the key may have been revoked since the handshake.
func (s *session) admitted() *refusal {
	m, known := s.service.cfg.Admission.Lookup(s.tenant, s.keyID)
	switch {
	case !known:
		return refuse(badKey, "statement.key_id", "is not enrolled")
	case m.Ended:
		return refuse(badKey, "statement.key_id", "was revoked or rotated out")
	case m.Manifest == 0:
		return refuse(noManifest, "statement.instance", "has no manifest: an operator must say what it may do")
	}
	return nil
}

// placeBatch holds the batch against the stream's head.
func (s *session) placeBatch(ctx context.Context, b *batch) (r *refusal) {
	if err := s.readHead(ctx); err != nil {
		return s.failed("read head", err)
	}
	b.place, r = s.head.place(b.statement, b.digest)
	return r
}

func (s *session) wrap(b *batch, w *worker) ([]byte, *refusal) {
	message, held, err := w.wrapper.wrap(s.service.messages.take(), b, &s.seals, w.hashes)
	if errors.Is(err, errStale) {
		return nil, refuse(noObject, indexed("openings", b.objects[0].opening), "%v", err)
	}
	if err != nil {
		return nil, s.failed("seal", err)
	}
	b.held = held
	return message, nil
}

// failed is a fault of ours: the sender keeps the batch and tries again.
func (s *session) failed(what string, err error) *refusal {
	if errors.Is(err, stream.ErrTooLarge) {
		return refuse(tooLarge, "", "the batch is larger than the stream takes")
	}
	if !isTransient(err) {
		s.service.cfg.Log.Error("batch not taken", slog.String("step", what), slog.String("tenant", string(s.tenant)), slog.Any("error", err))
	}
	return pushedBack("%s: %v", what, publicCause(err))
}

// publish makes the batch durable in its place. When another message of the subject came first, the batch
// is placed anew.
func (s *session) publish(ctx context.Context, b *batch, message []byte) (seq uint64, r *refusal) {
	for range maxConflicts {
		var err error
		switch b.place {
		case isHead:
			return s.head.seq, nil
		case isLate:
			seq, err = s.publishLate(ctx, b, message)
		default:
			seq, err = s.publishNext(ctx, b, message)
		}
		if err == nil {
			s.count(b)
			return seq, nil
		}
		if !errors.Is(err, stream.ErrConflict) {
			return 0, s.failed("publish", err)
		}
		if r := s.placeBatch(ctx, b); r != nil {
			return 0, r
		}
	}
	return 0, pushedBack("another process sends with this key at the same time")
}

// publishNext makes the batch the head. The head is unknown after any error: the message may be stored.
func (s *session) publishNext(ctx context.Context, b *batch, message []byte) (uint64, error) {
	s.known = false
	seq, _, err := s.service.cfg.Stream.Publish(ctx, stream.Msg{
		Subject: s.subject(), ID: hex.EncodeToString(b.digest[:]), ExpectLast: s.head.seq, Data: message,
	})
	if err != nil {
		return 0, err
	}
	s.head, s.known = placedHead{newHead(b.statement, b.digest), seq, s.service.cfg.Now().UnixNano()}, true
	return seq, nil
}

// publishLate leaves it to the fold to judge a batch that is not after the head.
func (s *session) publishLate(ctx context.Context, b *batch, message []byte) (uint64, error) {
	subject := stream.LateSubject(string(s.tenant))
	last, _, err := s.service.cfg.Stream.Last(ctx, subject)
	if err != nil {
		return 0, err
	}
	seq, _, err := s.service.cfg.Stream.Publish(ctx, stream.Msg{
		Subject: subject, ID: hex.EncodeToString(b.digest[:]), ExpectLast: last.Seq, Data: message,
	})
	return seq, err
}

func (s *session) count(b *batch) {
	c := &s.service.accepted
	c.batches.Add(1)
	c.events.Add(uint64(len(b.signed.GetEvents())))
	c.held.Add(uint64(b.held))
	if b.place == isLate {
		c.late.Add(1)
	}
}

// receipt promises the sender that the batch will have its leaves.
func (s *session) receipt(b *batch, seq uint64, taken int64) (*apiv1.EmitResponse, *refusal) {
	signed, err := signer.SignReceipt(signer.Receipt{
		Origin: s.member.Origin, Batch: b.digest, Sequence: seq, Time: taken, Deadline: taken + int64(MergeDelay),
	}, s.receipts)
	if err != nil {
		return nil, s.failed("sign receipt", err)
	}
	receipt := &apiv1.Receipt{BatchDigest: b.digest[:], Note: signed, StreamSeq: seq}
	if index, hash, seen := s.service.cfg.Ledger.LastLeaf(s.tenant); seen {
		receipt.LastSeenIndex, receipt.LastSeenHash = index, hash[:]
	}
	return &apiv1.EmitResponse{Message: &apiv1.EmitResponse_Receipt{Receipt: receipt}}, nil
}

// flagSecrets has it recorded that sealed content holds secrets, without waiting.
func (s *session) flagSecrets(b *batch) {
	var events []*eventv1.Event
	for _, found := range b.secrets {
		if s.service.sealed.due(findingKey{s.keyID, found.path, found.detector}) {
			events = append(events, findingEvent(found))
		}
	}
	if len(events) == 0 {
		return
	}
	s.service.done.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
		defer cancel()
		if _, err := s.service.cfg.System.Record(ctx, s.tenant, events...); err != nil {
			s.service.cfg.Log.ErrorContext(ctx, "secrets in sealed content not recorded", slog.Any("error", err))
		}
	})
}
