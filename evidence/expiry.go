package evidence

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Content that is no longer kept. Whoever wants to hide a record could say so of it: therefore a record in the log must have said it,
// while no hold was in force, as for content that was erased.

var errKept = errors.New("is shown as no longer kept, and no record in the log says so")

// expiry is a record that content received before a time is no longer kept.
type expiry struct {
	index  chain.Index
	before int64 // ns since 1970
}

// covers reports whether the content of a leaf may be missing for it.
func (x expiry) covers(index chain.Index, received int64) bool {
	return x.index > index && x.before > received
}

// expiries are those that applied, in the order of the log.
type expiries []expiry

// take adds an accepted system event, if it is an expiry that applies: while a hold is in force nothing expires.
func (l *expiries) take(index chain.Index, e *eventv1.Event, state *registry.State) {
	if x := e.GetSystem().GetExpiry(); x != nil && len(state.Holds()) == 0 {
		*l = append(*l, expiry{index, x.GetBefore()})
	}
}

func (l expiries) cover(index chain.Index, received int64) bool {
	for i := range l {
		if l[i].covers(index, received) {
			return true
		}
	}
	return false
}

// expiredLeaf is a leaf whose content is shown as no longer kept.
type expiredLeaf struct {
	index    chain.Index
	received int64
}

// expire remembers the last leaf of a message that is shown as expired: what covers it covers those before it.
func (j *judge) expire(m *job) {
	for i := range m.leaves {
		if m.events[i].state == stateExpired {
			j.expired = &expiredLeaf{m.index(i), m.leaves[i].Time}
		}
	}
}

// checkExpired holds the last record that is shown as expired to the expiries of the log.
func (v *verification) checkExpired() {
	if v.expired == nil {
		return
	}
	v.examine(CheckErasure, 1)
	if x := v.expired; !v.expiries.cover(x.index, x.received) {
		v.failAt(CheckErasure, x.index, errKept)
	}
}

// reasonKept is why a record is withheld whose content Custody does not have any more, if the log does not say so in the state that the bundle is of.
const reasonKept = "no longer kept, and the state of the log that this bundle is of does not say so"

// missing is the record of an event that is no longer kept.
func (x *export) missing(ctx context.Context, leaf *chain.Leaf) (eventRecord, error) {
	if err := x.readExpiries(ctx); err != nil {
		return eventRecord{}, err
	}
	if x.expiries.cover(leaf.Index, leaf.Time) {
		x.count.Expired++
		return eventRecord{state: stateExpired}, nil
	}
	x.count.Withheld++
	place, err := x.reasons.place(reasonKept)
	if err == nil {
		x.reasons.list[place].Records++
	}
	return eventRecord{state: stateWithheld, reason: place}, err
}

// readExpiries reads, once, which expiries apply in the state that the bundle is of.
func (x *export) readExpiries(ctx context.Context) error {
	if x.expiriesRead {
		return nil
	}
	x.expiriesRead = true
	state := registry.New()
	for m, err := range x.reader.Admission(ctx, 0, x.scope.Size) {
		if err != nil {
			return fmt.Errorf("read system events: %w", err)
		}
		if err := x.expiries.takeAll(m, x.scope.Size, state); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// takeAll folds the accepted events of a message into a state of the log, and takes its expiries.
func (l *expiries) takeAll(m *Message, size chain.Index, state *registry.State) error {
	for i, b := range m.Leaves {
		leaf, err := chain.ParseLeaf(b)
		if err != nil {
			return err
		}
		encoded, _ := chooseEvent(m, i, &leaf, func(chain.Index, *eventv1.Event) bool { return true })
		if e, err := event.Parse(encoded); err == nil && leaf.Index < size && state.Apply(uint64(leaf.Index), e) == nil {
			l.take(leaf.Index, e, state)
		}
	}
	return nil
}
