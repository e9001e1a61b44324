package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/witness"
	"github.com/agentcustody/custody/store"
)

// How others are asked to confirm checkpoints.
const (
	// DefaultConfirmEvery is how often a growing log is confirmed: as often as people can tell the difference, and seldom enough for
	// witnesses and authorities that are somebody else's.
	DefaultConfirmEvery = time.Minute
	// DefaultConfirmIdle is how often a log that does not grow is confirmed again: so that its silence is witnessed too, at a tenth of
	// what a growing log asks of others.
	DefaultConfirmIdle = 10 * time.Minute
	// confirmLook is how often it is looked whether a log has grown.
	confirmLook = time.Second
	// confirmPatience bounds one confirmation: whoever has not answered by then is asked at the next one.
	confirmPatience = 10 * time.Second
	// confirmAtOnce bounds the logs that are confirmed at the same time.
	confirmAtOnce = 4
	// confirmPause is how long somebody who did not answer is left alone at first; it doubles up to confirmPauseMost.
	confirmPause     = time.Second
	confirmPauseMost = 5 * time.Minute
)

// errUnconfirmed says that nobody has confirmed a checkpoint.
var errUnconfirmed = errors.New("nobody has confirmed the checkpoint")

// Confirm says who confirms checkpoints. None of them ever holds the log up: a checkpoint that nobody has confirmed is still a
// checkpoint.
type Confirm struct {
	Quorum *signer.Quorum                                            // whose witnesses are asked, each at its URL; nil asks none
	Stamp  func(ctx context.Context, message []byte) ([]byte, error) // returns an RFC 3161 response over a message; nil asks for none
	Nodes  func(tenant string) chain.NodeReader                      // reads a tenant's committed log; must be set if there is a quorum
	Every  time.Duration                                             // how often a growing log is confirmed at most; 0 is DefaultConfirmEvery
	Idle   time.Duration                                             // how often one that does not grow is confirmed again; 0 is DefaultConfirmIdle
	HTTP   *http.Client                                              // nil is http.DefaultClient
	pause  func(failures int) (wait time.Duration)                   // nil doubles
}

// asks reports whether anybody is to be asked.
func (c *Confirm) asks() bool {
	return c != nil && (c.Quorum != nil && len(c.Quorum.Witnesses) > 0 || c.Stamp != nil)
}

// confirmer asks. Its methods may be called from any goroutine.
type confirmer struct {
	*Ledger
	cfg       Confirm
	witnesses []*asked
	authority asked

	mu   sync.Mutex
	logs map[string]*confirmedLog
}

// asked is somebody who is asked, and left alone for a while after a failure.
type asked struct {
	client *witness.Client // nil for the authority

	mu       sync.Mutex
	failures int
	until    time.Time
	said     string // what was logged last
}

// confirmedLog is what was confirmed of one log. Its lock is held while others are asked about it.
type confirmedLog struct {
	mu   sync.Mutex
	read bool // last is what the store has, or newer
	last store.Checkpoint

	tried time.Time // when it was asked last about a log that had not grown
}

func newConfirmer(l *Ledger, cfg Confirm) *confirmer {
	if cfg.Every == 0 {
		cfg.Every = DefaultConfirmEvery
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultConfirmIdle
	}
	if cfg.pause == nil {
		cfg.pause = func(failures int) time.Duration {
			return min(confirmPause<<min(failures-1, 16), confirmPauseMost)
		}
	}
	c := &confirmer{Ledger: l, cfg: cfg, logs: map[string]*confirmedLog{}}
	if cfg.Quorum != nil {
		for _, w := range cfg.Quorum.Witnesses {
			c.witnesses = append(c.witnesses, &asked{client: &witness.Client{Witness: w, HTTP: cfg.HTTP}})
		}
	}
	return c
}

// confirmCheckpoints has the checkpoints of growing logs confirmed until ctx ends.
func (c *confirmer) run(ctx context.Context) error {
	for sleep(ctx, min(confirmLook, c.cfg.Every)) {
		c.notesMu.Lock()
		notes := maps.Clone(c.notes)
		c.notesMu.Unlock()
		group := errgroup.Group{}
		group.SetLimit(confirmAtOnce)
		for _, tenant := range slices.Sorted(maps.Keys(notes)) {
			group.Go(func() error {
				c.turn(ctx, notes[tenant])
				return nil
			})
		}
		_ = group.Wait() // every failure was written down
	}
	return context.Cause(ctx)
}

