package contain

import (
	"context"
	"sync"
	"time"

	"github.com/agentcustody/custody/event"
)

// rehearsalTime bounds the dry runs of a plan: a person waits.
const rehearsalTime = 5 * time.Second

// Rehearsal is what one connector of a plan would do.
type Rehearsal struct {
	Path    Path
	Would   []string // a line for each credential; empty where the connector cannot say
	Trouble string   // why it would fail now; empty if it would not
}

// rehearse runs the connectors of a containment dry, at the same time. Nothing is changed anywhere.
func (e *Engine) rehearse(ctx context.Context, t event.Target, l Level) []Rehearsal {
	ctx, cancel := context.WithTimeout(ctx, rehearsalTime)
	defer cancel()
	connectors := e.connectorsFor(t, l)
	list := make([]Rehearsal, len(connectors))
	var work sync.WaitGroup
	for i, c := range connectors {
		work.Go(func() { list[i] = c.rehearse(ctx, Errand{ID: "plan", Target: t, Level: l, Reason: "plan"}) })
	}
	work.Wait()
	return list
}

func (c *Connector) rehearse(ctx context.Context, e Errand) Rehearsal {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	would, err := c.dryRun(ctx, e)
	r := Rehearsal{Path: ConnectorPath(c.Name), Would: would}
	if err != nil {
		r.Trouble = short(err.Error())
	}
	return r
}
