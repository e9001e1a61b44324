package node

import (
	"context"
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

// openRetention destroys what an erasure before a crash has left, before the door opens.
func (n *Node) openRetention() {
	cfg := ingest.RetentionConfig{Admin: n.admin, Door: n.door, Keys: n.vault, Contents: contents{n}, Floor: store.MinRetention}
	if n.cfg.TuneRetention != nil {
		n.cfg.TuneRetention(&cfg)
	}
	n.retention = ingest.NewRetention(cfg)
	n.later(func() error { n.retention.Close(); return nil })
}
