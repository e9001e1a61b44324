package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// Pauses between attempts at what may work later.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 5 * time.Second
)

// final are the errors that no further attempt can help.
var final = []error{
	ErrFenced, ErrHead, ErrDigest, ErrOrder, ErrClockLeap, ErrStoreState, ErrOtherStream, errState, chain.ErrLeaf,
	stream.ErrHole, stream.ErrIncarnation, stream.ErrConfig, stream.ErrClosed,
	store.ErrSchema, store.ErrMismatch,
}

func isFinal(err error) bool {
	for _, f := range final {
		if errors.Is(err, f) {
			return true
		}
	}
	return false
}

// retry repeats what fails until it works, ctx ends or the error is final. It reports each failure, and nil
// when it worked again.
type retry struct{ report func(error) }

func (r retry) do(ctx context.Context, what string, attempt func(context.Context) error) error {
	failed := false
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := attempt(ctx)
		if err == nil {
			if failed { // what never failed must not hide what others still wait for
				r.report(nil)
			}
			return nil
		}
		failed = true
		if err = fmt.Errorf("%s: %w", what, err); isFinal(err) {
			return err
		}
		r.report(err)
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
