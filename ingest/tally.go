package ingest

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// Limits of the records of refusals.
const (
	// refusalInterval is how often one reason of one emitter is recorded, at most.
	refusalInterval = time.Minute
	// flushInterval is how often the records that are due are written.
	flushInterval = time.Second
	// maxTallies bounds the reasons and emitters that are told apart: some hundred kilobytes. Beyond it
	// refusals are counted under their reason alone, in the operator log.
	maxTallies = 4096
	// maxDetail bounds the example in a record, in bytes: a field's name and a sentence.
	maxDetail = 256
)

// recorder makes system events durable. System is one.
type recorder interface {
	Record(ctx context.Context, tenant event.TenantID, events ...*eventv1.Event) (streamSeq uint64, err error)
}

// tallyKey is what is recorded together.
type tallyKey struct {
	tenant  event.TenantID // event.TenantOperator for strangers
	emitter signer.KeyID   // zero for strangers
	reason  string
}

// tally is what was refused since the last record.
type tally struct {
	count   uint64
	firstAt int64  // ns of the first
	detail  string // one example
	due     time.Time
}

// tallies counts refusals and has them recorded, each reason of each emitter at most once in
// refusalInterval. It is safe for concurrent use.
type tallies struct {
	now func() time.Time
	log *slog.Logger

	mu   sync.Mutex
	open map[tallyKey]*tally // counted, or recorded less than refusalInterval ago
	sum  map[string]uint64   // by reason, since the process started
}

func newTallies(now func() time.Time, log *slog.Logger) *tallies {
	return &tallies{now: now, log: log, open: make(map[tallyKey]*tally), sum: make(map[string]uint64)}
}

// add counts one refusal.
func (t *tallies) add(key tallyKey, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum[key.reason]++
	now := t.now()
	entry := t.entry(key, now)
	if entry.count++; entry.count == 1 {
		entry.firstAt, entry.detail = now.UnixNano(), exampleText(detail)
	}
}

func (t *tallies) entry(key tallyKey, now time.Time) *tally {
	if _, known := t.open[key]; !known && len(t.open) >= maxTallies {
		key = tallyKey{tenant: event.TenantOperator, reason: key.reason}
	}
	entry := t.open[key]
	if entry == nil {
		entry = &tally{due: now}
		t.open[key] = entry
	}
	return entry
}

// exampleText is a detail without secrets, escaped and cut.
func exampleText(detail string) string {
	clean, _ := event.Scrub([]byte(detail))
	return event.Cut(event.Escape(string(clean)), maxDetail)
}

// counts returns what was refused since the process started, by reason.
func (t *tallies) counts() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.sum)
}

// take returns the tallies that are due, or all that have counted, and forgets those that have not.
func (t *tallies) take(all bool) map[tallyKey]tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, taken := t.now(), make(map[tallyKey]tally)
	for key, entry := range t.open {
		due := !now.Before(entry.due)
		switch {
		case entry.count > 0 && (due || all):
			taken[key] = *entry
			*entry = tally{due: now.Add(refusalInterval)}
		case entry.count == 0 && due:
			delete(t.open, key)
		}
	}
	return taken
}

// giveBack counts a tally again that could not be recorded.
func (t *tallies) giveBack(key tallyKey, missed tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.entry(key, t.now())
	entry.count, entry.firstAt, entry.detail = entry.count+missed.count, missed.firstAt, missed.detail
}

// run records what is due until ctx ends.
func (t *tallies) run(ctx context.Context, to recorder) {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			t.flush(ctx, to, false)
		}
	}
}

// flush records what is due, or everything.
func (t *tallies) flush(ctx context.Context, to recorder, all bool) {
	for key, entry := range t.take(all) {
		if _, err := to.Record(ctx, key.tenant, entry.event(key)); err != nil {
			t.giveBack(key, entry)
			t.log.WarnContext(ctx, "refusals not recorded yet", slog.String("reason", key.reason), slog.Any("error", err))
		}
	}
}

func (t tally) event(key tallyKey) *eventv1.Event {
	refusal := &eventv1.Refusal{Reason: key.reason, Count: t.count, FirstAt: t.firstAt, Detail: t.detail}
	if !key.emitter.IsZero() {
		refusal.Emitter = key.emitter[:]
	}
	return systemEvent(&eventv1.System{Detail: &eventv1.System_Refusal{Refusal: refusal}})
}
