package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/importer"
	"github.com/agentcustody/custody/edge/sidecar"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/internal/node"
	"github.com/agentcustody/custody/ledger"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/store/engine"
	"github.com/agentcustody/custody/stream"
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
	exitInput       = 7 // the input is wrong
	exitConflict    = 8 // the thing exists already, or another process holds it
)

// exitHelp ends every command's help.
const exitHelp = `Exit codes:
  0 done            3 not permitted   6 problems found
  1 failed          4 not found       7 wrong input
  2 wrong command   5 unavailable     8 conflict: exists already, or in use
`

// What an error leaves alone.
const (
	nothingChanged = "nothing was changed"
	acknowledged   = "events that were acknowledged are safe; others wait with their senders"
	spooled        = "what was recorded is in the spool, and is delivered at the next start"
)

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

// usageError marks a wrong command line. The command's name and its help are added where it ends.
func usageError(format string, args ...any) error {
	return fail(exitUsage, fmt.Errorf(format, args...), nothingChanged, "")
}

// advise gives an error of the server another next command, if its code is the one.
func advise(err error, code codes.Code, next string) error {
	if err == nil || status.Code(rootStatus(err)) != code {
		return err
	}
	f := *explain(err)
	f.next = next
	return &f
}

// inputError marks input that is wrong.
func inputError(err error, next string) error { return fail(exitInput, err, nothingChanged, next) }

// report prints an error for a person and returns the exit code.
func (a *app) report(err error) int {
	f := explain(err)
	fmt.Fprintf(a.err, "custody: %s\n  unaffected: %s\n  next: %s\n", event.Escape(oneLine(f.err)), event.Escape(f.unaffected), event.Escape(a.here(f.next)))
	return f.code
}

// oneLine is an error on one line: joined errors have several.
func oneLine(err error) string {
	var text string
	for line := range strings.Lines(err.Error()) {
		switch line = strings.TrimSpace(line); {
		case text == "" || line == "":
		case strings.HasSuffix(text, ":"):
			text += " "
		default:
			text += "; "
		}
		text += line
	}
	return text
}

// here makes advice about the data folder, the server and the person that the command was about.
func (a *app) here(command string) string { return a.hereAs(a.as, command) }

// hereAs is here, for a person: defaultPerson if it is to be somebody else than the caller.
func (a *app) hereAs(person, command string) string {
	rest, ok := strings.CutPrefix(command, "custody ")
	if !ok || strings.HasPrefix(rest, "join ") || strings.Contains(rest, "--help") {
		return command
	}
	var flags string
	if a.chosen {
		flags += "--data " + shellWord(a.data) + " "
	}
	if a.server != "" && !strings.HasPrefix(rest, "serve") {
		flags += "--server " + shellWord(a.server) + " "
	}
	if person != "" && person != defaultPerson && !strings.HasPrefix(rest, "serve") {
		flags += "--as " + shellWord(person) + " "
	}
	return "custody " + flags + rest
}

// advice is what is known about a kind of error.
type advice struct {
	is         error
	code       int
	unaffected string
	next       string
}

// advices holds the errors of this process by kind; the first that fits counts.
var advices = []advice{
	{node.ErrConfirmers, exitInput, nothingChanged, "custody serve --help; witnesses are written as in https://c2sp.org/tlog-policy"},
	{node.ErrInUse, exitConflict, "the server that runs goes on", "custody status, or stop that process first"},
	{errNotYours, exitConflict, "that command goes on", "custody serve, which lets several commands run at once"},
	{node.ErrKeysMissing, exitConflict, "stream and store are as they were", "restore keys/ of the data folder from its copy, then: custody serve"},
	{node.ErrOtherKeys, exitConflict, "stream and store are as they were", "restore keys/ of the data folder from its copy, then: custody serve"},
	{ledger.ErrOtherStream, exitConflict, "the store is as it was", "restore stream/ of the data folder from its copy, or name the right one with --stream; then: custody serve"},
	{stream.ErrIncarnation, exitConflict, "the store is as it was", "restore stream/ of the data folder from its copy, or name the right one with --stream; then: custody serve"},
	{stream.ErrLocked, exitConflict, "the server that runs goes on", "custody status, or stop that process first"},
	{syscall.EADDRINUSE, exitConflict, "whatever listens there goes on", "custody serve --listen 127.0.0.1:0"},
	{syscall.EADDRNOTAVAIL, exitInput, nothingChanged, "custody serve --listen ADDRESS, with an address of this machine"},
	{engine.ErrNotInstalled, exitUnavailable, nothingChanged, "make engine"},
	{store.ErrSchema, exitConflict, "the store is as it was, and the stream holds every event", "run the version of custody that the store belongs to"},
	{store.ErrUnavailable, exitUnavailable, acknowledged, "custody doctor"},
	{stream.ErrUnavailable, exitUnavailable, acknowledged, "custody doctor"},
	{importer.ErrKind, exitInput, nothingChanged, "name a file of traces, or a folder that has some: docs/DATA.md says how to obtain them"},
	{edge.ErrInUse, exitConflict, "the process that uses the folder goes on", "give each process an emitter of its own: custody enroll TENANT/INSTANCE"},
	{edge.ErrJoined, exitConflict, "the emitter in the folder stays", "custody key rotate DIR, or join into another folder"},
	{edge.ErrNotJoined, exitNotFound, nothingChanged, "custody join TICKET --dir DIR"},
	{edge.ErrNoReceipts, exitInput, "the file stays as it is", "name a new file, or one that custody edge --receipts has begun"},
	{sidecar.ErrNotSocket, exitConflict, "the file stays as it is", "custody edge --socket ANOTHER"},
	{edge.ErrDamaged, exitFailed, "what its spool holds stays there", "restore the folder from a copy, or make another: custody enroll TENANT/INSTANCE --into ANOTHER"},
	{signer.ErrKeyExposed, exitDenied, nothingChanged, "chmod 600 the file; if others may have read it: docs/OPERATIONS.md, Keys lost or in wrong hands"},
	{edge.ErrUndelivered, exitUnavailable, spooled, "custody status where the server runs; then start the emitter again"},
	{edge.ErrSpoolFull, exitUnavailable, "what is in the spool is kept", "custody status where the server runs"},
	{fs.ErrNotExist, exitNotFound, nothingChanged, "check the name and run the command again"},
	{fs.ErrExist, exitConflict, nothingChanged, "choose another name"},
	{syscall.EISDIR, exitInput, nothingChanged, "name a file"},
	{fs.ErrPermission, exitDenied, nothingChanged, "check who owns the file, and its mode"},
	{syscall.ENOSPC, exitUnavailable, acknowledged, "free some space, then: custody doctor"},
	{context.Canceled, exitFailed, "what was acknowledged before is kept", "run the same command again"},
	{context.DeadlineExceeded, exitUnavailable, acknowledged, "custody doctor"},
}

