package engine

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mergingParts are the folders of parts that merges have not finished, below the engine's folder.
	mergingParts = "store/*/*/tmp_merge_*"
	// writebackStep is how often what they have made is written: a merge makes some 2 MB meanwhile, which the disk takes in a few milliseconds.
	writebackStep = 25 * time.Millisecond
	// mergingCheck is after how many steps is looked for merges.
	mergingCheck = 10
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
	var parts []string
	for step := 0; !e.noSync; step++ {
		if step%mergingCheck == 0 {
			parts, _ = filepath.Glob(filepath.Join(path, mergingParts)) // the pattern is well formed
		}
		for _, part := range parts {
			forMerging(part, startWriting)
		}
		select {
		case <-time.After(writebackStep):
		case <-e.closing:
			return
		}
	}
}

// forMerging calls do with each file of some size in the folder of a part, open for reading. What ends meanwhile is left out.
func forMerging(part string, do func(*os.File)) {
	entries, _ := os.ReadDir(part)
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || !info.Mode().IsRegular() || info.Size() < writebackLeast {
			continue
		}
		if f, err := os.Open(filepath.Join(part, entry.Name())); err == nil {
			do(f)
			_ = f.Close() // was only read
		}
	}
}
