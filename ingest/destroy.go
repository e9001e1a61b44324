package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
)

// destroyRetry is the pause before a key is destroyed again that could not be: a full disk is the likely cause.
const destroyRetry = 5 * time.Second

// Keys retires and destroys data keys, and begins keys for fingerprints. vault.Vault is one.
type Keys interface {
	// Retire begins a new generation, durably, and returns the last one before, 0 if no key is left.
	Retire(tenant, name string) (last uint32, err error)
	// DestroyThrough destroys every generation up to one, durably. Destroying twice is destroying once.
	DestroyThrough(tenant, name string, generation uint32) error
	// RotateFingerprintKey makes a further key for fingerprints, durably, and returns its number.
	RotateFingerprintKey(tenant string) (number uint32, err error)
}

// Tombstone says that the data keys of a subject are gone up to a generation.
type Tombstone struct {
	Tenant     event.TenantID
	Subject    string
	Generation uint32
}

// destroyer destroys the keys whose tombstones stand in the logs, and nothing else does. So a crash after the tombstone
// is repaired as everything is done: by reading the log.
type destroyer struct {
	admission *Admission
	keys      Keys
	log       *slog.Logger

	mu      sync.Mutex
	gone    map[Tombstone]bool // destroyed by this process
	err     error              // of the last attempt
	changed chan struct{}      // closed and replaced with every attempt
}

func newDestroyer(admission *Admission, keys Keys, log *slog.Logger) *destroyer {
	return &destroyer{admission: admission, keys: keys, log: log, gone: map[Tombstone]bool{}, changed: make(chan struct{})}
}

// run destroys what gets a tombstone until ctx ends.
func (d *destroyer) run(ctx context.Context) {
	for {
		tombstones, more := d.admission.tombstones()
		var retry <-chan time.Time
		if err := d.all(tombstones); err != nil {
			d.log.ErrorContext(ctx, "erased keys are not destroyed yet", slog.Any("error", err))
			retry = time.After(destroyRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		case <-retry:
		}
	}
}

// all destroys what is not destroyed yet, and goes on after an error.
func (d *destroyer) all(tombstones []Tombstone) error {
	var errs []error
	for _, t := range tombstones {
		if d.destroyed(t) {
			continue
		}
		if err := d.keys.DestroyThrough(string(t.Tenant), content.SubjectKey(t.Subject), t.Generation); err != nil {
			errs = append(errs, err)
			continue
		}
		d.log.Info("data keys destroyed", slog.String("tenant", string(t.Tenant)), slog.Uint64("generation", uint64(t.Generation)))
		d.note(t)
	}
	return d.attempted(errors.Join(errs...))
}

func (d *destroyer) destroyed(t Tombstone) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone[t]
}

func (d *destroyer) note(t Tombstone) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone[t] = true
}

// attempted lets everybody who waits look again.
func (d *destroyer) attempted(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	close(d.changed)
	d.changed = make(chan struct{})
	return err
}

// await returns when the keys of a tombstone are destroyed.
func (d *destroyer) await(ctx context.Context, t Tombstone) error {
	for {
		d.mu.Lock()
		done, last, changed := d.gone[t], d.err, d.changed
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("await the end of a key: %w", errors.Join(context.Cause(ctx), last))
		}
	}
}
