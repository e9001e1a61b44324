package edge

import "golang.org/x/sys/unix"

// clockWithSleep runs while the machine sleeps (clock_gettime(2)); Linux's CLOCK_MONOTONIC does not.
const clockWithSleep = unix.CLOCK_BOOTTIME
