package ingest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentcustody/custody/stream"
)

// TestTheDoorGivesWay: no batch is checked while somebody has the right of way, and those that wait count as waiting.
func TestTheDoorGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{cfg: Config{Way: new(stream.RightOfWay)}, workers: newWorkers(1)}
		const held = time.Millisecond
		time.AfterFunc(held, s.cfg.Way.Take())
		began, hired := time.Now(), make(chan time.Duration)
		go func() {
			s.dismiss(s.hire(t.Context()))
			hired <- time.Since(began)
		}()
		synctest.Wait()
		if !s.Busy() {
			t.Error("nobody is seen to wait")
		}
		if got := <-hired; got != held {
			t.Errorf("a worker after %s, want %s", got, held)
		}
		time.Sleep(time.Second)
	})
}
