package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
)

const (
	// watchDomain separates the proof of Watch from every other signature, as package contain has it.
	watchDomain = "custody/watch/v1\x00"
	// controlFile keeps what was contained when the process ended: a restart is no release.
	controlFile = "control.json"
	// renewEvery is the time between two renewals until a lease says how long it is; later a third of that.
	renewEvery = 3 * time.Second
	// mostPlainLease is the longest lease that needs no signature of its own.
	mostPlainLease = time.Minute
	// mostControlBackoff bounds the pause between two attempts to reach the brake: well below a lease.
	mostControlBackoff = 2 * time.Second
)

type watchStream = grpc.BidiStreamingClient[apiv1.WatchRequest, apiv1.WatchResponse]

// control is this end of the brake: it watches what is in force and holds the lease. It begins with the first run, because
// what only records has nothing to be stopped.
type control struct {
	emitter *Emitter
	begun   sync.Once
	stop    context.CancelFunc
	done    chan struct{} // closed when watching has ended; nil if it never began
	urge    chan struct{} // renew at once
	asks    chan struct{} // ask the rules

	mu        sync.Mutex
	now       view
	version   uint64        // of the control in force, 0 before the first word of this process
	settled   chan struct{} // closed at the first word, or when it is clear that none comes soon
	isSettled bool
	lease     time.Duration // by bootClock, when it ends
	denied    bool          // Custody has said that it lends none under the control in force
	linked    bool          // a control stream is open
	cut       time.Time     // since when none is; zero if there has never been one
	changed   chan struct{} // closed and replaced when the lease or the control changes
	running   map[*running]struct{}
	refused   []*apiv1.RefusedCall // since the last renewal
	refusals  int                  // under the control in force
	rules     questions
	exercised *apiv1.Exercised // the answer to an exercise, until the next renewal

	pleas     chan struct{} // there is something to ask approvers, or to withdraw
	pleading  map[event.ID]*plea
	withdrawn []event.ID
}

func newControl(e *Emitter) *control {
	return &control{
		emitter: e, urge: make(chan struct{}, 1), asks: make(chan struct{}, 1), settled: make(chan struct{}), changed: make(chan struct{}), running: make(map[*running]struct{}),
		pleas: make(chan struct{}, 1), pleading: make(map[event.ID]*plea),
	}
}

// begin starts watching, once.
func (c *control) begin() {
	c.begun.Do(func() {
		if err := c.load(); err != nil {
			c.emitter.report(fmt.Errorf("what was contained before: %w", err))
		}
		ctx, stop := context.WithCancel(context.Background())
		c.stop, c.done = stop, make(chan struct{})
		go c.watch(ctx)
		time.AfterFunc(gatePatience, c.settle)
	})
}

// end stops watching. The lease is not given back: it runs out.
func (c *control) end() {
	c.begun.Do(func() {})
	if c.done != nil {
		c.stop()
		<-c.done
	}
}

func (c *control) hurry() {
	select {
	case c.urge <- struct{}{}:
	default:
	}
}

// settle lets calls go on that wait for the first word.
func (c *control) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked()
}

func (c *control) settleLocked() {
	if !c.isSettled {
		c.isSettled = true
		close(c.settled)
	}
}

func (c *control) awaitFirst(ctx context.Context) {
	select {
	case <-c.settled:
	case <-ctx.Done():
	}
}

