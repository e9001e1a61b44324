package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/agentcustody/custody/internal/bench/report"
	"github.com/agentcustody/custody/internal/bench/system"
)

// The bounds of evidence.
const (
	exportRate   = 100_000 // events/s of wall time, everything disclosed
	verifyRate   = 300_000 // events/s a core, at largeBatch events a batch or more
	largeBatch   = 128     // events
	verifyMemory = 300     // MB at the most, however large the bundle: it does not grow with it
)

// exportProfile is how much of an export is profiled, with -profile.
const exportProfile = 5 * time.Second

// proofs is what an export and a verification of a whole log cost, one value a round.
type proofs struct {
	export, verify, memory []float64 // events/s, events/s and core, MB
	batch                  float64   // events a batch
}

// proof fills a log with full batches and, when the server is at rest, exports all of it with everything disclosed and verifies the bundle
// offline.
func (b *bench) proof(ctx context.Context, s *system.Server, f *system.Fleet) error {
	if _, err := f.Burst(ctx, b.plan.burst); err != nil {
		return err
	}
	if err := errors.Join(f.Flush(ctx), s.AwaitCommitted(ctx), s.AwaitRest(ctx)); err != nil {
		return err
	}
	status, err := s.Status(ctx)
	if err != nil {
		return err
	}
	events := status.GetCounters()["ingest_events"]
	b.proofs.batch = float64(events) / float64(max(1, status.GetCounters()["ingest_batches"]))
	bundle, policy := s.Path("proof.evb"), s.Path("proof.policy.json")
	if err := b.exportBundle(ctx, s, events, bundle); err != nil {
		return err
	}
	if out, err := b.command(ctx, s, "policy", "export", "--tenant", system.Tenant, "--out", policy).CombinedOutput(); err != nil {
		return fmt.Errorf("custody policy export: %w: %.300s", err, out)
	}
	if !b.wants("verify") {
		return nil
	}
	return b.verifyBundle(ctx, events, bundle, policy)
}

// exportBundle exports the whole log through the server, as its operator does.
func (b *bench) exportBundle(ctx context.Context, s *system.Server, events uint64, bundle string) error {
	before, began := s.Usage().CPU, time.Now()
	err := b.profiled("export", s, exportProfile, func() error {
		out, err := b.command(ctx, s, "evidence", "export", "--tenant", system.Tenant, "--purpose", "benchmark", "--out", bundle).CombinedOutput()
		if err != nil {
			return fmt.Errorf("custody evidence export: %w: %.300s", err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	wall, cpu := time.Since(began), s.Usage().CPU-before
	b.proofs.export = append(b.proofs.export, float64(events)/wall.Seconds())
	b.rounds.notes["export"] = fmt.Sprintf("%d events in %.1f s, %.1f s of the server's CPU", events, wall.Seconds(), cpu.Seconds())
	b.say("export: %.0f events/s (%s)", last(b.proofs.export), b.rounds.notes["export"])
	return nil
}

// openTail is the exit code of custody-verify for a log whose emitters have not said that they are done: these have not.
const openTail = 3

// readOnce has the system keep a file in memory: what a processor verifies is measured, and not the disk.
func readOnce(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return errors.Join(err, f.Close())
}

// verifyBundle verifies a bundle offline.
func (b *bench) verifyBundle(ctx context.Context, events uint64, bundle, policy string) error {
	if err := readOnce(bundle); err != nil {
		return err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, b.verifier, "--policy", policy, bundle) //nolint:gosec // the operator's own program
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("custody-verify: %w", err)
	}
	peak := peakOf(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != openTail {
		return fmt.Errorf("custody-verify: %w: %.300s", err, out.Bytes())
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.proofs.verify = append(b.proofs.verify, float64(events)/cpu.Seconds())
	b.proofs.memory = append(b.proofs.memory, float64(<-peak)/1e6)
	b.rounds.notes["verify"] = fmt.Sprintf("%d events in %.1f s, %.1f s of CPU, %.0f events a batch", events, time.Since(began).Seconds(), cpu.Seconds(), b.proofs.batch)
	b.say("verify: %.0f events/s and core, %.0f MB (%s)", last(b.proofs.verify), last(b.proofs.memory), b.rounds.notes["verify"])
	return nil
}

// peakOf is the largest resident memory of a process until it ends, bytes; 0 where there is no /proc. What the system says of an ended
// child counts the memory that it shared with its parent before it became another program.
func peakOf(pid int) <-chan int64 {
	peak := make(chan int64, 1)
	go func() {
		var most int64
		for u := system.UsageOf(pid); u.Peak > 0; u = system.UsageOf(pid) {
			most = max(most, u.Peak)
			time.Sleep(5 * time.Millisecond)
		}
		peak <- most
	}()
	return peak
}

func (b *bench) summarizeExport() {
	b.report.Absolute("export of a whole log", b.proofs.export, "events/s", report.AtLeast, exportRate, b.rounds.notes["export"])
}

func (b *bench) summarizeVerify() {
	b.report.Absolute("custody-verify, a core", b.proofs.verify, "events/s", report.AtLeast, perCore, b.rounds.notes["verify"])
	if b.proofs.batch >= largeBatch {
		b.report.Absolute("custody-verify of large batches, a core", b.proofs.verify, "events/s", report.AtLeast, verifyRate, b.rounds.notes["verify"])
	} else {
		b.report.Missing("custody-verify of large batches", fmt.Errorf("only %.0f events a batch, want %d", b.proofs.batch, largeBatch))
	}
	b.report.Absolute("memory of custody-verify, at its peak", b.proofs.memory, "MB", report.AtMost, verifyMemory, b.rounds.notes["verify"])
}
