package engine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newSpool makes an anonymous file in memory; it is gone with its descriptor.
func newSpool() (*spool, error) {
	fd, err := unix.MemfdCreate("insert", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &spool{file: os.NewFile(uintptr(fd), "insert"), path: fmt.Sprintf("/proc/self/fd/%d", fd)}, nil
}

func (s *spool) close() error { return s.file.Close() }
