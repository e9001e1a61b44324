package engine

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mergingParts are the folders of parts that merges have not finished, below the engine's folder.
	mergingParts = "store/*/*/tmp_merge_*/*"
	// writebackCheck is how often what they have made is written: a merge makes some 20 MB meanwhile.
	writebackCheck = 250 * time.Millisecond
	// writebackLeast is the size of a file that is worth it, bytes.
	writebackLeast = 1 << 20
)

// startWriting has the kernel begin to write the file. Where it cannot, the sync writes.
func startWriting(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// writeMerges has the kernel write what merges make a little at a time until the engine closes. A merge syncs its part when it is done,
// hundreds of megabytes at once, and the stream's syncs, for which receipts and orders wait, stand in line behind it.
func (e *Engine) writeMerges(path string) {
	for !e.noSync {
		forMerging(path, startWriting)
		select {
		case <-time.After(writebackCheck):
		case <-e.closing:
			return
		}
	}
}

// forMerging calls do with each file of some size that a merge is writing below path, open for reading. One that ends meanwhile is left out.
func forMerging(path string, do func(*os.File)) {
	names, _ := filepath.Glob(filepath.Join(path, mergingParts)) // the pattern is well formed
	for _, name := range names {
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Size() < writebackLeast {
			continue
		}
		if f, err := os.Open(name); err == nil {
			do(f)
			_ = f.Close() // was only read
		}
	}
}
