//go:build unix

package connector

import (
	"os/exec"
	"syscall"
)

// alone puts a command in a process group of its own, so that killing it kills what it has started.
func alone(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
