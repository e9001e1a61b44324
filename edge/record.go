package edge

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

var (
	// ErrSpoolFull says that the spool has no room: Custody cannot be reached, or is slower than the agent.
	ErrSpoolFull = spool.ErrFull
	// ErrClosed says that the emitter is closed.
	ErrClosed = spool.ErrClosed
	// ErrNoManifest says that Custody takes nothing of the instance before somebody has said what it may do. What is recorded waits.
	ErrNoManifest = errors.New("the instance has no manifest: an operator must say what it may do")
)

// Record scrubs, seals and spools an event, and returns its id when the spool has it. The error is an *event.FieldError
// if the event is not valid, ErrSpoolFull, ErrClosed, or that of the disk.
func (e *Emitter) Record(ctx context.Context, ev *Event) (event.ID, error) {
	id, _, err := e.record(ctx, ev)
	if err != nil {
		return event.ID{}, err
	}
	return id, nil
}

// WriteAhead is Record, and returns when Custody has given the receipt: the record is on Custody's disk before the act
// that it announces. Everything recorded before has its receipt too.
func (e *Emitter) WriteAhead(ctx context.Context, ev *Event) (event.ID, error) {
	id, place, err := e.record(ctx, ev)
	if err != nil {
		return event.ID{}, err
	}
	if err := e.await(ctx, place, place); err != nil {
		return id, fmt.Errorf("write ahead: %w", err)
	}
	return id, nil
}

// record is the fast path: nothing is shared but the run's counter and the spool's queue, each held for the time of a
// copy.
func (e *Emitter) record(ctx context.Context, ev *Event) (event.ID, spool.Place, error) {
	w := e.workspace()
	defer e.release(w)
	if err := w.prepare(ctx, ev); err != nil {
		return event.ID{}, 0, err
	}
	ticket, err := w.number(ctx, ev.Plain)
	unseal(ev.Plain)
	if err != nil {
		return event.ID{}, 0, err
	}
	if e.recording.Load() > 1 {
		runtime.Gosched() // let others get in line, so that one write serves all
	}
	place, err := ticket.Wait()
	if err != nil && len(w.long) > 0 {
		err = errors.Join(err, w.dropLong(len(w.long)))
	}
	if ev.Plain.GetIdentity().GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		e.runs.end(ev.Plain.Run)
	}
	if err == nil {
		place, err = e.detect(ctx, ev, place)
	}
	return event.ID(ev.Plain.Id), place, err
}

// workspace is the memory of one Record. It is reused.
type workspace struct {
	emitter  *Emitter
	key      *fingerprintKey
	finger   *event.Fingerprinter
	random   random
	openings []spool.Opening
	sealed   []eventv1.Sealed
	digests  [][event.DigestSize]byte
	list     []*eventv1.Sealed // of sealed
	prints   []*eventv1.Fingerprint
	encoded  []byte
	frame    []byte
	run      *runCounter

	long      []longValue
	longBytes int // of all of them
}

func (e *Emitter) workspace() *workspace {
	e.recording.Add(1)
	w, _ := e.workspaces.Get().(*workspace)
	if w == nil {
		w = &workspace{emitter: e}
	}
	if key := e.fingerprint.Load(); w.key != key {
		w.key, w.finger = key, event.NewFingerprinter(key.Key, key.ID)
	}
	return w
}

// release forgets content before the workspace is reused.
func (e *Emitter) release(w *workspace) {
	clear(w.openings)
	clear(w.prints)
	w.finger.Forget()
	w.forgetLong()
	e.workspaces.Put(w)
	e.recording.Add(-1)
}

// prepare does what can fail for reasons in the event.
func (w *workspace) prepare(ctx context.Context, ev *Event) error {
	p := ev.Plain
	if p == nil {
		return fieldError("", "no event")
	}
	if err := w.emitter.checkOwn(p); err != nil {
		return err
	}
	w.fill(ctx, p)
	if err := w.seal(ev); err != nil {
		return err
	}
	if err := w.validate(p); err != nil {
		unseal(p)
		return err
	}
	return nil
}

