package spool

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapTail makes the tail's file with all its disk space and maps it. File systems that cannot allocate have no tail.
func mapTail(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make tail: %w", err)
	}
	defer file.Close()
	fd := int(file.Fd())
	if err := unix.Fallocate(fd, 0, 0, tailBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("make tail: %w", err), os.Remove(path))
	}
	memory, err := unix.Mmap(fd, 0, tailBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map tail: %w", err), os.Remove(path))
	}
	return memory, nil
}

func unmapTail(memory []byte) error { return unix.Munmap(memory) }
