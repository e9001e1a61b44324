package node

import (
	"context"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/ledger"
)

// logs gives the readers what they need of the ledger.
type logs struct{ *ledger.Ledger }

// Registry is a tenant's admission state at the committed head.
func (l logs) Registry(tenant event.TenantID) (*registry.State, bool) {
	state, err := l.Ledger.Registry(context.Background(), tenant)
	return state, err == nil
}

// Size is the number of committed leaves of a tenant.
func (l logs) Size(tenant event.TenantID) uint64 {
	head, _ := l.Ledger.Head(tenant)
	return head.Size
}

// Head is the stream sequence up to which leaves are committed.
func (l logs) Head() uint64 { return l.Committed() }

// Wait returns when the committed head is past after, with the head.
func (l logs) Wait(ctx context.Context, after uint64) (uint64, error) { return l.Follow(ctx, after) }
