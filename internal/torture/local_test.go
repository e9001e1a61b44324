package torture

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// local is a system in this process, with one agent that records.
type local struct {
	*testenv.Env
	t       testing.TB
	dir     string // of the agent
	emitter *edge.Emitter
	ids     []string // of what was recorded
}

const instance = "agent-1"

// newLocal starts a system with the tenant, its agent and nothing recorded.
func newLocal(t testing.TB, change ...testenv.Option) *local {
	t.Helper()
	l := &local{Env: testenv.New(t, change...), t: t}
	l.CreateTenant(tenant)
	l.CreateInstance(tenant, instance)
	l.dir = l.Enrol(tenant, instance).Dir
	l.WaitCommitted()
	return l
}

// open opens the agent's emitter.
func (l *local) open(change ...func(*edge.Config)) {
	l.t.Helper()
	config := edge.Config{
		Dir: l.dir, MaxBatchAge: time.Millisecond, MaxBackoff: 100 * time.Millisecond, CloseTimeout: patience,
		Log: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&config)
	}
	var err error
	if l.emitter, err = edge.Open(l.t.Context(), config); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = l.emitter.Close(context.Background()) })
}

// record records n events.
func (l *local) record(n int) {
	l.t.Helper()
	for range n {
		if err := l.try(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// try records one event, and remembers it if Record took it.
func (l *local) try() error {
	id, err := l.emitter.Record(l.t.Context(), eventOf(fmt.Sprintf("1/0/%d", len(l.ids)+1), "user-1", 100))
	if err == nil {
		l.ids = append(l.ids, hex.EncodeToString(id[:]))
	}
	return err
}

// recordUntil records a little at a time until something has become true.
func (l *local) recordUntil(is func() bool) {
	l.t.Helper()
	await(l.t, func() bool {
		l.record(5)
		return is()
	})
}

func (l *local) flush() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	if err := l.emitter.Flush(ctx); err != nil {
		l.t.Fatal(err)
	}
}

func (l *local) status() *apiv1.StatusResponse {
	l.t.Helper()
	r, err := apiv1.NewLedgerServiceClient(l.Admin()).Status(l.t.Context(), &apiv1.StatusRequest{})
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// refused counts the refusals of one reason.
func (l *local) refused(reason string) uint64 {
	return l.status().GetCounters()["ingest_refused_"+reason]
}

// audited flushes and holds the log to everything recorded: each event is there exactly once, in order.
func (l *local) audited() *audit {
	l.t.Helper()
	l.flush()
	a := l.inspected()
	in := a.positions()
	for i, id := range l.ids {
		if in[id] != 1 {
			l.t.Errorf("event %d is there %d times", i+1, in[id])
		}
	}
	for _, wrong := range append(a.wrongNumbers(), a.wrongOrder()...) {
		l.t.Error(wrong)
	}
	return a
}

// inspected audits the log and expects that check is clean.
func (l *local) inspected() *audit {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	a := inspect(ctx, l.Node())
	if a.Failed != "" {
		l.t.Fatalf("no audit: %s", a.Failed)
	}
	for _, p := range a.Problems {
		l.t.Error(p)
	}
	return &a
}

// soon is for what needs no disk and no other process.
const soon = 5 * time.Second

// await waits until something has become true.
func await(t testing.TB, is func() bool) {
	t.Helper()
	within(t, patience, is)
}

func within(t testing.TB, limit time.Duration, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not come true")
		}
	}
}

// backlogOf makes the door push back when the ledger is so many events behind.
func backlogOf(events uint64) testenv.Option {
	return func(c *node.Config) { c.MaxBacklog = events }
}
