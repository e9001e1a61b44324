package ledger

import (
	"context"
	"iter"

	"github.com/agentcustody/custody/store"
)

// Store is what the writer needs of the store. [NewStore] makes one of a *store.Store. Every error but
// store.ErrSchema and store.ErrMismatch means: try again.
type Store interface {
	History
	// Prepare may do what can be done of an insert before the blocks that come before are in.
	Prepare(b *store.Block)
	// Insert makes a block durable, also if it was inserted before, in part or as a whole.
	Insert(ctx context.Context, b *store.Block) error
	// LoadState returns the newest value of every entry at or before a stream sequence.
	LoadState(ctx context.Context, upTo uint64) ([]store.TenantEntry, error)
	// PruneState may drop values that newer ones at or before a committed sequence replace.
	PruneState(ctx context.Context, upTo uint64) error
	// SaveCheckpoint keeps a signed checkpoint; LastCheckpoint returns the newest.
	SaveCheckpoint(ctx context.Context, c store.Checkpoint) error
	LastCheckpoint(ctx context.Context, tenant string) (c store.Checkpoint, found bool, err error)
	// LastConfirmed returns the newest of at most a size that others have confirmed.
	LastConfirmed(ctx context.Context, tenant string, toSize uint64) (c store.Checkpoint, found bool, err error)
	// At is what readers see when the stream is committed up to seq.
	At(seq uint64) Snapshot
}

// Snapshot is what the store holds of the messages up to one stream sequence.
type Snapshot interface {
	Heads(ctx context.Context) ([]store.CommittedHead, error)
	Boundaries(ctx context.Context, after uint64) (last []uint64, err error)
	Messages(ctx context.Context, tenant string, fromIndex uint64) iter.Seq2[*store.Stored, error]
	Checkpoints(ctx context.Context, tenant string, fromSize uint64, limit int) ([]store.Checkpoint, error)
	Compare(ctx context.Context, b *store.Block, r *store.Reading, tenants ...string) ([]store.Problem, error)
	// Loads and Read are for going through everything once; Read is not ok where that cannot be.
	Loads(ctx context.Context) ([]store.Load, error)
	Read(ctx context.Context, r *store.Reading, first, last uint64, tenants ...string) (ok bool, err error)
}

// NewStore adapts the real store.
func NewStore(s *store.Store) Store { return clickHouse{s} }

type clickHouse struct{ *store.Store }

func (c clickHouse) At(seq uint64) Snapshot { return c.WithHead(func() uint64 { return seq }) }

func (c clickHouse) BatchOverlapping(ctx context.Context, r Range) (digest [32]byte, found bool, err error) {
	earlier := c.WithHead(func() uint64 { return r.Before - 1 })
	return earlier.BatchOverlapping(ctx, r.Tenant, r.KeyID, r.EpochNo, r.First, r.Last)
}
