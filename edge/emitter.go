package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/edge/detect"
	"github.com/agentcustody/custody/edge/spool"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
)

// Emitter records events for one key. All methods may be called from any goroutine.
type Emitter struct {
	config   Config
	identity Identity
	key      *signer.Key
	lock     *os.File
	spool    *spool.Spool
	queue    *spool.Queue // of this start
	receipts receiptFile
	archive  receiptArchive
	taken    atomic.Uint64 // newest stream sequence of a receipt

	fingerprint atomic.Pointer[fingerprintKey]
	workspaces  sync.Pool
	recording   atomic.Int64 // Records under way
	runs        runs
	watch       watch

	control *control
	waiters waiters
	stats   stats
	urge    chan struct{} // see await: do not wait for company
	welcome chan struct{} // closed when the fingerprint key is known
	closing chan struct{} // closed when the last event is in the spool
	closed  sync.Once
	stop    context.CancelFunc
	done    chan struct{} // closed when delivery has ended

	// The delivering goroutine alone uses what follows.
	verifier  note.Verifier          // of receipts
	pinnedNow atomic.Pointer[string] // its text, if it was pinned by this process; the brake reads it too
	lastSeen  *eventv1.LastSeen
}

// Stats are counts since Open, and the state of the spool.
type Stats struct {
	Acknowledged uint64 // events with a receipt
	Batches      uint64 // batches with a receipt
	Refused      uint64 // events set aside because Custody can never accept them
	Attempts     uint64 // connections tried
	Connected    bool
	SpoolBytes   int64
	LastError    string // of delivery; empty while all is well
}

type stats struct {
	acknowledged, batches, refused, attempts atomic.Uint64
	connected                                atomic.Bool
	lastError                                atomic.Pointer[string]
}

// Open starts the emitter of a joined folder. Before the first contact with Custody ever, it waits for that contact or for
// the context, because nothing can be sealed without the tenant's fingerprint key; later it works offline too.
func Open(ctx context.Context, config Config) (*Emitter, error) {
	e, err := open(config.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open emitter %s: %w", config.Dir, err)
	}
	select {
	case <-e.welcome:
		return e, nil
	case <-ctx.Done():
		err := errors.Join(context.Cause(ctx), e.lastError())
		e.abort()
		return nil, fmt.Errorf("open emitter %s: first contact with %s: %w", config.Dir, e.identity.Address, err)
	}
}

