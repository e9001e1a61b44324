package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/edge"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

const (
	// stopTool is the tool whose proposal fires the rule of the benchmark.
	stopTool = "bench_stop"
	// stoppedInstance is the agent that is stopped, of each tenant.
	stoppedInstance = "stopped"
	// stopTenants is how many tenants the fleet is in, and are stopped in turn: of each no more than MostContained containments a minute
	// are automatic.
	stopTenants = 5
	// stopsOf is how many runs of each are stopped.
	stopsOf = 20
	// stopWarmUp is how long the fleet works before the first stop, and stopTime after how long no further one is begun.
	stopWarmUp = 10 * time.Second
	stopTime   = 2 * time.Minute
	// connecting is how many gates connect at a time.
	connecting = 32
	// stopPatience bounds one stop.
	stopPatience = 30 * time.Second
)

// stopRule is a rule of one event: what is measured is the way, not the rule.
const stopRule = `rules:
- {rule: bench-stop, version: 1, description: the benchmark, severity: critical, on: [execution.proposed], when: tool == "` + stopTool + `", action: pause}
`

// WriteStopRule puts the benchmark's rule into the data folder of a server that is not started yet.
func WriteStopRule(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(stopRule), 0o600)
}

// Stops lets the fleet work at a rate, run by run, while agents beside it are stopped again and again: see StopAgents, which stopAgents runs
// in a process of its own for the emitters of these folders. It returns also what the fleet came to meanwhile, in receipts a second.
func (f *Fleet) Stops(ctx context.Context, perSecond float64, stopAgents func(context.Context, []string) ([]float64, error)) (seconds []float64, rate float64, err error) {
	folders, err := f.server.stopTargets(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := f.connectGates(ctx); err != nil {
		return nil, 0, err
	}
	working, done := context.WithCancel(ctx)
	var work errgroup.Group
	work.Go(func() error { return f.Work(working, perSecond) })
	work.Go(func() error { rate = f.rateUntil(working); return nil })
	seconds, err = stopAgents(ctx, folders)
	done()
	err = errors.Join(err, work.Wait())
	return seconds, rate, err
}

// rateUntil is how many receipts a second the fleet gets from the end of the warm-up until ctx ends.
func (f *Fleet) rateUntil(ctx context.Context) float64 {
	_ = pause(ctx, stopWarmUp)
	began, before := time.Now(), f.Acknowledged()
	<-ctx.Done()
	return float64(f.Acknowledged()-before) / time.Since(began).Seconds()
}

// StopAgents measures seconds from the receipt of the event that fires a live rule to the moment when the gate has cancelled what its run
// does, with the emitters of these folders in turn. An agent is a process of its own: among a thousand emitters in one process it
// would wait for the others and for their garbage.
func StopAgents(ctx context.Context, folders []string) (seconds []float64, err error) {
	warm := time.NewTimer(stopWarmUp)
	targets, err := openTargets(ctx, folders)
	defer func() {
		for _, e := range targets {
			err = errors.Join(err, e.Close(context.Background()))
		}
	}()
	if err != nil {
		return nil, err
	}
	<-warm.C
	began := time.Now()
	for i := range stopTenants * stopsOf {
		if time.Since(began) > stopTime {
			break
		}
		took, err := stop(ctx, targets[i%len(targets)], fmt.Sprintf("stop-%d", i))
		if err != nil {
			return seconds, err
		}
		seconds = append(seconds, took.Seconds())
	}
	return seconds, nil
}

// openTargets opens emitters and connects their gates.
func openTargets(ctx context.Context, folders []string) (all []*edge.Emitter, err error) {
	for _, dir := range folders {
		e, err := openEmitter(ctx, dir, "")
		if err != nil {
			return all, err
		}
		all = append(all, e)
		if err := warm(ctx, e); err != nil {
			return all, err
		}
	}
	return all, nil
}

// NewFleetToStop makes a fleet of n instances in the tenants whose agents Stops stops.
func NewFleetToStop(ctx context.Context, s *Server, n int) (*Fleet, error) {
	tenants := make([]string, stopTenants)
	for i := range tenants {
		tenants[i] = stopTenant(i)
	}
	return newFleet(ctx, s, n, tenants...)
}

func stopTenant(i int) string { return fmt.Sprintf("%s-stop-%d", Tenant, i+1) }

// stopTargets lets the rule act in each tenant and enrols an agent there that is no other's. It returns the folders of their emitters.
func (s *Server) stopTargets(ctx context.Context) (folders []string, err error) {
	for i := range stopTenants {
		tenant := stopTenant(i)
		e, err := s.enrolIn(ctx, tenant, stoppedInstance)
		if err == nil {
			err = e.Close(ctx)
		}
		if err != nil {
			return nil, err
		}
		folders = append(folders, s.emitterDir(tenant, stoppedInstance))
		if _, err := apiv1.NewFiringServiceClient(s.conn).SetRuleMode(ctx, &apiv1.SetRuleModeRequest{
			Tenant: tenant, Rule: "bench-stop", Mode: "live", Reason: "benchmark",
		}); err != nil {
			return nil, fmt.Errorf("promote rule: %w", err)
		}
	}
	return folders, nil
}

// connectGates has every agent of the fleet ask its gate once.
func (f *Fleet) connectGates(ctx context.Context) error {
	var all errgroup.Group
	all.SetLimit(connecting)
	for _, e := range f.emitters {
		all.Go(func() error { return warm(ctx, e) })
	}
	return all.Wait()
}

// warm makes one call, so that the gate is connected.
func warm(ctx context.Context, e *edge.Emitter) error {
	ctx, _ = e.Run(ctx, edge.RunOptions{ID: "warm"})
	_, err := edge.Call(ctx, "bench_work", "x", func(context.Context) (string, error) { return "", nil }, edge.CallOptions{Consequence: edge.High})
	return err
}

// stop lets a run fire the rule while it does something, and says how long after the receipt that was cancelled.
func stop(ctx context.Context, e *edge.Emitter, run string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	ctx, _ = e.Run(ctx, edge.RunOptions{ID: run})
	began, stopped := make(chan struct{}), make(chan time.Time, 1)
	go func() {
		_, _ = edge.Call(ctx, "bench_work", "x", func(inside context.Context) (string, error) {
			close(began)
			<-inside.Done()
			stopped <- time.Now()
			return "", inside.Err()
		}, edge.CallOptions{Consequence: edge.Low})
	}()
	select {
	case <-began:
	case <-ctx.Done():
		return 0, fmt.Errorf("begin what is stopped: %w", context.Cause(ctx))
	}
	if _, err := e.WriteAhead(ctx, &edge.Event{Plain: &eventv1.Event{Run: run, Body: &eventv1.Event_Execution{Execution: &eventv1.Execution{
		Action: eventv1.ExecutionAction_EXECUTION_ACTION_PROPOSED, Call: run, Tool: stopTool,
	}}}}); err != nil {
		return 0, fmt.Errorf("fire: %w", err)
	}
	receipt := time.Now()
	at := <-stopped
	if context.Cause(ctx) != nil {
		return 0, fmt.Errorf("not stopped: %w", context.Cause(ctx))
	}
	return max(0, at.Sub(receipt)), nil
}
