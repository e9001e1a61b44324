package query

import (
	"context"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// maxMemories bounds how many memory events of one graph are followed: each is a question to the store.
const maxMemories = 256

// remember follows memories, which connect runs that claim nothing of each other: a read has the last write of its key before it as
// a cause, a write has the reads until the next one as effects. It returns the events at the other ends. What is not in the
// graph yet is added.
func (g *graph) remember(ctx context.Context, from []event.ID, d store.Direction, seen map[event.ID]bool) (next []event.ID, err error) {
	for _, id := range from {
		r := g.rows[id]
		key := memoryOf(r, d)
		if key == "" || r.ID == (event.ID{}) {
			continue
		}
		if g.memories++; g.memories > maxMemories {
			g.cut = true
			return next, nil
		}
		others, err := g.across(ctx, r, key, d)
		if err != nil {
			return nil, err
		}
		g.add(deleteKnown(others, g.rows))
		for _, o := range others {
			g.derive(r, o, d)
			if g.has(o.ID) && !seen[o.ID] {
				next = append(next, o.ID)
			}
		}
	}
	return next, nil
}

// memoryOf is the key of an event that can be followed in a direction, otherwise empty.
func memoryOf(r *store.Row, d store.Direction) string {
	e, err := event.Parse(r.Bytes)
	if err != nil {
		return ""
	}
	want := eventv1.DataAction_DATA_ACTION_MEMORY_READ
	if d == store.Effects {
		want = eventv1.DataAction_DATA_ACTION_MEMORY_WRITTEN
	}
	if e.GetData().GetAction() != want {
		return ""
	}
	return e.GetData().GetMemoryKey()
}

// across reads the other ends of a memory event.
func (g *graph) across(ctx context.Context, r *store.Row, key string, d store.Direction) ([]*store.Row, error) {
	f := store.Filter{Tenant: string(g.tenant), MemoryKey: key}
	if d == store.Causes {
		f.Action, f.ToIndex, f.Newest, f.Limit = "data.memory_written", r.Index, true, 1
		if r.Index == 0 {
			return nil, nil
		}
		return g.search(ctx, f)
	}
	f.Action, f.FromIndex, f.Limit = "data.memory_written", r.Index+1, 1
	following, err := g.search(ctx, f)
	if err != nil {
		return nil, err
	}
	f.Action, f.Limit = "data.memory_read", g.limit-len(g.rows)-len(g.others)+1
	if len(following) > 0 {
		f.ToIndex = following[0].Index
	}
	return g.search(ctx, f)
}

func (g *graph) search(ctx context.Context, f store.Filter) (rows []*store.Row, err error) {
	for r, err := range g.store.Search(ctx, f) {
		if err != nil {
			return nil, readError(err)
		}
		if r.ID != (event.ID{}) {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// derive notes that a memory connects two events.
func (g *graph) derive(r, other *store.Row, d store.Direction) {
	cause, effect := other, r
	if d == store.Effects {
		cause, effect = r, other
	}
	k := edgeKey{cause.ID, effect.ID, eventv1.Relation_RELATION_MEMORY}
	g.derived[k] = store.Edge{Cause: cause.ID, Effect: effect.ID, Relation: k.relation, Index: effect.Index}
}

func deleteKnown(rows []*store.Row, known map[event.ID]*store.Row) (rest []*store.Row) {
	for _, r := range rows {
		if _, is := known[r.ID]; !is {
			rest = append(rest, r)
		}
	}
	return rest
}
