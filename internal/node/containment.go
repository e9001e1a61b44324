package node

import (
	"context"

	"github.com/agentcustody/custody/contain"
)

// openContainment folds what is in force, and follows.
func (n *Node) openContainment(ctx context.Context) (err error) {
	cfg := contain.Config{
		Source: n.stream, Recorder: n.system, Roster: n.admission, System: n.keys.system.Public(), Now: n.cfg.Now, Log: n.cfg.Log,
	}
	if n.cfg.TuneContainment != nil {
		n.cfg.TuneContainment(&cfg)
	}
	if n.brake, err = contain.Open(ctx, cfg); err != nil {
		return err
	}
	n.later(func() error { n.brake.Close(); return nil })
	return nil
}

// Containment is the node's brake.
func (n *Node) Containment() *contain.Engine { return n.brake }
