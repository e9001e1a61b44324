package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/agentcustody/custody/edge"
	"github.com/agentcustody/custody/edge/mcp"
	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// defaultConnector names the server of a gateway that is given no name.
const defaultConnector = "mcp"

// connectorName is what a connector may be called here: it is part of a file's name, and of targets of the brake.
var connectorName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// mcpFlags are those of the gateway.
type mcpFlags struct {
	emitter    edge.Config
	gateway    mcp.Config
	detections bool
}

// mcpCommand runs the gateway.
func (a *app) mcpCommand() *cobra.Command {
	f := mcpFlags{emitter: edge.Config{Dir: os.Getenv(edge.EnvEmitter), Software: "custody mcp"}}
	cmd := &cobra.Command{
		Use:   "mcp [flags] -- COMMAND [ARG]...",
		Short: "Stand between an agent and an MCP server: decide on each call, record it, and stop it",
		Long: "Start COMMAND, an MCP server on standard input and output, and stand in for it: give the agent this command instead. Each\n" +
			"call of a tool is decided on (manifest, what is contained, lease, approval) before the server sees it, and recorded with the\n" +
			"gateway's own key, outside of the agent's process. Its refusals are what proves that a pause holds.\n\n" +
			"The tools are kept as they were first seen, in the emitter's folder; a change is recorded, and refused with --pin.",
		Example: "  custody enroll acme/support-1 --producer gateway --into ./gateway\n" +
			"  custody mcp --dir ./gateway --connector files --pin -- npx @modelcontextprotocol/server-filesystem /srv/files",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || cmd.ArgsLenAtDash() != 0 {
				return usageError("name the server after --: custody mcp -- COMMAND")
			}
			return nil
		},
		ValidArgsFunction: noFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runGateway(cmd.Context(), &f, args)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *mcpFlags) register(cmd *cobra.Command) {
	x := cmd.Flags()
	x.StringVar(&f.emitter.Dir, "dir", f.emitter.Dir, "folder of an emitter of class gateway; CUSTODY_EMITTER if absent")
	x.Lookup("dir").DefValue = ""
	x.StringVar(&f.emitter.Address, "address", "", "address of the server, HOST:PORT; as at join if absent")
	x.DurationVar(&f.emitter.CloseTimeout, "wait", edge.DefaultCloseTimeout, "how long to wait for receipts at the end; what is left is delivered at the next start")
	x.StringVar(&f.gateway.Connector, "connector", defaultConnector, "what the MCP server is called in manifests and targets")
	x.StringVar(&f.gateway.Run.Principal, "principal", "", "pseudonymous id of whom the agent works for")
	x.BoolVar(&f.gateway.Pin, "pin", false, "refuse tools that are not as they were first seen, and do not show them")
	x.BoolVar(&f.gateway.Repin, "accept-tools", false, "take the tools as they are now for the first sight of them; this is recorded")
	x.BoolVar(&f.detections, "detect", false, "look for what the rules call provenance in arguments and results, and record what is found")
	_ = cmd.MarkFlagDirname("dir")
}

// runGateway serves until the agent or the server ends, then waits for the receipts.
func (a *app) runGateway(ctx context.Context, f *mcpFlags, command []string) error {
	if err := f.check(); err != nil {
		return err
	}
	waiting, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	troubles := &troubles{giveUp: giveUp}
	f.gateway.Log = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	f.emitter.Log, f.emitter.OnError, f.emitter.Detect = f.gateway.Log, troubles.add, f.detections
	opening, stop := context.WithCancel(waiting)
	defer context.AfterFunc(ctx, stop)()
	e, err := edge.Open(opening, f.emitter)
	if err != nil {
		return troubles.explain(err)
	}
	f.gateway.Emitter = e
	return troubles.explain(errors.Join(a.serveMCP(ctx, &f.gateway, command), e.Close(waiting)))
}

// check completes the flags. The agent's own key proves nothing about the agent.
func (f *mcpFlags) check() error {
	if f.emitter.Dir == "" {
		return usageError("--dir or %s must name an emitter folder: custody enroll --producer gateway --into makes one", edge.EnvEmitter)
	}
	if !connectorName.MatchString(f.gateway.Connector) {
		return usageError("--connector %s: must be [a-z0-9._-], at most 63 bytes", event.Escape(f.gateway.Connector))
	}
	id, err := readIdentity(f.emitter.Dir)
	if err != nil {
		return err
	}
	if gateway := event.Producers.Name(eventv1.ProducerClass_PRODUCER_CLASS_GATEWAY); id.Producer != gateway {
		return inputError(fmt.Errorf("mcp: the key in %s is of class %s, not %s", f.emitter.Dir, id.Producer, gateway),
			fmt.Sprintf("custody enroll %s/%s --producer gateway --into ANOTHER", id.Tenant, id.Instance))
	}
	f.gateway.Run.Workflow = "mcp/" + f.gateway.Connector
	f.gateway.Pins = filepath.Join(f.emitter.Dir, "mcp-"+f.gateway.Connector+".json")
	return nil
}

// stdio is the agent's side.
type stdio struct {
	io.Reader
	io.Writer
}

// Close leaves the streams to the end of the process: a read of a terminal cannot be ended.
func (stdio) Close() error { return nil }

func (a *app) serveMCP(ctx context.Context, cfg *mcp.Config, command []string) error {
	server, err := mcp.Start(command, a.err)
	if err != nil {
		return inputError(fmt.Errorf("mcp: %w", err), "the command after -- by itself")
	}
	err = mcp.Serve(ctx, *cfg, stdio{a.in, a.out}, server)
	if errors.Is(err, mcp.ErrServerEnded) {
		err = errors.Join(err, server.Status())
	}
	if err != nil && ctx.Err() == nil {
		return fail(exitFailed, fmt.Errorf("mcp: %w", err), "what was recorded is kept", "the command after -- by itself; what it wrote stands above")
	}
	return nil
}
