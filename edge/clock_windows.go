package edge

import (
	"time"

	"golang.org/x/sys/windows"
)

// bootClock is the time since the machine started, the time it slept included (GetTickCount64), to some 16 ms: a lease must
// not outlive a lid that was closed.
func bootClock() time.Duration { return windows.DurationSinceBoot() }
