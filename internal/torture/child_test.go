package torture

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// child is a process that the test has started and can kill.
type child struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *json.Decoder
	ended chan struct{} // closed when the process is gone
	err   error         // of the process, once ended
	once  sync.Once

	killed atomic.Bool // by the test
}

// spawn starts the test binary in a role, behind the words of a wrapper such as strace if there are any. It is
// killed with the test. What it says on standard error is added to the file log.
func spawn(t testing.TB, log, role string, config any, wrapper ...string) *child {
	t.Helper()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := append(wrapper, self) //nolint:gocritic // a list of its own
	c := &child{t: t, name: role, cmd: exec.Command(words[0], words[1:]...), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+role, configEnv+"="+string(text))
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.start(log)
	t.Cleanup(c.kill)
	return c
}

func (c *child) start(log string) {
	c.t.Helper()
	errors, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer errors.Close()
	c.cmd.Stderr = errors
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		c.t.Fatalf("start %s: %v", c.name, err)
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	go func() {
		state, err := c.cmd.Process.Wait()
		if c.err = err; err == nil && !state.Success() {
			c.err = fmt.Errorf("%s: %s", c.name, state)
		}
		close(c.ended)
	}()
}

// kill ends the process and everything it has started, at once, and returns when it is gone.
func (c *child) kill() {
	c.once.Do(func() {
		c.killed.Store(true)
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // it may be gone
		<-c.ended
		_ = c.in.Close()
	})
}

// signal sends a signal to the process and its wrapper.
func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(-c.cmd.Process.Pid, s); err != nil {
		c.t.Fatal(err)
	}
}

// alive reports whether the process runs.
func (c *child) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// hear waits for one answer of the process. The error says so if it ended or was too slow.
func (c *child) hear(answer any) error {
	done := make(chan error, 1)
	go func() { done <- c.out.Decode(answer) }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%s: no answer: %w", c.name, err)
		}
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: no answer within %s", c.name, patience)
	}
}

// ask sends a command and waits for the answer.
func (c *child) ask(command string, answer any) {
	c.t.Helper()
	err := c.tell(command)
	if err == nil {
		err = c.hear(answer)
	}
	if err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
}

func (c *child) tell(command string) error {
	_, err := io.WriteString(c.in, command+"\n")
	return err
}

// finish tells the process to end in order. It is false if the process takes too long.
func (c *child) finish(command string) bool {
	c.t.Helper()
	if err := c.tell(command); err != nil {
		c.t.Fatalf("%s: %v", command, err)
	}
	select {
	case <-c.ended:
	case <-time.After(patience):
		return false
	}
	if c.err != nil {
		c.t.Fatalf("%s ended with %v", c.name, c.err)
	}
	return true
}

// commands calls do for each line of the parent, until there are no more: then the parent is gone.
func commands(do func(command string) error) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return err
		}
	}
	return errors.Join(errors.New("the parent is gone"), lines.Err())
}

// say sends one answer to the parent.
func say(answer any) error { return json.NewEncoder(os.Stdout).Encode(answer) }

// showLogs puts the end of every log in a folder into the test's output, if the test has failed.
func showLogs(t testing.TB, dir string) {
	if !t.Failed() {
		return
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		const most = 8 << 10
		t.Logf("%s:\n%s", filepath.Base(file), strings.ToValidUTF8(string(text[max(0, len(text)-most):]), "?"))
	}
}
