package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Limits of a reader.
const (
	// readAhead and readAheadBytes bound what the server sends before it is asked for.
	readAhead      = 1024
	readAheadBytes = 8 << 20

	// idleCheck is how long a reader waits before it asks whether there is really nothing more.
	idleCheck = time.Second

	// readRetry is how long a reader waits before it asks an unreachable server again.
	readRetry = 200 * time.Millisecond

	// pullExpiry is how often a reader asks anew. The server looks for the next message of a filter through all that came since it last looked,
	// which it does at each request and at each message that matches: a reader of few of many messages would wait for it to read what has
	// left its memory.
	pullExpiry = time.Second

	// consumerInactive is how long the server keeps the consumer of a reader that vanished.
	consumerInactive = time.Minute
)

// Reader gives the messages of a stream in order and follows it for ever. It is for one goroutine.
type Reader struct {
	stream *Stream
	filter string // empty is everything, without holes
	next   uint64 // sequence of the next message, or with a filter the least it can be

	session   *session // the consumer's
	iterator  jetstream.MessagesContext
	name      string // of the consumer
	delivered uint64 // consumer sequence of the last message
}

// Read returns a reader from the given sequence on, of the subjects that match filter; an empty filter is
// every message. Nothing is asked of the server before the first Next.
func (s *Stream) Read(from uint64, filter string) *Reader {
	return &Reader{stream: s, filter: filter, next: max(from, 1)}
}

// Next waits for the next message. Without a filter the sequences are dense: ErrHole if one is missing,
// also at the end. When the server is away or reopened, Next waits and goes on where it was. Errors:
// ErrHole, ErrIncarnation, ErrClosed, or the cause of ctx.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	for {
		m, found, err := r.step(ctx)
		if found {
			return m, nil
		}
		if err = r.recover(ctx, err); err != nil {
			return Message{}, fmt.Errorf("read message %d: %w", r.next, err)
		}
	}
}

// step returns a message, or nothing and the reason: nil after a quiet while.
func (r *Reader) step(ctx context.Context) (m Message, found bool, err error) {
	if r.iterator == nil {
		if err := r.open(ctx); err != nil {
			return Message{}, false, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, idleCheck)
	defer cancel()
	raw, err := r.iterator.Next(jetstream.NextContext(wait))
	if err != nil {
		if wait.Err() != nil && ctx.Err() == nil {
			return Message{}, false, r.checkEnd(ctx)
		}
		return Message{}, false, classify(ctx, err)
	}
	return r.take(raw)
}

// take holds a delivered message to the order. A delivery that was lost on the way is fetched again; a
// sequence that the server passed over is a hole.
func (r *Reader) take(raw jetstream.Msg) (m Message, found bool, err error) {
	meta, err := raw.Metadata()
	if err != nil {
		return Message{}, false, fmt.Errorf("message without position: %w", err)
	}
	if meta.Sequence.Consumer != r.delivered+1 || meta.Sequence.Stream < r.next {
		r.release()
		return Message{}, false, nil
	}
	if r.filter == "" && meta.Sequence.Stream != r.next {
		return Message{}, false, fmt.Errorf("%w: after %d comes %d", ErrHole, r.next-1, meta.Sequence.Stream)
	}
	r.delivered, r.next = meta.Sequence.Consumer, meta.Sequence.Stream+1
	return Message{Seq: meta.Sequence.Stream, Time: meta.Timestamp.UnixNano(), Subject: raw.Subject(), Data: raw.Data()}, true, nil
}

// recover decides what to do when there was no message: go on (nil), or give up.
func (r *Reader) recover(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	}
	r.release()
	if errors.Is(err, ErrHole) || errors.Is(err, ErrIncarnation) || errors.Is(err, ErrClosed) || errors.Is(err, ErrConfig) {
		return err
	}
	if !sleep(ctx, readRetry) {
		return context.Cause(ctx)
	}
	return nil
}

// open makes a consumer that begins at next.
func (r *Reader) open(ctx context.Context) error {
	return r.stream.use(ctx, func(ctx context.Context, session *session) error {
		consumer, err := session.readers.CreateConsumer(ctx, r.consumer())
		if err != nil {
			return err
		}
		ahead := jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes)
		iterator, err := consumer.Messages(ahead, jetstream.PullExpiry(pullExpiry), jetstream.WithMessagesErrOnMissingHeartbeat(true))
		if err != nil {
			return err
		}
		r.session, r.iterator, r.name, r.delivered = session, iterator, consumer.CachedInfo().Name, 0
		return nil
	})
}

func (r *Reader) consumer() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.next, FilterSubject: r.filter,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerInactive,
	}
}

// checkEnd runs when nothing came for a while: it holds the stream to its incarnation, and tells the end of
// the stream from messages that are gone or were not delivered.
func (r *Reader) checkEnd(ctx context.Context) error {
	state, err := r.stream.State(ctx)
	if err != nil || r.filter != "" {
		return err
	}
	if state.Last+1 < r.next {
		return fmt.Errorf("%w: the stream ends at %d", ErrHole, state.Last)
	}
	if state.Last < r.next {
		return nil
	}
	if _, err := r.stream.Get(ctx, r.next); err != nil {
		return err
	}
	r.release() // it is there but was not delivered
	return nil
}

// Close frees the reader.
func (r *Reader) Close() { r.release() }

// release drops the consumer. The server would drop it by itself after consumerInactive.
func (r *Reader) release() {
	if r.iterator == nil {
		return
	}
	r.iterator.Stop()
	r.iterator = nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = r.session.js.DeleteConsumer(ctx, streamName, r.name) // the connection may be gone, and the consumer with it
}
