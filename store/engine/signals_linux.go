package engine

import (
	"syscall"
	"unsafe"
)

// Loading libchdb and connecting to it change the process's signal handlers:
// the loader installs crash handlers, chdb_set_signal_handlers_enabled(0) and
// every chdb_connect set SIGSEGV, SIGBUS, SIGFPE and others to their default.
// The Go runtime needs its own: without them a nil dereference kills the
// process instead of panicking. So each such call is bracketed: what was there
// before is put back, and a handler the library newly brings gets SA_ONSTACK,
// as os/signal demands of handlers that may run on a goroutine's small stack.
//
// The bracket is not atomic towards other threads; open the engine early.

const (
	lastSignal = 64         // _NSIG
	maskSize   = 8          // bytes of the kernel's sigset_t
	onStack    = 0x08000000 // SA_ONSTACK
	defaultAct = 0          // SIG_DFL
	ignoreAct  = 1          // SIG_IGN
)

// kernelAction is the kernel's struct sigaction on amd64 and arm64.
type kernelAction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

type signalKeeper struct{ before [lastSignal + 1]kernelAction }

func keepSignals() *signalKeeper {
	k := new(signalKeeper)
	for s := 1; s <= lastSignal; s++ {
		sigaction(s, nil, &k.before[s])
	}
	return k
}

func (k *signalKeeper) restore() {
	for s := 1; s <= lastSignal; s++ {
		var now kernelAction
		sigaction(s, nil, &now)
		if now.handler == k.before[s].handler {
			continue
		}
		want := k.before[s]
		if want.handler == defaultAct && now.handler > ignoreAct {
			want = now
			want.flags |= onStack
		}
		sigaction(s, &want, nil)
	}
}

// sigaction ignores errors: SIGKILL and SIGSTOP have no action to read or set.
func sigaction(signal int, set, get *kernelAction) {
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(signal),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(get)), maskSize, 0, 0)
}
