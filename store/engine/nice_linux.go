package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// mergeThreadName is what the engine calls the threads that merge.
const mergeThreadName = "MergeMutate"

// mergeNice is their nice value: an insert or a query that somebody waits for comes before a merge that nobody waits for. A
// tenth of a processor is left to merges however busy it is.
const mergeNice = 10

// mergeThreadsCheck is how often is looked whether the merging threads are there: the engine makes them with the first table.
const mergeThreadsCheck = time.Second

// yieldMerges sets the priority of the merging threads once they are there. The engine's own setting
// (os_threads_nice_value_merge_mutate) has no effect in the library. Lowering a priority needs no right; where it fails all the
// same, merges only compete as before.
func (e *Engine) yieldMerges() {
	for !lowerMergeThreads() {
		select {
		case <-time.After(mergeThreadsCheck):
		case <-e.closing:
			return
		}
	}
}

// lowerMergeThreads reports whether there are any.
func lowerMergeThreads() (found bool) {
	tasks, err := filepath.Glob("/proc/self/task/*/comm")
	if err != nil {
		return false
	}
	for _, comm := range tasks {
		name, err := os.ReadFile(comm)
		if err != nil || string(bytes.TrimSpace(name)) != mergeThreadName {
			continue
		}
		if id, err := strconv.Atoi(filepath.Base(filepath.Dir(comm))); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, mergeNice)
			found = true
		}
	}
	return found
}
