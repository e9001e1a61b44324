package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

const (
	// followAhead is how many messages a follower decodes before it folds them: a decoded message takes megabytes.
	followAhead = 2
	// forgetEvery is after how many messages a follower forgets what the store has by now.
	forgetEvery = 512
	// followRetry is the pause before the store is asked again.
	followRetry = 200 * time.Millisecond
	// stateMagic is how the state of a follower begins: what it is, and its version.
	stateMagic = "custody/follower/v1\x00"
)

// Follower is a second consumer of the stream beside the writer: it folds every message as the writer does, so it has the ledger's
// verdicts, indexes and times, and it waits for no commit. It needs the store for nothing but batches from before its head, and
// then it waits for it. It is for one goroutine.
type Follower struct {
	feed      *Feed
	committed func() uint64
	system    signer.PublicKey
	history   History
	verified  *signer.Verified // nil remembers nothing
	turn      turn
	now       func() time.Time
	age       time.Duration // of the last message, when it was folded

	fold     *Fold
	restored uint64 // message up to which the fold was read and not folded here
	ahead    <-chan *Decoded
	failed   func() error
	stop     context.CancelFunc
}

// Judged is a message with the ledger's verdict.
type Judged struct {
	Seq    uint64 // of the stream
	Time   int64  // of the message, ns UTC
	Tenant string // empty for a tick and for what gets no leaves
	Leaves []Admitted
}

// Admitted is one leaf. The event is nil where the content is held, or where the leaf has a verdict under which nobody may take the
// event for the agent's: malformed, equivocation, key-invalid; and for an event of Custody's own that was not accepted, because it decides nothing.
type Admitted struct {
	Index    uint64
	Time     int64 // ns UTC
	Producer eventv1.ProducerClass
	Event    *eventv1.Event
}

// NewFollower returns a follower before the first message. system is the key that a genesis must be signed with, and committed the
// sequence up to which history knows every message.
func NewFollower(feed *Feed, system signer.PublicKey, history History, committed func() uint64) *Follower {
	f := &Follower{feed: feed, committed: committed, system: system, history: history, now: time.Now}
	f.fold = f.newFold()
	return f
}

// Remember keeps signatures that are good, and takes those that others of the process have found good. It must come before Next.
func (f *Follower) Remember(verified *signer.Verified) {
	f.verified = verified
	f.fold.keys.verified = verified
}

// Yield lets emitters go first while they are busy, by turns and as long as the follower is not late by a clock. It must come before Next.
func (f *Follower) Yield(busy func() bool, now func() time.Time) {
	f.turn = turn{busy: busy, most: followMost, work: followWork, late: followLate, backlog: never}
	f.now = now
}

func (f *Follower) newFold() *Fold {
	fold := NewFold(f.system, waiting{f})
	fold.keys.verified = f.verified
	return fold
}

// Seq is the sequence of the last message.
func (f *Follower) Seq() uint64 { return f.fold.Seq() }

