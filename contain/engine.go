package contain

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/agentcustody/custody/contain/follow"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

const (
	// DefaultUnprovenAfter is when a step that is not verified is passed on to a person: a minute is six leases.
	DefaultUnprovenAfter = time.Minute
	// DefaultRecheck is how often it is looked whether a revoked credential is still dead: an operator who undoes it by mistake hears of
	// it soon, and its server sees no load.
	DefaultRecheck = 5 * time.Minute
	// recordTimeout bounds the work on one record.
	recordTimeout = 30 * time.Second
	// mostInRecord is how many events are recorded at once: a batch, less what stands beside them.
	mostInRecord = event.MaxBatchEvents - 8
)

// Source is what containment folds. stream.Stream is one.
type Source interface {
	follow.Source
	// Last returns the last message of a subject, as the stream's leader has it.
	Last(ctx context.Context, subject string) (m stream.Message, found bool, err error)
}

// Recorder makes Custody's own events durable in a tenant's log. ingest.System is one.
type Recorder interface {
	// Record returns the stream sequence of the events, which stay together and in order.
	Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (streamSeq uint64, err error)
}

// Roster is who there is: every tenant's registry at the end of the stream. ingest.Admission is one. It is safe for
// concurrent use.
type Roster interface {
	// View lets look at a tenant's registry and reports whether the tenant exists. look must not keep nor change it.
	View(tenant event.TenantID, look func(*registry.State)) bool
	// Await returns when the system message at a stream sequence is in the registries.
	Await(ctx context.Context, seq uint64) error
	// CatchUp returns when everything that the stream has for a tenant at the time of the call is in its registry.
	CatchUp(ctx context.Context, tenant event.TenantID) error
}

// Config is what containment is made of. Every field must be set unless it says otherwise.
type Config struct {
	Source   Source
	Recorder Recorder
	Roster   Roster
	System   signer.PublicKey // signs Custody's own batches
	Key      signer.Signer    // the private half of System: signs extended leases and reports of drills; nil signs none

	Contents Contents // opens what approvers are shown

	Connectors    []Connector   // that revoke; may be empty
	LeaseTTL      time.Duration // 0 is LeaseTTL
	LeaseMargin   time.Duration // 0 is LeaseMargin
	UnprovenAfter time.Duration // 0 is DefaultUnprovenAfter
	Recheck       time.Duration // a revoked credential is tried again this often; 0 is DefaultRecheck
	ArmedEvery    time.Duration // 0 is DefaultArmedEvery
	Moderate      bool          // acts of moderate consequence need a lease too
	ApproveHigh   bool          // every act of high consequence needs a person's approval
	// Reach is what the records say that a target has used and caused; instances are those that it reaches. nil knows nothing.
	Reach func(ctx context.Context, t event.Target, instances []event.InstanceID) (Reach, error)
	// Hold places a legal hold, under the id of a containment; an id that there is already is no error. nil places none.
	Hold func(ctx context.Context, tenant event.TenantID, actor, reason, id, scope string) error
	// Judged returns when the rules have seen the stream up to a sequence, and what they asked for in a tenant is in the log up to the
	// message after. nil: there are no rules.
	Judged        func(ctx context.Context, tenant event.TenantID, seq uint64) (after uint64, err error)
	JudgeWait     time.Duration                                        // an act of high consequence waits so long for the rules; 0 is DefaultJudgeWait, negative not at all
	JudgeRequired bool                                                 // and does not begin when they have not seen it by then
	Way           *stream.RightOfWay                                   // is taken for orders on their way to the gates; nil: there is none to take
	Page          func(tenant event.TenantID, c *Containment)          // is told of each containment that is about to end by itself; may be nil
	Escalate      func(tenant event.TenantID, c *Containment, s *Step) // is told of each step that a person must look at; may be nil
	Hook          func(Point) error                                    // called at each point of a connector's call; an error stops it there, as a crash would; may be nil
	Now           func() time.Time                                     // nil is time.Now
	Log           *slog.Logger                                         // nil discards
}