// turn confirms a checkpoint if it is time to.
func (c *confirmer) turn(ctx context.Context, newest store.Checkpoint) {
	log := c.log(newest.Tenant)
	log.mu.Lock()
	defer log.mu.Unlock()
	if err := c.restore(ctx, log, newest.Tenant); err != nil {
		return // the store does not answer, as the ledger says
	}
	now, since, every := c.Ledger.cfg.Now(), log.last.MadeAt, c.cfg.Every
	if newest.Size == log.last.Size {
		since, every = later(since, log.tried), c.cfg.Idle
	}
	if now.Sub(since) < every {
		return
	}
	if newest.Size == log.last.Size {
		log.tried = now
	}
	_, _ = c.confirm(ctx, log, newest, false) // whoever failed was written down, and is asked again
}

func (c *confirmer) log(tenant string) *confirmedLog {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs[tenant] == nil {
		c.logs[tenant] = &confirmedLog{}
	}
	return c.logs[tenant]
}

// restore reads what was confirmed before the start.
func (c *confirmer) restore(ctx context.Context, log *confirmedLog, tenant string) (err error) {
	if log.read {
		return nil
	}
	log.last, _, err = c.Ledger.cfg.Store.LastConfirmed(ctx, tenant, math.MaxUint64)
	log.read = err == nil
	return err
}

// ConfirmCheckpoint returns the newest checkpoint of a tenant's log, after having asked everybody who confirms checkpoints to confirm
// it now. If nobody does, or nobody is there to ask, it is returned as it is. The error is ErrNoTenant, or the store's.
func (l *Ledger) ConfirmCheckpoint(ctx context.Context, tenant event.TenantID) (store.Checkpoint, error) {
	newest, err := l.LatestCheckpoint(ctx, tenant)
	if err != nil || l.confirmer == nil {
		return newest, err
	}
	log := l.confirmer.log(string(tenant))
	log.mu.Lock()
	defer log.mu.Unlock()
	if err := l.confirmer.restore(ctx, log, string(tenant)); err != nil {
		return store.Checkpoint{}, err
	}
	if log.last.Size == newest.Size && l.confirmer.suffices(ctx, &log.last) {
		return log.last, nil
	}
	confirmed, err := l.confirmer.confirm(ctx, log, newest, true)
	if err != nil {
		return newest, nil //nolint:nilerr // it was written down; the verdict over the checkpoint says that nobody confirms it
	}
	return confirmed, nil
}

// LastConfirmed returns the newest checkpoint of a tenant's log that others have confirmed. The error is ErrNoTenant if there is none.
func (l *Ledger) LastConfirmed(ctx context.Context, tenant event.TenantID) (store.Checkpoint, error) {
	c, found, err := l.cfg.Store.LastConfirmed(ctx, string(tenant), math.MaxUint64)
	if err == nil && !found {
		err = ErrNoTenant
	}
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("confirmed checkpoint of %s: %w", tenant, err)
	}
	return c, nil
}

// suffices reports whether asking again could add nothing that is asked for.
func (c *confirmer) suffices(ctx context.Context, last *store.Checkpoint) bool {
	if c.cfg.Stamp != nil && last.Token == nil {
		return false
	}
	if c.cfg.Quorum == nil {
		return true
	}
	origin, key, found := c.view.origin(last.Tenant)
	opened, err := signer.OpenCheckpoint(last.Note, origin, signer.PublicKey(key), c.cfg.Quorum.Cosigners()...)
	if !found || err != nil {
		c.Ledger.cfg.Log.WarnContext(ctx, "confirmed checkpoint cannot be read", slog.String("tenant", last.Tenant), slog.Any("error", err))
		return false
	}
	return c.cfg.Quorum.Met(cosigned(opened.Cosignatures))
}

func cosigned(list []signer.Cosignature) map[signer.PublicKey]bool {
	keys := map[signer.PublicKey]bool{}
	for _, c := range list {
		keys[c.Key] = true
	}
	return keys
}

