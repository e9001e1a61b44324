package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ledger"
)

// openRules runs the rules over the stream. They follow by themselves: the node serves while they fold what is behind them.
func (n *Node) openRules(ctx context.Context) error {
	set, err := n.ruleSet()
	if err != nil {
		return err
	}
	state, err := n.stream.State(ctx)
	if err != nil {
		return err
	}
	follower := ledger.NewFollower(n.stream, n.keys.system.Public(), ledger.NewStore(n.store), n.ledger.Committed)
	cfg := live.Config{
		Rules: set, Source: followed{follower}, Incarnation: state.Incarnation, End: state.Last, Dir: n.folder.path("rules"), Brake: n.brake,
		Recorder: n.system, Now: n.cfg.Now, Log: n.cfg.Log,
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("folder of the rules' state: %w", err)
	}
	if n.cfg.TuneRules != nil {
		n.cfg.TuneRules(&cfg)
	}
	n.rules = live.Open(cfg)
	n.judges.Store(n.rules)
	n.later(func() error { n.closeRules(); return nil })
	return nil
}

func (n *Node) closeRules() {
	if n.aborted {
		n.rules.Abort()
		return
	}
	n.rules.Close()
}

// ruleSet is the rules that come with Custody, and after them those of the folder, if there are any.
func (n *Node) ruleSet() (*rules.Set, error) {
	sources := [][]byte{rules.DefaultSource}
	own, err := os.ReadFile(n.folder.path("rules.yaml"))
	switch {
	case err == nil:
		sources = append(sources, own)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read rules: %w", err)
	}
	set, err := rules.Parse(sources...)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return set, nil
}

// followed gives the rules what the ledger's fold says.
type followed struct{ *ledger.Follower }

// Next waits for the next message.
func (f followed) Next(ctx context.Context) (*live.Message, error) {
	j, err := f.Follower.Next(ctx)
	if err != nil {
		return nil, err
	}
	m := &live.Message{
		Seq: j.Seq, Time: j.Time, Tenant: event.TenantID(j.Tenant), Leaves: make([]rules.Leaf, len(j.Leaves)),
	}
	for i, l := range j.Leaves {
		m.Leaves[i] = rules.Leaf{Index: l.Index, Time: l.Time, Producer: l.Producer, Event: l.Event}
	}
	return m, nil
}

// Rules is the engine that runs the rules.
func (n *Node) Rules() *live.Engine { return n.rules }

// judged lets the brake wait for the rules, which start after it.
func (n *Node) judged(ctx context.Context, tenant event.TenantID, seq uint64) error {
	engine := n.judges.Load()
	if engine == nil {
		return errors.New("the rules are not there yet")
	}
	return engine.Judged(ctx, tenant, seq)
}
