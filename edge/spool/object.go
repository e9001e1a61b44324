package spool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// objectMark begins the path of an opening whose value is a file of its own. No path of an event begins with it: it is not
// UTF-8.
const objectMark = "\xff"

const objectSuffix = ".object"

// SetAside makes the opening stand for a file of the queue, written by PutObject: the frame of its event holds no value.
func (o *Opening) SetAside() { o.Path, o.Value = objectMark+o.Path, nil }

// Object returns the path of the field if the opening stands for a file.
func (o *Opening) Object() (path string, ok bool) {
	if len(o.Path) > 0 && o.Path[0] == objectMark[0] {
		return o.Path[1:], true
	}
	return o.Path, false
}

// objectPath is the opening's file. A salt is random and is used once.
func (q *Queue) objectPath(o *Opening) string {
	return filepath.Join(q.dir, hex.EncodeToString(o.Salt[:])+objectSuffix)
}

// PutObject writes a long value before the event that it belongs to goes in line. When it has returned, the kernel has it. Its
// bytes are reserved by the caller and given back by DropObject.
func (q *Queue) PutObject(o *Opening, value []byte) error {
	file, err := os.OpenFile(q.objectPath(o), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write object to spool: %w", err)
	}
	_, err = file.Write(value)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write object to spool: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// ObjectSize is the length of the opening's file; 0 if it is gone.
func (q *Queue) ObjectSize(o *Opening) int64 {
	info, err := os.Stat(q.objectPath(o))
	if err != nil {
		return 0
	}
	return info.Size()
}

// ReadObject fills buf from an offset of the opening's file.
func (q *Queue) ReadObject(o *Opening, buf []byte, offset int64) error {
	file, err := os.Open(q.objectPath(o))
	if err != nil {
		return fmt.Errorf("read object from spool: %w", err)
	}
	defer file.Close()
	if _, err := file.ReadAt(buf, offset); err != nil && !(errors.Is(err, io.EOF) && len(buf) == 0) {
		return fmt.Errorf("read object from spool: %w", err)
	}
	return nil
}

// DropObject deletes the opening's file, or moves it to another place if one is given. Doing it twice is doing it once.
func (q *Queue) DropObject(o *Opening, to string) error {
	path, size := q.objectPath(o), q.ObjectSize(o)
	err := error(nil)
	if to == "" {
		err = os.Remove(path)
	} else {
		err = os.Rename(path, to)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("take object from spool: %w", err)
	}
	q.spool.release(size)
	return nil
}

// objectBytes is what the queue's objects take.
func (q *Queue) objectBytes() (n int64) {
	entries, _ := os.ReadDir(q.dir) // who cannot read the folder has found out by now
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && filepath.Ext(entry.Name()) == objectSuffix {
			n += info.Size()
		}
	}
	return n
}

// Release gives back room that was reserved and not used.
func (s *Spool) Release(room Room) { s.release(int64(room)) }

// MaxObject is the longest value that the spool should take: beside it there is room for events to be delivered.
func (s *Spool) MaxObject() int64 { return s.options.MaxBytes / 2 }
