package cases

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentcustody/custody/contain/follow"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// recordTimeout bounds the work on one record.
const recordTimeout = 30 * time.Second

// Source is what is folded. stream.Stream is one.
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

// Roster is who there is. ingest.Admission is one. It is safe for concurrent use.
type Roster interface {
	// View lets look at a tenant's registry and reports whether the tenant exists. look must not keep nor change it.
	View(tenant event.TenantID, look func(*registry.State)) bool
}

// Record is one committed event.
type Record struct {
	ID       event.ID
	Index    uint64
	Received int64 // ns since the Unix epoch
	Event    *eventv1.Event
}

// Records is the committed log, as far as cases need it. It is safe for concurrent use.
type Records interface {
	// Settle returns when everything that the stream holds at the time of the call is committed.
	Settle(ctx context.Context) error
	// Find returns the committed events with these ids, in index order. What cannot be read is left out.
	Find(ctx context.Context, tenant event.TenantID, ids []event.ID) ([]Record, error)
	// Cut says which acts of moderate, high or unknown consequence a run, or the instance if run is empty, began after an index.
	Cut(ctx context.Context, tenant event.TenantID, instance, run string, after uint64) (*apiv1.CaseCut, error)
}

// Gathered is one firing, and the containment that came of it, empty if none did.
type Gathered struct {
	Firing      event.ID
	Containment string
}

// Config is what cases are made of. Every field must be set unless it says otherwise.
type Config struct {
	Source   Source
	Recorder Recorder
	Roster   Roster
	Records  Records
	System   signer.PublicKey // signs Custody's own batches
	// Hold places a legal hold, under the id of a case; an id that there is already is no error.
	Hold func(ctx context.Context, tenant event.TenantID, actor, reason, id, scope string) error
	// Fired reports whether a rule has fired under an id in a tenant.
	Fired func(tenant event.TenantID, firing event.ID) bool
	// Gather finds what rules have found about a target and nobody has done with yet, the newest first. nil finds nothing.
	Gather func(target event.Target) []Gathered
	Log    *slog.Logger // nil discards
}

// Engine knows the cases of every tenant, and records what people do in them. It is safe for concurrent use.
type Engine struct {
	cfg Config

	acting sync.Mutex // one change at a time

	mu      sync.RWMutex
	tenants map[event.TenantID]*State

	progress *stream.Progress

	stop context.CancelFunc
	work sync.WaitGroup
}

// Open begins to fold the stream, and follows it. It waits for nothing: who asks waits.
func Open(cfg Config) *Engine {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &Engine{cfg: cfg, tenants: map[event.TenantID]*State{}, progress: stream.NewProgress(0), stop: stop}
	reader := follow.New(cfg.Source, cfg.System, 1, Wants)
	e.work.Go(func() { reader.Fold(ctx, e.progress, cfg.Log, "cases", e.take) })
	return e
}

// Close ends following.
func (e *Engine) Close() {
	e.stop()
	e.work.Wait()
}

// take folds one message.
func (e *Engine) take(m follow.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range m.Events {
		s := e.tenants[m.Tenant]
		if s == nil {
			s = new(State)
			e.tenants[m.Tenant] = s
		}
		s.Apply(m.Time, x)
	}
	e.progress.Reach(m.Seq)
}

// catchUp returns when everything that the stream has for a tenant now is folded.
func (e *Engine) catchUp(ctx context.Context, tenant event.TenantID) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	last, _, err := e.cfg.Source.Last(ctx, stream.SystemSubject(string(tenant)))
	if err == nil {
		err = e.progress.Await(ctx, last.Seq)
	}
	if err != nil {
		return fmt.Errorf("catch up with %s: %w", tenant, err)
	}
	return nil
}

// record makes one act durable and returns when it is folded.
func (e *Engine) record(ctx context.Context, tenant event.TenantID, actor, reason string, act *eventv1.Case) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	x := &eventv1.System{Actor: actor, Reason: reason, Detail: &eventv1.System_Case{Case: act}}
	seq, err := e.cfg.Recorder.Record(ctx, tenant, &eventv1.Event{Body: &eventv1.Event_System{System: x}})
	if err == nil {
		err = e.progress.Await(ctx, seq)
	}
	return err
}

// look gives a tenant's state to a function that must not keep nor change it.
func (e *Engine) look(tenant event.TenantID, f func(*State)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if s := e.tenants[tenant]; s != nil {
		f(s)
		return
	}
	f(new(State))
}

// snapshot is a copy of one case, nil if there is none.
func (e *Engine) snapshot(tenant event.TenantID, id ID) (found *Case) {
	e.look(tenant, func(s *State) {
		if c := s.Find(id); c != nil {
			found = c.clone()
		}
	})
	return found
}
