package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/internal/node"
)

// call is the body of a command that talks to a server.
type call func(ctx context.Context, conn *grpc.ClientConn, args []string) error

// place says what a command needs of a server that is started for it.
type place struct {
	make    bool // a data folder that does not exist is made: otherwise a mistyped --data would look like an empty system
	door    bool // emitters must reach it, so it listens on its address and not on the socket alone
	anyPort bool // another port does as well
}

// call makes a command body that runs with a connection to the server of a data folder that exists.
func (a *app) call(fn call) func(*cobra.Command, []string) error { return a.callAt(place{}, fn) }

func (a *app) callAt(p place, fn call) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		conn, stop, err := a.connect(cmd.Context(), p)
		if err != nil {
			return err
		}
		defer stop()
		return fn(cmd.Context(), conn, args)
	}
}

// connect finds a server, or starts one inside this process for the length of one command. stop releases what was opened.
func (a *app) connect(ctx context.Context, p place) (conn *grpc.ClientConn, stop func(), err error) {
	if err := a.checkCaller(); err != nil {
		return nil, nil, err
	}
	if a.server != "" {
		return a.dial(ctx, a.server)
	}
	if err := a.unreadable(); err != nil {
		return nil, nil, err
	}
	if !p.make && !a.isFolder() {
		return nil, nil, fail(exitNotFound, fmt.Errorf("%s is not a data folder of custody", a.data), nothingChanged, "custody serve, or name another folder with --data")
	}
	err = a.waitForTurn(ctx, func() (retry bool, err error) {
		if conn, stop, err = a.dial(ctx, ""); err == nil && a.isLent() {
			stop() // that server ends with the command that has started it
			return true, nil
		}
		switch {
		case err == nil:
			return false, nil
		case (errors.Is(err, node.ErrNoServer) || !exists(a.path("custody.sock"))) && a.isServed():
			return true, err // custody serve has been run, and is not ready yet
		case a.isFolder() && !errors.Is(err, node.ErrNoServer):
			return false, err
		}
		conn, stop, err = a.start(ctx, p)
		return errors.Is(err, errNotYours) || errors.Is(err, node.ErrInUse), err
	})
	return conn, stop, err
}

// checkCaller checks the flags that say where to and as whom.
func (a *app) checkCaller() error {
	if _, _, err := hostPort("--server", a.server); err != nil && a.server != "" {
		return err
	}
	if a.as == "" || strings.ContainsAny(a.as, `/\`) {
		return usageError("--as %q: want the NAME of a certificate in people/ of the data folder", a.as)
	}
	return nil
}

// hostPort reads the address of a flag. The error is a wrong command.
func hostPort(flag, address string) (host string, port uint64, err error) {
	host, number, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.ParseUint(number, 10, 16)
	}
	if err != nil {
		return "", 0, usageError("%s %q: want HOST:PORT", flag, address)
	}
	return host, port, nil
}

// errNoCertificate says that a person has no certificate in the data folder.
var errNoCertificate = errors.New("no certificate")

// dial connects to a server that runs: on the data folder's socket, or at an address.
func (a *app) dial(ctx context.Context, address string) (*grpc.ClientConn, func(), error) {
	conn, err := node.Dial(ctx, node.DialConfig{DataDir: a.data, Address: address, As: a.as})
	switch {
	case err == nil:
		return conn, func() { _ = conn.Close() }, nil
	case errors.Is(err, node.ErrNoServer) && address != "":
		return nil, nil, fail(exitUnavailable, err, acknowledged, "check the address; where the server runs: custody status")
	case errors.Is(err, node.ErrNoServer) && a.isServed():
		return nil, nil, fail(exitUnavailable, fmt.Errorf("a server runs on %s: %w", a.data, err), acknowledged, "custody doctor; if the server hangs, stop it, then: custody serve")
	case errors.Is(err, node.ErrNoServer):
		return nil, nil, fail(exitUnavailable, err, acknowledged, "custody serve")
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fail(exitNotFound, fmt.Errorf("%w of %s in %s", errNoCertificate, a.as, a.path("people")), nothingChanged,
			"ask an admin for one: custody user add "+shellWord(a.as)+" --role ROLE")
	}
	return nil, nil, err
}

// start runs the server inside this process, while it holds the turn.
func (a *app) start(ctx context.Context, p place) (*grpc.ClientConn, func(), error) {
	cfg, err := a.borrowed(p)
	if err != nil {
		return nil, nil, err
	}
	made := !a.isFolder()
	turn, err := a.takeTurn()
	if err != nil {
		return nil, nil, err
	}
	n, err := open(ctx, cfg, p)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start a server for this command: %w", err), turn.Close())
	}
	if made {
		a.note("made a new data folder: %s", a.data)
	}
	conn, stop, err := a.dial(ctx, "")
	if err != nil {
		return nil, nil, errors.Join(err, n.Close(), turn.Close())
	}
	return conn, func() { stop(); _ = n.Close(); _ = turn.Close() }, nil
}

func open(ctx context.Context, cfg node.Config, p place) (*node.Node, error) {
	n, err := node.Open(ctx, cfg)
	if p.anyPort && errors.Is(err, syscall.EADDRINUSE) {
		cfg.Listen = "127.0.0.1:0"
		n, err = node.Open(ctx, cfg)
	}
	return n, err
}

// borrowed is the configuration with which the folder was last served.
func (a *app) borrowed(p place) (node.Config, error) {
	last, err := a.loadSettings()
	if err != nil {
		return node.Config{}, err
	}
	cfg := node.Config{
		DataDir: a.data, Listen: last.Listen, Advertise: last.Advertise, Domain: last.Domain, SocketOnly: !p.door, Version: version(),
		StoreDSN: os.Getenv(envStore), StreamURL: os.Getenv(envStream), Connectors: last.Connectors, RulesOff: last.RulesOff, Log: discardLog(),
	}
	if last.Elsewhere && cfg.StoreDSN == "" && cfg.StreamURL == "" {
		err = fail(exitUnavailable, fmt.Errorf("no server runs on %s, and its store or stream is elsewhere", a.data), acknowledged,
			"custody serve, with the same --store and --stream as before")
	}
	return cfg, err
}

// note tells a person something beside the answer.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.err, "custody: note: "+format+"\n", args...)
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
