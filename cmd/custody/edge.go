package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/sidecar"
	"github.com/agentcustody/custody/edge/spool"
)

// edgeCommand runs the sidecar.
func (a *app) edgeCommand() *cobra.Command {
	cfg := edge.Config{Dir: os.Getenv(edge.EnvEmitter)}
	var socket string
	var example, fullIsError bool
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Record for an agent in any language: JSON lines on standard input or a Unix socket",
		Long: "Record for an agent in any language. Each JSON line is one event and is answered by one line: {\"ok\":true,\"id\":…} once\n" +
			"it is in the spool, or {\"ok\":false,\"line\":…,\"field\":…,\"error\":…}, and the exit code is 7 at the end. --example prints\n" +
			"one valid line for each action. With {\"ask\":…} a program asks the gate before a call, with {\"done\":…} it says how the call\n" +
			"ended, and with {\"watch\":true} it is told what must stop: docs/OPERATIONS.md has these lines.",
		Example: "  custody edge --example\n  custody edge --dir ./emitter < events.jsonl\n  custody edge --dir ./emitter --socket /run/agent.sock",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if example {
				return sidecar.Example(a.out)
			}
			if cfg.Dir == "" {
				return usageError("--dir or %s must name an emitter folder: custody enroll --into makes one", edge.EnvEmitter)
			}
			if err := checkEdge(&cfg); err != nil {
				return err
			}
			if fullIsError {
				cfg.FullPolicy = edge.Error
			}
			return a.runSidecar(cmd.Context(), cfg, socket)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", cfg.Dir, "emitter folder, made by custody join or custody enroll --into; CUSTODY_EMITTER if absent")
	f.Lookup("dir").DefValue = ""
	f.StringVar(&cfg.Address, "address", "", "address of the server, HOST:PORT; as at join if absent")
	f.StringVar(&socket, "socket", "", "listen on this Unix socket instead of standard input")
	f.Int64Var(&cfg.SpoolMaxBytes, "spool-max", 0, "most bytes of the spool; 256 MiB if absent")
	f.DurationVar(&cfg.CloseTimeout, "wait", edge.DefaultCloseTimeout, "how long to wait for receipts at the end; what is left is delivered at the next start")
	f.StringVar(&cfg.Receipts, "receipts", "", "add every receipt to this file, for custody-verify --receipts; only the newest are kept, in the folder, if absent")
	f.BoolVar(&fullIsError, "full-is-error", false, "answer with an error when the spool is full instead of waiting")
	f.BoolVar(&example, "example", false, "print one valid line for each action")
	_ = cmd.MarkFlagDirname("dir")
	return cmd
}

// checkEdge checks the command line.
func checkEdge(cfg *edge.Config) error {
	if _, _, err := hostPort("--address", cfg.Address); err != nil && cfg.Address != "" {
		return err
	}
	if cfg.SpoolMaxBytes != 0 && cfg.SpoolMaxBytes < spool.LeastMaxBytes {
		return usageError("--spool-max %d: want at least %d", cfg.SpoolMaxBytes, int64(spool.LeastMaxBytes))
	}
	if cfg.CloseTimeout <= 0 {
		return usageError("--wait %s: must be more than 0", cfg.CloseTimeout)
	}
	return nil
}

// runSidecar reads until the input or the context ends, then waits for the receipts.
func (a *app) runSidecar(ctx context.Context, cfg edge.Config, socket string) error {
	id, err := readIdentity(cfg.Dir)
	if err != nil {
		return err
	}
	waiting, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	troubles := &troubles{of: id, giveUp: giveUp}
	cfg.Log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.OnError = troubles.add
	opening, stop := context.WithCancel(waiting)
	defer context.AfterFunc(ctx, stop)()
	e, err := edge.Open(opening, cfg)
	if err != nil {
		return troubles.explain(err)
	}
	return troubles.explain(errors.Join(a.serveLines(ctx, e, socket), e.Close(waiting)))
}

// troubles keeps what no caller of the emitter can be told.
type troubles struct {
	of     edge.Identity
	giveUp context.CancelFunc // ends waiting that has no end

	mu         sync.Mutex
	refused    *edge.RefusedError
	denied     error // the server does not know the key any more
	noManifest bool
}

func (t *troubles) add(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := errors.AsType[*edge.RefusedError](err); ok {
		t.refused = r
	}
	t.noManifest = t.noManifest || errors.Is(err, edge.ErrNoManifest)
	if c := status.Code(rootStatus(err)); c == codes.PermissionDenied || c == codes.Unauthenticated {
		t.denied = explain(err).err
		t.giveUp()
	}
}

// explain is why the sidecar ended.
func (t *troubles) explain(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil && t.denied != nil:
		return fail(exitDenied, t.denied, "what was recorded is in the spool", "custody enroll TENANT/INSTANCE --into ANOTHER")
	case err != nil && t.noManifest:
		return fail(exitUnavailable, err, spooled, fmt.Sprintf("custody instance create %s/%s --allow VERB:TOOL:CONSEQUENCE", t.of.Tenant, t.of.Instance))
	case err == nil && t.refused != nil:
		return t.refused
	}
	return err
}

func (a *app) serveLines(ctx context.Context, e *edge.Emitter, socket string) error {
	if socket != "" {
		return sidecar.Listen(ctx, e, socket)
	}
	answers := &refusals{w: a.out}
	if err := sidecar.Serve(ctx, e, a.in, answers); err != nil {
		return err
	}
	if answers.full > 0 {
		return fail(exitUnavailable, fmt.Errorf("edge: %d lines were not recorded: %w", answers.full, edge.ErrSpoolFull), "all lines that were answered with ok are recorded",
			"custody status where the server runs; then these lines again: their answers have retry")
	}
	if answers.count > 0 {
		return fail(exitInput, fmt.Errorf("edge: %d lines were refused", answers.count), "all other lines are recorded", "correct the lines: each answer names its line and field")
	}
	return nil
}

// refusals counts the answers that refuse a line.
type refusals struct {
	w     io.Writer
	begun []byte // of the line that is being written
	count int    // all of them
	full  int    // those with which nothing is wrong but that the spool is full
}

// How an answer begins that refuses a line.
const (
	refusal     = `{"ok":false`
	fullRefusal = refusal + `,"retry":true`
)

func (r *refusals) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if r.begun = append(r.begun, line[:min(len(line), len(fullRefusal))]...); line[len(line)-1] != '\n' {
			continue // the rest comes with the next call
		}
		if bytes.HasPrefix(r.begun, []byte(refusal)) {
			r.count++
		}
		if bytes.HasPrefix(r.begun, []byte(fullRefusal)) {
			r.full++
		}
		r.begun = r.begun[:0]
	}
	return r.w.Write(p)
}
