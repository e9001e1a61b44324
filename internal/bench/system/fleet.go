package system

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/workload"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// spoolBytes keeps emitters from running far ahead of the server: what is recorded is soon sent, so that work and receipts
	// belong together.
	spoolBytes = spool.LeastMaxBytes
	// slice is how often an emitter that keeps to a rate records: short against the age of a batch.
	slice = 5 * time.Millisecond
	// catchUp bounds what is recorded at once after a pause, so that a rate is not made up for in a burst.
	catchUp = 10 * slice
	// between is how long after an event the next one of a run comes, see Work: a run of the benchmark takes 200 ms.
	between = 10 * time.Millisecond
)

// Fleet is the emitters of one tenant, each with an agent of its own that works on one goroutine.
type Fleet struct {
	server   *Server
	emitters []*edge.Emitter
	agents   []*workload.Agent

	made     []atomic.Uint64 // events of each emitter
	recorded atomic.Uint64   // of all, in this run
	rate     atomic.Int64    // events a second of all together; 0 is as fast as possible
	before   uint64          // events with a receipt before Run, see Acknowledged

	mu     sync.Mutex
	failed []error
}

// anything is a manifest that allows every call.
var anything = []*eventv1.Permission{
	{Verb: eventv1.PermissionVerb_PERMISSION_VERB_SEND, Tool: "*", Consequence: eventv1.Consequence_CONSEQUENCE_HIGH},
}

// NewFleet makes the tenant and n instances in it, enrols a key for each and connects.
func NewFleet(ctx context.Context, s *Server, n int) (*Fleet, error) {
	return newFleet(ctx, s, n, Tenant)
}

// newFleet makes tenants and n instances in them in turn.
func newFleet(ctx context.Context, s *Server, n int, tenants ...string) (*Fleet, error) {
	f := &Fleet{server: s, made: make([]atomic.Uint64, n)}
	for _, tenant := range tenants {
		if _, err := apiv1.NewAdminServiceClient(s.conn).CreateTenant(ctx, &apiv1.CreateTenantRequest{Tenant: tenant}); err != nil {
			return nil, fmt.Errorf("create tenant: %w", err)
		}
	}
	for i := range n {
		e, err := s.enrolIn(ctx, tenants[i%len(tenants)], instanceName(i))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.emitters, f.agents = append(f.emitters, e), append(f.agents, workload.NewAgent(uint64(i+1)))
	}
	return f, f.Flush(ctx)
}

// Enrol makes an instance and the folder of an emitter for it.
func (s *Server) Enrol(ctx context.Context, instance string) (*edge.Emitter, error) {
	return s.enrolIn(ctx, Tenant, instance)
}

func (s *Server) enrolIn(ctx context.Context, tenant, instance string) (*edge.Emitter, error) {
	admin := apiv1.NewAdminServiceClient(s.conn)
	_, err := admin.CreateInstance(ctx, &apiv1.CreateInstanceRequest{Tenant: tenant, Instance: instance, Permissions: anything})
	if err != nil {
		return nil, fmt.Errorf("create instance: %w", err)
	}
	ticket, err := admin.CreateJoinToken(ctx, &apiv1.CreateJoinTokenRequest{
		Tenant: tenant, Instance: instance, Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT,
	})
	if err != nil {
		return nil, fmt.Errorf("create join token: %w", err)
	}
	dir := s.emitterDir(tenant, instance)
	if _, err := edge.Join(ctx, dir, ticket.GetToken(), ticket.GetAddress(), ticket.GetCaPem()); err != nil {
		return nil, err
	}
	return openEmitter(ctx, dir, "")
}

// emitterDir is the folder of an emitter beside the server's.
func (s *Server) emitterDir(tenant, instance string) string {
	if tenant == Tenant {
		return filepath.Join(s.Dir+".emitters", instance)
	}
	return filepath.Join(s.Dir+".emitters", tenant+"."+instance)
}

// OpenEmitter opens the emitter of an instance that was enrolled before. An empty address is that of the enrolment.
func (s *Server) OpenEmitter(ctx context.Context, instance, address string) (*edge.Emitter, error) {
	return openEmitter(ctx, s.emitterDir(Tenant, instance), address)
}

// openEmitter opens an emitter as it is for all that are measured.
func openEmitter(ctx context.Context, dir, address string) (*edge.Emitter, error) {
	return edge.Open(ctx, edge.Config{
		Dir: dir, Address: address, SpoolMaxBytes: spoolBytes, Software: "custody bench",
		Log: slog.New(slog.DiscardHandler), CloseTimeout: time.Minute,
	})
}