// Next waits for the next message and folds it. Errors are those of the stream's reader, or the cause of ctx; a store that does not answer is
// asked again.
func (f *Follower) Next(ctx context.Context) (*Judged, error) {
	if f.ahead == nil {
		f.begin()
	}
	f.turn.yield(ctx, f.age)
	d, err := f.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	if f.fold.Seq()%forgetEvery == 0 {
		f.fold.Committed(f.committed())
	}
	folded, err := f.message(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	f.age = f.now().Sub(time.Unix(0, d.message.Time))
	return judged(d, folded), nil
}

// begin decodes ahead of the fold.
func (f *Follower) begin() {
	ctx, stop := context.WithCancel(context.Background())
	jobs, ended := make(chan *Decoded, followAhead), make(chan error, 1)
	reader, decoder := f.feed.join(f.fold.Seq()+1), f.fold.Decoder()
	go func() {
		defer close(jobs)
		defer reader.Close()
		ended <- decodeInto(ctx, reader, decoder, jobs)
	}()
	f.ahead, f.stop, f.failed = jobs, stop, func() error { return <-ended }
}

func decodeInto(ctx context.Context, reader *member, decoder *Decoder, jobs chan<- *Decoded) error {
	for {
		a, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case jobs <- a.decode(decoder):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (f *Follower) take(ctx context.Context) (*Decoded, error) {
	select {
	case d, open := <-f.ahead:
		if !open {
			return nil, f.failed()
		}
		return d, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// message folds one message, however often the store must be asked.
func (f *Follower) message(ctx context.Context, d *Decoded) (*store.Folded, error) {
	for {
		folded, err := f.fold.Message(ctx, d)
		if err == nil || errors.Is(err, ErrOrder) || ctx.Err() != nil || !sleep(ctx, followRetry) {
			return folded, err
		}
	}
}

// Close ends reading.
func (f *Follower) Close() {
	if f.stop != nil {
		f.stop()
	}
}

// waiting is the history of a follower: it asks only when the store knows all that the fold here does not remember.
type waiting struct{ *Follower }

func (w waiting) BatchOverlapping(ctx context.Context, r Range) (digest [32]byte, found bool, err error) {
	for w.committed() < w.restored {
		if !sleep(ctx, followRetry) {
			return digest, false, context.Cause(ctx)
		}
	}
	return w.history.BatchOverlapping(ctx, r)
}

func judged(d *Decoded, folded *store.Folded) *Judged {
	j := &Judged{Seq: d.message.Seq, Time: d.message.Time}
	if folded == nil {
		return j
	}
	j.Tenant, j.Leaves = folded.Tenant, make([]Admitted, len(folded.Leaves))
	for i := range folded.Leaves {
		l := &folded.Leaves[i]
		j.Leaves[i] = Admitted{Index: l.Index, Time: l.Time, Producer: folded.Producer}
		if Admits(l.Verdict, l.Event) {
			j.Leaves[i].Event = l.Event
		}
	}
	return j
}

// Admits reports whether an event under a verdict may be taken for its emitter's.
func Admits(v chain.Verdict, e *eventv1.Event) bool {
	switch v {
	case chain.Accepted:
		return true
	case chain.Gap, chain.Late:
		return e.GetSystem() == nil
	}
	return false
}

// Save is the state after the last message. encode writes it, also while the follower goes on: the magic, the sequence, the running digest and every
// entry of every tenant, by tenant and key, each part after its length.
func (f *Follower) Save() (encode func() []byte, err error) {
	head := binary.AppendUvarint([]byte(stateMagic), f.fold.seq)
	head = append(head, f.fold.digest[:]...)
	tenants := make([]*savedTenant, 0, len(f.fold.tenants))
	for _, name := range slices.Sorted(maps.Keys(f.fold.tenants)) {
		t, err := f.fold.tenants[name].save()
		if err != nil {
			return nil, fmt.Errorf("save follower: %w", err)
		}
		tenants = append(tenants, t)
	}
	return func() []byte {
		b := head
		for _, t := range tenants {
			entries := t.entries()
			slices.SortFunc(entries, func(x, y store.StateEntry) int { return strings.Compare(x.Key, y.Key) })
			for _, e := range entries {
				b = appendPart(appendPart(appendPart(b, []byte(t.name)), []byte(e.Key)), e.Value)
			}
		}
		return b
	}, nil
}

// Restore begins after the message of a saved state. It must come before Next.
func (f *Follower) Restore(saved []byte) error {
	if len(saved) < len(stateMagic) || string(saved[:len(stateMagic)]) != stateMagic {
		return fmt.Errorf("restore follower: %w", errState)
	}
	b := saved[len(stateMagic):]
	seq, n := binary.Uvarint(b)
	if n <= 0 || len(b) < n+len(f.fold.digest) {
		return fmt.Errorf("restore follower: %w", errState)
	}
	digest := [32]byte(b[n : n+32])
	entries, err := readEntries(b[n+32:])
	fold := f.newFold()
	if err == nil {
		err = fold.Load(seq, digest, entries)
	}
	if err != nil {
		return fmt.Errorf("restore follower: %w", err)
	}
	f.fold, f.restored = fold, seq
	return nil
}

func readEntries(b []byte) (entries []store.TenantEntry, err error) {
	for len(b) > 0 {
		var parts [3][]byte
		for i := range parts {
			if parts[i], b, err = readPart(b); err != nil {
				return nil, err
			}
		}
		entries = append(entries, store.TenantEntry{Tenant: string(parts[0]), Key: string(parts[1]), Value: parts[2]})
	}
	return entries, nil
}

func readPart(b []byte) (part, rest []byte, err error) {
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
		return nil, nil, errState
	}
	n := binary.BigEndian.Uint32(b)
	return b[4 : 4+n], b[4+n:], nil
}
