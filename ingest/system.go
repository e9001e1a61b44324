package ingest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// Limits of the system emitter.
const (
	// recordTimeout bounds the work on one batch, with all attempts: longer than the stream needs to notice
	// that its files must be reopened.
	recordTimeout = 30 * time.Second
	// recordRetry is the pause before a batch is published again.
	recordRetry = 200 * time.Millisecond
	// maxSystemBatch is the size of the events of one batch, in bytes: event.MaxBatch less room for the
	// statement and the framing.
	maxSystemBatch = event.MaxBatch - 64<<10
)

var (
	// ErrNoTenant says that a tenant has no log.
	ErrNoTenant = errors.New("no such tenant")
	// ErrTenantExists says that a tenant has a log already.
	ErrTenantExists = errors.New("the tenant exists already")
	// ErrSecret says that an event of Custody's own holds what looks like a secret.
	ErrSecret = errors.New("looks like a secret")
	// ErrClosed says that the emitter was closed.
	ErrClosed = errors.New("the system emitter is closed")
)

// Publisher is what ingest needs of the stream. stream.Stream is one.
type Publisher interface {
	// Publish is durable when it returns; see stream.Stream.Publish for its errors.
	Publish(ctx context.Context, m stream.Msg) (seq uint64, dup bool, err error)
	// Last returns the last message of a subject, as the stream's leader has it.
	Last(ctx context.Context, subject string) (m stream.Message, found bool, err error)
}

// System is Custody's own emitter in every tenant: the system key, the instance "custody". Its batches are
// numbered and chained as any emitter's. The first record of a process in a tenant opens a new epoch that
// names the end of the one before. Records that are made at the same time travel in one batch. It is safe
// for concurrent use, and several processes may use one key.
type System struct {
	key    signer.Signer
	stream Publisher
	now    func() time.Time

	mu     sync.Mutex
	lanes  map[event.TenantID]*lane
	closed bool
	work   sync.WaitGroup // batches on their way
}

// NewSystem returns the emitter of a system key.
func NewSystem(key signer.Signer, publisher Publisher, now func() time.Time) *System {
	return &System{key: key, stream: publisher, now: now, lanes: make(map[event.TenantID]*lane)}
}

// Close waits for the batches on their way. Later records fail with ErrClosed.
func (s *System) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}

// systemEvent makes an event of Custody's own.
func systemEvent(system *eventv1.System) *eventv1.Event {
	return &eventv1.Event{Body: &eventv1.Event_System{System: system}}
}

// Record makes events durable in a tenant's log and returns the stream sequence of their batch. It fills in
// what every event of Custody's has alike: version, id, tenant, instance, time. The events stay together
// and in order. Errors: ErrNoTenant, ErrSecret, *event.FieldError, those of the stream.
func (s *System) Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (streamSeq uint64, err error) {
	encoded, err := s.encode(tenant, events)
	if err != nil {
		return 0, fmt.Errorf("record in %s: %w", tenant, err)
	}
	sub := &submission{events: encoded, done: make(chan struct{})}
	if err := s.submit(tenant, sub); err != nil {
		return 0, fmt.Errorf("record in %s: %w", tenant, err)
	}
	select {
	case <-sub.done:
	case <-ctx.Done(): // the batch goes on: whoever asked no longer wants to know
		return 0, fmt.Errorf("record in %s: %w", tenant, context.Cause(ctx))
	}
	if sub.err != nil {
		return 0, fmt.Errorf("record in %s: %w", tenant, sub.err)
	}
	return sub.seq, nil
}

