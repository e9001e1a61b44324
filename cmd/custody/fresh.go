package main

import (
	"context"
	"time"

	"google.golang.org/grpc"

	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

const (
	// freshBacklog is how far behind the ledger may be for a read to wait for it, in events: less than it commits in a second.
	freshBacklog = 100_000
	// freshPatience bounds that wait.
	freshPatience = 3 * time.Second
	// commitPoll is how often a wait looks.
	commitPoll = 20 * time.Millisecond
)

// read makes a command body that sees what was acknowledged before it began: it waits a moment for the ledger, and says so
// if the ledger is behind.
func (a *app) read(fn call) call {
	return func(ctx context.Context, conn *grpc.ClientConn, args []string) error {
		a.catchUp(ctx, conn)
		return fn(ctx, conn, args)
	}
}

// catchUp waits for the ledger. Who may not ask for its status does not wait.
func (a *app) catchUp(ctx context.Context, conn *grpc.ClientConn) {
	s, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
	if err != nil || s.GetCommitted() >= s.GetStreamLast() {
		return
	}
	if s.GetBacklog() <= freshBacklog && s.GetLedgerError() == "" {
		waiting, cancel := context.WithTimeout(ctx, freshPatience)
		defer cancel()
		if s, err = a.awaitCommit(waiting, conn, s.GetStreamLast()); err == nil {
			return
		}
	}
	why := ""
	if s.GetLedgerError() != "" {
		why = " (" + plain(s.GetLedgerError(), 0) + ")"
	}
	a.note("%d acknowledged messages (%d events) are not committed yet%s, so they are not seen: custody status",
		max(s.GetStreamLast(), s.GetCommitted())-s.GetCommitted(), s.GetBacklog(), why)
}

// awaitCommit returns when the stream is committed up to a message; the ledger's last state comes with an error, too.
func (a *app) awaitCommit(ctx context.Context, conn *grpc.ClientConn, upTo uint64) (*apiv1.StatusResponse, error) {
	last := &apiv1.StatusResponse{}
	for {
		s, err := apiv1.NewLedgerServiceClient(conn).Status(ctx, &apiv1.StatusRequest{})
		if err != nil {
			return last, err
		}
		if last = s; s.GetCommitted() >= upTo {
			return s, nil
		}
		if err := haltedError(s); err != nil {
			return s, err
		}
		select {
		case <-time.After(commitPoll):
		case <-ctx.Done():
			return s, ctx.Err()
		}
	}
}
