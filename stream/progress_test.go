package stream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentcustody/custody/stream"
)

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, broken := stream.NewProgress(3), errors.New("broken")
		ended := map[uint64]error{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, seq := range []uint64{3, 4, 6} {
			go func() { err := p.Await(ctx, seq); ended[seq] = err }()
			synctest.Wait()
		}
		is := func(seq uint64, done bool, want error) {
			t.Helper()
			if err, got := ended[seq]; got != done || !errors.Is(err, want) {
				t.Errorf("%d: ended %v with %v", seq, got, err)
			}
		}
		is(3, true, nil)
		is(4, false, nil)
		p.Wake()
		synctest.Wait()
		is(4, false, nil)
		p.Reach(5)
		synctest.Wait()
		is(4, true, nil)
		is(6, false, nil)
		p.Fail(broken)
		synctest.Wait()
		is(6, true, broken)
		if err := p.Await(ctx, 5); err != nil {
			t.Errorf("what was folded before: %v", err)
		}
		if err := stream.NewProgress(0).Await(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the end of patience: %v", err)
		}
	})
}
