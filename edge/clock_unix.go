//go:build linux || darwin

package edge

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootClock is the time since the machine started, the time it slept included: a lease must not outlive a lid that was closed.
func bootClock() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(clockWithSleep, &t) != nil {
		return wallClock()
	}
	return time.Duration(t.Nano())
}
