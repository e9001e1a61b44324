package node

import (
	"os"
	"runtime"
)

// cores is how many processors there are for this process, before ShareProcessors: so many goroutines compute at a time.
var cores = runtime.GOMAXPROCS(0)

// processorsShare is how many goroutines may run for each processor. The door does little, often, and somebody waits for it; ledger and
// rules compute without end while they are behind. With one for each, whatever becomes ready for the door (a packet, a sync that
// has ended, each step of a publish) waits until one of the others has used up its ten milliseconds. With two there is one free,
// and the operating system gives a thread that has slept the processor before one that has not.
const processorsShare = 2

// ShareProcessors lets more goroutines run at a time than there are processors, for a process that is a server. GOMAXPROCS of
// the environment comes first.
func ShareProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(processorsShare * cores)
	}
}