func open(config Config) (*Emitter, error) {
	e := &Emitter{
		config: config, runs: runs{all: make(map[string]*runCounter)}, urge: make(chan struct{}, 1),
		welcome: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
		receipts: receiptFile{dir: filepath.Join(config.Dir, receiptsDir)}, archive: receiptArchive{name: config.Receipts},
	}
	e.control = newControl(e)
	if config.Detect {
		e.watch.watcher = detect.NewWatcher()
	}
	for _, step := range []func() error{e.takeLock, e.load, e.openSpool, e.archive.open} {
		if err := step(); err != nil {
			e.freeFolder()
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	go e.deliver(ctx)
	return e, nil
}

func (e *Emitter) takeLock() (err error) {
	e.lock, err = lockDir(e.config.Dir)
	return err
}

// load reads who we are and what the last contact has left.
func (e *Emitter) load() (err error) {
	if e.identity, e.key, err = loadIdentity(e.config.Dir); err != nil {
		return err
	}
	orDefault(&e.config.Address, e.identity.Address)
	if len(e.config.CA) == 0 {
		e.config.CA = []byte(e.identity.CA)
	}
	if e.identity.ReceiptVerifier != "" {
		if e.verifier, err = receiptVerifier(e.identity.ReceiptVerifier); err != nil {
			return fmt.Errorf("%s: %w", identityFile, err)
		}
	}
	return e.loadFingerprintKey()
}

func (e *Emitter) loadFingerprintKey() error {
	key := new(fingerprintKey)
	err := readJSON(filepath.Join(e.config.Dir, fingerprintFile), key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return damaged(err)
	}
	e.fingerprint.Store(key)
	close(e.welcome)
	return nil
}

func receiptVerifier(text string) (note.Verifier, error) {
	name, key, err := signer.ParseVKey(text)
	if err != nil {
		return nil, fmt.Errorf("receipt verifier: %w", err)
	}
	return signer.NoteVerifier(name, key)
}

// openSpool recovers the spool and begins this start's epoch.
func (e *Emitter) openSpool() (err error) {
	options := spool.Options{MaxBytes: e.config.SpoolMaxBytes, FailWhenFull: e.config.FullPolicy == Error}
	if e.spool, err = spool.Open(filepath.Join(e.config.Dir, spoolDir), options); err != nil {
		return err
	}
	for _, q := range e.spool.Queues() {
		e.inspect(q)
	}
	epoch, opened, err := e.newEpoch()
	if err != nil {
		return err
	}
	e.queue, err = e.spool.Begin(epoch, opened)
	return err
}

// inspect reports what recovery could not read. A record that was being written when the process died is no loss: its
// Record has not returned.
func (e *Emitter) inspect(q *spool.Queue) {
	for _, d := range q.Damage() {
		if d.Newest {
			e.config.Log.Warn("spool: cut off a record that was not finished", slog.String("at", d.String()))
		} else {
			e.report(fmt.Errorf("spool is damaged: %s", d))
		}
	}
}

// newEpoch makes a random epoch and the event that opens it.
func (e *Emitter) newEpoch() (epoch spool.Epoch, opened []byte, err error) {
	rand.Read(epoch[:])
	opened, err = e.ownEvent(&eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_OPENED, Epoch: epoch[:],
	})
	return epoch, opened, err
}

// ownEvent is an event about the emitter itself. It holds nothing to scrub or seal.
func (e *Emitter) ownEvent(x *eventv1.Identity) ([]byte, error) {
	p := &eventv1.Event{Body: &eventv1.Event_Identity{Identity: x}}
	w := workspace{emitter: e}
	w.fill(context.Background(), p)
	return event.Marshal(p)
}

// isGated reports whether calls ask Custody's gate. What brings in records of the past does not act.
func (e *Emitter) isGated() bool { return !e.config.WithoutGate && e.identity.Producer != "importer" }

// Identity is who the emitter's key stands for.
func (e *Emitter) Identity() Identity { return e.identity }

// Flush returns when Custody has given a receipt for everything recorded before the call. If any of it was refused for
// good, the error is a *RefusedError.
func (e *Emitter) Flush(ctx context.Context) error {
	if err := e.await(ctx, 0, e.queue.Newest()); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// await waits until everything up to place last has its receipt. Refusals count from place first on.
func (e *Emitter) await(ctx context.Context, first, last spool.Place) error {
	w := e.waiters.add(first, last)
	e.settle()
	e.hurry()
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		e.waiters.remove(w)
		return errors.Join(context.Cause(ctx), e.lastError())
	case <-e.done:
		return w.orClosed()
	}
}

// hurry lets the next batch go without waiting for company.
func (e *Emitter) hurry() {
	select {
	case e.urge <- struct{}{}:
	default:
	}
}

// settle answers who waits for what is acknowledged by now.
func (e *Emitter) settle() {
	if acked, any := e.queue.Acknowledged(); any {
		e.waiters.acknowledged(acked)
	}
}

// Stats returns counts since Open.
func (e *Emitter) Stats() Stats {
	s := Stats{
		Acknowledged: e.stats.acknowledged.Load(), Batches: e.stats.batches.Load(), Refused: e.stats.refused.Load(),
		Attempts: e.stats.attempts.Load(), Connected: e.stats.connected.Load(), SpoolBytes: e.spool.Bytes(),
	}
	if err := e.lastError(); err != nil {
		s.LastError = err.Error()
	}
	return s
}

func (e *Emitter) lastError() error {
	if text := e.stats.lastError.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}

// report tells what no caller can be told.
func (e *Emitter) report(err error) {
	e.config.Log.Error("custody emitter", slog.String("instance", string(e.identity.Instance)), slog.Any("err", err))
	e.config.OnError(err)
}

// ErrUndelivered says that events without a receipt stay in the spool. They are delivered at the next start.
var ErrUndelivered = errors.New("events without a receipt stay in the spool")

// Close records the end of the epoch, waits for the receipts, at most Config.CloseTimeout, and stops. Record fails with
// ErrClosed from now on. If Custody could not be reached in time, the error is ErrUndelivered: nothing is lost.
func (e *Emitter) Close(ctx context.Context) error {
	var err error
	e.closed.Do(func() { err = e.close(ctx) })
	return err
}

func (e *Emitter) close(ctx context.Context) error {
	place, err := e.queue.AppendLast(true, e.epochClosed)
	close(e.closing)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, e.config.CloseTimeout)
		err = e.await(ctx, place, place)
		cancel()
	}
	e.control.end()
	e.stop()
	<-e.done
	defer e.freeFolder()
	if e.queue.Drained() {
		return errors.Join(err, e.queue.Tidy(0))
	}
	return fmt.Errorf("close emitter: %w: %w", ErrUndelivered, err)
}

func (e *Emitter) epochClosed(epoch spool.Epoch, last spool.Seq) ([]byte, error) {
	return e.ownFrame(&eventv1.Identity{
		Action: eventv1.IdentityAction_IDENTITY_ACTION_EPOCH_CLOSED, Epoch: epoch[:], LastSeq: uint64(last),
	})
}

func (e *Emitter) ownFrame(x *eventv1.Identity) ([]byte, error) {
	b, err := e.ownEvent(x)
	if err != nil {
		return nil, err
	}
	return spool.AppendEvent(nil, b, nil), nil
}

// abort stops without another word. What is in the spool stays there.
func (e *Emitter) abort() {
	e.control.end()
	e.stop()
	<-e.done
	e.freeFolder()
}

// freeFolder closes the files and lets another process use the folder.
func (e *Emitter) freeFolder() {
	if e.spool != nil {
		if err := e.spool.Close(); err != nil {
			e.report(err)
		}
	}
	if e.lock != nil {
		e.lock.Close() //nolint:errcheck // nothing was written that matters
	}
}
