package engine

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriting has the kernel begin to write the file. Where it cannot, the sync writes.
func startWriting(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
