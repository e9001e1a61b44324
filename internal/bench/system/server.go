// Package system runs Custody for the benchmark as an operator does: the server is a process of its own, the emitters are
// SDK emitters in this one, and everything goes over TLS on loopback.
package system

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/agentcustody/custody/internal/node"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// Tenant is the tenant of the benchmark, but for what is stopped: see NewFleetToStop.
const Tenant = "bench"

const (
	readyTimeout = 2 * time.Minute
	stopTimeout  = 2 * time.Minute
)

// Server is a running `custody serve`.
type Server struct {
	Dir   string
	Began time.Time // when the process was started

	program []string
	process *exec.Cmd
	log     *os.File
	conn    *grpc.ClientConn
}

// Start runs a server on the data folder dir, and returns when it is ready. program is the command before "serve": the custody
// binary, or a program that takes the same arguments.
func Start(ctx context.Context, dir string, program ...string) (*Server, error) {
	s := &Server{Dir: dir, program: program}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start server: %w", errors.Join(err, s.kill()))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	if err = os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if s.log, err = os.OpenFile(s.Dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	arguments := append(s.program[1:len(s.program):len(s.program)], "serve", "--listen", "127.0.0.1:0", "--data", s.Dir)
	s.process = exec.Command(s.program[0], arguments...) //nolint:gosec // the operator's own program
	s.process.Stderr = s.log
	out, err := s.process.StdoutPipe()
	if err != nil {
		return err
	}
	s.Began = time.Now()
	if err := s.process.Start(); err != nil {
		return err
	}
	if err := s.awaitReady(out); err != nil {
		return err
	}
	s.conn, err = node.Dial(ctx, node.DialConfig{DataDir: s.Dir})
	return err
}

// awaitReady returns when the server has said that it is ready.
func (s *Server) awaitReady(out io.Reader) error {
	said := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err == nil && !strings.Contains(line, "ready") {
			err = errors.New(strings.TrimSpace(line))
		}
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil {
			return fmt.Errorf("it does not get ready (%w), and says: %s", err, lastLine(s.log.Name()))
		}
		return nil
	case <-time.After(readyTimeout):
		return fmt.Errorf("not ready after %s", readyTimeout)
	}
}

// lastLine is the end of a file.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// Stop ends the server in order.
func (s *Server) Stop() error {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop server: %w", err)
	}
	patience := time.AfterFunc(stopTimeout, func() { _ = s.process.Process.Kill() })
	defer patience.Stop()
	return errors.Join(s.process.Wait(), s.log.Close())
}

// kill ends what a failed start has left.
func (s *Server) kill() error {
	if s.process != nil && s.process.Process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
	if s.log != nil {
		return s.log.Close()
	}
	return nil
}

// Remove deletes the data folder and the log beside it.
func (s *Server) Remove() error { return errors.Join(os.RemoveAll(s.Dir), os.RemoveAll(s.Dir+".log")) }

// Status asks the server where it stands. The error is also why the ledger does not work.
func (s *Server) Status(ctx context.Context) (*apiv1.StatusResponse, error) {
	status, err := apiv1.NewLedgerServiceClient(s.conn).Status(ctx, &apiv1.StatusRequest{})
	if err == nil && status.GetLedgerError() != "" {
		err = errors.New("ledger: " + status.GetLedgerError())
	}
	return status, err
}

// AwaitCommitted returns when everything in the stream is committed.
func (s *Server) AwaitCommitted(ctx context.Context) error {
	for {
		status, err := s.Status(ctx)
		switch {
		case err != nil:
			return err
		case status.GetBacklog() == 0 && status.GetCommitted() >= status.GetStreamLast():
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// The server is at rest when it takes no more than restShare of restTime.
const (
	restTime  = time.Second
	restShare = 20               // of a hundred
	mostRest  = 30 * time.Second // is how long AwaitRest waits at the most
)

// AwaitRest returns when the server has done what is left of earlier work, such as merging the parts of its tables.
func (s *Server) AwaitRest(ctx context.Context) error {
	for began := time.Now(); time.Since(began) < mostRest; {
		before := s.Usage().CPU
		if err := pause(ctx, restTime); err != nil {
			return err
		}
		if s.Usage().CPU-before <= restTime*restShare/100 {
			break
		}
	}
	return nil
}

// Usage is what the server's process has used.
func (s *Server) Usage() Usage { return UsageOf(s.process.Process.Pid) }

// Command is a custody command on the server's folder.
func (s *Server) Command(ctx context.Context, arguments ...string) *exec.Cmd {
	arguments = append(append(s.program[1:len(s.program):len(s.program)], arguments...), "--data", s.Dir)
	return exec.CommandContext(ctx, s.program[0], arguments...) //nolint:gosec // the operator's own program
}

// Path is a file of the data folder.
func (s *Server) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
