package system

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Work is what a run of the fleet has cost and given.
type Work struct {
	Events    uint64
	Time      time.Duration
	PerSecond float64
	ServerCPU float64 // µs an event
	LoadCPU   float64 // µs an event, of the emitters and their agents
}

// work measures what happens between its call and that of the result.
func (s *Server) work() func(events uint64) Work {
	began, server, load := time.Now(), s.Usage(), Own()
	return func(events uint64) Work {
		w := Work{Events: events, Time: time.Since(began)}
		w.PerSecond = float64(events) / w.Time.Seconds()
		w.ServerCPU = float64((s.Usage().CPU - server.CPU).Microseconds()) / float64(events)
		w.LoadCPU = float64((Own().CPU - load.CPU).Microseconds()) / float64(events)
		return w
	}
}

// String is the cost for a note.
func (w Work) String() string {
	return fmt.Sprintf("%d events in %.1f s; CPU an event: server %.1f µs, emitters %.1f µs", w.Events, w.Time.Seconds(), w.ServerCPU, w.LoadCPU)
}

// Burst is a run at full speed.
type Burst struct {
	Work           // from the first Record to the last receipt
	Behind  uint64 // events that the ledger was behind at the last receipt
	Drained Work   // of the backlog, with the emitters silent
}

// Burst lets the fleet work as fast as it can for the given time and waits for all receipts, and then until the server has folded
// everything.
func (f *Fleet) Burst(ctx context.Context, d time.Duration) (b Burst, err error) {
	f.SetRate(0)
	measure := f.server.work()
	if err := f.Run(ctx, d); err != nil {
		return b, err
	}
	if err := f.Flush(ctx); err != nil {
		return b, err
	}
	b.Work = measure(f.Recorded())
	status, err := f.server.Status(ctx)
	if err != nil {
		return b, err
	}
	b.Behind = status.GetBacklog()
	measure = f.server.work()
	if err := f.server.AwaitCommitted(ctx); err != nil {
		return b, err
	}
	b.Drained = measure(b.Behind)
	return b, nil
}

// Sustained is a run at the highest rate that the ledger follows.
type Sustained struct {
	Work
	Lags []float64 // seconds from Record to the row that a search finds, one a second
}

const (
	// lagAim is what the controller steers for, well under the bound of 2 s.
	lagAim = 800 * time.Millisecond
	// steerEvery is how often it looks.
	steerEvery = 100 * time.Millisecond
	// leastRate and mostRate bound what it sets, events a second.
	leastRate = 2_000
	mostRate  = 1_000_000
)

// Sustained lets the fleet work for the given time, steered so that the ledger stays lagAim behind at the most, after a
// warm-up that does not count. Probes measure the lag by looking for single events.
func (f *Fleet) Sustained(ctx context.Context, warm, d time.Duration) (r Sustained, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var side sync.WaitGroup
	f.SetRate(10_000)
	side.Go(func() { f.fail(f.steer(ctx)) })
	if err := f.Run(ctx, warm); err != nil {
		return r, err
	}
	probes := &probe{fleet: f}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	side.Go(func() { f.fail(probes.run(watching)) })
	before, err := f.server.Status(ctx)
	if err != nil {
		return r, err
	}
	already, measure := f.visible(before), f.server.work()
	if err := f.run(ctx, d, probes.offer); err != nil {
		return r, err
	}
	after, err := f.server.Status(ctx)
	if err != nil {
		return r, err
	}
	r.Work = measure(f.visible(after) - already)
	stop()
	cancel()
	side.Wait()
	r.Lags = probes.lags
	return r, f.err()
}

// visible is how many events the door has taken since the server started and the ledger has committed.
func (f *Fleet) visible(s *apiv1.StatusResponse) uint64 {
	taken := s.GetCounters()["ingest_events"]
	return taken - min(taken, s.GetBacklog())
}

// steer sets the fleet's rate: what the ledger did in the last second, more when the lag is under lagAim, less when above.
func (f *Fleet) steer(ctx context.Context) error {
	var history []sample
	for pause(ctx, steerEvery) == nil {
		status, err := f.server.Status(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("steer: %w", err)
		}
		history = append(history, sample{time.Now(), f.visible(status)})
		if len(history) > 20 {
			history = history[1:]
		}
		done := speed(history)
		outstanding := float64(status.GetBacklog()) + float64(f.Recorded()) - float64(min(f.Recorded(), f.Acknowledged()))
		f.SetRate(steered(done, outstanding))
	}
	return nil
}

type sample struct {
	at     time.Time
	events uint64
}

// speed is events a second over the samples.
func speed(history []sample) float64 {
	first, last := history[0], history[len(history)-1]
	if last.events <= first.events {
		return leastRate
	}
	return float64(last.events-first.events) / last.at.Sub(first.at).Seconds()
}

// steered is the next rate for a ledger that does so many events a second and has so many before it.
func steered(done, outstanding float64) float64 {
	room := done*lagAim.Seconds() - outstanding // events that may be added
	return math.Min(math.Max(done+room, leastRate), mostRate)
}

// probe follows single events from Record to the row.
type probe struct {
	fleet *Fleet
	lags  []float64

	mu      sync.Mutex
	id      event.ID
	emitted time.Time // zero when the probe wants no event
	ready   bool
}

// offer takes an event if the probe wants one.
func (p *probe) offer(_ int, id event.ID) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if !p.ready && p.emitted.IsZero() {
		p.id, p.emitted, p.ready = id, time.Now(), true
	}
}

// probeEvery is how often an event is followed, beside the time that it takes.
const probeEvery = 500 * time.Millisecond

// probeStep is how often it is looked for.
const probeStep = 50 * time.Millisecond

func (p *probe) run(ctx context.Context) error {
	for pause(ctx, probeEvery) == nil {
		p.mu.Lock()
		p.ready, p.emitted = false, time.Time{}
		p.mu.Unlock()
		lag, err := p.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		p.lags = append(p.lags, lag.Seconds())
	}
	return nil
}

// follow returns the time from an event's Record until a trace shows it.
func (p *probe) follow(ctx context.Context) (time.Duration, error) {
	query := apiv1.NewQueryServiceClient(p.fleet.server.conn)
	for pause(ctx, probeStep) == nil {
		p.mu.Lock()
		id, since, ready := p.id, p.emitted, p.ready
		p.mu.Unlock()
		if !ready {
			continue
		}
		answer, err := query.Why(ctx, &apiv1.WhyRequest{Tenant: Tenant, Event: id[:]})
		if err == nil && len(answer.GetRows()) > 0 {
			return time.Since(since), nil
		}
	}
	return 0, errors.New("not found in time")
}

// Restart stops the server, starts it again on the same folder, and returns the seconds from the start of the process to the
// first receipt. The fleet's emitters are closed first; they stay closed.
func (f *Fleet) Restart(ctx context.Context) (seconds float64, err error) {
	if err := f.Close(); err != nil {
		return 0, err
	}
	f.emitters = nil
	if err := f.server.Stop(); err != nil {
		return 0, err
	}
	if err := f.server.start(ctx); err != nil {
		return 0, fmt.Errorf("start again: %w", err)
	}
	status, err := f.server.Status(ctx)
	if err != nil {
		return 0, err
	}
	e, err := f.server.OpenEmitter(ctx, instanceName(0), status.GetAddress())
	if err != nil {
		return 0, err
	}
	if _, err = e.WriteAhead(ctx, f.agents[0].Next()); err == nil {
		seconds = time.Since(f.server.Began).Seconds()
	}
	return seconds, errors.Join(err, e.Close(ctx))
}
