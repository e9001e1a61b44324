package node

import (
	"os"
	"runtime/debug"
)

const (
	// goMemory is what the Go part of a server should need: blocks being folded, decoded messages and the stream's caches, some 600 MiB
	// under full load. The garbage collector works harder when it is reached: with a fifth less it took a quarter of the time. The
	// engine's memory is its own (engine.DefaultMaxMemory); both together stay under 1.5 GiB.
	goMemory = 960 << 20
	// goGarbage is how much garbage may stand beside what is used, in percent: under goMemory there is room for it.
	goGarbage = 400
)

// LimitMemory sets the garbage collector up for a process that is a server and nothing else. GOMEMLIMIT and GOGC of the environment
// come first.
func LimitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(goMemory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(goGarbage)
	}
}
