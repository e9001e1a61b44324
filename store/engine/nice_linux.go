package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mergeThread is what the engine calls the threads that merge.
	mergeThread = "MergeMutate"
	// mergeNice is their nice value: an insert or a query that somebody waits for comes before a merge that nobody waits
	// for. A tenth of a processor is left to merges however busy it is.
	mergeNice = 10
	// engineNice is that of the engine's other threads: a row can come later than the receipt that promises it. A quarter of a
	// processor is left to them however busy it is, and all of it when nobody else wants it.
	engineNice = 5
	// threadsCheck is how often is looked for new threads: the engine makes them as it needs them.
	threadsCheck = time.Second
)

// yieldThreads sets the priority of the engine's threads until the engine closes. The engine's own setting
// (os_threads_nice_value_merge_mutate) has no effect in the library. Lowering a priority needs no right; where it fails all the
// same, the engine only competes as before.
func (e *Engine) yieldThreads() {
	own, set := threadName("/proc/self/comm"), map[string]int{}
	for {
		lowerThreads(own, set)
		select {
		case <-time.After(threadsCheck):
		case <-e.closing:
			return
		}
	}
}

// lowerThreads lowers the threads that do not have the process's own name, as those of Go have. set is what was set before.
func lowerThreads(own string, set map[string]int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/comm") // the pattern is well formed
	for _, comm := range tasks {
		name, nice := threadName(comm), engineNice
		if name == mergeThread {
			nice = mergeNice
		}
		if name == own || name == "" || set[comm] >= nice {
			continue
		}
		if id, err := strconv.Atoi(filepath.Base(filepath.Dir(comm))); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, nice)
			set[comm] = nice
		}
	}
}

// threadName is empty for a thread that has ended.
func threadName(comm string) string {
	name, err := os.ReadFile(comm)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(name))
}
