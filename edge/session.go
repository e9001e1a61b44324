package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// maxStrikes is how often in a row a session opens a new epoch before it gives up and comes back later.
	maxStrikes = 4
	// tidyBytes is how much delivered content may stay in the newest segment of an idle emitter.
	tidyBytes = 64 << 10
	// ageReserve is the part of its age, one in so many, that a batch has left when it is cut: time to wake up, to sign and to send it, and to wait
	// its turn on a busy machine, so that the receipt comes about when the age is over.
	ageReserve = 4
	// ageSpread is the part of its age, one in so many, by which a batch may be cut earlier still.
	ageSpread = 7
	// A pushback is obeyed within these bounds.
	leastPushback = 10 * time.Millisecond
	mostPushback  = time.Minute
)

// head is the last batch that the server holds of our key. The zero head is none.
type head struct {
	number uint64 // of the epoch
	epoch  spool.Epoch
	end    spool.End
}

func headOf(h *apiv1.EmitterHead) head {
	if len(h.GetEpoch()) != event.EpochSize || len(h.GetBatchDigest()) != event.DigestSize {
		return head{}
	}
	end := spool.End{Seq: spool.Seq(h.GetLastSeq()), Digest: spool.Digest(h.GetBatchDigest())}
	return head{h.GetEpochNo(), spool.Epoch(h.GetEpoch()), end}
}

// session is one connection after its handshake. One goroutine runs it; while a batch waits for its receipt, the next is
// cut and signed.
type session struct {
	emitter *Emitter
	stream  emitStream
	cancel  context.CancelCauseFunc
	answers chan answer
	head    head          // where the server stands
	beat    time.Duration // heartbeat interval

	queue    *spool.Queue // the oldest that has not drained
	reached  spool.Seq    // newest number that is sent or ready
	inflight *outgoing
	upload   *upload // of inflight; nil if it has no objects
	ready    *outgoing
	spare    []*outgoing
	urgent   spool.Place // events up to here do not wait for company
	yielded  bool        // the server insists on a head that is behind our receipts
	strikes  int         // new epochs since the last receipt
	progress bool        // a batch got its receipt

	company  time.Time // until when events wait for company; zero if none do
	answerBy time.Time // of the batch in flight
	resumeAt time.Time // after a pushback
	idle     time.Time // since when there is nothing to do
	timer    *time.Timer
}

// errNotRead ends a connection whose other end does not read.
var errNotRead = errors.New("the server does not read what is sent")

type answer struct {
	response *apiv1.EmitResponse
	err      error
}

func newSession(e *Emitter, stream emitStream, w *apiv1.Welcome, cancel context.CancelCauseFunc) *session {
	s := &session{
		emitter: e, stream: stream, cancel: cancel, answers: make(chan answer, 1), head: headOf(w.GetHead()),
		beat: time.Duration(w.GetHeartbeatInterval()), timer: time.NewTimer(time.Hour),
	}
	orDefault(&s.beat, defaultHeartbeat)
	return s
}

