//go:build !unix

package mcp

import "os/exec"

// alone leaves the command as it is: there are no process groups here.
func alone(*exec.Cmd) {}

func terminate(cmd *exec.Cmd) error { return cmd.Process.Kill() }

func kill(cmd *exec.Cmd) error { return cmd.Process.Kill() }