// awaitLease waits a while for a lease.
func (c *control) awaitLease(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, gatePatience)
	defer cancel()
	for {
		c.mu.Lock()
		has, denied, changed := c.hasLease(), c.denied, c.changed
		c.mu.Unlock()
		if has || denied {
			return has
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// link notes that there is a control stream, or none any more.
func (c *control) link(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.linked = is; !is {
		c.cut = time.Now()
	}
}

// Why a gate has no lease.
const (
	neverReached = "no lease: the server has not been reached yet"
	unreachable  = "no lease: the server is unreachable"
	noneLent     = "no lease: refused by Custody, which lends none under what is in force"
	runOut       = "no lease: it has expired, and the server that is connected has not renewed it"
)

// whyNoLease says why there is no lease, in words for the record and for whoever reads the agent's log. The mutex is held.
func (c *control) whyNoLease() string {
	switch {
	case c.linked && c.denied:
		return noneLent
	case c.linked:
		return runOut
	case c.cut.IsZero():
		return neverReached
	}
	return unreachable + " since " + c.cut.UTC().Format(time.DateTime) + " UTC, and the lease has expired"
}

// hasLease is decided by our own clock, from when we asked. The mutex is held.
func (c *control) hasLease() bool { return lasts(c.lease) }

// lasts reports whether a lease that ends then is still good.
func lasts(end time.Duration) bool { return bootClock() < end }

func (c *control) view() *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.viewLocked()
}

func (c *control) viewLocked() *view {
	v := c.now
	return &v
}

// watch connects and connects again until ctx ends.
func (c *control) watch(ctx context.Context) {
	defer close(c.done)
	for failures := 0; ctx.Err() == nil; failures++ {
		heard, err := c.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if heard {
			failures = 0
		}
		if failures == 0 {
			c.emitter.report(fmt.Errorf("control stream to %s: %w", c.emitter.config.Address, err))
		}
		c.settle() // nobody waits for what may not come
		pause(ctx, backoff(failures, mostControlBackoff))
	}
}

// connect serves one connection, which is not that of the events: what is full there must not hold up the brake.
func (c *control) connect(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := c.emitter.dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stream, err := apiv1.NewControlServiceClient(conn).Watch(ctx)
	if err != nil {
		return false, err
	}
	s := &controlSession{
		control: c, stream: stream, sent: make(map[uint64]time.Duration), every: renewEvery, questions: make(map[uint64]uint64),
		pleaded: make(map[event.ID]time.Duration),
	}
	if err := s.handshake(); err != nil {
		return false, fmt.Errorf("handshake: %w", err)
	}
	c.link(true)
	defer c.link(false)
	c.wonder() // whoever asked on the stream before still waits
	return true, s.serve(ctx)
}

// controlSession is one stream after its handshake. It belongs to one goroutine.
type controlSession struct {
	control *control
	stream  watchStream
	number  uint64                   // of the last renewal
	sent    map[uint64]time.Duration // when renewals left, by bootClock
	current uint64                   // the first renewal under the control in force
	nonce   []byte                   // of the connection
	every   time.Duration

	question  uint64            // number of the last question for the rules
	questions map[uint64]uint64 // stream sequences that were asked for, by number
	asked     uint64            // the newest of them

	pleaded map[event.ID]time.Duration // when questions for approvers left, by bootClock
}

func (s *controlSession) handshake() error {
	e := s.control.emitter
	hello := e.hello().GetHello()
	if err := s.stream.Send(&apiv1.WatchRequest{Message: &apiv1.WatchRequest_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	answer, err := s.stream.Recv()
	if err != nil {
		return err
	}
	nonce := answer.GetChallenge().GetNonce()
	if len(nonce) != nonceSize {
		return fmt.Errorf("challenge: nonce of %d bytes", len(nonce))
	}
	s.nonce = nonce
	binding, err := channelBinding(s.stream.Context())
	if err != nil {
		return err
	}
	sig, err := e.key.Sign(append(append([]byte(watchDomain), nonce...), binding...))
	if err != nil {
		return err
	}
	return s.stream.Send(&apiv1.WatchRequest{Message: &apiv1.WatchRequest_Proof{Proof: &apiv1.Proof{Signature: sig}}})
}

type controlAnswer struct {
	response *apiv1.WatchResponse
	err      error
}

// serve takes what comes and renews in time.
func (s *controlSession) serve(ctx context.Context) error {
	answers := make(chan controlAnswer)
	go s.receive(ctx, answers)
	timer := time.NewTimer(s.every)
	defer timer.Stop()
	s.control.hurryPleas() // what an earlier stream has put is put again
	for {
		select {
		case a := <-answers:
			if a.err != nil {
				return a.err
			}
			if err := s.take(a.response); err != nil {
				return err
			}
			continue
		case <-s.control.asks:
			if err := s.ask(); err != nil {
				return err
			}
			continue
		case <-s.control.pleas:
			if err := s.plead(); err != nil {
				return err
			}
			continue
		case <-s.control.urge:
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.renew(); err != nil {
			return err
		}
		timer.Reset(s.every)
	}
}

func (s *controlSession) receive(ctx context.Context, answers chan<- controlAnswer) {
	for {
		response, err := s.stream.Recv()
		select {
		case answers <- controlAnswer{response, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// take puts a new control in force, and says so at once; or takes a lease.
func (s *controlSession) take(r *apiv1.WatchResponse) error {
	switch {
	case r.GetControl() != nil:
		if err := s.control.take(r.GetControl()); err != nil {
			return err
		}
		s.current = s.number + 1
		return s.renew()
	case r.GetLease() != nil:
		return s.lent(r.GetLease())
	case r.GetJudged() != nil:
		s.judged(r.GetJudged())
	case r.GetExercise() != nil:
		s.control.exercise(s.stream.Context(), r.GetExercise())
	case r.GetAnswer() != nil:
		s.answered(r.GetAnswer())
	}
	return nil
}

// renew asks for a lease. It counts from now, before the request has left.
func (s *controlSession) renew() error {
	s.number++
	s.sent[s.number] = bootClock()
	r := s.control.report()
	r.Number = s.number
	err := s.stream.Send(&apiv1.WatchRequest{Message: &apiv1.WatchRequest_Renew{Renew: r}})
	if errors.Is(err, io.EOF) {
		return nil // receiving says why
	}
	return err
}

// lent takes a lease, which began when its renewal left.
func (s *controlSession) lent(l *apiv1.Lease) error {
	began, asked := s.sent[l.GetNumber()]
	if !asked {
		return nil
	}
	for n := range s.sent {
		if n <= l.GetNumber() {
			delete(s.sent, n)
		}
	}
	ttl, err := s.length(l)
	if err != nil {
		return err
	}
	if ttl > 0 {
		s.every = min(ttl/3, renewEvery)
	}
	s.control.lent(began, ttl, l.GetNumber() >= s.current)
	return nil
}

// length is how long a lease lasts. One that is longer than usual must be signed, for this connection and renewal, by the key that
// signs receipts.
func (s *controlSession) length(l *apiv1.Lease) (time.Duration, error) {
	ttl := time.Duration(l.GetTtl())
	if ttl <= mostPlainLease {
		return ttl, nil
	}
	id := &s.control.emitter.identity
	_, key, err := signer.ParseVKey(s.control.emitter.pinned())
	message := event.LeaseMessage(string(id.Tenant), id.KeyID, s.nonce, l.GetNumber(), l.GetTtl())
	if err != nil || ttl > event.MaxLeaseExtension || !key.Verify(message, l.GetExtension()) {
		return 0, fmt.Errorf("lease of %s: not signed by Custody for this connection", ttl)
	}
	return ttl, nil
}

// lent puts a lease in force, or its refusal. An answer to what was asked under an earlier control denies nothing.
func (c *control) lent(began, ttl time.Duration, current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case ttl > 0:
		c.lease, c.denied = began+ttl, false
	case current:
		c.lease, c.denied = 0, true
	}
	c.move()
}

// move lets calls look again that wait. The mutex is held.
func (c *control) move() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// report is what a renewal says.
func (c *control) report() *apiv1.Renew {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &apiv1.Renew{Control: c.version, Refused: c.refused, Exercised: c.exercised}
	c.refused, c.exercised = nil, nil
	for call := range c.running {
		if call.stopped {
			r.Stopping++
		}
		if call.consequence == High && len(r.Running) < maxReported {
			r.Running = append(r.Running, &apiv1.RunningCall{Run: call.act.Run, Call: call.call, Tool: event.Cut(call.tool, event.MaxID)})
		}
	}
	return r
}

// take puts a control in force: what must stop is cancelled before Custody hears of it.
func (c *control) take(x *apiv1.Control) error {
	v := view{
		manifest: x.GetManifestVersion(), permissions: x.GetPermissions(), moderate: x.GetModerateNeedsLease(), judgeWait: judgeWaitOf(x), judgeRequired: x.GetJudgeRequired(),
		approve: x.GetHighNeedsApproval(),
	}
	for _, in := range x.GetContained() {
		item := contained{ID: in.GetId(), Target: in.GetTarget(), Level: in.GetLevel()}
		if err := item.parse(); err != nil {
			return fmt.Errorf("control: %w", err)
		}
		v.contained = append(v.contained, item)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	same := slices.EqualFunc(c.now.contained, v.contained, func(a, b contained) bool { return a.ID == b.ID })
	c.now, c.version, c.refusals, c.denied = v, x.GetVersion(), 0, false
	c.stopRunning()
	c.settleLocked()
	c.move()
	if same {
		return nil
	}
	return c.save()
}

func (c *contained) parse() (err error) {
	c.target, err = event.ParseTarget(c.Target)
	if err == nil && !slices.Contains(levelRanks[1:], c.Level) {
		err = fmt.Errorf("level %q is not known", event.Escape(c.Level))
	}
	return err
}

// save keeps what is contained over a restart. The mutex is held.
func (c *control) save() error {
	if err := writeJSON(filepath.Join(c.emitter.config.Dir, controlFile), c.now.contained); err != nil {
		return fmt.Errorf("keep what is contained: %w", err)
	}
	return nil
}

// load reads what was contained when the last process ended. It counts until Custody says otherwise.
func (c *control) load() error {
	var list []contained
	err := readJSON(filepath.Join(c.emitter.config.Dir, controlFile), &list)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := range list {
		err = errors.Join(err, list[i].parse())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.contained = list
	return err
}
