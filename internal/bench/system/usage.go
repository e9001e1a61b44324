package system

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used, as Linux tells; zero elsewhere.
type Usage struct {
	CPU  time.Duration // user and system
	Peak int64         // resident memory at its largest, bytes
	Now  int64         // resident memory, bytes
}

// clockTick is the unit of processor times in /proc, which is 100 Hz on every Linux.
const clockTick = time.Second / 100

// Own is what this process has used.
func Own() Usage { return UsageOf(os.Getpid()) }

// UsageOf is what a process of this machine has used so far; zero when there is none of that number.
func UsageOf(pid int) (u Usage) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u
	}
	u.Peak, u.Now = kibibytes(string(status), "VmHWM:"), kibibytes(string(status), "VmRSS:")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name may hold spaces
	if fields := strings.Fields(after); len(fields) > 12 {
		for _, field := range fields[11:13] { // utime, stime: proc(5)
			ticks, _ := strconv.ParseInt(field, 10, 64)
			u.CPU += time.Duration(ticks) * clockTick
		}
	}
	return u
}

// kibibytes is the value of a line "name  123 kB" in bytes.
func kibibytes(text, name string) int64 {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