func (c Config) withDefaults() Config {
	if c.LeaseTTL == 0 {
		c.LeaseTTL = LeaseTTL
	}
	if c.LeaseMargin == 0 {
		c.LeaseMargin = LeaseMargin
	}
	if c.UnprovenAfter == 0 {
		c.UnprovenAfter = DefaultUnprovenAfter
	}
	if c.JudgeWait == 0 {
		c.JudgeWait = DefaultJudgeWait
	}
	if c.JudgeWait < 0 || c.Judged == nil {
		c.JudgeWait = 0
	}
	if c.Recheck == 0 {
		c.Recheck = DefaultRecheck
	}
	if c.ArmedEvery == 0 {
		c.ArmedEvery = DefaultArmedEvery
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Escalate == nil {
		c.Escalate = func(event.TenantID, *Containment, *Step) {}
	}
	if c.Page == nil {
		c.Page = func(event.TenantID, *Containment) {}
	}
	if c.Reach == nil {
		c.Reach = func(context.Context, event.Target, []event.InstanceID) (Reach, error) { return Reach{}, nil }
	}
	if c.Hook == nil {
		c.Hook = func(Point) error { return nil }
	}
	return c
}

// Engine knows what is in force in every tenant, changes it for people, and brings it to gates and connectors. It is safe for
// concurrent use.
type Engine struct {
	cfg    Config
	leases *leases
	plans  plans

	acting   sync.Mutex  // one change at a time; guards drills and unsure
	unsure   map[ID]bool // orders for rules that may be in the stream and not folded here
	drills   map[ID]bool // containments that a drill will release
	deciding sync.Mutex  // one step of a question at a time; guards shown
	shown    sights

	mu      sync.RWMutex
	tenants map[event.TenantID]*tenant

	progress *stream.Progress

	patrol  *patrol
	stop    context.CancelFunc
	drain   sync.Once
	drained chan struct{}
	work    sync.WaitGroup
}

// tenant is what is in force in one tenant. It is guarded by the engine's mutex.
type tenant struct {
	state     State
	version   uint64 // stream sequence of the last event that gates must know of
	audience  audience
	questions questions
	answered  chan struct{} // closed and replaced with every step of a question

	extended extension
	armed    map[way]Trial
}

// Open folds what the stream has, and then follows it. It returns when everything in the stream at the time of the call is
// folded.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	cfg = cfg.withDefaults()
	last, _, err := cfg.Source.Last(ctx, stream.SystemFilter)
	if err != nil {
		return nil, fmt.Errorf("open containment: last system message: %w", err)
	}
	following, stop := context.WithCancel(context.Background())
	e := &Engine{
		cfg: cfg, leases: newLeases(cfg.LeaseTTL, cfg.LeaseMargin, cfg.Now), tenants: make(map[event.TenantID]*tenant), progress: stream.NewProgress(0),
		stop: stop, drained: make(chan struct{}), shown: make(sights), drills: make(map[ID]bool), unsure: make(map[ID]bool),
	}
	e.plans.now = cfg.Now
	reader := follow.New(cfg.Source, cfg.System, 1, wants)
	e.work.Go(func() { reader.Fold(following, e.progress, cfg.Log, "containments", e.take) })
	if err := e.progress.Await(ctx, last.Seq); err != nil {
		e.Close()
		return nil, fmt.Errorf("open containment: %w", err)
	}
	e.patrol = newPatrol(e)
	e.work.Go(func() { e.patrol.run(following) })
	e.work.Go(func() { e.keepArmed(following) })
	return e, nil
}

// Drain ends the gates' streams; leases that are out run on.
func (e *Engine) Drain() { e.drain.Do(func() { close(e.drained) }) }

// Close ends following. A connector's call that is on its way is cut off; the next start finds its intent.
func (e *Engine) Close() {
	e.Drain()
	e.stop()
	e.work.Wait()
}

