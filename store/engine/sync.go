package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// syncsAtOnce is how many files are synced at the same time. A sync waits for the disk and takes whatever else waits with it; but the stream's
// syncs, for which receipts and orders wait, stand in line behind them.
const syncsAtOnce = 2

// Sync makes parts durable that tables with fsync_after_insert = 0 have: folders are theirs, as system.parts has them, each in the
// folder of its table. The engine syncs ten files a part and two folders, one stage after the other, for each insert by itself; here
// the parts of many inserts share what the disk has to wait for. A part whose folder is gone was merged, and merges sync what they
// write. An error says nothing of the other parts.
func (e *Engine) Sync(folders []string) error {
	if e.noSync {
		return nil
	}
	files, err := openParts(folders)
	if err == nil {
		err = syncAll(files)
	}
	for _, f := range files {
		_ = f.Close() // was only read
	}
	if err != nil {
		return fmt.Errorf("sync parts: %w", err)
	}
	return nil
}

// openParts opens the files of the parts, their folders and the folders of their tables, and has the kernel begin to write: what is
// allocated on the disk before the first sync ends is in that sync.
func openParts(folders []string) (files []*os.File, err error) {
	tables := map[string]bool{}
	for _, folder := range folders {
		tables[filepath.Dir(filepath.Clean(folder))] = true
		part, err := openPart(folder)
		files = append(files, part...)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files, err
		}
	}
	for table := range tables { // it must be there, or the paths are not what they are taken for
		f, err := os.Open(table)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// openPart opens what is in the folder, and the folder itself.
func openPart(folder string) (files []*os.File, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	names := []string{folder}
	for _, e := range entries {
		names = append(names, filepath.Join(folder, e.Name()))
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return files, err
		}
		startWriting(f)
		files = append(files, f)
	}
	return files, nil
}

func syncAll(files []*os.File) error {
	var group errgroup.Group
	group.SetLimit(syncsAtOnce)
	for _, f := range files {
		group.Go(f.Sync)
	}
	return group.Wait()
}
