package object

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/vault"
)

const (
	domain = "custody/object/v1\x00"
	// pieceSize is how much of a value is sealed at once: what a reader holds in memory.
	pieceSize = 64 << 10
	// headSize is what stands before the notes.
	headSize = len(domain) + 4 + 8 + 4
	// maxDetector is the length of a detector's name: one byte says it.
	maxDetector = math.MaxUint8
	// maxNotes is the size of sealed notes.
	maxNotes = vault.Overhead + event.SaltSize + 4 + 1 + maxDetector + event.MaxFingerprintsPerValue*event.FingerprintSize
)

// Notes are what the door has found out about a value.
type Notes struct {
	Salt         [event.SaltSize]byte
	KeyID        uint32                        // number of the fingerprint key, from 1
	Detector     string                        // of a secret; empty if none was found
	Fingerprints [][event.FingerprintSize]byte // ascending, as event.Fingerprinter.ChooseObject gives them
}

// head is the beginning of a file.
type head struct {
	generation uint32
	size       uint64
	notes      []byte // sealed
}

func (h *head) append(b []byte) []byte {
	b = append(b, domain...)
	b = binary.BigEndian.AppendUint32(b, h.generation)
	b = binary.BigEndian.AppendUint64(b, h.size)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(h.notes))), h.notes...)
}

// readHead reads the beginning of a file. The error is ErrDamaged, or that of the file.
func readHead(r io.Reader) (h head, err error) {
	var b [headSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, damaged("head", err)
	}
	h.generation = binary.BigEndian.Uint32(b[len(domain):])
	h.size = binary.BigEndian.Uint64(b[len(domain)+4:])
	n := binary.BigEndian.Uint32(b[len(domain)+12:])
	if string(b[:len(domain)]) != domain || h.size > event.MaxObject || n > maxNotes {
		return h, fmt.Errorf("head: %w", ErrDamaged)
	}
	h.notes = make([]byte, n)
	if _, err := io.ReadFull(r, h.notes); err != nil {
		return h, damaged("notes", err)
	}
	return h, nil
}

// damaged is ErrDamaged if the file ends early, otherwise the error of the file.
func damaged(what string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // io.ReadFull returns them as they are
		return fmt.Errorf("%s: %w: file ends early", what, ErrDamaged)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (n *Notes) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, n.Salt[:]...), n.KeyID)
	detector := n.Detector[:min(len(n.Detector), maxDetector)]
	b = append(append(b, byte(len(detector))), detector...)
	for i := range n.Fingerprints {
		b = append(b, n.Fingerprints[i][:]...)
	}
	return b
}

// parseNotes reads opened notes. The error is ErrDamaged.
func parseNotes(b []byte) (n Notes, err error) {
	if len(b) < event.SaltSize+4+1 {
		return n, fmt.Errorf("notes: %w", ErrDamaged)
	}
	n.Salt, n.KeyID = [event.SaltSize]byte(b), binary.BigEndian.Uint32(b[event.SaltSize:])
	size, rest := int(b[event.SaltSize+4]), b[event.SaltSize+4+1:]
	if size > len(rest) || (len(rest)-size)%event.FingerprintSize != 0 {
		return n, fmt.Errorf("notes: %w", ErrDamaged)
	}
	n.Detector, rest = string(rest[:size]), rest[size:]
	for ; len(rest) > 0; rest = rest[event.FingerprintSize:] {
		n.Fingerprints = append(n.Fingerprints, [event.FingerprintSize]byte(rest))
	}
	return n, nil
}

// appendData appends the additional data of a piece; the notes are piece 0.
func (r *Ref) appendData(b []byte, piece uint32) []byte {
	b = append(append(append(b, domain...), r.Tenant...), 0)
	b = binary.BigEndian.AppendUint64(append(b, r.Digest[:]...), r.Size)
	return binary.BigEndian.AppendUint32(b, piece)
}