// take folds one message. When there are no more, what is in force stays in force at the gates.
func (e *Engine) take(m follow.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[m.Tenant]
	if len(m.Events) > 0 {
		t = e.tenant(m.Tenant)
	}
	for _, ev := range m.Events {
		x := ev.GetSystem()
		if x.GetApproval() != nil {
			t.asked(m, ev)
			continue
		}
		t.ready(m.Time, x, e.leases.since)
		if changed := t.state.Apply(m.Time, x); (changed || x.GetContainment() == nil) && matters(x) {
			t.version = m.Seq
		}
	}
	if t != nil && t.version == m.Seq {
		e.tell(&t.audience, firstOf(m.Events))
	}
	e.progress.Reach(m.Seq)
}

// tenant is what is in force in a tenant. The engine's mutex is held for writing.
func (e *Engine) tenant(name event.TenantID) *tenant {
	t := e.tenants[name]
	if t == nil {
		t = newTenant()
		e.tenants[name] = t
	}
	return t
}

func newTenant() *tenant {
	return &tenant{audience: audience{listeners: make(map[*listener]bool)}, armed: make(map[way]Trial), answered: make(chan struct{})}
}

// ready folds in what says how ready the brake is.
func (t *tenant) ready(at int64, x *eventv1.System, since time.Time) {
	switch d := x.GetDetail().(type) {
	case *eventv1.System_Lease:
		t.extended.extend(time.Unix(0, at), time.Duration(d.Lease.GetLasts()), since)
	case *eventv1.System_Armed:
		for _, check := range d.Armed.GetChecks() {
			t.fold(at, check)
		}
	}
}

// asked folds a step of a question. The engine's mutex is held.
func (t *tenant) asked(m follow.Message, e *eventv1.Event) {
	t.questions.apply(m.Time, m.Seq, e)
	close(t.answered)
	t.answered = make(chan struct{})
}

// matters reports whether gates must hear of an event: what is in force, the manifest, the end of a key.
func matters(x *eventv1.System) bool {
	switch x.GetDetail().(type) {
	case *eventv1.System_Manifest, *eventv1.System_Key, *eventv1.System_Lease:
		return true
	case *eventv1.System_Containment:
		return x.GetContainment().GetPath() == ""
	}
	return false
}

// wants reports whether containment folds an event.
func wants(s *eventv1.System) bool {
	return s.GetContainment() != nil || s.GetHold() != nil || s.GetApproval() != nil || s.GetArmed() != nil || matters(s)
}

// catchUp returns when everything that the stream has for a tenant now is folded, here and in its registry.
func (e *Engine) catchUp(ctx context.Context, name event.TenantID) error {
	last, _, err := e.cfg.Source.Last(ctx, stream.SystemSubject(string(name)))
	if err == nil {
		err = e.progress.Await(ctx, last.Seq)
	}
	if err == nil {
		err = e.cfg.Roster.Await(ctx, last.Seq)
	}
	return err
}

// record makes containment events durable and returns when they are folded.
func (e *Engine) record(ctx context.Context, name event.TenantID, systems ...*eventv1.System) error {
	events := make([]*eventv1.Event, len(systems))
	for i, s := range systems {
		events[i] = &eventv1.Event{Body: &eventv1.Event_System{System: s}}
	}
	return e.recordEvents(ctx, name, events...)
}

func (e *Engine) recordEvents(ctx context.Context, name event.TenantID, events ...*eventv1.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	for part := range slices.Chunk(events, mostInRecord) {
		seq, err := e.cfg.Recorder.Record(ctx, name, part...)
		if err == nil {
			err = e.progress.Await(ctx, seq)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look gives a tenant's state to a function that must not keep nor change it.
func (e *Engine) look(name event.TenantID, f func(*State)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if t := e.tenants[name]; t != nil {
		f(&t.state)
		return
	}
	f(new(State))
}

// names are the tenants that have ever had something to fold.
func (e *Engine) names() []event.TenantID {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Sorted(maps.Keys(e.tenants))
}

// snapshot is a copy of one containment.
func (e *Engine) snapshot(name event.TenantID, id ID) (found *Containment) {
	e.look(name, func(s *State) {
		if c := s.Find(id); c != nil {
			found = c.clone()
		}
	})
	return found
}