// serve delivers until the connection breaks or ctx is done.
func (s *session) serve(ctx context.Context) error {
	defer s.timer.Stop()
	go s.receive(ctx)
	closing := s.emitter.closing
	for {
		if err := s.step(); err != nil {
			return err
		}
		s.rearm()
		select {
		case a := <-s.answers:
			if err := s.handle(a); err != nil {
				return err
			}
		case <-s.queue.Wake():
		case <-s.emitter.urge:
			s.urgent = s.emitter.queue.Newest()
		case <-closing:
			closing, s.urgent = nil, s.emitter.queue.Newest()
		case <-s.timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// receive passes answers on until the stream ends.
func (s *session) receive(ctx context.Context) {
	for {
		response, err := s.stream.Recv()
		select {
		case s.answers <- answer{response, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// step does what can be done now: choose the queue, prepare a batch, send it.
func (s *session) step() error {
	for {
		if err := s.choose(); err != nil {
			return err
		}
		if err := s.prepare(); err != nil {
			return err
		}
		if err := s.send(); err != nil {
			return err
		}
		if s.inflight != nil || s.queue == s.emitter.queue || !s.queue.Drained() {
			return s.due()
		}
	}
}

// choose takes the oldest queue with something to deliver; older starts go first.
func (s *session) choose() error {
	if s.inflight != nil || s.ready != nil || (s.queue != nil && (s.queue == s.emitter.queue || !s.queue.Drained())) {
		return nil
	}
	if err := s.emitter.spool.Prune(); err != nil {
		return err
	}
	s.queue = s.emitter.queue
	for _, q := range s.emitter.spool.Queues() {
		if !q.Drained() {
			s.queue = q
			break
		}
	}
	return s.reconcile()
}

// due acts on deadlines that have passed.
func (s *session) due() error {
	now := time.Now()
	switch {
	case s.inflight != nil && !s.resumeAt.IsZero() && !now.Before(s.resumeAt):
		return s.resend()
	case s.inflight != nil && s.resumeAt.IsZero() && !now.Before(s.answerBy):
		return fmt.Errorf("no answer to a batch within %s", s.emitter.config.answerTimeout)
	case s.isIdle() && !now.Before(s.idle.Add(s.beat)):
		return s.heartbeat()
	}
	return nil
}

func (s *session) isIdle() bool {
	idle := s.inflight == nil && s.ready == nil && s.queue == s.emitter.queue && s.queue.Drained()
	switch {
	case !idle:
		s.idle = time.Time{}
	case s.idle.IsZero():
		s.idle = time.Now()
	}
	return idle
}

// rearm sets the timer to the next deadline.
func (s *session) rearm() {
	next := time.Now().Add(time.Hour)
	for _, deadline := range []time.Time{s.companyBy(), s.answerDeadline(), s.idleBy()} {
		if !deadline.IsZero() && deadline.Before(next) {
			next = deadline
		}
	}
	s.timer.Reset(time.Until(next))
}

func (s *session) companyBy() time.Time {
	if s.ready != nil {
		return time.Time{}
	}
	return s.company
}

func (s *session) answerDeadline() time.Time {
	switch {
	case s.inflight == nil:
		return time.Time{}
	case !s.resumeAt.IsZero():
		return s.resumeAt
	}
	return s.answerBy
}

func (s *session) idleBy() time.Time {
	if !s.isIdle() {
		return time.Time{}
	}
	return s.idle.Add(s.beat)
}

// heartbeat says that nothing is missing up to here. It goes at once.
func (s *session) heartbeat() error {
	s.idle = time.Time{}
	place, err := s.queue.AppendLast(false, func(epoch spool.Epoch, last spool.Seq) ([]byte, error) {
		return s.emitter.ownFrame(&eventv1.Identity{
			Action: eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT, Epoch: epoch[:], LastSeq: uint64(last), Interval: int64(s.beat),
		})
	})
	if errors.Is(err, spool.ErrClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	s.urgent = place
	return s.step()
}

// prepare readies the next batch: one that was signed before, or a new one.
func (s *session) prepare() error {
	if s.ready != nil {
		return nil
	}
	for _, st := range s.queue.Waiting() {
		if st.First > s.reached {
			return s.reload(st)
		}
	}
	return s.cut()
}

// reload readies a batch that was signed before the connection, or the process, broke: the same bytes again.
func (s *session) reload(st spool.Statement) error {
	out := s.outgoing()
	out.statement = st
	if err := s.queue.Load(st.First, st.Count, &out.batch); err != nil {
		return fmt.Errorf("load signed batch: %w", err)
	}
	if len(out.batch.Entries) != st.Count {
		return fmt.Errorf("load signed batch: %d of %d events", len(out.batch.Entries), st.Count)
	}
	s.ready, s.reached = out, st.End().Seq
	return nil
}

// cut makes a batch of events that are not signed yet, if it is full or has waited long enough.
func (s *session) cut() error {
	state := s.queue.State()
	if !s.worthCutting(&state) {
		return nil
	}
	if state.Number != 0 && state.Epoch != s.head.epoch && s.inflight == nil {
		s.emitter.report(fmt.Errorf("epoch %d is not the one that the server holds (%d): a new one is opened", state.Number, s.head.number))
		if err := s.renumber(); err != nil {
			return err
		}
		return s.cut() // what made this batch due still does, and nothing would say so again
	}
	out := s.outgoing()
	if err := s.queue.Load(state.Signed.Seq+1, event.MaxBatchEvents, &out.batch); err != nil {
		return err
	}
	if n := out.fit(); n < len(out.batch.Entries) {
		if err := s.queue.Load(state.Signed.Seq+1, n, &out.batch); err != nil {
			return err
		}
	}
	if len(out.batch.Entries) == 0 {
		return fmt.Errorf("cut batch: no event numbered %d in %s", state.Signed.Seq+1, s.queue.Name())
	}
	if err := s.emitter.sign(out, s.predecessor(&state)); err != nil {
		return err
	}
	s.ready, s.reached, s.company = out, out.statement.End().Seq, time.Time{}
	return nil
}

// worthCutting says whether a batch should go now. If not, it asks to be woken when it should.
func (s *session) worthCutting(state *spool.State) bool {
	events, bytes := s.queue.Unsigned()
	switch {
	case events == 0:
		s.company = time.Time{}
		s.queue.Arm(1, event.MaxBatch)
		return false
	case s.queue != s.emitter.queue, state.PlaceOf(state.Signed.Seq) < s.urgent, state.Signed.Seq == 0 && s.urgent > 0:
		return true
	case events >= event.MaxBatchEvents, bytes >= event.MaxBatch:
		return true
	case s.company.IsZero():
		s.company = time.Now().Add(company(s.emitter.config.MaxBatchAge))
	case !time.Now().Before(s.company):
		return true
	}
	s.queue.Arm(event.MaxBatchEvents-events, event.MaxBatch-bytes)
	return false
}

// company is how long a batch of an age waits for more events: what is left of its age without the reserve, less a random part. Emitters that
// began at the same time would otherwise come at the same time for ever, and the last of them would wait for all others.
func company(age time.Duration) time.Duration {
	return age - age/ageReserve - rand.N(age/ageSpread+1) //nolint:gosec // spread, not secrecy
}

// outgoing returns memory for a batch.
func (s *session) outgoing() *outgoing {
	if n := len(s.spare); n > 0 {
		out := s.spare[n-1]
		s.spare = s.spare[:n-1]
		out.queue = s.queue
		return out
	}
	return &outgoing{queue: s.queue}
}

// predecessor is what the next new statement follows.
func (s *session) predecessor(state *spool.State) predecessor {
	p := predecessor{number: state.Number, epoch: state.Epoch, last: state.Signed, seen: s.emitter.lastSeen}
	if state.Number != 0 {
		return p
	}
	p.number, p.before = s.head.number+1, epochEnd(s.head.end)
	if own := s.emitter.spool.Prior(s.queue); s.serverLost(own) && !s.yielded {
		p.number, p.before = own.Number+1, epochEnd(own.End)
	}
	return p
}

// serverLost says that the server's head is behind what we hold receipts for. We name our own end first: what the server
// has lost must not be signed away. Only if it insists, the new epoch names its head; the receipts prove the loss.
func (s *session) serverLost(own spool.Prior) bool {
	return own.End.Seq > 0 && own.End.Digest != s.head.end.Digest &&
		(s.head.number < own.Number || s.head.number == own.Number && s.head.end.Seq < own.End.Seq)
}

func epochEnd(end spool.End) *eventv1.EpochEnd {
	if end.Seq == 0 {
		return nil
	}
	return &eventv1.EpochEnd{LastSeq: uint64(end.Seq), LastDigest: end.Digest[:]}
}

// send sends the ready batch if none is in flight.
func (s *session) send() error {
	if s.inflight != nil || s.ready == nil {
		return nil
	}
	s.inflight, s.ready = s.ready, nil
	s.beginUpload()
	if err := s.resend(); err != nil {
		return err
	}
	return s.prepare()
}

// resend sends the batch in flight. A server that does not read is given up like one that does not answer.
func (s *session) resend() error {
	s.resumeAt = time.Time{}
	s.answerBy = time.Now().Add(s.emitter.config.answerTimeout)
	giveUp := time.AfterFunc(s.emitter.config.answerTimeout, func() { s.cancel(errNotRead) })
	defer giveUp.Stop()
	err := s.stream.Send(s.request())
	if errors.Is(err, io.EOF) {
		return nil // the stream has ended; receiving says why
	}
	return err
}

func (s *session) handle(a answer) error {
	switch r := a.response; {
	case a.err != nil:
		return a.err
	case s.inflight == nil:
		return errors.New("an answer came and nothing was asked")
	case r.GetReceipt() != nil:
		return s.received(r.GetReceipt())
	case r.GetObjectTaken() != nil:
		return s.taken(r.GetObjectTaken())
	case r.GetRefused() != nil && s.uploading():
		return s.objectRefused(r.GetRefused())
	case r.GetRefused() != nil:
		return s.refused(r.GetRefused())
	}
	return errors.New("an answer is neither receipt nor refusal")
}

// keep keeps the receipt. The newest ones are there for whoever looks into a loss; only those that the caller asks for hold up the
// acknowledgement.
func (e *Emitter) keep(out *outgoing, r *apiv1.Receipt) error {
	line, err := keptLine(out, r)
	if err != nil {
		return err
	}
	if err := e.receipts.add(line); err != nil {
		e.report(err)
	}
	return e.archive.add(line)
}

// received takes a receipt. If the process dies before the acknowledgement is recorded, the batch is sent again and the
// server makes the receipt again.
func (s *session) received(r *apiv1.Receipt) error {
	e, out := s.emitter, s.inflight
	if err := e.openReceipt(out, r); err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	if err := e.keep(out, r); err != nil {
		return err
	}
	if err := s.acknowledge(out.statement.End()); err != nil {
		return err
	}
	if err := s.dropObjects(out); err != nil {
		return err
	}
	if out.statement.Number >= s.head.number { // not of an epoch that is over
		s.head = head{out.statement.Number, out.queue.State().Epoch, out.statement.End()}
	}
	e.seen(r.GetLastSeenIndex(), r.GetLastSeenHash())
	e.stats.acknowledged.Add(uint64(out.statement.Count))
	e.stats.batches.Add(1)
	e.stats.lastError.Store(nil)
	s.spare, s.inflight = append(s.spare, out), nil
	s.progress, s.strikes = true, 0
	return errors.Join(out.queue.Tidy(tidyBytes), s.pruneAfter(&out.statement))
}

// pruneAfter deletes older queues once an epoch that names their end has begun.
func (s *session) pruneAfter(st *spool.Statement) error {
	if st.First != 1 {
		return nil
	}
	return s.emitter.spool.Prune()
}

func (s *session) acknowledge(to spool.End) error {
	if err := s.queue.Ack(to); err != nil {
		return err
	}
	if s.queue == s.emitter.queue {
		s.emitter.settle()
	}
	return nil
}

// refused does what the reason asks for.
func (s *session) refused(r *apiv1.Refused) error {
	switch r.GetReason() {
	case apiv1.RefusalReason_REFUSAL_REASON_PUSHBACK:
		return s.pushedBack(r)
	case apiv1.RefusalReason_REFUSAL_REASON_OBJECT:
		return s.missing(r)
	case apiv1.RefusalReason_REFUSAL_REASON_GAP:
		return s.gap(r)
	case apiv1.RefusalReason_REFUSAL_REASON_MANIFEST:
		return fmt.Errorf("refused (manifest): %w", ErrNoManifest)
	case apiv1.RefusalReason_REFUSAL_REASON_KEY, apiv1.RefusalReason_REFUSAL_REASON_UNSPECIFIED:
		return fmt.Errorf("refused (%s): %s", reasonName(r.GetReason()), r.GetMessage())
	}
	return s.reject(r)
}

// patience is how long a pushback asks to wait.
func patience(r *apiv1.Refused) time.Duration {
	wait := min(max(time.Duration(r.GetRetryAfter()), leastPushback), mostPushback)
	return wait + rand.N(wait/4) //nolint:gosec // spread, not secrecy
}

// gap opens a new epoch that names the server's head.
func (s *session) gap(r *apiv1.Refused) error {
	s.head = headOf(r.GetHead())
	own := s.emitter.spool.Prior(s.queue)
	if state := s.queue.State(); state.Acked.Seq > 0 {
		own = spool.Prior{Number: state.Number, End: state.Acked}
	}
	if s.serverLost(own) {
		s.emitter.report(fmt.Errorf(
			"server does not hold what it gave receipts for: epoch %d up to %d is acknowledged, it stands at epoch %d, %d; see %s",
			own.Number, own.End.Seq, s.head.number, s.head.end.Seq, receiptsDir))
		if s.yielded = s.queue.State().Number > own.Number; s.yielded { // it has refused our own end
			s.emitter.testify(own)
		}
	} else {
		s.emitter.report(fmt.Errorf("numbering refused: %s: %s: a new epoch is opened", r.GetField(), r.GetMessage()))
	}
	return s.renumber()
}

// reject sets aside what can never be accepted. A crash between the steps repeats them.
func (s *session) reject(r *apiv1.Refused) error {
	out := s.inflight
	if i, ok := out.eventIndex(r.GetField()); ok && out.statement.First+spool.Seq(i) == 1 {
		return fmt.Errorf("refused (%s): the epoch's first event: %s", reasonName(r.GetReason()), r.GetMessage())
	}
	refused, seqs, err := s.emitter.setAside(out, r)
	if err != nil {
		return err
	}
	state := s.queue.State()
	if err := s.renumber(seqs...); err != nil {
		return err
	}
	s.emitter.stats.refused.Add(uint64(len(seqs)))
	if s.queue == s.emitter.queue {
		span := spool.Span{First: state.PlaceOf(seqs[0]), Last: state.PlaceOf(seqs[len(seqs)-1])}
		s.emitter.waiters.refused(span, refused)
	}
	s.emitter.report(refused)
	return nil
}

// renumber gives the events that are left new numbers in a new epoch, without those set aside.
func (s *session) renumber(setAside ...spool.Seq) error {
	if s.strikes++; s.strikes > maxStrikes {
		return fmt.Errorf("%d new epochs without a receipt: is another process using this key?", s.strikes)
	}
	epoch, opened, err := s.emitter.newEpoch()
	if err != nil {
		return err
	}
	for _, out := range []*outgoing{s.inflight, s.ready} {
		if out != nil {
			s.spare = append(s.spare, out)
		}
	}
	s.inflight, s.upload, s.ready, s.reached, s.company = nil, nil, nil, 0, time.Time{}
	return s.queue.NewEpoch(epoch, opened, setAside...)
}

// reconcile brings the queue in line with the server's head, once for each connection and queue.
func (s *session) reconcile() error {
	if err := s.reconcileHead(); err != nil {
		return err
	}
	s.reached = s.queue.State().Acked.Seq
	if s.queue.Whole() {
		return nil
	}
	s.emitter.report(fmt.Errorf("spool %s: events or signatures are missing from the disk (%v): the rest goes in a new epoch",
		s.queue.Name(), s.queue.Missing()))
	return s.renumber()
}

func (s *session) reconcileHead() error {
	state, h := s.queue.State(), s.head
	if h.epoch != state.Epoch || h.end == state.Acked {
		return nil // another epoch, or where we stand; a head behind us is refused as a gap later
	}
	if h.end.Seq < state.Acked.Seq {
		return nil
	}
	for _, st := range s.queue.Waiting() {
		if st.End() == h.end {
			return s.acknowledgeBefore(st)
		}
	}
	if h.end.Seq > state.Signed.Seq && s.queue != s.emitter.queue {
		return s.acknowledge(h.end) // the spool has lost its tail: the server has it
	}
	s.emitter.report(fmt.Errorf("epoch %d: Custody holds a batch up to %d that this process did not sign: is another process using this key?",
		state.Number, h.end.Seq))
	return s.renumber()
}

// acknowledgeBefore takes everything before a signed batch as done. The batch itself, which is the server's head, is sent
// again for its receipt.
func (s *session) acknowledgeBefore(head spool.Statement) error {
	var before spool.End
	for _, st := range s.queue.Waiting() {
		if st.First < head.First {
			before = st.End()
		}
	}
	if before.Seq == 0 {
		return nil
	}
	return s.acknowledge(before)
}
