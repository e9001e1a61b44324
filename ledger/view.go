package ledger

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

// view is the committed state as readers in this process see it. mu guards everything; what changes together is
// seen together.
type view struct {
	mu         sync.Mutex
	loaded     bool // Run has read what was committed before
	seq        uint64
	heads      map[string]store.Head
	registries map[string]*registry.State
	emitters   map[string]map[signer.KeyID]*emitter // heads, never changed in place
	halted     error
	changed    chan struct{} // closed and replaced with every change
}

func (v *view) init() {
	v.heads, v.registries = map[string]store.Head{}, map[string]*registry.State{}
	v.emitters = map[string]map[signer.KeyID]*emitter{}
	v.changed = make(chan struct{})
}

// load begins with the state of a fold.
func (v *view) load(f *Fold) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.heads)
	clear(v.registries)
	clear(v.emitters)
	for name, t := range f.tenants {
		v.heads[name], v.registries[name], v.emitters[name] = t.head(), t.registry.Clone(), maps.Clone(t.emitters)
	}
	v.seq, v.loaded, v.halted = f.seq, true, nil
	v.wake()
}

// advance takes in a committed block.
func (v *view) advance(c *cut) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, h := range c.heads {
		v.heads[h.Tenant] = h
	}
	for _, change := range c.registry {
		r := v.registries[change.tenant]
		if r == nil {
			r = registry.New()
			v.registries[change.tenant] = r
		}
		if err := r.Load([]registry.Entry{change.entry}); err != nil {
			return fmt.Errorf("registry of %s: %w", change.tenant, err)
		}
	}
	if err := v.moveEmitters(c.emitters); err != nil {
		return err
	}
	v.seq = c.last
	v.wake()
	return nil
}

func (v *view) moveEmitters(changes []emitterChange) error {
	for _, c := range changes {
		id, err := signer.ParseKeyID(strings.TrimPrefix(c.entry.Key, emitterPrefix))
		if err != nil {
			return fmt.Errorf("emitter of %s: %w", c.tenant, err)
		}
		e, err := parseEmitter(c.entry.Value)
		if err != nil {
			return fmt.Errorf("emitter of %s: %w", c.tenant, err)
		}
		if v.emitters[c.tenant] == nil {
			v.emitters[c.tenant] = map[signer.KeyID]*emitter{}
		}
		v.emitters[c.tenant][id] = e
	}
	return nil
}

// openTails counts, by instance, the emitters whose last epoch is not closed.
func (v *view) openTails(tenant string) map[string]uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	open := map[string]uint32{}
	r := v.registries[tenant]
	for id, e := range v.emitters[tenant] {
		if key, found := r.Key(registry.Hash(id)); found && !e.closed {
			open[key.Instance]++
		}
	}
	return open
}

func (v *view) halt(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.halted = err
	v.wake()
}

func (v *view) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// wait returns the committed sequence once it is at least seq.
func (v *view) wait(ctx context.Context, seq uint64) (uint64, error) {
	var at uint64
	err := v.until(ctx, func() bool { at = v.seq; return v.seq >= seq })
	return at, err
}

func (v *view) waitLoaded(ctx context.Context) error {
	return v.until(ctx, func() bool { return v.loaded })
}

// until waits for a condition that is looked at under the lock.
func (v *view) until(ctx context.Context, condition func() bool) error {
	for {
		v.mu.Lock()
		met, halted, changed := condition(), v.halted, v.changed
		v.mu.Unlock()
		switch {
		case met:
			return nil
		case halted != nil:
			return fmt.Errorf("ledger halted: %w", halted)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// snapshot returns all heads.
func (v *view) snapshot() map[string]store.Head {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.heads)
}

// origin returns a log's origin and the key that its checkpoints are signed with.
func (v *view) origin(tenant string) (string, [32]byte, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, found := v.registries[tenant]
	if !found {
		return "", [32]byte{}, false
	}
	g := r.Genesis()
	return g.GetOrigin(), [32]byte(g.GetLogKey()), true
}

// backlog counts events from the stream to the store.
type backlog struct {
	streamLast atomic.Uint64 // sequence of the stream's last message
	readSeq    atomic.Uint64 // of the last message that was decoded
	read       atomic.Uint64 // events decoded since the start
	messages   atomic.Uint64 // messages decoded since the start
	committed  atomic.Uint64 // events committed since the start
}

func (b *backlog) decoded(d *Decoded) {
	b.read.Add(uint64(d.Events()))
	b.messages.Add(1)
	b.readSeq.Store(d.Seq())
}

func (b *backlog) events() uint64 {
	inWork := saturating(b.read.Load(), b.committed.Load())
	unread := saturating(b.streamLast.Load(), b.readSeq.Load())
	perMessage := max(b.read.Load()/max(b.messages.Load(), 1), 1)
	return inWork + unread*perMessage
}

func saturating(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
