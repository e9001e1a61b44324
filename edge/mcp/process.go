package mcp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Process is a server that runs as a child, and speaks on its standard input and output.
type Process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *os.File
	exited chan struct{} // closed when it has
	status error         // how; valid when exited is closed
	wait   time.Duration // endPatience, but in tests
}

// Start starts a server. What it writes to its standard error goes to stderr. It does not get the environment variables that
// belong to Custody.
func Start(command []string, stderr io.Writer) (*Process, error) {
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // running what its user names is what it is for
	cmd.Env, cmd.Stderr = withoutOurs(os.Environ()), stderr
	alone(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = theirs
	err = cmd.Start()
	if err = errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), out.Close())
	}
	p := &Process{cmd: cmd, in: in, out: out, exited: make(chan struct{}), wait: endPatience}
	go func() {
		p.status = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// withoutOurs leaves out where keys and data of Custody lie.
func withoutOurs(environment []string) (kept []string) {
	for _, v := range environment {
		if !strings.HasPrefix(v, "CUSTODY_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// Read reads what the server writes.
func (p *Process) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write writes what the server reads.
func (p *Process) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the server as the protocol says: its input ends, then it is asked to end, then it is killed with all that it has
// started.
func (p *Process) Close() error {
	_ = p.in.Close() // it may have ended
	for _, signal := range []func(*exec.Cmd) error{nothing, terminate, kill} {
		if err := signal(p.cmd); err != nil {
			break
		}
		select {
		case <-p.exited:
			return p.out.Close()
		case <-time.After(p.wait):
		}
	}
	return errors.Join(errors.New("the server does not end"), p.out.Close())
}

func nothing(*exec.Cmd) error { return nil }

// Status is how the server ended: nil if it runs, or has ended well.
func (p *Process) Status() error {
	select {
	case <-p.exited:
		return p.status
	case <-time.After(p.wait): // its output has ended: it is about to
		return nil
	}
}
