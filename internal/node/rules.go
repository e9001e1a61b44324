package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/ledger"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// openRules runs the rules over the stream. They follow by themselves: the node serves while they fold what is behind them.
func (n *Node) openRules(ctx context.Context) error {
	set, err := n.ruleSet()
	if err != nil {
		return err
	}
	if err := n.recordSwitch(ctx, set); err != nil {
		return err
	}
	n.later(func() error { n.closeRules(); return nil })
	if n.cfg.RulesOff {
		n.cfg.Log.ErrorContext(ctx, "THE RULES ARE OFF: nothing fires, and nothing is stopped by a rule", slog.String("next", "custody serve"))
		n.rules = live.Open(live.Config{Off: true, Rules: set, Log: n.cfg.Log})
		return nil
	}
	return n.followRules(ctx, set)
}

func (n *Node) followRules(ctx context.Context, set *rules.Set) error {
	state, err := n.stream.State(ctx)
	if err != nil {
		return err
	}
	follower := ledger.NewFollower(n.feed, n.keys.system.Public(), ledger.NewStore(n.store), n.ledger.Committed)
	follower.Remember(n.verified)
	follower.Yield(n.busy, n.cfg.Now)
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
	return nil
}

// allRules is the rule that stands for all of them in system.rule events: its mode off says that no rule runs from there on, and live that
// they do again.
const allRules = "*"

// recordSwitch writes into every tenant's log that the rules are off from now on, or on again, where the log says otherwise.
func (n *Node) recordSwitch(ctx context.Context, set *rules.Set) error {
	for _, tenant := range n.admission.Tenants() {
		change := n.switchOf(tenant, set)
		if change == nil {
			continue
		}
		if _, err := n.system.Record(ctx, tenant, &eventv1.Event{Body: &eventv1.Event_System{System: change}}); err != nil {
			return fmt.Errorf("record that the rules are off, or on again, in %s: %w", tenant, err)
		}
	}
	return nil
}

// notices is what a log that begins now must say: that no rule is looked at, while none is.
func (n *Node) notices() []*eventv1.System {
	if !n.cfg.RulesOff {
		return nil
	}
	return []*eventv1.System{n.turned(n.rules.Set(), registry.Rule{})}
}

// switchOf is what a tenant's log lacks, nil if nothing. A log that says nothing means that they are on.
func (n *Node) switchOf(tenant event.TenantID, set *rules.Set) *eventv1.System {
	last := registry.Rule{Mode: string(rules.Live)}
	n.admission.View(tenant, func(s *registry.State) {
		for _, r := range s.Rules() {
			if r.ID == allRules {
				last = r
			}
		}
	})
	if off := last.Mode == string(rules.Off); off == n.cfg.RulesOff {
		return nil
	}
	return n.turned(set, last)
}

// turned says that the rules are off from here on, or on again, after what a log last said of that.
func (n *Node) turned(set *rules.Set, last registry.Rule) *eventv1.System {
	mode, reason := rules.Live, "the server was started with its rules again"
	if n.cfg.RulesOff {
		mode, reason = rules.Off, "the server was started with --rules=off"
	}
	digest := set.Digest()
	return &eventv1.System{Reason: reason, Detail: &eventv1.System_Rule{Rule: &eventv1.RuleChange{
		Rule: allRules, Version: last.Version + 1, SourceDigest: digest[:], Mode: string(mode),
	}}}
}

func (n *Node) closeRules() {
	if n.rules == nil {
		return
	}
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

// rulesStatus is where the rules stand, with the stream's last sequence.
func (n *Node) rulesStatus(last uint64) *apiv1.RulesStatus {
	at := n.rules.Standing()
	out := &apiv1.RulesStatus{State: "running", Judged: at.Judged}
	switch {
	case errors.Is(at.Err, live.ErrOff):
		out.State = "off"
		return out
	case at.Err != nil:
		out.State, out.Error = "stopped", at.Err.Error()
	}
	if last > at.Judged {
		out.Behind = last - at.Judged
	}
	if out.Behind > 0 && at.At > 0 {
		out.BehindFor = max(n.cfg.Now().UnixNano()-at.At, 0)
	}
	return out
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
func (n *Node) judged(ctx context.Context, tenant event.TenantID, seq uint64) (after uint64, err error) {
	engine := n.judges.Load()
	if engine == nil {
		return 0, errors.New("the rules are not there yet")
	}
	return engine.Judged(ctx, tenant, seq)
}
