package object

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/signer/vault"
)

// Put makes a value durable whose commitment was checked: file, then name. The object belongs to no batch until Claim. If
// it is there already with the same salt, fingerprint key and current data key, nothing changes. Errors: ErrNoRoom, those of the keys and of the disk.
func (s *Store) Put(r *Ref, notes *Notes, value []byte) error {
	if err := s.put(r, notes, value); err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	return nil
}

func (s *Store) put(r *Ref, notes *Notes, value []byte) error {
	if old, _, err := s.Fresh(r); err == nil && old.Salt == notes.Salt && old.KeyID == notes.KeyID {
		return nil
	}
	if err := s.Room(r.Size); err != nil {
		return err
	}
	path, err := s.path(r)
	if err != nil {
		return err
	}
	if err := s.makeFolders(filepath.Dir(path)); err != nil {
		return err
	}
	key, err := s.key(r)
	if err != nil {
		return err
	}
	return writeNew(path, func(w *bufio.Writer) error { return seal(w, r, key, notes, value) })
}

// Room is ErrNoRoom if a value of so many bytes would eat into the reserve.
func (s *Store) Room(size uint64) error {
	if s.reserve <= 0 {
		return nil
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(s.dir, &stat); err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	if free := int64(stat.Bavail) * int64(stat.Bsize); free-int64(size) < s.reserve {
		return fmt.Errorf("%w: %d bytes free on the volume of %s, reserve is %d", ErrNoRoom, free, s.dir, s.reserve)
	}
	return nil
}

// makeFolders makes DIR/TENANT/1f with durable names.
func (s *Store) makeFolders(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(dir)), syncDir(s.dir))
}

// writeNew writes path + newSuffix in one step and for good. If the disk is full, the error is also ErrNoRoom.
func writeNew(path string, write func(*bufio.Writer) error) error {
	dir, name := filepath.Split(path)
	file, err := os.CreateTemp(dir, "."+name[:8]+".*"+tempSuffix) // mode 0600
	if err != nil {
		return full(err)
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone if all went well
	w := bufio.NewWriterSize(file, pieceSize+vault.Overhead)
	err = write(w)
	if err = errors.Join(err, w.Flush(), file.Sync(), file.Close()); err != nil {
		return full(err)
	}
	if err := os.Rename(file.Name(), path+newSuffix); err != nil {
		return full(err)
	}
	return syncDir(dir)
}

// tempSuffix marks what is being written.
const tempSuffix = ".tmp"

// full adds ErrNoRoom to the errors of a disk that has none.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// seal writes the file.
func seal(w *bufio.Writer, r *Ref, key *vault.Key, notes *Notes, value []byte) error {
	sealed, err := vault.Seal(key, r.appendData(nil, 0), notes.append(nil))
	if err != nil {
		return err
	}
	h := head{key.Generation(), r.Size, sealed}
	if _, err := w.Write(h.append(nil)); err != nil {
		return err
	}
	var data, out []byte
	number := uint32(0)
	for piece := range slices.Chunk(value, pieceSize) {
		number++
		data = r.appendData(data[:0], number)
		if out, err = vault.AppendSealed(out[:0], key, data, piece); err != nil {
			return err
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// Matches reports whether the value is the one that the digest commits to, with this salt.
func (r *Ref) Matches(salt *[event.SaltSize]byte, value []byte) bool {
	return uint64(len(value)) == r.Size && event.SealedDigest(r.Event, r.Path, r.MediaType, salt, value) == r.Digest
}
