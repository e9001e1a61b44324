package object

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Fresh is Stat for an object that a batch is to name: it must be under the current key of its subject, whose generation is
// returned. One under an earlier key would go with an erasure of what came before the batch; the error is then ErrMissing,
// and it must be put again. Other errors: as Stat.
func (s *Store) Fresh(r *Ref) (Notes, uint32, error) {
	current, err := s.key(r)
	if err != nil {
		return Notes{}, 0, fmt.Errorf("look up object: %w", err)
	}
	o, err := s.reader(r)
	if err != nil {
		return Notes{}, 0, fmt.Errorf("look up object: %w", err)
	}
	generation := o.key.Generation()
	if err := o.file.Close(); err != nil {
		return Notes{}, 0, fmt.Errorf("look up object: %w", err)
	}
	if generation != current.Generation() {
		return Notes{}, 0, fmt.Errorf("look up object: under generation %d: %w", generation, ErrMissing)
	}
	return o.notes, generation, nil
}

// Discard removes objects that no batch has named and that none is to name. One that a batch has named stays.
func (s *Store) Discard(refs []Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range refs {
		path, err := s.path(&refs[i])
		if err == nil {
			err = os.Remove(path + newSuffix)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = syncDir(filepath.Dir(path))
		}
		if err != nil {
			return fmt.Errorf("discard object: %w", err)
		}
	}
	return nil
}
