package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/internal/node"
)

// version is the module version that this binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "development"
	}
	return info.Main.Version
}

// serveCommand runs the server.
func (a *app) serveCommand() *cobra.Command {
	var cfg node.Config
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: ingest, stream, ledger and store in one process",
		Long: "Run the server. Without a flag it listens on loopback, keeps everything under the data folder, makes its keys and a\n" +
			"certificate authority at first start, and says in its log what it chose.\n\n" + exitHelp,
		Example: "  custody serve\n  custody serve --store clickhouse://user@db:9000/custody --stream nats://bus:4222",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.DataDir = a.data
			cfg.Log, cfg.Version = a.logger(verbose), version()
			return a.serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", node.DefaultListen, "address for emitters and people")
	f.StringVar(&cfg.StoreDSN, "store", "", "store: chdb:///path (default, in the data folder), clickhouse://… or https://…")
	f.StringVar(&cfg.StreamURL, "stream", "", "NATS URL; embedded if absent")
	f.StringVar(&cfg.Domain, "domain", node.DefaultDomain, "operator domain in the names of logs")
	f.BoolVarP(&verbose, "verbose", "v", false, "log at debug level")
	return cmd
}

func (a *app) logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
}

// serve runs until the context ends or the node stops by itself.
func (a *app) serve(ctx context.Context, cfg node.Config) error {
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return fail(exitUnavailable, fmt.Errorf("start: %w", err), "nothing that was acknowledged is lost", "custody doctor --data "+a.data)
	}
	fmt.Fprintf(a.out, "custody: ready on %s, data in %s\n", n.Address(), a.data)
	err = n.Wait(ctx)
	if cerr := n.Close(); err == nil {
		err = cerr
	}
	return err
}
