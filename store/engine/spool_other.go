//go:build !linux

package engine

import (
	"errors"
	"os"
)

func newSpool() (*spool, error) {
	f, err := os.CreateTemp("", "insert-*.native")
	if err != nil {
		return nil, err
	}
	return &spool{file: f, path: f.Name()}, nil
}

func (s *spool) close() error { return errors.Join(s.file.Close(), os.Remove(s.path)) }
