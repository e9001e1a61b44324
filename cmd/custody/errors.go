package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
)

// Exit codes. They are part of the interface: scripts and the on-call runbook rely on them.
const (
	exitOK          = 0
	exitFailed      = 1 // something failed that has no code of its own
	exitUsage       = 2 // the command line is wrong
	exitDenied      = 3 // the caller may not do this, or there is no such tenant
	exitNotFound    = 4 // the thing named does not exist
	exitUnavailable = 5 // the server, stream or store cannot be reached, or pushes back
	exitProblems    = 6 // a check ran and found problems
	exitInput       = 7 // the input is wrong; nothing was changed
	exitConflict    = 8 // the thing exists already, or another process holds it
)

// exitHelp is printed under every command's help.
const exitHelp = `Exit codes: 0 done, 1 failed, 2 wrong command line, 3 not permitted, 4 not found,
5 unavailable (try again), 6 problems found, 7 wrong input (nothing changed), 8 conflict`

// failure is an error as a person needs it: what failed, what is unaffected, and the next command.
type failure struct {
	code       int
	err        error
	unaffected string
	next       string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// fail says what failed, with the exit code and the advice that go with it.
func fail(code int, err error, unaffected, next string) error {
	return &failure{code: code, err: err, unaffected: unaffected, next: next}
}

// usageError marks a wrong command line.
func usageError(format string, args ...any) error {
	return fail(exitUsage, fmt.Errorf(format, args...), "nothing was changed", "custody help")
}

// report prints an error for a person and returns the exit code.
func report(w io.Writer, err error) int {
	f := explain(err)
	fmt.Fprintf(w, "custody: %s\n", event.Escape(f.err.Error()))
	if f.unaffected != "" {
		fmt.Fprintf(w, "  unaffected: %s\n", f.unaffected)
	}
	if f.next != "" {
		fmt.Fprintf(w, "  next: %s\n", f.next)
	}
	return f.code
}

// explain gives an error the advice of its kind unless it already carries its own.
func explain(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var fe *event.FieldError
	switch {
	case errors.As(err, &fe):
		return &failure{exitInput, err, "nothing was changed", "correct the field and run the command again"}
	case errors.Is(err, context.Canceled):
		return &failure{exitFailed, errors.New("interrupted"), "what was acknowledged before is kept", "run the same command again"}
	case errors.Is(err, os.ErrNotExist):
		return &failure{exitNotFound, err, "nothing was changed", ""}
	}
	if s, ok := status.FromError(err); ok {
		return explainStatus(s)
	}
	return &failure{exitFailed, err, "", "custody doctor"}
}

// explainStatus translates a gRPC status.
func explainStatus(s *status.Status) *failure {
	err := errors.New(s.Message())
	switch s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		return &failure{exitDenied, err, "nothing was read or changed", "ask an operator for a role: custody user add NAME --role ROLE --tenant T"}
	case codes.NotFound:
		return &failure{exitNotFound, err, "nothing was changed", "custody ps"}
	case codes.InvalidArgument:
		return &failure{exitInput, err, "nothing was changed", "correct the field and run the command again"}
	case codes.AlreadyExists, codes.Aborted, codes.FailedPrecondition:
		return &failure{exitConflict, err, "nothing was changed", "custody status"}
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return &failure{exitUnavailable, err, "acknowledged events are safe; unacknowledged ones are still with their senders", "custody doctor"}
	case codes.Canceled:
		return &failure{exitFailed, errors.New("interrupted"), "what was acknowledged before is kept", "run the same command again"}
	}
	return &failure{exitFailed, err, "acknowledged events are safe", "custody doctor"}
}
