package live

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
)

const (
	// snapshotFile is the snapshot's name in Config.Dir.
	snapshotFile = "rules.snapshot"
	// snapshotMagic is how a snapshot begins: what it is, and its version.
	snapshotMagic = "custody/live/v1\x00"
	// MaxSnapshot is the largest snapshot that is written or read, bytes: what an engine may hold in memory. A state beyond it is folded again.
	MaxSnapshot = 512 << 20
)

// errForeign says that a snapshot is not one of this engine: broken, of other rules, or of another stream.
var errForeign = errors.New("snapshot does not belong here")

// A snapshot is the magic, SHA-256 of the rest, and the parts, each after its length as a big-endian uint32: the stream's incarnation, the
// digest of the rules, the source's state, the time of the last second that passed for all tenants (8 bytes), and for each tenant its name, the rules' state and the book.

// encode writes all that the engine knows after the last message. The mutex is held.
func (e *Engine) encode() ([]byte, error) {
	source, err := e.cfg.Source.Save()
	if err != nil {
		return nil, err
	}
	digest := e.cfg.Rules.Digest()
	b := make([]byte, len(snapshotMagic)+sha256.Size, e.written+e.written/8+len(source)+1024)
	copy(b, snapshotMagic)
	ticked := binary.BigEndian.AppendUint64(nil, uint64(e.ticked))
	for _, part := range [][]byte{[]byte(e.cfg.Incarnation), digest[:], source, ticked} {
		b = appendPart(b, part)
	}
	for _, name := range e.names() {
		t := e.tenants[name]
		book, err := json.Marshal(t.book)
		if err != nil {
			return nil, fmt.Errorf("book of %s: %w", name, err)
		}
		for _, part := range [][]byte{[]byte(name), t.rules.Snapshot(), book} {
			b = appendPart(b, part)
		}
	}
	sum := sha256.Sum256(b[len(snapshotMagic)+sha256.Size:])
	copy(b[len(snapshotMagic):], sum[:])
	e.written = len(b)
	return b, nil
}

func appendPart(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
}

// decode sets a new engine to a snapshot.
func (e *Engine) decode(b []byte) error {
	head := len(snapshotMagic) + sha256.Size
	if len(b) < head || string(b[:len(snapshotMagic)]) != snapshotMagic || sha256.Sum256(b[head:]) != [sha256.Size]byte(b[len(snapshotMagic):head]) {
		return fmt.Errorf("%w: it is broken", errForeign)
	}
	parts, err := split(b[head:])
	digest := e.cfg.Rules.Digest()
	switch {
	case err != nil || len(parts)%3 != 1 || len(parts) < 4 || len(parts[3]) != 8:
		return fmt.Errorf("%w: it is broken", errForeign)
	case string(parts[0]) != e.cfg.Incarnation:
		return fmt.Errorf("%w: it is of another stream", errForeign)
	case string(parts[1]) != string(digest[:]):
		return fmt.Errorf("%w: it is of other rules", errForeign)
	}
	tenants := map[event.TenantID]*tenant{}
	for p := parts[4:]; len(p) > 0; p = p[3:] {
		name := event.TenantID(p[0])
		if tenants[name], err = e.decodeTenant(name, p[1], p[2]); err != nil {
			return fmt.Errorf("%w: tenant %s: %w", errForeign, name, err)
		}
	}
	if err := e.cfg.Source.Restore(parts[2]); err != nil {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	e.tenants, e.written, e.ticked = tenants, len(b), int64(binary.BigEndian.Uint64(parts[3]))
	return nil
}

func (e *Engine) decodeTenant(name event.TenantID, state, book []byte) (*tenant, error) {
	t := newTenant(name, e.cfg.Rules)
	var err error
	if t.rules, err = rules.Restore(e.cfg.Rules, state); err == nil {
		err = json.Unmarshal(book, t.book)
	}
	if err == nil && t.book.tenant != name {
		err = errors.New("book of another tenant")
	}
	return t, err
}

// split takes the parts apart.
func split(b []byte) (parts [][]byte, err error) {
	for len(b) > 0 {
		if len(b) < 4 || uint64(len(b)-4) < uint64(binary.BigEndian.Uint32(b)) {
			return nil, errForeign
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		parts, b = append(parts, b[4:n]), b[n:]
	}
	return parts, nil
}

// load reads the snapshot, if there is one. Whatever is wrong with it, the stream is folded again.
func (e *Engine) load() error {
	file, err := os.Open(filepath.Join(e.cfg.Dir, snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, MaxSnapshot+1))
	switch {
	case err != nil:
		return err
	case len(b) > MaxSnapshot:
		return fmt.Errorf("%w: larger than %d bytes", errForeign, MaxSnapshot)
	}
	return e.decode(b)
}

// keep makes a snapshot durable: synced, then renamed over the one before.
func keep(dir string, b []byte) error {
	if len(b) > MaxSnapshot {
		return fmt.Errorf("snapshot of %d bytes: more than %d", len(b), MaxSnapshot)
	}
	temporary := filepath.Join(dir, snapshotFile+".new")
	if err := writeSynced(temporary, b); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, snapshotFile)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeSynced(name string, b []byte) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
