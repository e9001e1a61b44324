package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/sidecar"
)

// edgeCommand runs the sidecar.
func (a *app) edgeCommand() *cobra.Command {
	var cfg edge.Config
	var socket string
	var example, fullIsError bool
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Record for an agent in any language: JSON lines on standard input or a Unix socket",
		Long: "Record for an agent in any language. Each JSON line is one event and is answered by one line: {\"ok\":true,\"id\":…} once it is in the\n" +
			"spool, or {\"ok\":false,\"field\":…,\"error\":…}. --example prints one valid line an action.\n\n" + exitHelp,
		Example: "  custody edge --example\n  custody edge --dir /var/lib/agent/custody < events.jsonl\n  custody edge --dir DIR --socket /run/agent.sock",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if example {
				return sidecar.Example(a.out)
			}
			if cfg.Dir == "" {
				return usageError("edge: --dir is required (custody enroll makes one)")
			}
			if fullIsError {
				cfg.FullPolicy = edge.Error
			}
			return a.runSidecar(cmd.Context(), cfg, socket)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "dir", "", "emitter folder, made by custody enroll --into or custody edge join")
	f.StringVar(&socket, "socket", "", "listen on this Unix socket instead of standard input")
	f.Int64Var(&cfg.SpoolMaxBytes, "spool-max", 0, "most bytes of the spool (1 GiB if absent)")
	f.BoolVar(&fullIsError, "full-is-error", false, "answer with an error when the spool is full instead of waiting")
	f.BoolVar(&example, "example", false, "print one valid line an action")
	cmd.AddCommand(a.edgeJoin())
	return cmd
}

// runSidecar reads until the input or the context ends, then waits for the receipts.
func (a *app) runSidecar(ctx context.Context, cfg edge.Config, socket string) (err error) {
	e, err := edge.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("open emitter %s: %w", cfg.Dir, err)
	}
	defer func() { err = errors.Join(err, e.Close(context.WithoutCancel(ctx))) }()
	if socket != "" {
		return sidecar.Listen(ctx, e, socket)
	}
	return sidecar.Serve(ctx, e, a.in, a.out)
}
