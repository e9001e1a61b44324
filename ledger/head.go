package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/stream"
)

// Reasons to stop for good.
var (
	// ErrFenced: another writer has taken over.
	ErrFenced = errors.New("another writer has taken over")
	// ErrHead: the recorded head is not one that a writer wrote.
	ErrHead = errors.New("malformed head")
	// ErrDigest: the stream's messages are not those that were recorded.
	ErrDigest = errors.New("stream has other messages than were recorded")
)

// headVersion is the version of the head's record.
const headVersion = 1

// head is where a partition's log stands, as recorded in the stream's bucket.
type head struct {
	Version     int        `json:"version"`
	Fence       uint64     `json:"fence"`       // counts the writers
	Incarnation string     `json:"incarnation"` // of the stream
	Done        uint64     `json:"done"`        // sequence of the last committed message
	Before      chain.Hash `json:"before"`      // running digest before that message
	Digest      chain.Hash `json:"digest"`      // and after it
	Leaves      uint64     `json:"leaves"`      // of all logs together at Done
	Boundary    uint64     `json:"boundary"`    // last message of the newest block with rows
	Intent      *intent    `json:"intent,omitempty"`
}

// intent is a block that a writer began to insert.
type intent struct {
	First  uint64     `json:"first"`
	Last   uint64     `json:"last"`
	Digest chain.Hash `json:"digest"` // running digest after Last
}

func (h *head) marshal() []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("ledger: encode head: %v", err)) // strings and numbers
	}
	return b
}

// parseHead accepts only what marshal writes.
func parseHead(b []byte) (*head, error) {
	h := new(head)
	if err := json.Unmarshal(b, h); err != nil || h.Version != headVersion || !bytes.Equal(h.marshal(), b) {
		return nil, fmt.Errorf("parse head of %d bytes: %w", len(b), ErrHead)
	}
	if h.Boundary > h.Done {
		return nil, fmt.Errorf("parse head: boundary %d after %d: %w", h.Boundary, h.Done, ErrHead)
	}
	if h.Intent != nil && (h.Intent.First != h.Done+1 || h.Intent.Last < h.Intent.First) {
		return nil, fmt.Errorf("parse head: intent %d to %d after %d: %w", h.Intent.First, h.Intent.Last, h.Done, ErrHead)
	}
	return h, nil
}

// register is the compare-and-set that the head is kept in.
type register interface {
	Load(ctx context.Context) (value []byte, revision uint64, err error)
	CompareAndSet(ctx context.Context, value []byte, revision uint64) (next uint64, err error)
}

// lease is a writer's hold on the head: from claim on it knows what the head is, and any change that it did not
// make ends it.
type lease struct {
	register register
	retry    retry
	head     head
	revision uint64
}

// claim takes the head over from whoever had it, with a fence above theirs. Errors: ErrHead,
// stream.ErrIncarnation.
func claim(ctx context.Context, r register, retry retry, incarnation string) (*lease, error) {
	l := &lease{register: r, retry: retry}
	err := retry.do(ctx, "claim head", func(ctx context.Context) error {
		if err := l.load(ctx, incarnation); err != nil {
			return err
		}
		next := l.head
		next.Fence++
		revision, err := r.CompareAndSet(ctx, next.marshal(), l.revision)
		if err == nil {
			l.head, l.revision = next, revision
		}
		return err // also stream.ErrConflict: load again
	})
	return l, err
}

func (l *lease) load(ctx context.Context, incarnation string) error {
	value, revision, err := l.register.Load(ctx)
	if err != nil {
		return err
	}
	l.head, l.revision = head{Version: headVersion, Incarnation: incarnation}, revision
	if revision == 0 {
		return nil
	}
	h, err := parseHead(value)
	if err != nil {
		return err
	}
	if h.Incarnation != incarnation {
		return fmt.Errorf("head is of stream %s, this is %s: %w", h.Incarnation, incarnation, stream.ErrIncarnation)
	}
	l.head = *h
	return nil
}

// set records a new head. The error is ErrFenced if somebody else changed it. An attempt whose answer was lost
// is recognised by its own value.
func (l *lease) set(ctx context.Context, next head) error {
	value := next.marshal()
	return l.retry.do(ctx, "record head", func(ctx context.Context) error {
		revision, err := l.register.CompareAndSet(ctx, value, l.revision)
		if err != nil {
			revision, err = l.recognise(ctx, value, err)
		}
		if err == nil {
			l.head, l.revision = next, revision
		}
		return err
	})
}

// recognise looks at what became of a compare-and-set that failed with cause.
func (l *lease) recognise(ctx context.Context, value []byte, cause error) (revision uint64, err error) {
	stored, revision, err := l.register.Load(ctx)
	switch {
	case err != nil:
		return 0, errors.Join(cause, err)
	case bytes.Equal(stored, value):
		return revision, nil
	case revision != l.revision:
		return 0, ErrFenced
	}
	return 0, cause
}

// confirm makes sure that the head is still ours. The error is ErrFenced if it is not.
func (l *lease) confirm(ctx context.Context) error {
	_, revision, err := l.register.Load(ctx)
	if err == nil && revision != l.revision {
		return ErrFenced
	}
	return err
}
