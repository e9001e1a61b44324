package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

// How often checkpoints are signed: FORMAT section 4.
const (
	checkpointEvery     = time.Second // while a log grows
	idleCheckpointEvery = time.Minute // while it does not, if there is a time key
)

// TimeKeySuffix follows the origin in the name of the key that cosigns checkpoints with the time.
const TimeKeySuffix = "/time"

// errLogKey says that a log's genesis names another checkpoint key than ours.
var errLogKey = errors.New("genesis names another log key")

// LatestCheckpoint returns the newest signed checkpoint of a tenant's log. The error is ErrNoTenant if there is
// none.
func (l *Ledger) LatestCheckpoint(ctx context.Context, tenant event.TenantID) (store.Checkpoint, error) {
	l.notesMu.Lock()
	c, found := l.notes[string(tenant)]
	l.notesMu.Unlock()
	if found {
		return c, nil
	}
	c, found, err := l.cfg.Store.LastCheckpoint(ctx, string(tenant))
	switch {
	case err != nil:
		return store.Checkpoint{}, fmt.Errorf("checkpoint of %s: %w", tenant, err)
	case !found:
		return store.Checkpoint{}, fmt.Errorf("checkpoint of %s: %w", tenant, ErrNoTenant)
	}
	return c, nil
}

// WantCheckpoint has the heads that are committed now signed at once, instead of within the second.
func (l *Ledger) WantCheckpoint() {
	select {
	case l.wanted <- struct{}{}:
	default: // somebody else wants one, which is not begun
	}
}

// untilCheckpoint waits until it is time for checkpoints or somebody wants one. It returns false when ctx ends.
func (l *Ledger) untilCheckpoint(ctx context.Context) bool {
	timer := time.NewTimer(l.cfg.checkpointEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-l.wanted:
	}
	return true
}

// signCheckpoints signs the committed heads until ctx ends.
func (l *Ledger) signCheckpoints(ctx context.Context) error {
	l.restoreCheckpoints(ctx)
	said := map[string]string{} // what was logged last about each tenant
	for l.untilCheckpoint(ctx) {
		heads := l.view.snapshot()
		for _, tenant := range slices.Sorted(maps.Keys(heads)) {
			text := ""
			if err := l.checkpoint(ctx, heads[tenant]); err != nil {
				text = err.Error()
			}
			if text != "" && text != said[tenant] && ctx.Err() == nil {
				l.cfg.Log.WarnContext(ctx, "no checkpoint", slog.String("tenant", tenant), slog.String("error", text))
			}
			said[tenant] = text
		}
	}
	return context.Cause(ctx)
}

// restoreCheckpoints reads what was signed before, so that a start signs nothing anew. What cannot be read is
// signed again, which does no harm.
func (l *Ledger) restoreCheckpoints(ctx context.Context) {
	for tenant := range l.view.snapshot() {
		if c, found, err := l.cfg.Store.LastCheckpoint(ctx, tenant); err == nil && found {
			l.keep(c)
		}
	}
}

func (l *Ledger) keep(c store.Checkpoint) {
	l.notesMu.Lock()
	defer l.notesMu.Unlock()
	l.notes[c.Tenant] = c
}

// checkpoint signs a head if it is time to, and keeps the note once the store has it.
func (l *Ledger) checkpoint(ctx context.Context, h store.Head) error {
	l.notesMu.Lock()
	newest := l.notes[h.Tenant]
	l.notesMu.Unlock()
	now := l.cfg.Now()
	idle := l.cfg.TimeKey == nil || now.Sub(newest.MadeAt) < idleCheckpointEvery
	if newest.Size > h.Size || newest.Size == h.Size && idle {
		return nil
	}
	signed, err := l.sign(h, now)
	if err != nil {
		return err
	}
	c := store.Checkpoint{Tenant: h.Tenant, Size: h.Size, Note: signed, MadeAt: now.UTC()}
	if err := l.cfg.Store.SaveCheckpoint(ctx, c); err != nil {
		return err
	}
	l.keep(c)
	return nil
}

func (l *Ledger) sign(h store.Head, now time.Time) ([]byte, error) {
	origin, logKey, found := l.view.origin(h.Tenant)
	if !found || signer.PublicKey(logKey) != l.cfg.LogKey.Public() {
		return nil, errLogKey
	}
	log, err := signer.NoteSigner(l.cfg.LogKey, origin)
	if err != nil {
		return nil, err
	}
	signers := []note.Signer{log}
	if l.cfg.TimeKey != nil {
		clock, err := signer.CosignatureSigner(l.cfg.TimeKey, origin+TimeKeySuffix, now.Unix())
		if err != nil {
			return nil, err
		}
		signers = append(signers, clock)
	}
	return signer.SignCheckpoint(chain.Checkpoint{Origin: origin, Size: chain.Index(h.Size), Root: h.Root}, signers...)
}
