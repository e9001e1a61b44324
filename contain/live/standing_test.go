package live_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/contain/live"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// TestAMessageFromTheFutureStopsTheRules: deadlines do not pass because a clock has leapt, and whoever looks is told.
func TestAMessageFromTheFutureStopsTheRules(t *testing.T) {
	set := tapeSet(t)
	tape := record(t, set, 40)
	clock := time.Unix(0, tape[len(tape)-1].Time)
	future := *tape[20]
	future.Time = clock.Add(live.MaxClockLeap + time.Second).UnixNano()
	tape[20] = &future
	engine := live.Open(live.Config{
		Rules: set, Source: &head{tape: tape, ends: make(chan struct{})}, Incarnation: "x", Dir: t.TempDir(), Brake: &brake{}, Recorder: &brake{},
		Now: func() time.Time { return clock },
	})
	defer engine.Close()
	if err := engine.Await(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	if err := engine.Await(t.Context(), 21); !errors.Is(err, live.ErrClockLeap) {
		t.Errorf("the message of the future: %v", err)
	}
	if at := engine.Standing(); at.Judged != 20 || at.At != tape[19].Time || !errors.Is(at.Err, live.ErrClockLeap) {
		t.Errorf("standing %+v", at)
	}
	if _, err := engine.Waiting("acme"); !errors.Is(err, live.ErrClockLeap) {
		t.Errorf("what waits: %v", err)
	}
}

// TestWhileTheRulesRead: after a restart nobody is told that nothing has fired before all is read that there was.
func TestWhileTheRulesRead(t *testing.T) {
	set := tapeSet(t)
	tape := record(t, set, 40)
	engine := live.Open(live.Config{
		Rules: set, Source: &head{tape: tape, ends: make(chan struct{})}, Incarnation: "x", End: uint64(len(tape)) + 1, Brake: &brake{}, Recorder: &brake{},
		Now: func() time.Time { return time.Unix(0, tape[len(tape)-1].Time) },
	})
	defer engine.Close()
	if err := engine.Await(t.Context(), uint64(len(tape))); err != nil {
		t.Fatal(err)
	}
	if all, err := engine.Waiting("acme"); err == nil {
		t.Errorf("what waits: %v", all)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := (&live.Service{Engine: engine}).ListFirings(ctx, &apiv1.ListFiringsRequest{Tenant: "acme"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("firings: %v", err)
	}
}

// TestOff: nothing is read, and nobody is told that nothing has fired.
func TestOff(t *testing.T) {
	engine := live.Open(live.Config{Off: true, Rules: tapeSet(t)})
	defer engine.Close()
	if _, err := engine.Waiting("acme"); !errors.Is(err, live.ErrOff) {
		t.Errorf("what waits: %v", err)
	}
	if _, err := engine.Judged(t.Context(), "acme", 1); !errors.Is(err, live.ErrOff) {
		t.Errorf("judged: %v", err)
	}
	if at := engine.Standing(); at.Judged != 0 || !errors.Is(at.Err, live.ErrOff) {
		t.Errorf("standing %+v", at)
	}
}
