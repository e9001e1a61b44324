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
	// mergeNice is how much nicer they are than the process: an insert or a query that somebody waits for comes before a merge that
	// nobody waits for. A tenth of a processor is left to merges however busy the process is.
	mergeNice = 10
	// engineNice is that of the engine's other threads: a row can come later than the receipt that promises it. A quarter of a
	// processor is left to them however busy the process is, and all of it when nobody else wants it.
	engineNice = 5
	// mostNice is the most that there is.
	mostNice = 19
	// threadsCheck is how often is looked for new threads: the engine makes them as it needs them.
	threadsCheck = time.Second
)

// yieldThreads sets the priority of the engine's threads until the engine closes. The engine's own setting
// (os_threads_nice_value_merge_mutate) has no effect in the library. Lowering a priority needs no right; where it fails all the
// same, the engine only competes as before.
func (e *Engine) yieldThreads() {
	own, base, set := threadName("/proc/self/comm"), processNice(), map[string]int{}
	for {
		lowerThreads(own, base, set)
		select {
		case <-time.After(threadsCheck):
		case <-e.closing:
			return
		}
	}
}

// processNice is the nice value that the process was given: whoever gave it one wants all of it to be that nice at least, against
// other processes.
func processNice() int {
	const from = 20 // the system call returns 20 less the value: it returns nothing negative
	priority, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return from - priority
}

// lowerThreads lowers the threads that do not have the process's own name, as those of Go have. base is the process's nice value, and
// set is what was set before.
func lowerThreads(own string, base int, set map[string]int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/comm") // the pattern is well formed
	for _, comm := range tasks {
		name, more := threadName(comm), engineNice
		if name == mergeThread {
			more = mergeNice
		}
		nice := min(base+more, mostNice)
		if before, known := set[comm]; name == own || name == "" || known && before >= nice {
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
