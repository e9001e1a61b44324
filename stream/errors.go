package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of the stream; each says what the caller should do.
var (
	// ErrPushback: the stream has no room or is too slow; try again later. After a timeout the message may
	// have been stored all the same: publish it again with the same ID and ExpectLast.
	ErrPushback = errors.New("stream is full or slow: try again later")
	// ErrConflict: the last message of the subject, or the head's revision, is not the expected one: read it
	// again and decide anew.
	ErrConflict = errors.New("expected another last message")
	// ErrUnavailable: no server answers; try again later.
	ErrUnavailable = errors.New("stream is not reachable")
	// ErrTooLarge: the message can never be stored.
	ErrTooLarge = errors.New("message is larger than the stream allows")
	// ErrHole: a sequence that was given out holds no message: a person must look.
	ErrHole = errors.New("hole in the stream")
	// ErrIncarnation: this is another stream than the one that was opened first: a person must look.
	ErrIncarnation = errors.New("another incarnation of the stream")
	// ErrConfig: the stream exists with settings that break what this package promises.
	ErrConfig = errors.New("stream has other settings")
	// ErrClosed: the stream or reader was closed.
	ErrClosed = errors.New("stream is closed")
	// ErrLocked: another process has the folder open.
	ErrLocked = errors.New("another process uses the stream's folder")
)

// errNoRoom is the pushback that this package decides on before it asks the server.
var errNoRoom = fmt.Errorf("%w: no room", ErrPushback)

// JetStream API error codes that the client library does not name
// (nats-server, server/errors.json).
const (
	codeAccountResources      jetstream.ErrorCode = 10002
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryResources       jetstream.ErrorCode = 10028
	codeStorageResources      jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077
	codeTooManyRequests       jetstream.ErrorCode = 10167
)

// storeIsFull is the text of codeStoreFailed for a limit, as opposed to a failed write.
const storeIsFull = "maximum bytes exceeded"

// classify gives err the sentinel that tells the caller what to do. The caller's own context comes first.
func classify(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if sentinel := sentinelOf(err); sentinel != nil {
		return fmt.Errorf("%w (%w)", sentinel, err)
	}
	return err
}

func sentinelOf(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		return sentinelOfCode(api.ErrorCode)
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return ErrPushback
	case isUnreachable(err):
		return ErrUnavailable
	}
	return nil
}

func sentinelOfCode(code jetstream.ErrorCode) error {
	switch code {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return ErrConflict
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return ErrTooLarge
	case codeAccountResources, codeInsufficientResources, codeMemoryResources, codeStorageResources, codeStoreFailed, codeTooManyRequests:
		return ErrPushback
	case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeStreamNotFound:
		return ErrUnavailable
	}
	return nil
}

func isUnreachable(err error) bool {
	for _, unreachable := range []error{
		nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrNoResponders, nats.ErrNoServers,
		nats.ErrDisconnected, nats.ErrReconnectBufExceeded, jetstream.ErrNoStreamResponse,
	} {
		if errors.Is(err, unreachable) {
			return true
		}
	}
	return false
}

// isSuspicious reports whether a failed publish may come from a broken file store rather than from a limit.
func isSuspicious(err error) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == codeStoreFailed && !strings.Contains(api.Description, storeIsFull)
	}
	return !errors.Is(err, errNoRoom) && (errors.Is(err, ErrPushback) || errors.Is(err, ErrUnavailable))
}
