package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/ledger"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/store"
	"github.com/agentcustody/custody/stream"
)

// progressInterval is how often a check or rebuild says how far it is: often enough for a bar that moves.
const progressInterval = 200 * time.Millisecond

// ledgerService implements LedgerService over the node's ledger.
type ledgerService struct {
	apiv1.UnimplementedLedgerServiceServer
	node       *Node
	rebuilding sync.Mutex
}

// Status reports where the parts stand. It answers also when the stream does not.
func (s *ledgerService) Status(ctx context.Context, _ *apiv1.StatusRequest) (*apiv1.StatusResponse, error) {
	n := s.node
	is := n.ledger.Status()
	response := &apiv1.StatusResponse{
		Committed: is.Committed, Backlog: n.behind.Backlog(), Store: n.store.Describe(), Counters: n.door.Counters(),
		Address: n.advertised(), Version: n.cfg.Version,
	}
	state, err := n.stream.State(ctx)
	response.StreamLast, response.Stream = state.Last, state.Description
	switch {
	case is.Halted != nil:
		response.LedgerError = is.Halted.Error()
	case is.Retrying != nil:
		response.LedgerError = "waits: " + is.Retrying.Error()
	case err != nil:
		response.LedgerError = err.Error()
	}
	response.Rules = n.rulesStatus(state.Last)
	response.Pushback = n.pushback(ctx)
	response.Counters["stream_bytes"], response.Counters["stream_bytes_limit"] = uint64(state.Bytes), uint64(state.MaxBytes)
	return response, nil
}

// pushback is why emitters are pushed back at this moment, empty if they are not.
func (n *Node) pushback(ctx context.Context) string {
	if backlog := n.behind.Backlog(); backlog >= n.cfg.MaxBacklog {
		return fmt.Sprintf("the ledger is %d events behind, the bound is %d", backlog, n.cfg.MaxBacklog)
	}
	if err := n.stream.Room(ctx); errors.Is(err, stream.ErrPushback) {
		return err.Error()
	}
	return ""
}

// Check reads everything again. Differences are sent as they are found; the last message sums up.
func (s *ledgerService) Check(_ *apiv1.CheckRequest, to grpc.ServerStreamingServer[apiv1.CheckResponse]) error {
	call, _ := access.From(to.Context())
	if err := s.settle(to.Context()); err != nil {
		return err
	}
	objects := objectCheck{node: s.node}
	sender := newSender(to.Context(), func(p ledger.Progress, done bool) error {
		return to.Send(checkResponse(p, objects.count, done))
	})
	defer sender.stop()
	last, err := s.node.ledger.Check(sender.ctx, names(call.Tenants), sender.progress)
	if err == nil {
		objects.last, objects.tell = last, sender.progress
		err = objects.run(sender.ctx, call.Tenants)
		last = objects.last
	}
	return sender.finish(last, s.known(to.Context(), err))
}

// settle waits until everything that the stream holds now is committed, so that a check covers all that was acknowledged
// before it was asked for. A ledger that has halted is checked as far as it came.
func (s *ledgerService) settle(ctx context.Context) error {
	state, err := s.node.stream.State(ctx)
	if err != nil {
		return status.Errorf(codes.Unavailable, "read the stream's state: %v", err)
	}
	err = s.node.ledger.WaitCommitted(ctx, state.Last)
	if err != nil && ctx.Err() != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}

func names(tenants []event.TenantID) (list []string) {
	for _, t := range tenants {
		list = append(list, string(t))
	}
	return list
}

// Rebuild folds the stream again. To write an empty store anew, the ledger stops for as long as it takes.
func (s *ledgerService) Rebuild(r *apiv1.RebuildRequest, to grpc.ServerStreamingServer[apiv1.RebuildResponse]) error {
	if !s.rebuilding.TryLock() {
		return status.Error(codes.Aborted, "a rebuild is running")
	}
	defer s.rebuilding.Unlock()
	if r.GetCheck() {
		if err := s.settle(to.Context()); err != nil {
			return err
		}
	}
	sender := newSender(to.Context(), func(p ledger.Progress, done bool) error { return to.Send(rebuildResponse(p, done)) })
	defer sender.stop()
	if !r.GetCheck() {
		s.node.writer.stop()
		defer s.node.writer.start()
	}
	last, err := s.node.ledger.Rebuild(sender.ctx, r.GetCheck(), sender.progress)
	if err == nil && !r.GetCheck() {
		err = s.node.expireAgain(sender.ctx)
	}
	return sender.finish(last, s.known(to.Context(), err))
}

// known writes an error down that has no meaning of its own for the caller.
func (s *ledgerService) known(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		s.node.cfg.Log.WarnContext(ctx, "check or rebuild ended early", slog.Any("error", err))
	}
	return err
}

// sender sends progress, problems at once and the rest now and then. When sending fails, ctx ends.
type sender struct {
	ctx    context.Context //nolint:containedctx // of the one call that it serves
	stop   context.CancelFunc
	send   func(p ledger.Progress, done bool) error
	last   time.Time
	failed error
}

func newSender(ctx context.Context, send func(ledger.Progress, bool) error) *sender {
	ctx, stop := context.WithCancel(ctx)
	return &sender{ctx: ctx, stop: stop, send: send}
}

func (s *sender) progress(p ledger.Progress) {
	if s.failed != nil || p.Problem == nil && time.Since(s.last) < progressInterval {
		return
	}
	s.last = time.Now()
	if s.failed = s.send(p, false); s.failed != nil {
		s.stop()
	}
}

// alterations are errors that mean: the stream is not what was recorded. They are findings, not failures.
var alterations = []error{ledger.ErrDigest, stream.ErrHole, stream.ErrIncarnation}

// finish sends the sum. What is wrong with the stream itself is one more problem.
func (s *sender) finish(last ledger.Progress, err error) error {
	last.Problem = nil
	switch altered := slices.ContainsFunc(alterations, func(a error) bool { return errors.Is(err, a) }); {
	case s.failed != nil:
		return s.failed
	case altered && last.Problems == 0:
		last.Problems++
		last.Problem = &store.Problem{Table: "stream", Message: err.Error()}
		if err := s.send(last, false); err != nil {
			return err
		}
		last.Problem = nil
	case err != nil && !altered:
		return ledgerError(s.ctx, err)
	}
	return s.send(last, true)
}

// ledgerError turns an error of a check or rebuild into a status.
func ledgerError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(context.Cause(ctx)).Err()
	case errors.Is(err, ledger.ErrNotEmpty), errors.Is(err, ledger.ErrRunning), errors.Is(err, ledger.ErrTrimmed):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Error(codes.Unavailable, err.Error())
}

func checkResponse(p ledger.Progress, objects uint64, done bool) *apiv1.CheckResponse {
	return &apiv1.CheckResponse{
		Events: p.Events, Total: p.TotalEvents, Problem: problem(p.Problem), Done: done,
		Tenants: p.Tenants, Batches: p.Batches, Checkpoints: p.Checkpoints, Problems: p.Problems, Objects: objects,
	}
}

func rebuildResponse(p ledger.Progress, done bool) *apiv1.RebuildResponse {
	return &apiv1.RebuildResponse{
		Messages: p.Messages, Total: p.TotalMessages, Problem: problem(p.Problem), Done: done,
		Tenants: p.Tenants, Problems: p.Problems, Events: p.Events,
	}
}

func problem(p *store.Problem) *apiv1.Problem {
	if p == nil {
		return nil
	}
	return &apiv1.Problem{Tenant: p.Tenant, Table: p.Table, Row: p.Row, Column: p.Column, Message: p.Message}
}