// explain gives an error the advice of its kind unless it already carries its own.
func explain(err error) *failure {
	var own *failure
	var field *event.FieldError
	var refused *edge.RefusedError
	var remote interface{ GRPCStatus() *status.Status }
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &field):
		return &failure{exitInput, err, nothingChanged, "correct the field and run the command again"}
	case errors.As(err, &refused):
		return &failure{exitInput, err, "all other events; the refused ones are kept in refused/ of the emitter's folder", "read the reason there, and correct the agent"}
	}
	for _, a := range advices {
		if errors.Is(err, a.is) {
			return &failure{a.code, told(bare(err), a.is), a.unaffected, a.next}
		}
	}
	if errors.As(err, &remote) {
		return explainStatus(err, remote.GRPCStatus().Code())
	}
	return &failure{exitFailed, err, acknowledged, "custody doctor"}
}

// bare is an error without the words of the transport.
func bare(err error) error {
	var remote interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &remote) {
		return err
	}
	s := remote.GRPCStatus()
	return errors.New(strings.ReplaceAll(err.Error(), status.FromProto(s.Proto()).Err().Error(), s.Message()))
}

// told is the error, or a word that people know for it.
func told(err, kind error) error {
	if errors.Is(kind, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// statuses says what a server's answer means.
var statuses = map[codes.Code]advice{
	codes.PermissionDenied:   {nil, exitDenied, "nothing was read or changed", "custody tenant list; for another role, ask an admin"},
	codes.Unauthenticated:    {nil, exitDenied, "nothing was read or changed", "ask an admin for a certificate: custody user add NAME --role ROLE --tenant TENANT"},
	codes.NotFound:           {nil, exitNotFound, nothingChanged, "custody ps"},
	codes.InvalidArgument:    {nil, exitInput, nothingChanged, "correct the field and run the command again"},
	codes.OutOfRange:         {nil, exitInput, nothingChanged, "correct the field and run the command again"},
	codes.AlreadyExists:      {nil, exitConflict, nothingChanged, "custody ps"},
	codes.Aborted:            {nil, exitConflict, nothingChanged, "run the same command again"},
	codes.FailedPrecondition: {nil, exitConflict, nothingChanged, "custody status"},
	codes.Unavailable:        {nil, exitUnavailable, acknowledged, "custody doctor"},
	codes.ResourceExhausted:  {nil, exitUnavailable, acknowledged, "custody status"},
	codes.DeadlineExceeded:   {nil, exitUnavailable, acknowledged, "custody doctor"},
	codes.Unimplemented:      {nil, exitUnavailable, nothingChanged, "run the same version of custody here and on the server"},
	codes.Canceled:           {context.Canceled, exitFailed, "what was acknowledged before is kept", "run the same command again"},
}

// explainStatus translates a server's answer.
func explainStatus(err error, code codes.Code) *failure {
	a, known := statuses[code]
	if !known {
		return &failure{exitFailed, bare(err), acknowledged, "custody doctor"}
	}
	return &failure{a.code, told(bare(err), a.is), a.unaffected, a.next}
}
