package ledger

import (
	"context"

	"github.com/agentcustody/custody/store"
)

// What a check derives is collected in a block and compared with the rows that are stored.

// begin opens the block that begins at first.
func (c *checker) begin(first uint64) {
	if c.block == nil {
		c.block = store.NewBlock(first)
	} else {
		c.block.Reset(first)
	}
	c.ends = map[string]bool{}
}

// add keeps what a message gave until its block is compared, and verifies the checkpoints after it.
func (c *checker) add(ctx context.Context, f *store.Folded) error {
	c.block.Add(f)
	c.ends[f.Tenant], c.digest = true, f.StreamDigest
	c.progress.Events += uint64(len(f.Leaves))
	c.fold.Committed(f.StreamSeq)
	return c.checkNotes(ctx, c.log(f.Tenant), c.fold.tenants[f.Tenant])
}

// closeBefore ends every block of the writer's that ends before the message seq, and compares them when they are many events:
// what a comparison costs is mostly its queries.
func (c *checker) closeBefore(ctx context.Context, seq uint64) error {
	for len(c.boundaries) > 0 && c.boundaries[0] < seq {
		c.block.Mark(c.boundaries[0], c.digest, touchedHeads(c.fold, c.ends))
		c.boundaries, c.ends = c.boundaries[1:], map[string]bool{}
		if !c.enough() {
			continue
		}
		if err := c.compare(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// enough reports whether the blocks that were ended are all that was read of them, or enough for one comparison.
func (c *checker) enough() bool {
	if c.reading != nil {
		return c.block.Last == c.reading.Last
	}
	return c.block.Events() >= comparedEvents || c.block.Bytes() >= store.MaxBlockBytes
}

// comparedEvents are enough for one comparison.
const comparedEvents = store.MaxBlockEvents / 2

// compare compares the blocks that were ended, and begins the next.
func (c *checker) compare(ctx context.Context) error {
	problems, err := c.snapshot.Compare(ctx, c.block, c.reading, c.wanted...)
	if err != nil {
		return err
	}
	for _, p := range problems {
		shared := p.Table == "heads" && p.Column == "stream_digest" // of what all logs have received
		if c.log(p.Tenant).compares(&p) && (!shared || len(c.wanted) == 0) {
			c.found(p)
		}
	}
	c.tell(nil)
	c.begin(c.block.Last + 1)
	return c.sure()
}
