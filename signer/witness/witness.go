package witness

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/signer/internal/keyfile"
)

// Reasons to refuse a checkpoint.
var (
	// ErrUnknownLog says that the witness does not know a log of this name.
	ErrUnknownLog = errors.New("unknown log")
	// ErrLogSignature says that none of the keys that the witness knows for the log has signed the checkpoint.
	ErrLogSignature = errors.New("not signed by the log")
	// ErrOldSize says that the request starts from more leaves than its checkpoint has.
	ErrOldSize = errors.New("old size is greater than the checkpoint's")
	// ErrInconsistent says that the checkpoint is not proven to continue the one that was cosigned.
	ErrInconsistent = errors.New("checkpoint is not proven to continue the one that was cosigned last")
	// ErrFork says that a checkpoint of this size with another root was cosigned: the log has two histories.
	ErrFork = errors.New("a checkpoint of this size with another root was cosigned")
)

// Reasons not to start.
var (
	// ErrLocked says that another process uses the witness's folder.
	ErrLocked = errors.New("another process uses this witness folder")
	// ErrState says that what the witness has promised cannot be read. A person must restore it; a witness that has forgotten
	// what it cosigned must be retired together with its key.
	ErrState = errors.New("witness state is missing or unreadable")
)

// StaleError says that the witness has last cosigned a checkpoint of another size than the request starts from.
type StaleError struct{ Size chain.Index }

// Error implements error.
func (e *StaleError) Error() string { return fmt.Sprintf("last cosigned at %d leaves", e.Size) }

// Step names a point at which a test may stop a witness.
type Step string

// The steps of a cosignature, in their order.
const (
	StepChecked   Step = "checked"   // the checkpoint continues the last one
	StepPersisted Step = "persisted" // the new state is durable; nothing is signed yet
	StepSigned    Step = "signed"    // the cosignature exists, and nobody has it yet
)

// Config is what a witness is made of.
type Config struct {
	Dir  string            // key and state; made if it does not exist
	Name string            // key name of its cosignatures; should be a URL without its scheme
	Logs []signer.KnownLog // whose checkpoints it cosigns; one origin may have several keys

	Now  func() time.Time // nil is time.Now
	Log  *slog.Logger     // nil discards
	Hook func(Step) error // called at each step; an error stops there, as a crash would; may be nil
}

// Witness cosigns checkpoints. Its methods may be called from any goroutine.
type Witness struct {
	cfg  Config
	key  *signer.Key
	lock *os.File
	keys map[string][]signer.PublicKey // by origin

	mu    sync.Mutex                  // held from the comparison with the last checkpoint until the new one is durable and signed
	state map[string]chain.Checkpoint // cosigned last, by origin
}

const (
	keyFile  = "key.pem"
	stateDir = "state"
	lockFile = "lock"
)

// Open reads the key and the state of a witness, or makes both in an empty folder. Errors: ErrLocked, ErrState, signer.ErrVKey for
// a name that cannot stand in a note.
func Open(cfg Config) (*Witness, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Hook == nil {
		cfg.Hook = func(Step) error { return nil }
	}
	w := &Witness{cfg: cfg, keys: map[string][]signer.PublicKey{}, state: map[string]chain.Checkpoint{}}
	if err := w.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open witness: %w", err), w.Close())
	}
	return w, nil
}

func (w *Witness) open() (err error) {
	if _, err := signer.CosignatureSigner(nobody{}, w.cfg.Name, 0); err != nil {
		return err
	}
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if w.lock, err = keyfile.Lock(filepath.Join(w.cfg.Dir, lockFile), ErrLocked); err != nil {
		return err
	}
	if err := w.makeState(); err != nil {
		return err
	}
	if w.key, err = signer.LoadOrCreate(filepath.Join(w.cfg.Dir, keyFile)); err != nil {
		return err
	}
	for _, l := range w.cfg.Logs {
		w.keys[l.Origin] = append(w.keys[l.Origin], l.Key)
	}
	return w.load()
}

// nobody only lends its key's size to the check of a name.
type nobody struct{}

func (nobody) Public() signer.PublicKey    { return signer.PublicKey{} }
func (nobody) Sign([]byte) ([]byte, error) { return nil, signer.ErrKey }

