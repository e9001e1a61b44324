package torture

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/internal/testenv"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/store"
)

// gate stands before something that a test holds up or makes fail.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // closed when the gate opens; nil if it is open
	fails  error
}

// close holds up whoever passes from now on.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = make(chan struct{})
}

// fail makes whoever passes from now on fail.
func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fails = err
}

// open lets everybody pass again.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed != nil {
		close(g.closed)
	}
	g.closed, g.fails = nil, nil
}

// pass waits while the gate is closed.
func (g *gate) pass() error {
	g.mu.Lock()
	closed, err := g.closed, g.fails
	g.mu.Unlock()
	if closed != nil {
		<-closed
	}
	return err
}

// gatedStore is a store whose inserts go through a gate.
type gatedStore struct {
	ledger.Store
	gate *gate
}

func (s *gatedStore) Insert(ctx context.Context, b *store.Block) error {
	if err := s.gate.pass(); err != nil {
		return err
	}
	return s.Store.Insert(ctx, b)
}

// gateStore puts a gate before the store.
func gateStore(g *gate) testenv.Option {
	return func(c *node.Config) {
		c.TuneLedger = func(l *ledger.Config) { l.Store = &gatedStore{l.Store, g} }
	}
}

// gateStep puts a gate into the commit.
func gateStep(g *gate, step ledger.Step) testenv.Option {
	return func(c *node.Config) {
		c.TuneLedger = func(l *ledger.Config) {
			l.Hook = func(at ledger.Step) error {
				if at == step {
					return g.pass()
				}
				return nil
			}
		}
	}
}

// TestConsumerThatStandsStill: while the ledger gets nothing done, emitters get receipts until the backlog is full,
// and are pushed back then; when it goes on, everything arrives.
func TestConsumerThatStandsStill(t *testing.T) {
	refuse := func(g *gate) { g.fail(errors.New("the store is full")) }
	tests := map[string]struct {
		option func(*gate) testenv.Option
		stop   func(*gate)
		says   string // in the status
	}{
		"the store refuses":    {gateStore, refuse, "the store is full"},
		"the store hangs":      {gateStore, (*gate).close, ""},
		"the ledger is paused": {func(g *gate) testenv.Option { return gateStep(g, ledger.StepIntended) }, (*gate).close, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := new(gate)
			l := newLocal(t, test.option(g), backlogOf(200))
			t.Cleanup(g.open)
			l.open()
			l.record(10)
			l.flush()
			test.stop(g)
			l.recordUntil(func() bool { return l.refused("pushback") > 0 })
			await(t, func() bool { return strings.Contains(l.status().GetLedgerError(), test.says) }) // a block is begun before it is refused
			if s := l.status(); s.GetBacklog() < 150 {
				t.Errorf("while it stands still, the status is %v", s)
			}
			l.record(500) // into the spool
			g.open()
			l.audited()
			if s := l.status(); s.GetLedgerError() != "" || s.GetBacklog() != 0 {
				t.Errorf("afterwards the status is %v", s)
			}
		})
	}
}
