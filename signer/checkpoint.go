package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/agentcustody/custody/chain"
)

// SignedCheckpoint is a tree head whose log signature has been verified.
type SignedCheckpoint struct {
	chain.Checkpoint
	Cosignatures []Cosignature // verified, in the order of the note, at most one for each public key
}

// Cosignature is a verified statement of a cosigner about a checkpoint.
type Cosignature struct {
	Name    string    // key name of the cosigner
	Key     PublicKey // the key that verified it; no two Cosignatures share one
	Seconds int64     // time of the statement, seconds since 1970
}

// Cosigner is a key that the caller trusts to cosign checkpoints.
type Cosigner struct {
	Name string
	Key  PublicKey
}

// SignCheckpoint returns the signed note of c. The first signer should be the
// log's NoteSigner under the origin as its key name.
func SignCheckpoint(c chain.Checkpoint, signers ...note.Signer) ([]byte, error) {
	text, err := c.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: string(text)}, signers...)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

// OpenCheckpoint verifies a signed checkpoint of the log with the given origin
// and key. Cosignatures count only from the given cosigners, and once for each
// public key, whatever names it is given. Signatures by strangers are ignored
// (https://c2sp.org/signed-note); a wrong signature by the log or by a known
// cosigner fails the whole note. Errors: ErrNote, ErrSignature,
// chain.ErrCheckpoint, chain.ErrOrigin.
func OpenCheckpoint(signed []byte, origin string, key PublicKey, cosigners ...Cosigner) (SignedCheckpoint, error) {
	log, err := NoteVerifier(origin, key)
	if err != nil {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	known, err := cosignatureVerifiers(cosigners)
	if err != nil {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	n, err := openNote(signed, append(known, log)...)
	if err != nil {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	return readCheckpoint(n, origin, log, known)
}

// cosignatureVerifiers makes one verifier for each public key. A cosignature
// does not commit to the name, so a second name for a key must not count.
func cosignatureVerifiers(cosigners []Cosigner) ([]note.Verifier, error) {
	seen := make(map[PublicKey]bool, len(cosigners))
	known := make([]note.Verifier, 0, len(cosigners)+1)
	for _, c := range cosigners {
		v, err := CosignatureVerifier(c.Name, c.Key)
		if err != nil {
			return nil, err
		}
		if !seen[c.Key] {
			known = append(known, v)
		}
		seen[c.Key] = true
	}
	return known, nil
}

func openNote(signed []byte, known ...note.Verifier) (*note.Note, error) {
	if len(signed) > maxNote {
		return nil, fmt.Errorf("%d bytes: %w", len(signed), ErrNote)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	var wrong *note.InvalidSignatureError
	var none *note.UnverifiedNoteError
	switch {
	case errors.As(err, &wrong), errors.As(err, &none):
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNote, err)
	}
	return n, nil
}

func readCheckpoint(n *note.Note, origin string, log note.Verifier, known []note.Verifier) (SignedCheckpoint, error) {
	if !signedBy(n, log) {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint: not signed by the log: %w", ErrSignature)
	}
	c, err := chain.ParseCheckpoint([]byte(n.Text))
	if err != nil {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	if c.Origin != origin {
		return SignedCheckpoint{}, fmt.Errorf("open checkpoint of %q, want %q: %w", c.Origin, origin, chain.ErrOrigin)
	}
	return SignedCheckpoint{Checkpoint: c, Cosignatures: readCosignatures(n, known)}, nil
}

// AddCosignatures appends to a signed checkpoint those of the signature lines that are cosignatures by the given cosigners and are not
// there yet, each verified. Other lines are left out. It returns the cosignatures that it has added. Errors: those of OpenCheckpoint.
func AddCosignatures(signed, lines []byte, origin string, key PublicKey, cosigners ...Cosigner) ([]byte, []Cosignature, error) {
	before, err := OpenCheckpoint(signed, origin, key, cosigners...)
	if err != nil {
		return nil, nil, fmt.Errorf("add cosignatures: %w", err)
	}
	known, err := cosignatureVerifiers(cosigners)
	if err != nil {
		return nil, nil, fmt.Errorf("add cosignatures: %w", err)
	}
	log, err := NoteVerifier(origin, key)
	if err != nil {
		return nil, nil, fmt.Errorf("add cosignatures: %w", err)
	}
	n, err := openNote(append(slices.Clip(signed), lines...), append(known, log)...)
	if err != nil {
		return nil, nil, fmt.Errorf("add cosignatures: %w", err)
	}
	out, added := appendCosignatures(signed, n, known, before.Cosignatures)
	return out, added, nil
}

// appendCosignatures takes over lines of n that signed lacks, and so makes nothing longer than n was.
func appendCosignatures(signed []byte, n *note.Note, known []note.Verifier, have []Cosignature) ([]byte, []Cosignature) {
	out, added := slices.Clip(signed), []Cosignature(nil)
	for _, sig := range n.Sigs {
		for _, c := range readCosignatures(&note.Note{Sigs: []note.Signature{sig}}, known) {
			if !slices.ContainsFunc(have, func(h Cosignature) bool { return h.Key == c.Key }) {
				out = fmt.Appendf(out, "— %s %s\n", sig.Name, sig.Base64)
				added = append(added, c)
			}
		}
	}
	return out, added
}

// CosignLine returns the signature line by which a cosigner confirms a signed checkpoint at a time, in seconds since 1970.
func CosignLine(s Signer, name string, seconds int64, signed []byte) ([]byte, error) {
	c, err := CosignatureSigner(s, name, seconds)
	if err != nil {
		return nil, err
	}
	text, _, found := bytes.Cut(signed, []byte("\n\n"))
	if !found {
		return nil, fmt.Errorf("cosign: %w", ErrNote)
	}
	alone, err := note.Sign(&note.Note{Text: string(text) + "\n"}, c)
	if err != nil {
		return nil, fmt.Errorf("cosign: %w", err)
	}
	_, line, _ := bytes.Cut(alone, []byte("\n\n"))
	return line, nil
}

func signedBy(n *note.Note, v note.Verifier) bool {
	for _, sig := range n.Sigs {
		if sig.Name == v.Name() && sig.Hash == v.KeyHash() {
			return true
		}
	}
	return false
}

func readCosignatures(n *note.Note, known []note.Verifier) []Cosignature {
	var out []Cosignature
	for _, sig := range n.Sigs {
		for _, v := range known {
			if v, ok := v.(*cosignatureVerifier); ok && v.name == sig.Name && v.hash == sig.Hash {
				out = append(out, Cosignature{Name: v.name, Key: v.key, Seconds: cosignatureSeconds(sig)})
			}
		}
	}
	return out
}

// cosignatureSeconds reads the time of a verified cosignature: after the
// 4-byte key hash, 8 bytes big endian.
func cosignatureSeconds(sig note.Signature) int64 {
	raw, _ := base64.StdEncoding.DecodeString(sig.Base64) // note.Open has decoded it, and the verifier has checked its length
	return int64(binary.BigEndian.Uint64(raw[4:]))
}
