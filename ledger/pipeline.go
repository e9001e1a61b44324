package ledger

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
)

// decodeAhead is how many messages are decoded before the fold takes them, for each worker: enough to keep all
// busy while the fold waits for the store.
const decodeAhead = 8

// job is a message on its way through the workers.
type job struct {
	decoded *Decoded
	ready   chan struct{} // closed when decoded is set
}

// decodeInOrder reads messages, of whatever type they are, until next fails, decodes them on the given number of workers and returns
// them in order. The channel is closed at the end; an error of next that is not io.EOF goes to the group.
func decodeInOrder[T any](
	ctx context.Context, group *errgroup.Group, workers int, decode func(T) *Decoded, next func(context.Context) (T, error),
) <-chan *job {
	work, ordered := make(chan func()), make(chan *job, workers*decodeAhead)
	for range workers {
		group.Go(func() error {
			for do := range work {
				do()
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(ordered)
		defer close(work)
		return feedJobs(ctx, decode, next, work, ordered)
	})
	return ordered
}

func feedJobs[T any](
	ctx context.Context, decode func(T) *Decoded, next func(context.Context) (T, error), work chan<- func(), ordered chan<- *job,
) error {
	for {
		m, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		j := &job{ready: make(chan struct{})}
		select {
		case ordered <- j:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case work <- func() { j.decoded = decode(m); close(j.ready) }:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wait returns the decoded message.
func (j *job) wait(ctx context.Context) (*Decoded, error) {
	select {
	case <-j.ready:
		return j.decoded, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
