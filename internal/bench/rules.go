package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/bench/report"
	"github.com/agentcustody/custody/internal/bench/system"
	"github.com/agentcustody/custody/internal/bench/workload"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// The bounds of the rules.
const (
	packPerCore   = 100_000 // events a second
	mostRuleState = 500.0   // MiB, of ruleInstances
	mostRuleStart = 2.0     // s
	mostStopP50   = 10.0    // ms
	mostStopP99   = 50.0    // ms

	ruleInstances = 10_000
	ruleEvents    = 50_000 // what is folded again after a crash: five seconds at stopRate
	stopRate      = 10_000 // events a second

	// stopProfile is how much of the stops is profiled, with -profile.
	stopProfile   = 40 * time.Second
	stopInstances = 1000
)

// ruleEngine measures the rules that come with Custody in this process, on one goroutine.
func (b *bench) ruleEngine() error {
	set, err := rules.Parse(rules.DefaultSource)
	if err != nil {
		return err
	}
	log, err := ruleLog(ruleEvents)
	if err != nil {
		return err
	}
	r := &b.rounds
	spent := processor()
	engine := rules.New(set)
	for _, l := range log {
		engine.Observe(l)
	}
	r.pack = append(r.pack, float64(len(log))/(processor()-spent).Seconds())
	before := heap()
	engine = manyInstances(set, log)
	r.ruleState = append(r.ruleState, float64(heap()-before)/(1<<20))
	began := time.Now()
	engine.Freeze()
	r.ruleFreeze = append(r.ruleFreeze, 1000*time.Since(began).Seconds())
	snapshot := engine.Snapshot()
	r.ruleSnapshot = append(r.ruleSnapshot, float64(len(snapshot))/(1<<20))
	began = time.Now()
	if engine, err = rules.Restore(set, snapshot); err != nil {
		return err
	}
	for _, l := range log {
		engine.Observe(l)
	}
	r.ruleStart = append(r.ruleStart, time.Since(began).Seconds())
	b.say("rules: %.0f events/s and core, %.0f MiB for %d instances, %.1f ms still for a snapshot, %.2f s to full state", last(r.pack), last(r.ruleState), ruleInstances, last(r.ruleFreeze), last(r.ruleStart))
	return nil
}

// ruleLog is the events of many agents as a log has them.
func ruleLog(n int) (all []*rules.Leaf, err error) {
	var emitters []*workload.Emitter
	for i := range 16 {
		emitters = append(emitters, workload.NewEmitter("acme", fmt.Sprintf("support-%d", i), uint64(i)+1))
	}
	for len(all) < n {
		b, err := emitters[len(all)/128%len(emitters)].Batch(128)
		if err != nil {
			return nil, err
		}
		for _, encoded := range b.GetEvents() {
			e, err := event.Parse(encoded)
			if err != nil {
				return nil, err
			}
			all = append(all, &rules.Leaf{
				Index: uint64(len(all)), Time: time.Now().UnixNano(), Producer: eventv1.ProducerClass_PRODUCER_CLASS_AGENT, Event: e,
			})
		}
	}
	return all, nil
}

// manyInstances is an engine that has seen a run of twenty events of each of ruleInstances instances, with its end.
func manyInstances(set *rules.Set, log []*rules.Leaf) *rules.Engine {
	const perRun = 20
	engine, index := rules.New(set), uint64(0)
	for i := range ruleInstances {
		instance := fmt.Sprintf("agent-%d", i)
		for j := range perRun {
			l, id := *log[(i*perRun+j)%len(log)], event.NewID(time.Now(), nil)
			e := &eventv1.Event{
				Id: id[:], Instance: instance, Run: instance, Principal: l.Event.GetPrincipal(), Trust: l.Event.GetTrust(),
				Causes: l.Event.GetCauses(), Fingerprints: l.Event.GetFingerprints(), Body: l.Event.GetBody(),
			}
			l.Index, l.Event = index, e
			engine.Observe(&l)
			index++
		}
	}
	return engine
}

// processor is what this process has spent of all processors: a busy neighbour takes time and no work.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is what is in use after a collection, bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// stops measures on a server of its own, with a fleet of stopInstances instances.
func (b *bench) stops(ctx context.Context, dir string) (err error) {
	if err := system.WriteStopRule(dir); err != nil {
		return err
	}
	s, err := system.Start(ctx, dir, b.server()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop(), os.RemoveAll(dir)) }()
	f, err := system.NewFleetToStop(ctx, s, stopInstances)
	if err != nil {
		return err
	}
	var seconds []float64
	var rate float64
	err = b.profiled("stop", s, stopProfile, func() (err error) {
		seconds, rate, err = f.Stops(ctx, stopRate, b.stopAgents)
		return err
	})
	r := &b.rounds
	if len(seconds) > 0 {
		r.stopP50, r.stopP99 = append(r.stopP50, 1000*report.Percentile(seconds, 50)), append(r.stopP99, 1000*report.Percentile(seconds, 99))
		r.notes["stop"] = fmt.Sprintf("%d stops beside %d instances at %.0f events/s, in runs of %d events", len(seconds), stopInstances, rate, workload.RunLength)
		b.say("stop: p50 %.1f ms, p99 %.1f ms (%s)", last(r.stopP50), last(r.stopP99), r.notes["stop"])
	}
	return errors.Join(err, f.Close())
}

// stopAgents runs the child that is stopped.
func (b *bench) stopAgents(ctx context.Context, folders []string) ([]float64, error) {
	var out stopped
	if err := b.child(ctx, &out, append([]string{"stop-agents"}, folders...)...); err != nil {
		return nil, err
	}
	if out.Failed != "" {
		return out.Seconds, errors.New(out.Failed)
	}
	return out.Seconds, nil
}

func (b *bench) summarizeRules() {
	r, out := &b.rounds, b.report
	out.Absolute("rules that come with Custody, a core", r.pack, "events/s", report.AtLeast, packPerCore, "")
	out.Absolute("state of the rules, 10,000 instances", r.ruleState, "MiB", report.AtMost, mostRuleState, fmt.Sprintf("snapshot of %.1f MiB", report.Median(r.ruleSnapshot)))
	out.Record("rules stand still for a snapshot", r.ruleFreeze, "ms", fmt.Sprintf("%d instances", ruleInstances))
	out.Absolute("rules: start to full state", r.ruleStart, "s", report.AtMost, mostRuleStart, fmt.Sprintf("that snapshot, and %d events after it", ruleEvents))
}

func (b *bench) summarizeStops() {
	r, out := &b.rounds, b.report
	out.Absolute("receipt to pause at the gate, p50", r.stopP50, "ms", report.AtMost, mostStopP50, r.notes["stop"])
	out.Absolute("receipt to pause at the gate, p99", r.stopP99, "ms", report.AtMost, mostStopP99, r.notes["stop"])
}
