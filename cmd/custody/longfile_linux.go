package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriting has the kernel begin to write a part of the file. It is a hint: a sync has to follow.
func startWriting(f *os.File, from, size int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, size, unix.SYNC_FILE_RANGE_WRITE)
}

// letGo waits until a part of the file is written and drops it from the page cache.
func letGo(f *os.File, from, size int64) {
	fd := int(f.Fd())
	_ = unix.SyncFileRange(fd, from, size, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	_ = unix.Fadvise(fd, from, size, unix.FADV_DONTNEED)
}
