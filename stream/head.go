package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// headPrefix begins the subjects of the bucket, as the key-value layer of NATS has them, so that `nats kv`
// can show them.
const headPrefix = "$KV." + headBucket + "."

// Head is the value by which one writer of a partition is elected and fenced. It is safe for concurrent use.
type Head struct {
	stream    *Stream
	partition string
}

// Head returns the head of a partition, [a-z0-9-]+.
func (s *Stream) Head(partition string) *Head { return &Head{stream: s, partition: partition} }

func (h *Head) subject() string { return headPrefix + "head." + h.partition }

// Load returns the value and its revision as the leader has them; a head that was never set has revision 0.
func (h *Head) Load(ctx context.Context) (value []byte, revision uint64, err error) {
	err = h.stream.use(ctx, func(ctx context.Context, session *session) error {
		last, err := session.heads.GetLastMsgForSubject(ctx, h.subject())
		if err == nil {
			value, revision = last.Data, last.Sequence
		}
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("load head %s: %w", h.partition, err)
	}
	return value, revision, nil
}

// CompareAndSet replaces the value if revision is still the newest, and returns the new revision once it is
// durable. ErrConflict: it is not. After ErrPushback and ErrUnavailable the value may have been set or not:
// load it again.
func (h *Head) CompareAndSet(ctx context.Context, value []byte, revision uint64) (next uint64, err error) {
	err = h.stream.use(ctx, func(ctx context.Context, session *session) error {
		ctx, cancel := context.WithTimeout(ctx, h.stream.cfg.timeout)
		defer cancel()
		ack, err := session.js.PublishMsg(ctx, h.message(value, revision), jetstream.WithExpectStream("KV_"+headBucket))
		if err != nil {
			return sentinelFirst(err)
		}
		next = ack.Sequence
		return nil
	})
	h.stream.watch.saw(err)
	if err != nil {
		return 0, fmt.Errorf("set head %s: %w", h.partition, err)
	}
	return next, nil
}

func (h *Head) message(value []byte, revision uint64) *nats.Msg {
	m := &nats.Msg{Subject: h.subject(), Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return m
}
