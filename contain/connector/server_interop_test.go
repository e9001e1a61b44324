//go:build interop

package connector

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// nobody is the user as whom servers run that refuse to run as root (Debian: nobody, nogroup).
const nobody = 65534

// needs finds a program, also where Debian hides it, or skips the test.
func needs(t *testing.T, program, hidden, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if found, _ := filepath.Glob(hidden); len(found) > 0 {
			return found[len(found)-1]
		}
		t.Skipf("%s is not installed: apt-get install %s", program, debian)
	}
	return path
}

// serverFolder is a folder in which a server can work as nobody. It has a short name: unix sockets have no more than 107 bytes.
func serverFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "custody-") //nolint:usetesting // t.TempDir lies in folders that only its owner can enter
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err == nil && os.Getuid() == 0 {
		err = os.Chown(dir, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// asNobody is a command that does not run as root.
func asNobody(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "LC_ALL=C.UTF-8")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// start runs a server until the end of the test, and waits until it answers.
func start(t *testing.T, cmd *exec.Cmd, address string) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // PostgreSQL: fast shutdown
		_ = cmd.Wait()
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(errors.Join(err, errors.New(out.String())))
		}
	}
}

// freePort is one on loopback that nobody has just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