// makeState makes the folder of the state before there is a key: a key without that folder has lost what it promised.
func (w *Witness) makeState() error {
	_, err := os.Stat(filepath.Join(w.cfg.Dir, keyFile))
	switch {
	case err == nil:
		if info, err := os.Stat(filepath.Join(w.cfg.Dir, stateDir)); err != nil || !info.IsDir() {
			return fmt.Errorf("there is a key and no folder %s: %w", stateDir, ErrState)
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look for key: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(w.cfg.Dir, stateDir), 0o700); err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	return keyfile.SyncDir(w.cfg.Dir)
}

// Close gives the folder back.
func (w *Witness) Close() error {
	if w.lock == nil {
		return nil
	}
	return w.lock.Close()
}

// VKey is what logs and verifiers must know of the witness.
func (w *Witness) VKey() string { return signer.CosignatureVKey(w.cfg.Name, w.key.Public()) }

// path is the file of the checkpoint of a log that was cosigned last. An origin may have any character, its hash has none.
func (w *Witness) path(origin string) string {
	return filepath.Join(w.cfg.Dir, stateDir, chain.OriginHash(origin).String())
}

// load reads the state of every log.
func (w *Witness) load() error {
	for origin := range w.keys {
		note, err := keyfile.Read(w.path(origin))
		if errors.Is(err, fs.ErrNotExist) {
			continue // never cosigned
		}
		if err == nil {
			w.state[origin], err = w.signedByLog(origin, note)
		}
		if err != nil {
			return fmt.Errorf("log %q: %w: %w", origin, ErrState, err)
		}
	}
	return nil
}

// signedByLog opens a checkpoint with the keys of its log. The error is ErrLogSignature, or says that it is no checkpoint.
func (w *Witness) signedByLog(origin string, note []byte) (chain.Checkpoint, error) {
	for _, key := range w.keys[origin] {
		c, err := signer.OpenCheckpoint(note, origin, key)
		if err == nil {
			return c.Checkpoint, nil
		}
		if !errors.Is(err, signer.ErrSignature) {
			return chain.Checkpoint{}, err
		}
	}
	return chain.Checkpoint{}, ErrLogSignature
}

// Add cosigns the checkpoint of a request and returns the signature line. Errors: ErrRequest, ErrUnknownLog, ErrLogSignature,
// ErrOldSize, StaleError, ErrInconsistent, ErrFork; any other means that the witness itself has failed.
func (w *Witness) Add(r *Request) ([]byte, error) {
	c, err := w.known(r)
	if err != nil {
		return nil, fmt.Errorf("add checkpoint: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.continues(r, c); err != nil {
		return nil, fmt.Errorf("add checkpoint of %q at %d: %w", c.Origin, c.Size, err)
	}
	line, err := w.cosign(r.Checkpoint, c)
	if err != nil {
		return nil, fmt.Errorf("cosign checkpoint of %q at %d: %w", c.Origin, c.Size, err)
	}
	return line, nil
}

// known holds a request to what needs no state.
func (w *Witness) known(r *Request) (chain.Checkpoint, error) {
	origin, err := originOf(r.Checkpoint)
	if err != nil {
		return chain.Checkpoint{}, err
	}
	if len(w.keys[origin]) == 0 {
		return chain.Checkpoint{}, fmt.Errorf("%q: %w", origin, ErrUnknownLog)
	}
	c, err := w.signedByLog(origin, r.Checkpoint)
	switch {
	case errors.Is(err, ErrLogSignature):
		return c, err
	case err != nil:
		return c, fmt.Errorf("%w: %w", ErrRequest, err)
	case r.Old > c.Size:
		return c, ErrOldSize
	}
	return c, nil
}

// continues compares with the checkpoint that was cosigned last.
func (w *Witness) continues(r *Request, c chain.Checkpoint) error {
	last, found := w.state[c.Origin]
	if !found {
		last = chain.Checkpoint{Root: chain.EmptyRoot()}
	}
	switch {
	case r.Old != last.Size:
		return &StaleError{last.Size}
	case last.Size == c.Size && last.Root != c.Root:
		return ErrFork
	case last.Size == 0 && len(r.Proof) == 0:
		return nil
	}
	if err := chain.VerifyConsistency(r.Proof, last.Size, c.Size, last.Root, c.Root); err != nil {
		return fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	return nil
}

// cosign makes the new state durable, then signs. A crash in between leaves a promise that nobody has seen: the log asks again from
// there.
func (w *Witness) cosign(note []byte, c chain.Checkpoint) ([]byte, error) {
	if err := w.cfg.Hook(StepChecked); err != nil {
		return nil, err
	}
	if err := keyfile.Replace(w.path(c.Origin), note); err != nil {
		return nil, err
	}
	w.state[c.Origin] = c
	if err := w.cfg.Hook(StepPersisted); err != nil {
		return nil, err
	}
	line, err := signer.CosignLine(w.key, w.cfg.Name, w.cfg.Now().Unix(), note)
	if err != nil {
		return nil, err
	}
	return line, w.cfg.Hook(StepSigned)
}
