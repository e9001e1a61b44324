package edge

import (
	"context"
	"slices"
	"time"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// mostExercise bounds a test lease.
const mostExercise = 10 * time.Second

// exercise tries the gate without harm, and says with the next renewal what it has found: its own decision on a call that nobody
// makes, under a pause of the instance that is not in force, and under a lease that allows nothing.
func (c *control) exercise(ctx context.Context, x *apiv1.Exercise) {
	end := bootClock() + min(time.Duration(x.GetTtl()), mostExercise)
	answer := &apiv1.Exercised{Number: x.GetNumber(), Contained: c.wouldStop(), Leased: lasts(end)}
	go func() {
		pause(ctx, max(end-bootClock(), 0)+time.Millisecond)
		answer.Ended = !lasts(end)
		c.mu.Lock()
		c.exercised = answer
		c.mu.Unlock()
		c.hurry()
	}()
}

// wouldStop reports whether a pause of the instance would stop a call of it.
func (c *control) wouldStop() bool {
	id := c.emitter.identity
	v := c.view()
	target := event.Target{Kind: event.TargetInstance, Tenant: id.Tenant, Instance: id.Instance}
	v.contained = append(slices.Clone(v.contained), contained{ID: "exercise", Target: target.String(), Level: levelPause, target: target})
	level, _ := v.level(event.Act{Tenant: id.Tenant, Instance: id.Instance, Run: "exercise"})
	return stops(level)
}
