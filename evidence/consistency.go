package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/signer"
)

// maxHeld is how many states of the log that a requester holds a bundle may name: one for each bundle that came before, for years.
const maxHeld = 256

// ErrHistory says that a log does not continue a state that somebody holds: there are two histories, or the state is of another log.
var ErrHistory = errors.New("log does not continue the state that is held")

// consistency is log/consistency/proofs.json: the states of the log that the requester held, and the proofs that the bundle's
// continues them, or that they continue the bundle's.
type consistency struct {
	Version int                `json:"version"` // 1
	Proofs  []consistencyProof `json:"proofs"`
}

// consistencyProof is an RFC 6962 section 2.1.2 proof between a held state and the bundle's, the smaller one first.
type consistencyProof struct {
	Checkpoint string       `json:"checkpoint"` // the signed note that is held
	Hashes     []chain.Hash `json:"hashes"`
}

// consistency proves that the log continues what the requester holds.
func (x *export) consistency(ctx context.Context) error {
	file := consistency{1, []consistencyProof{}}
	for _, note := range x.options.Held {
		hashes, err := x.continues(ctx, note)
		if err != nil {
			return fmt.Errorf("checkpoint that is held: %w", err)
		}
		file.Proofs = append(file.Proofs, consistencyProof{string(note), hashes})
	}
	return x.putJSON(fileProofs, file)
}

func (x *export) continues(ctx context.Context, note []byte) ([]chain.Hash, error) {
	held, err := readHead(note)
	if err != nil {
		return nil, err
	}
	if held.Origin != x.scope.Origin {
		return nil, fmt.Errorf("state of %q: %w", held.Origin, ErrHistory)
	}
	if len(x.options.Held) > maxHeld || !utf8.Valid(note) {
		return nil, fmt.Errorf("more than %d, or no text: %w", maxHeld, signer.ErrNote)
	}
	hashes, err := chain.ProveConsistency(ctx, x.nodes, min(held.Size, x.scope.Size), max(held.Size, x.scope.Size))
	if err == nil && !consistent(held, x.head, hashes) {
		err = ErrHistory
	}
	return hashes, err
}

// consistent reports whether hashes prove that the larger of two states continues the smaller.
func consistent(a, b chain.Checkpoint, hashes []chain.Hash) bool {
	if a.Size > b.Size {
		a, b = b, a
	}
	return chain.VerifyConsistency(hashes, a.Size, b.Size, a.Root, b.Root) == nil
}

// History is one state of the log that was held against the bundle's.
type History struct {
	Size   chain.Index `json:"size"`   // records
	Root   chain.Hash  `json:"root"`   // hash of them all
	Proven bool        `json:"proven"` // the bundle shows that one continues the other
	Held   bool        `json:"held"`   // it was given to the verifier, not only in the bundle
}

var (
	errNoProof = errors.New("the bundle has no proof for a state that is held")
	errFork    = errors.New("the log has another content at the size of a state that is held")
)

// checkConsistency holds the log to the states that the bundle names, and then to those that the auditor holds.
func (v *verification) checkConsistency() error {
	file, err := v.container.read(fileProofs)
	if err != nil {
		return err
	}
	c := new(consistency)
	if err := unmarshalJSON(file, c); err != nil || c.Version != 1 || len(c.Proofs) > maxHeld {
		v.fail(CheckFormat, fmt.Errorf("%s: %w", fileProofs, errors.Join(err, ErrJSON)))
		return errStopped
	}
	for i := range c.Proofs {
		v.examine(CheckHistory, 1)
		if err := v.checkProof(&c.Proofs[i]); err != nil {
			v.fail(CheckHistory, fmt.Errorf("state %d in the bundle: %w", i+1, err))
		}
	}
	for _, note := range v.options.Held {
		v.examine(CheckHistory, 1)
		if err := v.checkHeld(note); err != nil {
			v.fail(CheckHistory, err)
		}
	}
	v.done(CheckHistory)
	return nil
}

func (v *verification) checkProof(p *consistencyProof) error {
	head, err := v.openHeld([]byte(p.Checkpoint))
	if err != nil {
		return err
	}
	v.history = append(v.history, History{head.Size, head.Root, consistent(head, v.head.Checkpoint, p.Hashes), false})
	if !v.history[len(v.history)-1].Proven {
		return ErrHistory
	}
	return nil
}

// openHeld reads a state of this log. Its signature counts if there is a policy.
func (v *verification) openHeld(note []byte) (chain.Checkpoint, error) {
	if v.policy != nil {
		head, err := signer.OpenCheckpoint(note, v.scope.Origin, v.policy.logKey())
		return head.Checkpoint, err
	}
	head, err := readHead(note)
	if err == nil && head.Origin != v.scope.Origin {
		err = chain.ErrOrigin
	}
	return head, err
}

// checkHeld looks for a state that the auditor holds among those that are proven; the bundle's own proves itself.
func (v *verification) checkHeld(note []byte) error {
	head, err := v.openHeld(note)
	if err != nil {
		return fmt.Errorf("state that is held: %w", err)
	}
	own := History{v.head.Size, v.head.Root, true, false}
	for i := range v.history {
		if h := &v.history[i]; h.Size == head.Size && h.Root == head.Root {
			h.Held = true
			return nil
		}
	}
	h := History{head.Size, head.Root, own.Size == head.Size && own.Root == head.Root, true}
	v.history = append(v.history, h)
	switch {
	case h.Proven:
		return nil
	case v.forked(h):
		return fmt.Errorf("%d records: %w", h.Size, errFork)
	}
	return fmt.Errorf("%d records: %w", h.Size, errNoProof)
}

// forked reports whether the log is known to have another content at the size of a state.
func (v *verification) forked(h History) bool {
	for _, other := range append(v.history, History{v.head.Size, v.head.Root, true, false}) {
		if other.Proven && other.Size == h.Size && other.Root != h.Root {
			return true
		}
	}
	return false
}

// ReadCheckpoint returns the state of the log that a file holds: a signed checkpoint, or a bundle, whose own it is.
func ReadCheckpoint(r io.ReaderAt, size int64) ([]byte, error) {
	is, err := isBundle(r, size)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if is {
		c, err := openContainer(r, size)
		if err != nil {
			return nil, fmt.Errorf("read checkpoint: %w", err)
		}
		return c.read(fileCheckpoint)
	}
	if size > maxSmallFile {
		return nil, fmt.Errorf("read checkpoint of %d bytes: %w", size, signer.ErrNote)
	}
	note := make([]byte, size)
	if err := readAt(r, note, 0); err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	_, err = readHead(note)
	return note, err
}

// isBundle reports whether a file begins as a bundle does.
func isBundle(r io.ReaderAt, size int64) (bool, error) {
	start := make([]byte, min(size, 4))
	err := readAt(r, start, 0)
	return bytes.Equal(start, []byte("PK\x03\x04")), err
}

// proofs says which states the log was held against.
func (v *Verdict) proofs(p *page) {
	for _, h := range v.History {
		word, what := "PROVEN", "The log continues its earlier state of %s%s."
		if v.Scope != nil && h.Size > v.Scope.Size {
			what = "The log's later state of %s%s continues this one."
		}
		if !h.Proven {
			word, what = "NOT PROVEN", "It is not shown that this log and its state of %s%s are one history."
		}
		yours := " (named in the bundle)"
		if h.Held {
			yours = " (held by you)"
		}
		p.row("history", "%-14s"+what, word, count(uint64(h.Size), "record", "records"), yours)
	}
}
