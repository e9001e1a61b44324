package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// Where the quick way does not do, messages are put together and folded one by one, and what is not as it should be is named. A log goes
// on from what stands, so that one change is one problem.

// foldAll decodes the messages of all logs on several workers and takes them in stream order.
func (c *checker) foldAll(ctx context.Context, heads []store.CommittedHead) error {
	group, ctx := errgroup.WithContext(ctx)
	merged := newMerge(ctx, c.snapshot, heads)
	jobs := decodeInOrder(ctx, group, c.workers, c.fold.Decoder().Decode, merged.next)
	group.Go(func() error {
		for j := range jobs {
			d, err := j.wait(ctx)
			if err != nil {
				return err
			}
			if err := c.take(ctx, merged.taken(), d); err != nil {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	merged.close()
	return err
}

// take checks one message, after the blocks that end before it.
func (c *checker) take(ctx context.Context, at inOrder, d *Decoded) error {
	m := at.stored
	if err := c.closeBefore(ctx, m.StreamSeq); err != nil {
		return err
	}
	c.progress.Messages++
	log := c.log(m.Tenant)
	if log.lost {
		return nil
	}
	folded, err := c.derive(ctx, at, d)
	if err != nil || folded == nil {
		return err
	}
	return c.add(ctx, folded)
}

// derive folds one stored message. Nothing comes back if the log cannot be followed any further.
func (c *checker) derive(ctx context.Context, at inOrder, d *Decoded) (*store.Folded, error) {
	m := at.stored
	log := c.log(m.Tenant)
	log.partial = log.partial || m.Expired
	before := c.tenantChain(m.Tenant)
	if before != nil && m.FirstIndex != uint64(before.Size()) {
		return nil, c.lose(m, "batches", "", fmt.Sprintf("leaf %d is the next, this message begins at %d", before.Size(), m.FirstIndex))
	}
	c.seek(m)
	if log.partial && m.Producer != eventv1.ProducerClass_PRODUCER_CLASS_CUSTODY {
		c.fold.seq = m.StreamSeq
		return c.salvage(m, d)
	}
	r, err := c.fold.judge(ctx, d)
	if err != nil {
		return nil, err
	}
	c.fold.seq, c.fold.digest = m.StreamSeq, c.link(m, d)
	genuine := m.Intact || r != nil && r.verdict != chain.Malformed
	if r == nil || r.tenant.name != m.Tenant || !genuine {
		return c.salvage(m, d)
	}
	folded, err := r.execute(c.fold)
	if err != nil {
		return nil, err
	}
	if d.batch != nil && r.verdict != chain.Malformed {
		c.progress.Batches++
	}
	c.fold.digest = m.StreamDigest // the next one is judged by what is recorded, so that one change is one problem
	if before != nil && !sameLeaves(folded, m) && c.continues(before, at) {
		return folded, c.adopt(folded, before, m)
	}
	return folded, nil
}

func (c *checker) tenantChain(name string) *chain.Chain {
	if t := c.fold.tenants[name]; t != nil {
		return t.chain.Clone()
	}
	return nil
}

// seek goes to the place of a message: messages without leaves before it left no trace in the store.
func (c *checker) seek(m *store.Stored) {
	if m.StreamSeq != c.fold.seq+1 {
		c.fold.digest = Digest{}
	}
	c.fold.seq = m.StreamSeq - 1
}

// link is the running digest after a message if it follows the one before, and what is recorded otherwise.
func (c *checker) link(m *store.Stored, d *Decoded) Digest {
	if c.fold.digest == (Digest{}) && m.StreamSeq > 1 {
		return m.StreamDigest
	}
	return link(c.fold.digest, &d.message, d.digest)
}

func sameLeaves(f *store.Folded, m *store.Stored) bool {
	return slices.EqualFunc(f.Leaves, m.Leaves, func(l store.Leaf, stored []byte) bool { return bytes.Equal(l.Bytes, stored) })
}

// continues reports whether the stored leaves follow the chain, and what comes after follows them: the next
// message, or the recorded end of the log. Then it is not the leaves that were changed.
func (c *checker) continues(before *chain.Chain, at inOrder) bool {
	stored := before.Clone()
	for _, leaf := range at.stored.Leaves {
		if _, _, err := stored.Replay(leaf); err != nil {
			return false
		}
	}
	if at.following == nil || len(at.following.Leaves) == 0 {
		return stored.Prev() == c.log(at.stored.Tenant).end
	}
	next, err := chain.ParseLeaf(at.following.Leaves[0])
	return err == nil && next.Prev == stored.Prev()
}

// adopt goes on from the stored leaves, and names what does not give them.
func (c *checker) adopt(f *store.Folded, before *chain.Chain, m *store.Stored) error {
	t := c.fold.tenants[m.Tenant]
	if len(f.Leaves) != len(m.Leaves) {
		return c.lose(m, "leaves", "", fmt.Sprintf("%d leaves, the message gives %d", len(m.Leaves), len(f.Leaves)))
	}
	t.chain = before
	for i, stored := range m.Leaves {
		l, hash, err := t.chain.Replay(stored)
		if err != nil {
			return errors.Join(errState, err)
		}
		c.nameDifference(m, &f.Leaves[i], &l)
		f.Leaves[i].Bytes, f.Leaves[i].Hash, f.Leaves[i].Time = stored, hash, l.Time
		f.Leaves[i].Verdict, f.Leaves[i].Kind, f.Leaves[i].EventHash = l.Verdict, uint8(l.Kind), l.Event
	}
	entry, err := t.chainEntry()
	if err == nil {
		f.State[0] = entry
	}
	return err
}

// nameDifference names the column that does not give a leaf that stands.
func (c *checker) nameDifference(m *store.Stored, derived *store.Leaf, stands *chain.Leaf) {
	derivedLeaf, err := chain.ParseLeaf(derived.Bytes)
	if err != nil {
		return
	}
	switch {
	case stands.Time != derivedLeaf.Time:
		if stands.Position == 0 {
			c.problem(m, "batches", m.FirstIndex, "message_time", "the leaf was made at another time")
		}
	case stands.Verdict != derivedLeaf.Verdict:
		c.problem(m, "events", derived.Index, "verdict", fmt.Sprintf("the leaf says %s, the fold %s", stands.Verdict, derivedLeaf.Verdict))
	case stands.Instance != derivedLeaf.Instance:
		c.problem(m, "batches", m.FirstIndex, "instance", "the leaf is of another instance")
	}
}

func (c *checker) problem(m *store.Stored, table string, index uint64, column, message string) {
	c.found(store.Problem{
		Tenant: m.Tenant, Table: table, Row: fmt.Sprintf("tenant=%q idx=%d", m.Tenant, index), Column: column, Message: message,
	})
}

// lose reports the last problem of a log that cannot be followed any further.
func (c *checker) lose(m *store.Stored, table, column, message string) error {
	c.problem(m, table, m.FirstIndex, column, message+"; the rest of this log was not checked")
	c.log(m.Tenant).lost = true
	return nil
}