// confirm asks everybody about one checkpoint and keeps it with what they said. The caller holds the log's lock. Urgent asks also
// those who are being left alone.
func (c *confirmer) confirm(ctx context.Context, log *confirmedLog, note store.Checkpoint, urgent bool) (store.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	head, err := headOf(note.Note)
	if err != nil {
		return store.Checkpoint{}, err
	}
	c.cosignatures(ctx, &note, head, urgent)
	c.stamp(ctx, &note, urgent)
	if !note.Confirmed() {
		return store.Checkpoint{}, fmt.Errorf("%s at %d: %w", note.Tenant, note.Size, errUnconfirmed)
	}
	if note.Size == log.last.Size && c.suffices(ctx, &log.last) && !c.suffices(ctx, &note) {
		return log.last, nil // fewer have answered than before: the earlier one says more
	}
	note.MadeAt = c.Ledger.cfg.Now().UTC()
	if err := c.Ledger.cfg.Store.SaveCheckpoint(ctx, note); err != nil {
		return store.Checkpoint{}, err
	}
	log.last = note
	return note, nil
}

// headOf reads the tree head of a note that this ledger has signed.
func headOf(note []byte) (chain.Checkpoint, error) {
	text, _, _ := bytes.Cut(note, []byte("\n\n"))
	return chain.ParseCheckpoint(append(slices.Clip(text), '\n'))
}

// cosignatures asks every witness at the same time and adds what they sign.
func (c *confirmer) cosignatures(ctx context.Context, note *store.Checkpoint, head chain.Checkpoint, urgent bool) {
	answers := make([][]byte, len(c.witnesses))
	group := sync.WaitGroup{}
	for i, w := range c.witnesses {
		group.Go(func() {
			answers[i] = w.try(ctx, c, note, urgent, func(ctx context.Context) ([]byte, error) {
				return w.client.Cosign(ctx, head, note.Note, c.prove(note.Tenant, head.Size))
			})
		})
	}
	group.Wait()
	origin, key, _ := c.view.origin(note.Tenant)
	for i, w := range c.witnesses {
		if answers[i] == nil {
			continue
		}
		signed, added, err := signer.AddCosignatures(note.Note, answers[i], origin, signer.PublicKey(key), w.client.Witness.Cosigner)
		if err != nil || len(added) == 0 {
			w.blame(ctx, c, note.Tenant, fmt.Errorf("its answer is no cosignature of the checkpoint: %w", errors.Join(errUnconfirmed, err)))
			continue
		}
		note.Note, note.Witnesses = signed, note.Witnesses+uint16(len(added))
	}
}

func (c *confirmer) prove(tenant string, size chain.Index) witness.Prove {
	return func(ctx context.Context, from chain.Index) ([]chain.Hash, error) {
		return chain.ProveConsistency(ctx, c.cfg.Nodes(tenant), from, size)
	}
}

// stamp asks for a time stamp over the note with its cosignatures.
func (c *confirmer) stamp(ctx context.Context, note *store.Checkpoint, urgent bool) {
	if c.cfg.Stamp == nil {
		return
	}
	note.Token = c.authority.try(ctx, c, note, urgent, func(ctx context.Context) ([]byte, error) { return c.cfg.Stamp(ctx, note.Note) })
}

// try asks unless the asked is left alone. A failure is written down once, and returns nil.
func (a *asked) try(ctx context.Context, c *confirmer, note *store.Checkpoint, urgent bool, ask func(context.Context) ([]byte, error)) []byte {
	a.mu.Lock()
	alone := c.Ledger.cfg.Now().Before(a.until)
	a.mu.Unlock()
	if alone && !urgent {
		return nil
	}
	answer, err := ask(ctx)
	if err != nil {
		a.blame(ctx, c, note.Tenant, err)
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures, a.until, a.said = 0, time.Time{}, ""
	return answer
}

// twoHistories are the answers after which a person must look.
var twoHistories = []error{witness.ErrFork, witness.ErrRolledBack, witness.ErrInconsistent}

// blame writes a failure down, unless it is the one before, and leaves the asked alone for a while.
func (a *asked) blame(ctx context.Context, c *confirmer, tenant string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures++
	a.until = c.Ledger.cfg.Now().Add(c.cfg.pause(a.failures))
	text := tenant + ": " + err.Error()
	if text == a.said {
		return
	}
	a.said = text
	who, level, message := "time-stamp authority", slog.LevelWarn, "checkpoint was not confirmed"
	if a.client != nil {
		who = a.client.Witness.Name
	}
	if slices.ContainsFunc(twoHistories, func(e error) bool { return errors.Is(err, e) }) {
		level, message = slog.LevelError, "a witness has seen another history of this log"
	}
	//nolint:sloglint // one of two constants
	c.Ledger.cfg.Log.Log(ctx, level, message, slog.String("tenant", tenant), slog.String("who", who), slog.Any("error", err))
}
