package main

import (
	"errors"
	"fmt"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/bench/report"
)

// The bounds.
const (
	burstShare     = 0.4 // of JetStream
	sustainedShare = 0.4 // of the raw insert
	drainShare     = 0.6 // of the raw insert
	mostLag        = 2.0 // s
	syncTimes      = 3.0 // receipt p99 in syncs …
	receiptSlack   = 10  // … and ms beyond the age of a batch
	perCore        = 150_000
	mostSize       = 0.7  // of the raw bytes of events
	mostMemory     = 1536 // MiB
	mostStart      = 3.0  // s

	// leastBacklog is the fewest events that make a drain a measurement.
	leastBacklog = 50_000
)

var errNothing = errors.New("the run gave no figure")

// summarize turns the rounds into rows.
func (b *bench) summarize() {
	if b.wants("limits") {
		b.summarizeLimits()
	}
	for _, section := range []struct {
		name   string
		values []float64
		add    func()
	}{
		{"burst", b.rounds.burst, b.summarizeBurst},
		{"sustained", b.rounds.sustained, b.summarizeSustained},
		{"latency", b.rounds.receiptP99, b.summarizeLatency},
		{"check", b.rounds.check, b.summarizeCheck},
		{"export", b.proofs.export, b.summarizeExport},
		{"verify", b.proofs.verify, b.summarizeVerify},
		{"size", b.rounds.size, b.summarizeSize},
		{"start", b.rounds.start, b.summarizeStart},
		{"rules", b.rounds.pack, b.summarizeRules},
		{"stop", b.rounds.stopP99, b.summarizeStops},
	} {
		switch {
		case !b.wants(section.name):
		case len(section.values) > 0:
			section.add()
		default:
			b.report.Missing(section.name, b.reason(section.name))
		}
	}
	if len(b.rounds.peak) > 0 {
		b.report.Absolute("memory of serve, at its peak", b.rounds.peak, "MiB", report.AtMost, mostMemory, "")
	}
}

// reason is why a section has no figures: its own failure, or that of what it needs.
func (b *bench) reason(section string) error {
	for _, name := range []string{section, "limits", "export", "sustained"} {
		if err := b.rounds.failed[name]; err != nil {
			return err
		}
	}
	return errNothing
}

func (b *bench) summarizeLimits() {
	r, out := &b.rounds, b.report
	if err := r.failed["limits"]; err != nil {
		out.Missing("limits", err)
	}
	out.Record("fsync of 100 KiB, p50", r.syncP50, "ms", "")
	out.Record("fsync of 100 KiB, p99", r.syncP99, "ms", "")
	out.Record("SHA-256 of 400 bytes", r.hashes, "hashes/s", "one core")
	out.Record("Ed25519 signatures", r.sign, "signatures/s", "one core")
	out.Record("Ed25519 verifications", r.verify, "signatures/s", "one core")
	out.Record("JetStream limit", r.jetstream, "events/s", fmt.Sprintf("SyncAlways, one in flight, %.0f bytes a message", report.Median(r.messageBytes)))
	out.Record("raw insert limit", r.insert, "events/s", fmt.Sprintf("blocks of %d events, %.0f bytes of rows an event", b.plan.blockEvents, report.Median(r.rowBytes)))
}

func (b *bench) summarizeBurst() {
	r, out := &b.rounds, b.report
	out.Ratio("burst, Record to receipt", r.jetstream, r.burst, "events/s", report.AtLeast, burstShare, r.notes["burst"])
	note := fmt.Sprintf("backlog of %.0f events; %s", report.Median(r.behind), r.notes["drain"])
	if report.Median(r.behind) < leastBacklog {
		out.Record("backlog drain", r.drained, "events/s", "too small to judge: "+note)
		return
	}
	out.Ratio("backlog drain", r.insert, r.drained, "events/s", report.AtLeast, drainShare, note)
}

func (b *bench) summarizeSustained() {
	r, out := &b.rounds, b.report
	out.Ratio("sustained, Record to row", r.insert, r.sustained, "events/s", report.AtLeast, sustainedShare, r.notes["sustained"])
	out.Record("lag of sustained, p50", r.lagP50, "s", "")
	out.Absolute("lag of sustained, worst", r.lagMost, "s", report.AtMost, mostLag, "")
}

func (b *bench) summarizeLatency() {
	r, out := &b.rounds, b.report
	age := ms(edge.DefaultMaxBatchAge)
	bound := syncTimes*report.Median(r.syncP99) + receiptSlack
	beyond := make([]float64, len(r.receiptP99))
	for i, p99 := range r.receiptP99 {
		beyond[i] = max(0, p99-age)
	}
	out.Record("receipt at half of sustained, p50", r.receiptP50, "ms", r.notes["latency"])
	out.Absolute("receipt p99 beyond the batch age", beyond, "ms", report.AtMost, bound,
		fmt.Sprintf("p99 %.1f ms, batch age %.0f ms; bound is 3 × fsync p99 + 10 ms", report.Median(r.receiptP99), age))
}

func (b *bench) summarizeCheck() {
	b.report.Absolute("custody check, a core", b.rounds.check, "events/s", report.AtLeast, perCore, b.rounds.notes["check"])
}

func (b *bench) summarizeSize() {
	b.report.Absolute("table of events after merges", b.rounds.size, "of the raw bytes", report.AtMost, mostSize, b.rounds.notes["size"])
}

func (b *bench) summarizeStart() {
	b.report.Absolute("start to first receipt", b.rounds.start, "s", report.AtMost, mostStart, fmt.Sprintf("store of %d events", b.rounds.storeEvents))
}
