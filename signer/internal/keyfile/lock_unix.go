//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package keyfile

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock takes the lock file that keeps a second process out of a folder. The
// kernel drops the lock when the file is closed or the process ends. The error
// is taken if another process has it.
func Lock(path string, taken error) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = taken
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	return f, nil
}
