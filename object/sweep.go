package object

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Patience is how long an object may wait for the batch that names it. Its sender keeps the value until then and puts it
// again if it has to, so that nothing is lost however long a batch takes.
const Patience = 24 * time.Hour

// Sweep removes objects that no batch has named and that were put before a time, and what a crash has left half written. It
// returns how many. Objects of batches are not touched.
func (s *Store) Sweep(ctx context.Context, before time.Time) (removed int, err error) {
	err = filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, newSuffix) && !strings.HasSuffix(path, tempSuffix) {
			return err
		}
		gone, err := s.removeOlder(path, before)
		if gone {
			removed++
		}
		return err
	})
	if err != nil {
		return removed, fmt.Errorf("sweep objects: %w", err)
	}
	return removed, nil
}

// removeOlder looks at a file again under the lock: Claim may have been quicker.
func (s *Store) removeOlder(path string, before time.Time) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.ModTime().Before(before) {
		return false, err
	}
	return true, os.Remove(path)
}
