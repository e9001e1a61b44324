package live

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
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
	snapshotMagic = snapshotKind + "v2\x00"
	snapshotKind  = "custody/live/"
	// MaxSnapshot is the largest snapshot that is written or read, bytes: what an engine may hold in memory. A state beyond it is folded again.
	MaxSnapshot = 512 << 20
)

// errForeign says that a snapshot is not one of this engine: broken, of other rules, or of another stream.
var errForeign = errors.New("snapshot does not belong here")

// errLarge says that a state is larger than a snapshot may be.
var errLarge = fmt.Errorf("snapshot of more than %d bytes", MaxSnapshot)

// A snapshot is the magic, the parts one after the other, the size of each part (8 bytes, big-endian as all numbers), how many parts there are
// (4 bytes), and SHA-256 of all that. The parts are the stream's incarnation, the digest of the rules, the source's state, the time of the
// last second that passed for all tenants (8 bytes), and for each tenant its name, the rules' state and the book.

// ownParts is how many parts come before the tenants', tenantParts how many there are of each.
const (
	ownParts    = 4
	tenantParts = 3
)

// frozen is what the engine knew after one message. It can be written while the engine goes on.
type frozen struct {
	incarnation string
	rules       [sha256.Size]byte
	source      func() []byte
	ticked      int64
	tenants     []frozenTenant
}

type frozenTenant struct {
	rules *rules.Frozen
	book  *saved
}

// freeze is all that the engine knows after the last message. The mutex is held.
func (e *Engine) freeze() (*frozen, error) {
	source, err := e.cfg.Source.Save()
	if err != nil {
		return nil, err
	}
	f := &frozen{incarnation: e.cfg.Incarnation, rules: e.cfg.Rules.Digest(), source: source, ticked: e.ticked}
	for _, name := range e.names() {
		t := e.tenants[name]
		f.tenants = append(f.tenants, frozenTenant{t.rules.Freeze(), t.book.saved()})
	}
	return f, nil
}

// parts writes parts, and then what makes them a snapshot.
type parts struct {
	out   io.Writer // the file and sum
	sum   hash.Hash
	size  uint64
	begun uint64 // where the part began that is being written
	sizes []byte
}

func newParts(file io.Writer) *parts {
	sum := sha256.New()
	return &parts{out: io.MultiWriter(file, sum), sum: sum}
}

// Write goes on with a part.
func (p *parts) Write(b []byte) (int, error) {
	if p.size += uint64(len(b)); p.size > MaxSnapshot {
		return 0, errLarge
	}
	return p.out.Write(b)
}

// end ends a part.
func (p *parts) end() {
	p.sizes, p.begun = binary.BigEndian.AppendUint64(p.sizes, p.size-p.begun), p.size
}

// part writes a whole part.
func (p *parts) part(b []byte) error {
	_, err := p.Write(b)
	p.end()
	return err
}

// close writes what comes after the parts.
func (p *parts) close() error {
	table := binary.BigEndian.AppendUint32(p.sizes, uint32(len(p.sizes)/8))
	_, err := p.Write(table)
	if err == nil {
		_, err = p.Write(p.sum.Sum(nil))
	}
	return err
}

func (f *frozen) write(file io.Writer) error {
	p := newParts(file)
	_, err := io.WriteString(p, snapshotMagic)
	p.begun = p.size
	for _, part := range [ownParts][]byte{[]byte(f.incarnation), f.rules[:], f.source(), binary.BigEndian.AppendUint64(nil, uint64(f.ticked))} {
		err = errors.Join(err, p.part(part))
	}
	for i := range f.tenants {
		err = errors.Join(err, f.tenants[i].write(p))
	}
	return errors.Join(err, p.close())
}

func (f *frozenTenant) write(p *parts) error {
	if err := p.part([]byte(f.book.Tenant)); err != nil {
		return err
	}
	err := f.rules.Write(p)
	p.end()
	if err != nil {
		return err
	}
	book, err := json.Marshal(f.book)
	if err != nil {
		return fmt.Errorf("book of %s: %w", f.book.Tenant, err)
	}
	return p.part(book)
}

// decode sets a new engine to a snapshot.
func (e *Engine) decode(b []byte) error {
	parts, err := split(b)
	digest := e.cfg.Rules.Digest()
	switch {
	case err != nil:
		return err
	case string(parts[0]) != e.cfg.Incarnation:
		return fmt.Errorf("%w: it is of another stream", errForeign)
	case string(parts[1]) != string(digest[:]):
		return fmt.Errorf("%w: it is of other rules", errForeign)
	}
	tenants := map[event.TenantID]*tenant{}
	for p := parts[ownParts:]; len(p) > 0; p = p[tenantParts:] {
		name := event.TenantID(p[0])
		if tenants[name], err = e.decodeTenant(name, p[1], p[2]); err != nil {
			return fmt.Errorf("%w: tenant %s: %w", errForeign, name, err)
		}
	}
	if err := e.cfg.Source.Restore(parts[2]); err != nil {
		return fmt.Errorf("%w: %w", errForeign, err)
	}
	e.tenants, e.ticked = tenants, int64(binary.BigEndian.Uint64(parts[3]))
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

// split takes the parts of a snapshot that is whole.
func split(b []byte) (parts [][]byte, err error) {
	const count = 4
	body := len(b) - sha256.Size
	if bytes.HasPrefix(b, []byte(snapshotKind)) && !bytes.HasPrefix(b, []byte(snapshotMagic)) {
		return nil, fmt.Errorf("%w: it is of another version", errForeign)
	}
	if body < len(snapshotMagic)+count || string(b[:len(snapshotMagic)]) != snapshotMagic || sha256.Sum256(b[:body]) != [sha256.Size]byte(b[body:]) {
		return nil, fmt.Errorf("%w: it is broken", errForeign)
	}
	b, body = b[len(snapshotMagic):body-count], int(binary.BigEndian.Uint32(b[body-count:]))
	if body > len(b)/8 {
		return nil, fmt.Errorf("%w: it is broken", errForeign)
	}
	sizes := b[len(b)-8*body:]
	for b = b[:len(b)-8*body]; len(sizes) > 0; sizes = sizes[8:] {
		size := binary.BigEndian.Uint64(sizes)
		if size > uint64(len(b)) {
			return nil, fmt.Errorf("%w: it is broken", errForeign)
		}
		parts, b = append(parts, b[:size]), b[size:]
	}
	if len(b) > 0 || len(parts) < ownParts || (len(parts)-ownParts)%tenantParts != 0 || len(parts[3]) != 8 {
		return nil, fmt.Errorf("%w: it is broken", errForeign)
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
func keep(dir string, f *frozen) error {
	temporary := filepath.Join(dir, snapshotFile+".new")
	if err := writeSynced(temporary, f); err != nil {
		return errors.Join(err, os.Remove(temporary))
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

func writeSynced(name string, f *frozen) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(file, 64<<10)
	err = f.write(buffer)
	if err == nil {
		err = buffer.Flush()
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
