package node

import (
	"sync"

	"github.com/agentcustody/custody/ledger"
)

// behind is the ledger as the door sees it. A ledger that has halted does not look at the stream any more;
// what comes in meanwhile is counted here, so that emitters are pushed back in time.
type behind struct {
	*ledger.Ledger
	node *Node

	mu     sync.Mutex
	halted bool
	since  uint64 // events let in when the halt was first seen
}

// Backlog is the number of events that are not committed yet.
func (b *behind) Backlog() uint64 {
	halted := b.Status().Halted != nil
	b.mu.Lock()
	defer b.mu.Unlock()
	if !halted || b.node.door == nil {
		b.halted = false
		return b.Ledger.Backlog()
	}
	accepted := b.node.door.Accepted()
	if !b.halted {
		b.halted, b.since = true, accepted
	}
	return b.Ledger.Backlog() + accepted - b.since
}
