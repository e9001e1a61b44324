package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/agentcustody/custody/internal/bench/limit"
	"github.com/agentcustody/custody/internal/bench/report"
	"github.com/agentcustody/custody/internal/bench/system"
)

// results are one value a round of everything that was measured.
type results struct {
	syncP50, syncP99           []float64 // ms
	hashes, sign, verify       []float64 // a second
	jetstream, messageBytes    []float64
	insert, rowBytes           []float64
	burst, drained, behind     []float64
	sustained, lagP50, lagMost []float64
	receiptP50, receiptP99     []float64 // ms
	peak                       []float64 // MiB
	check                      []float64 // events a second and core
	size                       []float64
	start                      []float64 // s
	pack                       []float64 // events a second and core
	ruleState, ruleSnapshot    []float64 // MiB
	ruleStart                  []float64 // s
	ruleFreeze                 []float64 // ms
	stopP50, stopP99           []float64 // ms
	storeEvents                uint64
	notes                      map[string]string
	failed                     map[string]error
}

// measure does all rounds, and turns them into a report.
func (b *bench) measure(ctx context.Context) {
	b.rounds.notes, b.rounds.failed = map[string]string{}, map[string]error{}
	for i := range b.options.rounds {
		if ctx.Err() != nil {
			break
		}
		b.say("round %d of %d", i+1, b.options.rounds)
		b.round(ctx, i)
	}
	b.summarize()
}

// fail keeps the first reason why a section has no figures.
func (b *bench) fail(section string, err error) {
	if err != nil && b.rounds.failed[section] == nil {
		b.say("%s: %v", section, err)
		b.rounds.failed[section] = err
	}
}

func (b *bench) round(ctx context.Context, i int) {
	dir := b.path(fmt.Sprintf("round-%d", i+1))
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.fail("limits", err)
		return
	}
	b.fail("limits", b.limits(ctx, dir))
	if b.wants("burst") {
		b.fail("burst", b.onServer(ctx, dir+"/burst", b.burst))
	}
	if b.wants("rules") {
		b.fail("rules", b.ruleEngine())
	}
	if b.wants("stop") {
		b.fail("stop", b.stops(ctx, dir+"/stop"))
	}
	if b.wants("export", "verify") {
		b.fail("export", b.onServer(ctx, dir+"/proof", b.proof))
	}
	if b.wants("sustained", "latency", "check", "size", "start") {
		b.fail("sustained", b.onServer(ctx, dir+"/sustained", b.sustained))
		if b.wants("size") {
			b.fail("size", b.size(ctx, dir+"/sustained"))
		}
	}
}

