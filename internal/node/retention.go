package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ingest"
	"github.com/agentcustody/custody/store"
)

// contents implements ingest.Contents over what the node has committed.
type contents struct{ node *Node }

// Settle implements ingest.Contents.
func (c contents) Settle(ctx context.Context) error {
	state, err := c.node.stream.State(ctx)
	if err != nil {
		return fmt.Errorf("read the stream's state: %w", err)
	}
	return c.node.ledger.WaitCommitted(ctx, state.Last)
}

// Seals implements ingest.Contents.
func (c contents) Seals(ctx context.Context, tenant event.TenantID, subject, instance, run string) (bool, error) {
	return c.node.store.Seals(ctx, string(tenant), subject, instance, run)
}

// Expire implements ingest.Contents.
func (c contents) Expire(ctx context.Context, tenant event.TenantID, before time.Time) (uint64, error) {
	return c.node.store.Expire(ctx, string(tenant), before)
}

// expireAgain drops from a store that was made anew what had expired before: the stream still has it, and the log says until when. What is held now
// stays.
func (n *Node) expireAgain(ctx context.Context) error {
	for _, tenant := range n.admission.Tenants() {
		before, err := n.expiredBefore(ctx, string(tenant))
		if err == nil && before > 0 {
			_, err = n.store.Expire(ctx, string(tenant), time.Unix(0, before))
		}
		if err != nil && !errors.Is(err, store.ErrHold) {
			return fmt.Errorf("expire again: %w", err)
		}
	}
	return nil
}

// expiredBefore is the latest time before which content of a tenant was to expire, ns UTC; 0 if none was.
func (n *Node) expiredBefore(ctx context.Context, tenant string) (before int64, err error) {
	for row, err := range n.store.Search(ctx, store.Filter{Tenant: tenant, Action: "system.expiry"}) {
		if err != nil {
			return 0, err
		}
		e, err := event.Parse(row.Bytes)
		if err != nil {
			return 0, fmt.Errorf("read expiry: %w", err)
		}
		before = max(before, e.GetSystem().GetExpiry().GetBefore())
	}
	return before, nil
}

// openRetention destroys what an erasure before a crash has left, before the door opens.
func (n *Node) openRetention() {
	cfg := ingest.RetentionConfig{Admin: n.admin, Door: n.door, Keys: n.vault, Contents: contents{n}, Floor: store.MinRetention}
	if n.cfg.TuneRetention != nil {
		n.cfg.TuneRetention(&cfg)
	}
	n.retention = ingest.NewRetention(cfg)
	n.later(func() error { n.retention.Close(); return nil })
}
