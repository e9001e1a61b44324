package contain

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/stream"
)

// TestAnAnswerComesAfterWhatIsInForce: the rules may have read of a containment before the brake has. A gate that asks hears of it first.
func TestAnAnswerComesAfterWhatIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{progress: stream.NewProgress(6)}
		e.cfg.Judged = func(context.Context, event.TenantID, uint64) (uint64, error) { return 7, nil }
		answered := make(chan error, 1)
		go func() { answered <- e.judge(t.Context(), "acme", 5) }()
		synctest.Wait()
		if len(answered) != 0 {
			t.Fatal("answered before the brake has folded what the rules asked for")
		}
		e.progress.Reach(7)
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}