// Create opens a tenant's log: the genesis, then the given events, in one batch. Of several that try, one
// succeeds and the others get ErrTenantExists.
func (s *System) Create(ctx context.Context, tenant event.TenantID, genesis *eventv1.Event, more ...*eventv1.Event) (streamSeq uint64, err error) {
	encoded, err := s.encode(tenant, append([]*eventv1.Event{genesis}, more...))
	if err != nil {
		return 0, fmt.Errorf("create tenant %s: %w", tenant, err)
	}
	epoch, err := newEpoch()
	if err != nil {
		return 0, fmt.Errorf("create tenant %s: %w", tenant, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	l := &lane{system: s, tenant: tenant, epoch: epoch, known: true}
	streamSeq, err = l.publish(ctx, encoded)
	if errors.Is(err, stream.ErrConflict) {
		err = ErrTenantExists
	}
	if err != nil {
		return 0, fmt.Errorf("create tenant %s: %w", tenant, err)
	}
	s.adopt(l)
	return streamSeq, nil
}

// adopt lets later records go on in the epoch that opened the log, unless one was made in between.
func (s *System) adopt(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[l.tenant] == nil {
		s.lanes[l.tenant] = l
	}
}

// encode completes, checks and encodes events.
func (s *System) encode(tenant event.TenantID, events []*eventv1.Event) ([][]byte, error) {
	encoded, size := make([][]byte, len(events)), 0
	for i, e := range events {
		e = proto.CloneOf(e)
		s.complete(e, tenant)
		b, err := event.Marshal(e)
		if err != nil {
			return nil, err
		}
		if detector, found := event.ScanSecrets(b); found {
			return nil, fmt.Errorf("%s: %w (%s)", event.Action(e), ErrSecret, detector)
		}
		encoded[i], size = b, size+len(b)
	}
	if len(events) == 0 || len(events) > event.MaxBatchEvents || size > maxSystemBatch {
		return nil, fmt.Errorf("%d events of %d bytes do not fit one batch", len(events), size)
	}
	return encoded, nil
}

func (s *System) complete(e *eventv1.Event, tenant event.TenantID) {
	now := s.now()
	id := event.NewID(now, nil)
	e.Version, e.Id = event.Version, id[:]
	e.Tenant, e.Instance = string(tenant), string(event.InstanceCustody)
	e.OccurredAt, e.TimeBasis = now.UnixNano(), eventv1.TimeBasis_TIME_BASIS_OBSERVED
}

// submission is one call of Record.
type submission struct {
	events [][]byte
	done   chan struct{} // closed when seq and err are set
	seq    uint64
	err    error
}

// submit queues a submission and makes sure that somebody works on its tenant's queue.
func (s *System) submit(tenant event.TenantID, sub *submission) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	l := s.lanes[tenant]
	if l == nil {
		l = &lane{system: s, tenant: tenant}
		s.lanes[tenant] = l
	}
	l.queue = append(l.queue, sub)
	if !l.busy {
		l.busy = true
		s.work.Go(l.work)
	}
	return nil
}

// lane is one tenant's emitter. queue and busy are under the mutex of System; the rest belongs to the one
// goroutine that works.
type lane struct {
	system *System
	tenant event.TenantID
	queue  []*submission
	busy   bool

	known bool     // the head is what the stream has
	seq   uint64   // stream sequence of the subject's last message, 0 if none
	head  head     // of the subject's last batch
	epoch [16]byte // this process's epoch, zero before the first batch
}

// work publishes the queue until it is empty.
func (l *lane) work() {
	for batch := l.next(); len(batch) > 0; batch = l.next() {
		var events [][]byte
		for _, sub := range batch {
			events = append(events, sub.events...)
		}
		ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
		seq, err := l.publish(ctx, events)
		cancel()
		for _, sub := range batch {
			sub.seq, sub.err = seq, err
			close(sub.done)
		}
	}
}

// next takes from the queue what fits one batch; none ends the work.
func (l *lane) next() []*submission {
	l.system.mu.Lock()
	defer l.system.mu.Unlock()
	n, events, size := 0, 0, 0
	for _, sub := range l.queue {
		for _, b := range sub.events {
			size += len(b)
		}
		if events += len(sub.events); n > 0 && (events > event.MaxBatchEvents || size > maxSystemBatch) {
			break
		}
		n++
	}
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	if l.busy = n > 0; !l.busy {
		l.queue = nil
	}
	return batch
}

// publish makes one batch durable. When another process has published in between, it continues from there
// in a new epoch; when the stream pushes back, it tries again until ctx ends.
func (l *lane) publish(ctx context.Context, events [][]byte) (uint64, error) {
	for {
		seq, err := l.attempt(ctx, events)
		switch {
		case errors.Is(err, stream.ErrConflict) && l.head.epochNo > 0:
			l.known = false
		case !isTransient(err) || !pause(ctx, recordRetry):
			return seq, err
		}
	}
}

// attempt seals the batch behind the head and publishes it.
func (l *lane) attempt(ctx context.Context, events [][]byte) (uint64, error) {
	if err := l.read(ctx); err != nil {
		return 0, err
	}
	b, err := l.seal(events)
	if err != nil {
		return 0, err
	}
	seq, err := l.send(ctx, b)
	if err != nil {
		return 0, err
	}
	l.seq, l.head = seq, b.head
	return seq, nil
}

// send publishes the same bytes until the stream says what became of them: after a transient error they may
// be stored or not.
func (l *lane) send(ctx context.Context, b *sealedBatch) (uint64, error) {
	m := stream.Msg{Subject: stream.SystemSubject(string(l.tenant)), ID: hex.EncodeToString(b.head.digest[:]), ExpectLast: l.seq, Data: b.data}
	for {
		seq, _, err := l.system.stream.Publish(ctx, m)
		if !isTransient(err) {
			return seq, err
		}
		if !pause(ctx, recordRetry) {
			l.known = false
			return 0, err
		}
	}
}

func isTransient(err error) bool {
	return errors.Is(err, stream.ErrPushback) || errors.Is(err, stream.ErrUnavailable)
}

// read learns the head of the subject from the stream, unless it is known.
func (l *lane) read(ctx context.Context) error {
	if l.known {
		return nil
	}
	last, found, err := l.system.stream.Last(ctx, stream.SystemSubject(string(l.tenant)))
	if err != nil {
		return err
	}
	if !found {
		return ErrNoTenant
	}
	h, err := headOf(last.Data)
	if err != nil {
		return fmt.Errorf("last batch of %s: %w", last.Subject, err)
	}
	if l.epoch, err = newEpoch(); err != nil {
		return err
	}
	l.seq, l.head, l.known = last.Seq, h, true
	return nil
}

// sealedBatch is a signed batch, ready for the stream.
type sealedBatch struct {
	data []byte
	head head // after the batch
}

// seal numbers, chains and signs events.
func (l *lane) seal(events [][]byte) (*sealedBatch, error) {
	st := l.statement(events)
	statement, err := event.MarshalStatement(st)
	if err != nil {
		return nil, err
	}
	sig, err := signer.SignDSSE(l.system.key, signer.PayloadTypeBatch, statement)
	if err != nil {
		return nil, err
	}
	data, err := event.MarshalStreamBatch(&eventv1.StreamBatch{Version: event.Version, Statement: statement, Signature: sig, Events: events})
	if err != nil {
		return nil, err
	}
	return &sealedBatch{data, newHead(st, event.BatchDigest(statement))}, nil
}

// statement continues the epoch of this process, or opens it and names the end of the one before.
func (l *lane) statement(events [][]byte) *eventv1.BatchStatement {
	hashes := make([]chain.Hash, len(events))
	for i, b := range events {
		hashes[i] = chain.EventHash(b)
	}
	root, id := chain.EventRoot(hashes), l.system.key.Public().ID()
	st := &eventv1.BatchStatement{
		Version: event.Version, Tenant: string(l.tenant), Instance: string(event.InstanceCustody), KeyId: id[:],
		EpochNo: max(l.head.epochNo, 1), Epoch: l.epoch[:], FirstSeq: l.head.lastSeq + 1, Count: uint32(len(events)),
		EventRoot: root[:], CreatedAt: l.system.now().UnixNano(),
	}
	switch {
	case l.head.epochNo > 0 && l.head.epoch != l.epoch:
		st.EpochNo, st.FirstSeq = l.head.epochNo+1, 1
		st.PreviousEpoch = &eventv1.EpochEnd{LastSeq: l.head.lastSeq, LastDigest: l.head.digest[:]}
	case l.head.epochNo > 0:
		st.PrevBatch = l.head.digest[:]
	}
	return st
}

func newEpoch() (epoch [16]byte, err error) {
	_, err = io.ReadFull(rand.Reader, epoch[:])
	return epoch, err
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
