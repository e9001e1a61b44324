package connector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/agentcustody/custody/contain"
)

const (
	// maxOutput is how much of a command's output is looked at, in bytes.
	maxOutput = 4096
	// killPatience is how long a killed command may hold its output open.
	killPatience = time.Second
	// exitNothingDone is a command's word that nothing has happened (EX_TEMPFAIL of sysexits.h).
	exitNothingDone = 75
)

// command is the connector that runs a program.
type command struct {
	argv   []string
	dryRun bool // it knows "dry-run"
}

// errandJSON is the errand as programs and webhooks get it.
type errandJSON struct {
	Containment string `json:"containment"`
	Target      string `json:"target"`
	Tenant      string `json:"tenant"`
	Level       string `json:"level"`
	Reason      string `json:"reason"`
	Delegate    string `json:"delegate,omitempty"`
}

func asJSON(e contain.Errand) errandJSON {
	return errandJSON{string(e.ID), e.Target.String(), string(e.Target.Tenant), string(e.Level), e.Reason, e.Delegate}
}

// Revoke runs the command with "revoke".
func (c *command) Revoke(ctx context.Context, e contain.Errand) (string, error) {
	code, line, err := c.run(ctx, e, "revoke")
	switch {
	case err != nil:
		return "", err
	case code == exitNothingDone:
		return "", fmt.Errorf("%w: %s", contain.ErrNotSent, line)
	case code != 0:
		return "", fmt.Errorf("exit code %d: %s", code, line)
	}
	return line, nil
}

// Probe runs the command with "probe".
func (c *command) Probe(ctx context.Context, e contain.Errand) (contain.Liveness, string, error) {
	code, line, err := c.run(ctx, e, "probe")
	switch {
	case err != nil:
		return contain.Unclear, "", err
	case code == 0:
		return contain.Dead, line, nil
	case code == 1:
		return contain.Alive, line, nil
	}
	return contain.Unclear, line, nil
}

// DryRun runs the command with "dry-run" if the file says that it knows this, and otherwise only looks for it: who takes any other word
// than probe for revoke must not be asked.
func (c *command) DryRun(ctx context.Context, e contain.Errand) ([]string, error) {
	if !c.dryRun {
		path, err := exec.LookPath(c.argv[0])
		return []string{fmt.Sprintf("run %s; what it does is not known here", path)}, err
	}
	code, line, err := c.run(ctx, e, "dry-run")
	switch {
	case err != nil:
		return nil, err
	case code != 0:
		return nil, fmt.Errorf("exit code %d: %s", code, line)
	}
	return []string{line}, nil
}

// run runs the command to its end and returns its exit code and first line.
func (c *command) run(ctx context.Context, e contain.Errand, verb string) (code int, line string, err error) {
	errand, err := json.Marshal(asJSON(e))
	if err != nil {
		return 0, "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	var out bounded
	cmd := exec.CommandContext(ctx, c.argv[0], append(c.argv[1:len(c.argv):len(c.argv)], verb)...) //nolint:gosec // the operator's own file names it
	cmd.Stdin, cmd.Stdout, cmd.WaitDelay = bytes.NewReader(errand), &out, killPatience
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	alone(cmd)
	if err := cmd.Start(); err != nil {
		return 0, "", fmt.Errorf("%w: %w", contain.ErrNotSent, err)
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), out.line(), nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("run %s: %w", verb, errors.Join(err, context.Cause(ctx)))
	}
	return 0, out.line(), nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ b []byte }

func (o *bounded) Write(p []byte) (int, error) {
	o.b = append(o.b, p[:min(len(p), maxOutput-len(o.b))]...)
	return len(p), nil
}

func (o *bounded) line() string {
	line, _, _ := strings.Cut(string(o.b), "\n")
	return line
}