// checkOwn refuses what only the emitter may set, and other emitters' names.
func (e *Emitter) checkOwn(p *eventv1.Event) error {
	switch {
	case p.RunSeq != 0:
		return fieldError("run_seq", "is set by the emitter")
	case len(p.Sealed) > 0:
		return fieldError("sealed", "is set by the emitter")
	case len(p.Fingerprints) > 0:
		return fieldError("fingerprints", "is set by the emitter")
	case p.Tenant != "" && p.Tenant != string(e.identity.Tenant):
		return fieldError("tenant", "is not %s, the emitter's", e.identity.Tenant)
	case p.Instance != "" && p.Instance != string(e.identity.Instance):
		return fieldError("instance", "is not %s, the emitter's", e.identity.Instance)
	case p.GetSystem() != nil:
		return fieldError("system", "only Custody makes system events")
	case aboutEmitter(p.GetIdentity().GetAction()):
		return fieldError("identity.action", "is recorded by the emitter itself")
	}
	return nil
}

// aboutEmitter says that an action is about the emitter's own numbering.
func aboutEmitter(a eventv1.IdentityAction) bool {
	return a == eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_OPENED ||
		a == eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED || a == eventv1.IdentityAction_IDENTITY_ACTION_HEARTBEAT
}

// fill sets what the caller has left out.
func (w *workspace) fill(ctx context.Context, p *eventv1.Event) {
	p.Version = event.Version
	p.Tenant, p.Instance = string(w.emitter.identity.Tenant), string(w.emitter.identity.Instance)
	now := time.Now()
	if len(p.Id) == 0 {
		p.Id = event.AppendID(make([]byte, 0, event.IDSize), now, &w.random)
	}
	if p.OccurredAt == 0 {
		p.OccurredAt, p.TimeBasis = now.UnixNano(), eventv1.TimeBasis_TIME_BASIS_OBSERVED
	}
	if p.TimeBasis == 0 {
		p.TimeBasis = eventv1.TimeBasis_TIME_BASIS_OBSERVED
	}
	if s := scopeOf(ctx); s != nil && p.Run == "" {
		s.fill(p)
	}
}

// seal commits to content: scrub, salt, digest, fingerprints. The messages are the workspace's: see unseal.
func (w *workspace) seal(ev *Event) error {
	n := len(ev.Sealed)
	w.openings = slices.Grow(w.openings[:0], n)[:n]
	if n == 0 {
		return nil
	}
	if n > event.MaxSealed {
		return fieldError("sealed", "more than %d", event.MaxSealed)
	}
	if !isID(ev.Plain.Id) {
		return fieldError("id", "not a UUIDv7")
	}
	w.makeRoom(n)
	for i := range ev.Sealed {
		if err := w.sealOne(ev.Plain, i, &ev.Sealed[i]); err != nil {
			return err
		}
	}
	ev.Plain.Sealed, ev.Plain.Fingerprints = w.list, w.prints
	w.argumentsDigest(ev.Plain)
	if !slices.IsSortedFunc(w.openings, byPath) {
		slices.SortFunc(w.openings, byPath)
	}
	w.setLongAside()
	return nil
}

func byPath(a, b spool.Opening) int { return strings.Compare(a.Path, b.Path) }

// makeRoom gives the workspace n fields to seal. More than usual are not kept.
func (w *workspace) makeRoom(n int) {
	w.prints = w.prints[:0]
	if n <= len(w.sealed) {
		w.list = w.list[:n]
		return
	}
	w.sealed, w.digests = make([]eventv1.Sealed, n), make([][event.DigestSize]byte, n)
	w.list = make([]*eventv1.Sealed, n)
	for i := range w.list {
		w.list[i] = &w.sealed[i]
	}
}

// unseal takes from the event what belongs to the workspace.
func unseal(p *eventv1.Event) { p.Sealed, p.Fingerprints = nil, nil }

func isID(b []byte) bool {
	_, err := event.IDFromBytes(b)
	return err == nil
}

func (w *workspace) sealOne(p *eventv1.Event, i int, c *Content) error {
	value, err := w.scrub(i, c)
	if err != nil {
		return err
	}
	o := &w.openings[i]
	o.Path, o.Value = c.Path, value
	w.random.Read(o.Salt[:]) //nolint:errcheck // never fails
	s := w.list[i]
	s.Path, s.MediaType, s.Subject, s.Size = c.Path, c.mediaType(), c.Subject, uint64(len(value))
	w.digests[i] = event.SealedDigest(event.ID(p.Id), s.Path, s.MediaType, &o.Salt, value)
	s.Digest = w.digests[i][:]
	w.prints = w.fingerprints(c.Path, value)
	return nil
}

// argumentsDigest lets an execution's stages be compared: each holds the digest that its proposal has sealed.
func (w *workspace) argumentsDigest(p *eventv1.Event) {
	x := p.GetExecution()
	if x == nil || len(x.ArgumentsDigest) > 0 {
		return
	}
	for _, s := range w.list {
		if s.Path == argumentsPath {
			x.ArgumentsDigest = slices.Clone(s.Digest)
		}
	}
}