// SetRate bounds the events a second of the whole fleet; 0 is no bound.
func (f *Fleet) SetRate(perSecond float64) { f.rate.Store(int64(perSecond)) }

// Recorded is how many events the agents have recorded.
func (f *Fleet) Recorded() uint64 { return f.recorded.Load() }

// Acknowledged is how many of them have a receipt.
func (f *Fleet) Acknowledged() (n uint64) {
	for _, e := range f.emitters {
		n += e.Stats().Acknowledged
	}
	return n - min(n, f.before)
}

// Run lets all agents work for the given time and returns when the last has stopped.
func (f *Fleet) Run(ctx context.Context, d time.Duration) error {
	return f.run(ctx, d, func(int, event.ID) {})
}

func (f *Fleet) run(ctx context.Context, d time.Duration, recorded func(emitter int, id event.ID)) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	f.recorded.Store(0)
	f.before = 0
	f.before = f.Acknowledged()
	var all sync.WaitGroup
	for i := range f.emitters {
		all.Go(func() { f.fail(f.work(ctx, i, recorded)) })
	}
	all.Wait()
	return f.err()
}

func (f *Fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, err)
}

func (f *Fleet) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.failed...)
}

// work records one agent's events until ctx ends.
func (f *Fleet) work(ctx context.Context, i int, recorded func(int, event.ID)) error {
	began, due := time.Now(), 0.0
	for ctx.Err() == nil {
		if rate := f.rate.Load(); rate > 0 {
			now := time.Now()
			due += float64(rate) / float64(len(f.emitters)) * min(now.Sub(began), catchUp).Seconds()
			if began = now; due < 1 {
				_ = pause(ctx, slice)
				continue
			}
			due--
			// What is due is recorded at once; the rate is kept from slice to slice.
			for ; due >= 1 && ctx.Err() == nil; due-- {
				if err := f.record(ctx, i, recorded); err != nil {
					return err
				}
			}
		} else {
			began, due = time.Now(), 0
		}
		if err := f.record(ctx, i, recorded); err != nil {
			return err
		}
	}
	return nil
}

// Work lets every agent do one run after the other until ctx ends, with pauses between them that differ at random and on average make
// so many events a second of all together. Agents work like that: they are busy for a moment and then wait.
func (f *Fleet) Work(ctx context.Context, perSecond float64) error {
	every := time.Duration(float64(len(f.emitters)) * workload.RunLength / perSecond * float64(time.Second))
	var all sync.WaitGroup
	for i := range f.emitters {
		all.Go(func() { f.fail(f.workInRuns(ctx, i, every)) })
	}
	all.Wait()
	return f.err()
}

// workInRuns begins a run at a random moment of each period. What is late is recorded at once: the rate is kept.
func (f *Fleet) workInRuns(ctx context.Context, i int, every time.Duration) error {
	for period := time.Now(); ; period = period.Add(every) {
		due := period.Add(rand.N(every - workload.RunLength*between)) //nolint:gosec // a load, not a secret
		for range workload.RunLength {
			if pause(ctx, time.Until(due)) != nil {
				return nil
			}
			if err := f.record(ctx, i, func(int, event.ID) {}); err != nil {
				return err
			}
			due = due.Add(between)
		}
	}
}

func (f *Fleet) record(ctx context.Context, i int, recorded func(int, event.ID)) error {
	id, err := f.emitters[i].Record(ctx, f.agents[i].Next())
	if err != nil {
		if ctx.Err() != nil {
			return nil // the time was over while the spool was full
		}
		return fmt.Errorf("emitter %d: %w", i+1, err)
	}
	f.agents[i].Caused(id)
	f.recorded.Add(1)
	f.made[i].Add(1)
	recorded(i, id)
	return nil
}

// Flush returns when everything that was recorded has its receipt.
func (f *Fleet) Flush(ctx context.Context) error {
	errs := make([]error, len(f.emitters))
	var all sync.WaitGroup
	for i, e := range f.emitters {
		all.Go(func() { errs[i] = e.Flush(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close ends all emitters.
func (f *Fleet) Close() error {
	errs := make([]error, len(f.emitters))
	var all sync.WaitGroup
	for i, e := range f.emitters {
		all.Go(func() { errs[i] = e.Close(context.Background()) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func instanceName(i int) string { return fmt.Sprintf("support-%d", i+1) }