// limits measures what this round's sections are held against.
func (b *bench) limits(ctx context.Context, dir string) error {
	s, err := limit.MeasureSync(dir, b.plan.limit)
	if err != nil {
		return err
	}
	r := &b.rounds
	r.syncP50, r.syncP99 = append(r.syncP50, ms(s.P50)), append(r.syncP99, ms(s.P99))
	if b.wants("limits") {
		r.hashes = append(r.hashes, limit.Hashes(b.plan.limit))
		sign, verify := limit.Signatures(b.plan.limit)
		r.sign, r.verify = append(r.sign, sign), append(r.verify, verify)
	}
	if b.wants("limits", "burst") {
		perSecond, bytes, err := limit.JetStream(ctx, dir+"/jetstream", b.plan.limit)
		if err != nil {
			return err
		}
		r.jetstream, r.messageBytes = append(r.jetstream, perSecond), append(r.messageBytes, bytes)
	}
	if b.wants("limits", "burst", "sustained") {
		var raw rawInsert
		err := b.child(ctx, &raw, "insert-limit", "-dir", dir+"/insert", "-time", b.plan.insert.String(), "-events", fmt.Sprint(b.plan.blockEvents))
		if err != nil {
			return err
		}
		r.insert, r.rowBytes = append(r.insert, raw.PerSecond), append(r.rowBytes, raw.BytesPerEvent)
	}
	b.say("limits: fsync p99 %.2f ms, JetStream %.0f/s, raw insert %.0f/s", last(r.syncP99), last(r.jetstream), last(r.insert))
	return errors.Join(os.RemoveAll(dir+"/jetstream"), os.RemoveAll(dir+"/insert"))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func last(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

// onServer runs do on a new server with a fleet.
func (b *bench) onServer(ctx context.Context, dir string, do func(context.Context, *system.Server, *system.Fleet) error) (err error) {
	s, err := system.Start(ctx, dir, b.server()...)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	f, err := system.NewFleet(ctx, s, b.emitters)
	if err != nil {
		return err
	}
	err = do(ctx, s, f)
	b.rounds.peak = append(b.rounds.peak, float64(s.Usage().Peak)/(1<<20))
	return errors.Join(err, f.Close())
}

func (b *bench) burst(ctx context.Context, s *system.Server, f *system.Fleet) (err error) {
	var burst system.Burst
	err = b.profiled("burst", s, b.plan.burst, func() (err error) {
		burst, err = f.Burst(ctx, b.plan.burst)
		return err
	})
	if err != nil {
		return err
	}
	r := &b.rounds
	r.burst, r.behind = append(r.burst, burst.PerSecond), append(r.behind, float64(burst.Behind))
	r.drained = append(r.drained, burst.Drained.PerSecond)
	r.notes["burst"], r.notes["drain"] = burst.Work.String(), burst.Drained.String()
	b.say("burst: %.0f events/s (%s); drained %.0f/s (%s)", burst.PerSecond, burst.Work, burst.Drained.PerSecond, burst.Drained)
	return nil
}

func (b *bench) sustained(ctx context.Context, s *system.Server, f *system.Fleet) (err error) {
	var got system.Sustained
	err = b.profiled("sustained", s, b.plan.sustained, func() (err error) {
		got, err = f.Sustained(ctx, b.plan.warm, b.plan.sustained)
		return err
	})
	if err != nil {
		return err
	}
	r := &b.rounds
	r.sustained = append(r.sustained, got.PerSecond)
	r.lagP50, r.lagMost = append(r.lagP50, report.Median(got.Lags)), append(r.lagMost, report.Percentile(got.Lags, 100))
	r.notes["sustained"] = got.Work.String()
	b.say("sustained: %.0f events/s, lag p50 %.2f s, most %.2f s (%s)", got.PerSecond, last(r.lagP50), last(r.lagMost), got.Work)
	if err := settle(ctx, s, f); err != nil {
		return err
	}
	if b.wants("latency") {
		b.fail("latency", b.latency(ctx, f, got.PerSecond/2))
		if err := settle(ctx, s, f); err != nil {
			return err
		}
	}
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	r.storeEvents = status.GetCounters()["ingest_events"]
	if b.wants("check") {
		b.fail("check", b.check(ctx, s))
	}
	if b.wants("start") {
		b.fail("start", b.restart(ctx, s, f))
	}
	return nil
}

// settle waits until all is committed and the server is at rest.
func settle(ctx context.Context, s *system.Server, f *system.Fleet) error {
	return errors.Join(f.Flush(ctx), s.AwaitCommitted(ctx), s.AwaitRest(ctx))
}

// latency measures receipts at a rate. The bound is that of the disk right now, beyond the age of a batch.
func (b *bench) latency(ctx context.Context, f *system.Fleet, perSecond float64) error {
	seconds, err := f.Latencies(ctx, perSecond, b.plan.latency)
	if err != nil {
		return err
	}
	r := &b.rounds
	r.receiptP50 = append(r.receiptP50, 1000*report.Percentile(seconds, 50))
	r.receiptP99 = append(r.receiptP99, 1000*report.Percentile(seconds, 99))
	r.notes["latency"] = fmt.Sprintf("%d events at %.0f/s", len(seconds), perSecond)
	b.say("latency: p50 %.1f ms, p99 %.1f ms (%s)", last(r.receiptP50), last(r.receiptP99), r.notes["latency"])
	return nil
}

// checkProfile is how much of a check is profiled, with -profile.
const checkProfile = 5 * time.Second

// check runs custody check against the server; what the server spends on it counts.
func (b *bench) check(ctx context.Context, s *system.Server) error {
	before, began := s.Usage().CPU, time.Now()
	err := b.profiled("check", s, checkProfile, func() error {
		if out, err := b.command(ctx, s, "check").CombinedOutput(); err != nil {
			return fmt.Errorf("custody check: %w: %.300s", err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	cpu, wall := s.Usage().CPU-before, time.Since(began)
	perCore := float64(b.rounds.storeEvents) / cpu.Seconds()
	b.rounds.check = append(b.rounds.check, perCore)
	b.rounds.notes["check"] = fmt.Sprintf("%d events in %.1f s, %.1f s of CPU", b.rounds.storeEvents, wall.Seconds(), cpu.Seconds())
	b.say("check: %.0f events/s and core (%s)", perCore, b.rounds.notes["check"])
	return nil
}

// command is a custody command; when profiling, the server is this program and the command is not.
func (b *bench) command(ctx context.Context, s *system.Server, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, b.custody, append(arguments, "--data", s.Dir)...) //nolint:gosec // the operator's own program
}

// restart stops the server and measures from its next start to the first receipt.
func (b *bench) restart(ctx context.Context, s *system.Server, f *system.Fleet) error {
	seconds, err := f.Restart(ctx)
	if err != nil {
		return err
	}
	b.rounds.start = append(b.rounds.start, seconds)
	b.say("start: %.2f s with %d events", seconds, b.rounds.storeEvents)
	return nil
}

// size merges the table of events of a stopped server.
func (b *bench) size(ctx context.Context, dir string) error {
	var size tableBytes
	if err := b.child(ctx, &size, "table-size", dir+"/store"); err != nil {
		return err
	}
	share := float64(size.OnDisk) / float64(size.Raw)
	b.rounds.size = append(b.rounds.size, share)
	b.rounds.notes["size"] = fmt.Sprintf("%.0f bytes on disk for %.0f of an event", float64(size.OnDisk)/float64(size.Events), float64(size.Raw)/float64(size.Events))
	b.say("size: %.2f (%s)", share, b.rounds.notes["size"])
	return nil
}
