package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
)

// TestEveryErrorSaysWhatToDo: what failed, what is unaffected, and the next command.
func TestEveryErrorSaysWhatToDo(t *testing.T) {
	errs := []error{
		errors.New("surprise"), usageError("wrong"), inputError(errors.New("wrong"), "custody help"), &edge.RefusedError{},
		&event.FieldError{Field: "execution.tool", Reason: "longer than 4096 bytes"},
	}
	for _, a := range advices {
		errs = append(errs, fmt.Errorf("do something: %w", a.is))
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		errs = append(errs, fmt.Errorf("do something: %w", status.Error(c, "what the server says")))
	}
	for _, err := range errs {
		var out strings.Builder
		a := &app{err: &out, began: true}
		root := a.rootCommand()
		code := a.report(a.usage(root, err))
		lines := strings.Split(out.String(), "\n")
		if code < exitFailed || code > exitConflict || len(lines) != 4 {
			t.Errorf("%v: exit code %d:\n%s", err, code, out.String())
		}
		for i, begin := range []string{"custody: ", "  unaffected: ", "  next: "} {
			if text, ok := strings.CutPrefix(lines[i], begin); !ok || text == "" {
				t.Errorf("%v: line %d is %q", err, i+1, lines[i])
			}
		}
		if strings.Contains(out.String(), "rpc error") {
			t.Errorf("the words of the transport:\n%s", out.String())
		}
	}
}

func TestExitCodes(t *testing.T) {
	tests := map[int][]error{
		exitFailed:      {errors.New("surprise"), context.Canceled, status.Error(codes.Internal, ""), status.Error(codes.Canceled, "")},
		exitUsage:       {usageError("wrong")},
		exitDenied:      {status.Error(codes.PermissionDenied, ""), status.Error(codes.Unauthenticated, ""), fs.ErrPermission},
		exitNotFound:    {status.Error(codes.NotFound, ""), fs.ErrNotExist, edge.ErrNotJoined},
		exitUnavailable: {status.Error(codes.Unavailable, ""), status.Error(codes.ResourceExhausted, ""), edge.ErrUndelivered},
		exitProblems:    {fail(exitProblems, errors.New("1 problem"), "nothing", "look")},
		exitInput:       {status.Error(codes.InvalidArgument, ""), &event.FieldError{}, &edge.RefusedError{}},
		exitConflict:    {status.Error(codes.AlreadyExists, ""), node.ErrInUse, edge.ErrInUse, edge.ErrJoined, errNotYours},
	}
	for want, errs := range tests {
		for _, err := range errs {
			if got := explain(fmt.Errorf("do something: %w", err)).code; got != want {
				t.Errorf("%v: exit code %d, want %d", err, got, want)
			}
		}
	}
}

// TestErrorsAreOneLine: an agent's text in an error adds no line and moves no cursor.
func TestErrorsAreOneLine(t *testing.T) {
	var out strings.Builder
	a := &app{err: &out}
	a.report(fail(exitInput, errors.Join(errors.New("run \x1b[2J\nnext: rm -rf"), errors.New("list:\n  a\n  b")), nothingChanged, "custody ps"))
	want := "custody: run \\x1b[2J; next: rm -rf; list: a; b\n  unaffected: nothing was changed\n  next: custody ps\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestAdviceNamesTheDataFolder(t *testing.T) {
	a := &app{data: "/var/lib/my custody", chosen: true}
	for command, want := range map[string]string{
		"custody doctor":        "custody --data '/var/lib/my custody' doctor",
		"custody search --help": "custody search --help",
		"make engine":           "make engine",
	} {
		if got := a.here(command); got != want {
			t.Errorf("%s: got %s, want %s", command, got, want)
		}
	}
}

// TestAdviceIsForTheCaller: what an error says to run next is run on the same server, by the same person.
func TestAdviceIsForTheCaller(t *testing.T) {
	a := &app{data: "d", chosen: true, server: "h:7443", as: "dana"}
	for command, want := range map[string]string{
		"custody search":    "custody --data d --server h:7443 --as dana search",
		"custody serve":     "custody --data d serve",
		"custody join -":    "custody join -",
		"check the address": "check the address",
	} {
		if got := a.here(command); got != want {
			t.Errorf("%s: got %s, want %s", command, got, want)
		}
	}
	if got, want := a.hereAs(defaultPerson, "custody approve q"), "custody --data d --server h:7443 approve q"; got != want {
		t.Errorf("for another: got %s, want %s", got, want)
	}
}
