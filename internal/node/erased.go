package node

import (
	"bytes"
	"context"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/evidence"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// erased reports whether the log says that the key of an opening is gone; it is then not opened, whatever is left of the
// key. It is shown as erased only if a tombstone that stands after the record says so; otherwise it is withheld.
func (r *logReader) erased(ctx context.Context, out *evidence.Opening, o *eventv1.EncryptedOpening, index chain.Index) (gone bool, err error) {
	if r.registry.Erased(o.GetSubject()) < o.GetGeneration() {
		return false, nil
	}
	t, err := r.tombstone(ctx, o.GetSubject())
	if err == nil && t.Generation >= o.GetGeneration() && t.Since > uint64(index) {
		out.Erased, out.Tombstone, out.Generation = true, chain.Index(t.Since), o.GetGeneration()
	}
	return true, err
}

// tombstone is the newest of a subject that the checkpoint covers, or of all if it covers none.
func (r *logReader) tombstone(ctx context.Context, subject string) (registry.Erasure, error) {
	if t, known := r.tombstones[subject]; known {
		return t, nil
	}
	size, err := checkpointSize(r.checkpoint.Note)
	if err != nil {
		return registry.Erasure{}, err
	}
	t := r.registry.Erasure(subject)
	if t.Since >= uint64(size) {
		before, err := r.tombstoneBefore(ctx, subject, size)
		if err != nil {
			return registry.Erasure{}, err
		}
		if before.Generation > 0 {
			t = before
		}
	}
	r.tombstones[subject] = t
	return t, nil
}

// tombstoneBefore is the newest of a subject among the first leaves of the log, zero if there is none.
func (r *logReader) tombstoneBefore(ctx context.Context, subject string, size chain.Index) (t registry.Erasure, err error) {
	filter := store.Filter{Tenant: r.tenant, Action: "system.erasure", Object: subject, ToIndex: uint64(size), Newest: true, Limit: 1}
	for row, err := range r.node.store.Search(ctx, filter) {
		if err != nil {
			return t, err
		}
		e, err := event.Parse(row.Bytes)
		if err != nil {
			return t, fmt.Errorf("read tombstone: %w", err)
		}
		t = registry.Erasure{Generation: e.GetSystem().GetErasure().GetGeneration(), Since: row.Index, At: e.GetOccurredAt()}
	}
	return t, nil
}

// checkpointSize reads how many leaves one of our own checkpoints covers.
func checkpointSize(note []byte) (chain.Index, error) {
	body, _, _ := bytes.Cut(note, []byte("\n\n"))
	c, err := chain.ParseCheckpoint(append(bytes.Clone(body), '\n'))
	if err != nil {
		return 0, fmt.Errorf("read checkpoint: %w", err)
	}
	return c.Size, nil
}
