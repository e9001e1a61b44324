// Package keyfile reads and writes small secret files so that a crash leaves
// either the old file or the new one, whole, and so that nobody but their owner
// can read them.
//
// A file is written to a temporary name beside its target with mode 0600,
// synced, moved into place, and its folder is synced. Reading refuses a file
// that its group or the world can read.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Mode is the mode of every secret file.
const Mode fs.FileMode = 0o600

// dirMode is the mode of a folder that had to be made for secret files.
const dirMode fs.FileMode = 0o700

// MaxSize is the largest secret file that Read accepts, in bytes: certificates
// with their keys are under 4 KiB.
const MaxSize = 64 << 10

// TempSuffix ends the names of files that a crash may leave behind. They may
// be deleted.
const TempSuffix = ".tmp"

// ErrExposed says that others than the owner may read the file. The person who
// runs the program must decide whether the key is still secret, then chmod 600.
var ErrExposed = errors.New("key file is readable by group or others: chmod 600 it if the key is still secret")

// ErrTooLarge says that the file cannot be a key file.
var ErrTooLarge = errors.New("key file is too large")

// Read returns the content of a secret file. It fails with fs.ErrNotExist,
// ErrExposed or ErrTooLarge. Symbolic links are followed, because secret
// stores mount files as links; the mode is that of the file itself.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	if err := CheckMode(f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("read %s: %w", path, ErrTooLarge)
	}
	return data, nil
}

// CheckMode refuses an open file that is not a regular file (fs.ErrInvalid) or
// that others may read (ErrExposed). Windows has no such modes; there it
// accepts every regular file.
func CheckMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("stat key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file: %w", f.Name(), fs.ErrInvalid)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: %w", f.Name(), info.Mode().Perm(), ErrExposed)
	}
	return nil
}

// Create writes a new secret file and the folders above it. It never replaces
// a file: if path exists, even if it came into being at the same moment, the
// error is fs.ErrExist.
func Create(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return fmt.Errorf("create folder of key file: %w", err)
	}
	temp, err := writeTemp(path, writeAll(data))
	if err != nil {
		return err
	}
	defer os.Remove(temp) //nolint:errcheck // best effort: a leftover is harmless
	if err := moveNew(temp, path); err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	return SyncDir(filepath.Dir(path))
}

// moveNew gives temp the name path unless that exists. A hard link, unlike a
// rename, decides a race; only a file system without links is left to chance.
func moveNew(temp, path string) error {
	err := os.Link(temp, path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fs.ErrExist, err)
	}
	return os.Rename(temp, path)
}

// Replace writes a secret file, replacing path in one step if it exists. After
// a crash path holds either the old bytes or the new ones.
func Replace(path string, data []byte) error { return ReplaceFunc(path, writeAll(data)) }

// ReplaceFunc is Replace for content that is written in pieces. If it fails
// before the new file is in place, path is as before.
func ReplaceFunc(path string, write func(w io.Writer) error) error {
	temp, err := writeTemp(path, write)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(fmt.Errorf("replace key file: %w", err), os.Remove(temp))
	}
	return SyncDir(filepath.Dir(path))
}

func writeAll(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// writeTemp writes a synced file beside path and returns its name.
func writeTemp(path string, write func(io.Writer) error) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+TempSuffix) // mode 0600
	if err != nil {
		return "", fmt.Errorf("create temporary key file: %w", err)
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write key file: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" { // folders cannot be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open folder to sync: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// LoadOrCreate reads path, or creates it from fresh if it does not exist. If
// another process creates it first, its content counts.
func LoadOrCreate(path string, fresh func() ([]byte, error)) ([]byte, error) {
	data, err := Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = fresh(); err != nil {
		return nil, err
	}
	if err := Create(path, data); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return Read(path)
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, Mode)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}
