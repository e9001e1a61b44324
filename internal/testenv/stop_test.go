package testenv_test

import (
	"testing"
	"time"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/internal/testenv"
)

// TestStopDoesNotWaitForIdleEmitters: an emitter that is connected and has nothing to say holds nothing up.
func TestStopDoesNotWaitForIdleEmitters(t *testing.T) {
	env := testenv.New(t)
	env.CreateTenant("acme")
	env.CreateInstance("acme", "support-1")
	emitter, err := edge.Open(t.Context(), edge.Config{Dir: env.Enrol("acme", "support-1").Dir, CloseTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = emitter.Close(t.Context()) }() // nobody is there to take its last event
	if err := emitter.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	env.Stop()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}
