package node_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// TestHaltedLedgerPushesBackInTime: a ledger that waits for a person stops the door when its backlog is full, and not
// before; after the repair everything gets in.
func TestHaltedLedgerPushesBackInTime(t *testing.T) {
	env := testenv.New(t, func(c *node.Config) { c.MaxBacklog = 50 })
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	joined := env.Enrol("acme", "support-1")
	env.WaitCommitted()
	env.Stop()
	if err := os.RemoveAll(filepath.Join(env.DataDir(), "store")); err != nil {
		t.Fatal(err)
	}
	env.Start()
	emitter, err := edge.Open(t.Context(), edge.Config{Dir: joined.Dir, MaxBackoff: 100 * time.Millisecond, MaxBatchAge: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = emitter.Close(t.Context()) }()
	for range 60 {
		_, run := emitter.Run(t.Context(), edge.RunOptions{})
		if err := run.End(edge.OK); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	waitFor(t, func() bool { return counters(t, env)["ingest_refused_pushback"] > 0 })
	if taken := counters(t, env)["ingest_events"]; taken < 30 || taken >= 120 {
		t.Errorf("%d events were let in", taken)
	}
	rebuild(t, env, false)
	if err := emitter.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	env.WaitCommitted()
}

func counters(t *testing.T, env *testenv.Env) map[string]uint64 {
	t.Helper()
	got, err := apiv1.NewLedgerServiceClient(env.Admin()).Status(t.Context(), &apiv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetCounters()
}

// waitFor waits until something has become true.
func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for range 600 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("did not come true")
}
