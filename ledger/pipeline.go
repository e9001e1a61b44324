package ledger

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/stream"
)

// decodeAhead is how many messages are decoded before the fold takes them, for each worker: enough to keep all
// busy while the fold waits for the store.
const decodeAhead = 8

// job is a message on its way through the workers.
type job struct {
	message stream.Message
	decoded *Decoded
	ready   chan struct{} // closed when decoded is set
}

// decodeInOrder reads messages until next fails, decodes them on the given number of workers and returns them
// in order. The channel is closed at the end; an error of next that is not io.EOF goes to the group.
func decodeInOrder(
	ctx context.Context, group *errgroup.Group, workers int, decode func(stream.Message) *Decoded,
	next func(context.Context) (stream.Message, error),
) <-chan *job {
	work, ordered := make(chan *job), make(chan *job, workers*decodeAhead)
	for range workers {
		group.Go(func() error {
			for j := range work {
				j.decoded = decode(j.message)
				close(j.ready)
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(ordered)
		defer close(work)
		return feed(ctx, next, work, ordered)
	})
	return ordered
}

func feed(ctx context.Context, next func(context.Context) (stream.Message, error), work, ordered chan<- *job) error {
	for {
		m, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		j := &job{message: m, ready: make(chan struct{})}
		for _, to := range []chan<- *job{ordered, work} {
			select {
			case to <- j:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
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
