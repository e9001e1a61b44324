package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/agentcustody/custody/internal/node"
)

// connected runs fn with a connection to the server: the one named by --server, the one that runs on the data folder, or
// one started for this command.
func (a *app) connected(ctx context.Context, fn func(context.Context, *grpc.ClientConn) error) error {
	conn, stop, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer stop()
	return fn(ctx, conn)
}

// connect finds or starts a server; stop releases what was opened.
func (a *app) connect(ctx context.Context) (*grpc.ClientConn, func(), error) {
	if a.server != "" {
		return a.dial(ctx, a.server)
	}
	if conn, stop, err := a.dial(ctx, ""); err == nil {
		return conn, stop, nil
	}
	return a.startHere(ctx)
}

// dial connects to a server that runs: on the data folder's socket, or at an address.
func (a *app) dial(ctx context.Context, address string) (*grpc.ClientConn, func(), error) {
	conn, err := node.Dial(ctx, node.DialConfig{DataDir: a.data, Address: address, As: a.as})
	if err != nil {
		return nil, nil, fail(exitUnavailable, fmt.Errorf("connect: %w", err), "events wait in their senders' spools", "custody serve --data "+a.data)
	}
	return conn, func() { _ = conn.Close() }, nil
}

// startHere runs the server inside this process for the length of one command: where emitters look for it if that port is
// free, otherwise on any.
func (a *app) startHere(ctx context.Context) (*grpc.ClientConn, func(), error) {
	n, err := node.Open(ctx, node.Config{DataDir: a.data, Listen: node.DefaultListen, Version: version(), Log: discardLog()})
	if errors.Is(err, syscall.EADDRINUSE) {
		n, err = node.Open(ctx, node.Config{DataDir: a.data, Listen: "127.0.0.1:0", Version: version(), Log: discardLog()})
	}
	if err != nil {
		return nil, nil, fail(exitUnavailable, fmt.Errorf("start on %s: %w", a.data, err), "nothing was changed", "custody doctor --data "+a.data)
	}
	conn, stop, err := a.dial(ctx, "")
	if err != nil {
		return nil, nil, errors.Join(err, n.Close())
	}
	return conn, func() { stop(); _ = n.Close() }, nil
}

func discardLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// call makes a command body that runs with a connection.
func (a *app) call(fn func(context.Context, *grpc.ClientConn, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.connected(cmd.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
			return fn(ctx, conn, args)
		})
	}
}
