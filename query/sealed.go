package query

import (
	"context"
	"errors"
	"fmt"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// ErrNotOpen says that there is no such sealed field among committed events, or that it is withheld or erased.
var ErrNotOpen = errors.New("no sealed content that can be opened")

// Sealed opens one sealed field of an event that was in the stream before a sequence: it waits until that is committed. Of a long value
// it returns the beginning, and the length of all. The caller answers for who may see it. Events of keys that did not count have none.
func (s *Service) Sealed(ctx context.Context, tenant event.TenantID, id event.ID, path string, before uint64) (e *eventv1.Event, value []byte, size uint64, err error) {
	if before > 0 {
		if _, err := s.logs.Wait(ctx, before-1); err != nil {
			return nil, nil, 0, fmt.Errorf("open %s of %s: %w", path, id, err)
		}
	}
	row, found, err := s.store.EventByID(ctx, string(tenant), id)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("open %s of %s: %w", path, id, err)
	}
	e, sealed := sealedField(row, found, path)
	if sealed == nil || row.Verdict == chain.KeyInvalid || row.Verdict == chain.Equivocation {
		return nil, nil, 0, fmt.Errorf("open %s of %s: %w", path, id, ErrNotOpen)
	}
	openings, err := s.store.OpeningsOf(ctx, string(tenant), row.Index)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("open %s of %s: %w", path, id, err)
	}
	f := s.view(tenant, true).field(row.Index, e, sealed, openings)
	if f.GetState() != disclosed {
		return nil, nil, 0, fmt.Errorf("open %s of %s: %w: %s", path, id, ErrNotOpen, f.GetState())
	}
	return e, f.GetValue(), f.GetSize(), nil
}