// validate holds the event to the format, with the number that it will most likely get in its run, so that numbering
// cannot fail.
func (w *workspace) validate(p *eventv1.Event) error {
	if w.run = nil; p.Run != "" {
		w.run = w.emitter.runs.of(p.Run)
		w.setRunSeq(p, w.run.last.Load()+1)
	}
	if err := w.encode(p); err != nil {
		return err
	}
	if event.MayHoldSecret(p) && event.ScrubEvent(p) > 0 {
		if err := w.encode(p); err != nil {
			return err
		}
	}
	entry := spool.Entry{Event: w.encoded, Openings: w.openings}
	if !spool.Fits(&entry) || len(w.encoded) > event.MaxEvent-runSeqRoom {
		return fieldError("", "does not fit in a batch of %d bytes with its sealed content", event.MaxBatch)
	}
	return nil
}

// encode is event.Marshal into the workspace.
func (w *workspace) encode(p *eventv1.Event) (err error) {
	w.encoded, err = event.AppendMarshal(w.encoded[:0], p)
	return err
}

// runSeqRoom is what a run_seq and a last_run_seq can add to an event over those that validate has tried.
const runSeqRoom = 2 * 10

// number takes room in the spool, gives the event its place in its run, and puts it in line. From here on only the disk
// can fail; an event that the disk refuses leaves a hole in its run, and the caller has the error.
func (w *workspace) number(ctx context.Context, p *eventv1.Event) (spool.Ticket, error) {
	e := w.emitter
	w.frame = spool.AppendEvent(w.frame[:0], w.encoded, w.openings)
	room, err := e.spool.Reserve(ctx, len(w.frame)+runSeqRoom+w.longBytes)
	if err == nil && w.longBytes > 0 {
		room, err = w.keepLong(room)
	}
	if err != nil || w.run == nil {
		return e.queue.Enqueue(w.frame, room), err
	}
	w.run.mu.Lock()
	defer w.run.mu.Unlock()
	if n := w.run.last.Add(1); n != p.RunSeq { // another goroutine has recorded in this run
		w.setRunSeq(p, n)
		_ = w.encode(p) // cannot fail: it did not before
		w.frame = spool.AppendEvent(w.frame[:0], w.encoded, w.openings)
	}
	return e.queue.Enqueue(w.frame, room), nil
}

func (w *workspace) setRunSeq(p *eventv1.Event, n uint64) {
	p.RunSeq = n
	if x := p.GetIdentity(); x.GetAction() == eventv1.IdentityAction_IDENTITY_ACTION_RUN_ENDED {
		x.LastRunSeq = n
	}
}

// runs number the events of each run. A run is forgotten some time after it has ended.
type runs struct {
	mu    sync.Mutex
	all   map[string]*runCounter
	ended []string // oldest first
}

// runCounter is the last number given in a run. It changes only while mu is held, which lasts until the event is in line:
// so numbers have the order of the spool.
type runCounter struct {
	mu   sync.Mutex
	last atomic.Uint64
}

// keepEnded is how many ended runs still number late events.
const keepEnded = 1024

func (r *runs) of(run string) *runCounter {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.all[run]
	if c == nil {
		c = new(runCounter)
		r.all[run] = c
	}
	return c
}

func (r *runs) end(run string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended = append(r.ended, run); len(r.ended) > keepEnded {
		delete(r.all, r.ended[0])
		r.ended = r.ended[1:]
	}
}

// random is crypto/rand with a buffer, so that salts and ids do not cost a call each.
type random struct {
	buf  [2048]byte // of some 30 events
	used int        // bytes at the front that were given out
	have int        // bytes in buf; 0 before the first use
}

func (r *random) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if r.used == r.have {
			rand.Read(r.buf[:])
			r.used, r.have = 0, len(r.buf)
		}
		k := copy(p[n:], r.buf[r.used:])
		clear(r.buf[r.used : r.used+k])
		r.used, n = r.used+k, n+k
	}
	return len(p), nil
}

// fingerprintKey is the tenant's fingerprint key.
type fingerprintKey struct {
	ID  uint32 `json:"id"` // from 1
	Key []byte `json:"key"`
}

func (k *fingerprintKey) equal(other *fingerprintKey) bool {
	return k != nil && other != nil && k.ID == other.ID && hmac.Equal(k.Key, other.Key)
}
