//go:build unix

package connector

import (
	"io/fs"
	"os/exec"
	"syscall"
)

// alone puts a command in a process group of its own, so that killing it kills what it has started.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// private reports whether nobody but its owner can read a file.
func private(m fs.FileMode) bool { return m.Perm()&0o077 == 0 }
