package edge

import (
	"context"
	"sync"

	"github.com/agentcustody/custody/edge/detect"
	"github.com/agentcustody/custody/edge/spool"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// watch is the detectors of an emitter. They see the events in the order in which they get the lock: calls of one run that are
// recorded at one time may be seen in either order.
type watch struct {
	mu      sync.Mutex
	watcher *detect.Watcher // nil: none
}

func (w *watch) observe(ev *Event) []*eventv1.Event {
	if w.watcher == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.watcher.Observe(ev.Plain, ev.Content)
}

// detect records what is found about an event, and returns the place of the last: a receipt for it is one for all before.
func (e *Emitter) detect(ctx context.Context, ev *Event, place spool.Place) (spool.Place, error) {
	for _, finding := range e.watch.observe(ev) {
		var err error
		if _, place, err = e.record(ctx, &Event{Plain: finding}); err != nil {
			return place, err
		}
	}
	return place, nil
}
