package edge

import "golang.org/x/sys/unix"

// clockWithSleep runs while the machine sleeps (macOS, clock_gettime(3)), and nobody can set it.
const clockWithSleep = unix.CLOCK_MONOTONIC_RAW
