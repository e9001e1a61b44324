package vault

import (
	"errors"
	"fmt"
)

// Retire begins a new generation for a subject, durably: what Ensure returns
// from now on is newer than last, the newest generation until now. It returns 0
// and does nothing if no key of the subject is left. Keys of earlier generations
// go on working until they are destroyed. Errors: ErrName, ErrCorrupt,
// ErrClosed.
func (v *Vault) Retire(tenant, subject string) (last uint32, err error) {
	if err := checkSubject(subject); err != nil {
		return 0, fmt.Errorf("retire data key: %w", err)
	}
	t, err := v.tenant(tenant, false)
	if errors.Is(err, ErrUnknownKey) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("retire data key: %w", err)
	}
	if last, err = t.retire(subject); err != nil {
		return 0, fmt.Errorf("retire data key of %s: %w", tenant, err)
	}
	return last, nil
}

// DestroyThrough removes the keys of a subject up to a generation from the file
// and from memory: what is sealed with them can never be opened again. It does
// so also for generations that this vault never had, so that none is given out
// that a log says is gone. Later generations stay. Destroying twice is
// destroying once. The cost is one rewrite of the tenant's key file. Errors:
// ErrName, ErrCorrupt, ErrClosed.
func (v *Vault) DestroyThrough(tenant, subject string, generation uint32) error {
	if err := checkSubject(subject); err != nil {
		return fmt.Errorf("destroy data keys: %w", err)
	}
	t, err := v.tenant(tenant, true)
	if err == nil {
		err = t.destroyThrough(subject, generation)
	}
	if err != nil {
		return fmt.Errorf("destroy data keys of %s: %w", tenant, err)
	}
	return nil
}

// Destroy is DestroyThrough for every generation that there is. It returns the
// last generation that is gone, 0 if the subject never had a key.
func (v *Vault) Destroy(tenant, subject string) (generation uint32, err error) {
	t, err := v.tenant(tenant, false)
	if errors.Is(err, ErrUnknownKey) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("destroy data keys: %w", err)
	}
	if generation, err = t.destroy(subject); err != nil {
		return 0, fmt.Errorf("destroy data keys of %s: %w", tenant, err)
	}
	return generation, nil
}

func (t *tenant) retire(name string) (last uint32, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.ready(); err != nil {
		return 0, err
	}
	owner := t.owner(name)
	if len(owner.keys) == 0 {
		return 0, nil
	}
	last = owner.last()
	next, err := t.makeKey(name, owner)
	if err == nil {
		err = t.commit([]fresh{next})
	}
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish([]fresh{next})
	return last, nil
}

// destroy removes every key of a subject and returns the last generation that
// is now gone, 0 if there never was one.
func (t *tenant) destroy(name string) (uint32, error) {
	t.mu.RLock()
	last := t.owner(name).last()
	t.mu.RUnlock()
	return last, t.destroyThrough(name, last)
}

func (t *tenant) destroyThrough(name string, through uint32) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.ready(); err != nil {
		return err
	}
	s := t.owner(name)
	if through <= s.erased.Load() {
		return nil
	}
	if err := t.rewriteWithout(s, through); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subjects[s.hash] = s
	s.erase(through)
	if k, ok := t.current[name]; ok && k.generation <= through {
		delete(t.current, name)
	}
	if len(s.keys) == 0 {
		s.seals.Store(0)
	}
	return nil
}
