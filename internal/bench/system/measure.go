package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	Drained Work   // of the backlog, with the emitters silent, from one commit to the last
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
	b.Drained, err = f.server.drain(ctx, b.Behind)
	return b, err
}

// drain measures how fast a backlog is worked off, from the end of the block that is on its way to the end of the last: how much of
// that one was done before nobody can tell, and a backlog is a few blocks.
func (s *Server) drain(ctx context.Context, behind uint64) (Work, error) {
	measure := s.work()
	left, err := s.awaitCommit(ctx)
	if err != nil {
		return Work{}, err
	}
	if left > 0 {
		behind, measure = left, s.work()
	}
	err = s.AwaitCommitted(ctx)
	return measure(behind), err
}

// awaitCommit returns how many events are not committed when the ledger has committed something, or has nothing to commit.
func (s *Server) awaitCommit(ctx context.Context) (left uint64, err error) {
	before, err := s.Status(ctx)
	for status := before; err == nil; status, err = s.Status(ctx) {
		if status.GetBacklog() == 0 || status.GetCommitted() > before.GetCommitted() {
			return status.GetBacklog(), nil
		}
		if err := pause(ctx, commitStep); err != nil {
			return 0, err
		}
	}
	return 0, err
}

// commitStep is how often is asked whether something was committed.
const commitStep = 5 * time.Millisecond

// Sustained is a run at the highest rate that the ledger follows.
type Sustained struct {
	Work
	Lags []float64 // seconds from Record to the row that a search finds, one a second
}

// Sustained lets the fleet work for the given time at a rate that is steered so that the ledger gets lagAim behind, after a
// warm-up that does not count. Probes measure the lag by looking for single events.
func (f *Fleet) Sustained(ctx context.Context, warm, d time.Duration) (r Sustained, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var side sync.WaitGroup
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

// probe follows single events of the first emitter from Record to the row.
type probe struct {
	fleet *Fleet
	lags  []float64

	mu     sync.Mutex
	wanted bool
	id     event.ID
	number uint64 // among the emitter's events
	began  time.Time
}

// offer takes an event if the probe wants one.
func (p *probe) offer(emitter int, id event.ID) {
	if emitter != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted {
		p.id, p.began, p.wanted = id, time.Now(), false
		p.number = p.fleet.made[0].Load()
	}
}

func (p *probe) want() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted, p.began = true, time.Time{}
}

// taken is the event that was taken, and when; the time is zero if there is none yet.
func (p *probe) taken() (event.ID, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id, p.began
}

const (
	// probeEvery is how often an event is followed, beside the time that it takes.
	probeEvery = 500 * time.Millisecond
	// probeStep is how often is asked whether the event can be a row by now.
	probeStep = 20 * time.Millisecond
	// probePatience is when an event counts as lost.
	probePatience = 10 * time.Second
)

func (p *probe) run(ctx context.Context) error {
	for pause(ctx, probeEvery) == nil {
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

// follow returns the time from an event's Record until a query shows its row. It spares the server queries that would find
// nothing: first the event gets its receipt, then the ledger commits everything that the stream holds by then.
func (p *probe) follow(ctx context.Context) (time.Duration, error) {
	p.want()
	id, began := p.taken()
	for ; began.IsZero(); id, began = p.taken() {
		if err := pause(ctx, probeStep); err != nil {
			return 0, err
		}
	}
	if err := p.receipt(ctx); err != nil {
		return 0, err
	}
	for time.Since(began) < probePatience {
		if err := p.committed(ctx); err != nil {
			return 0, err
		}
		newest, err := p.newest(ctx)
		if err != nil || bytes.Compare(newest, id[:]) >= 0 { // ids of one emitter ascend
			return time.Since(began), err
		}
		// A heartbeat in between had a receipt too: what has been counted was the batch before the event's.
		if err := pause(ctx, probeStep); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("event %s has a receipt and is no row after %s", id, probePatience)
}

// newest is the id of the newest event of the first emitter that a search finds.
func (p *probe) newest(ctx context.Context) ([]byte, error) {
	found, err := apiv1.NewQueryServiceClient(p.fleet.server.conn).Search(ctx, &apiv1.SearchRequest{
		Tenant: Tenant, Instance: instanceName(0), Newest: true, Limit: 1,
	})
	if err != nil {
		return nil, err
	}
	page, err := found.Recv()
	if err != nil || len(page.GetRows()) == 0 {
		return nil, err
	}
	e, err := event.Parse(page.GetRows()[0].GetEvent())
	return e.GetId(), err
}

// receipt returns when the event has its receipt. It does not flush: the batch waits for company as it would.
func (p *probe) receipt(ctx context.Context) error {
	const opened = 1 // the event that opens the epoch has a receipt too
	for p.fleet.emitters[0].Stats().Acknowledged < p.number+opened {
		if err := pause(ctx, probeStep); err != nil {
			return err
		}
	}
	return nil
}

// committed returns when everything that is in the stream now is committed.
func (p *probe) committed(ctx context.Context) error {
	status, err := p.fleet.server.Status(ctx)
	if err != nil {
		return err
	}
	for last := status.GetStreamLast(); err == nil && status.GetCommitted() < last; status, err = p.fleet.server.Status(ctx) {
		if err := pause(ctx, probeStep); err != nil {
			return err
		}
	}
	return err
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
