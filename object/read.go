package object

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/vault"
)

// Stat returns what was noted when the object was put. Errors: ErrMissing, ErrDamaged, those of the keys (vault.ErrErased,
// vault.ErrUnknownKey) and of the disk.
func (s *Store) Stat(r *Ref) (Notes, error) {
	o, err := s.reader(r)
	if err != nil {
		return Notes{}, fmt.Errorf("look up object: %w", err)
	}
	return o.notes, o.file.Close()
}

// CopyTo writes the value to w, as it is opened: memory does not grow with it. What was written is the value only if the
// error is nil: the commitment, with the salt that the event's opening has, is compared at the end. Errors: as Stat, and
// those of w.
func (s *Store) CopyTo(w io.Writer, r *Ref, salt *[event.SaltSize]byte) error {
	o, err := s.reader(r)
	if err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	if err := errors.Join(o.copyTo(w, salt), o.file.Close()); err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	return nil
}

// Check reads the whole object and holds it to its commitment. Errors: as Stat.
func (s *Store) Check(r *Ref, salt *[event.SaltSize]byte) error { return s.CopyTo(io.Discard, r, salt) }

// reader is an object that is being read.
type reader struct {
	ref   *Ref
	file  *os.File
	in    *bufio.Reader
	key   *vault.Key
	notes Notes
}

func (s *Store) reader(r *Ref) (*reader, error) {
	file, err := s.open(r)
	if err != nil {
		return nil, err
	}
	o := &reader{ref: r, file: file, in: bufio.NewReaderSize(file, pieceSize+vault.Overhead)}
	if err := o.begin(s.keys); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return o, nil
}

// begin reads head and notes.
func (o *reader) begin(keys Keys) error {
	h, err := readHead(o.in)
	if err != nil {
		return err
	}
	if h.size != o.ref.Size {
		return fmt.Errorf("size: %w", ErrDamaged)
	}
	if o.key, err = keys.Get(string(o.ref.Tenant), content.SubjectKey(o.ref.Subject), h.generation); err != nil {
		return err
	}
	notes, err := o.openPiece(h.notes, 0)
	if err != nil {
		return err
	}
	o.notes, err = parseNotes(notes)
	return err
}

func (o *reader) openPiece(sealed []byte, number uint32) ([]byte, error) {
	plain, err := vault.Open(o.key, o.ref.appendData(nil, number), sealed)
	if errors.Is(err, vault.ErrSealed) {
		return nil, fmt.Errorf("piece %d: %w", number, ErrDamaged)
	}
	return plain, err
}

func (o *reader) copyTo(w io.Writer, salt *[event.SaltSize]byte) error {
	r := o.ref
	commitment := event.NewCommitment(r.Event, r.Path, r.MediaType, salt, int(r.Size))
	var room [pieceSize + vault.Overhead]byte
	number := uint32(0)
	for left := int(r.Size); left > 0; left -= pieceSize {
		number++
		sealed := room[:min(left, pieceSize)+vault.Overhead]
		if _, err := io.ReadFull(o.in, sealed); err != nil {
			return damaged("value", err)
		}
		piece, err := o.openPiece(sealed, number)
		if err != nil {
			return err
		}
		commitment.Write(piece)
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	if _, err := o.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("longer than its value: %w", ErrDamaged)
	}
	if [event.DigestSize]byte(commitment.Sum(nil)) != r.Digest {
		return fmt.Errorf("does not match its digest: %w", ErrDamaged)
	}
	return nil
}
