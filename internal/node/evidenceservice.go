package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/chain"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/evidence"
	"github.com/agentcustody/custody/ledger"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/store"
)

const (
	// exportChunk is the size of the pieces in which a bundle is sent: with its message around it each fits a buffer of 32 KiB. The next
	// larger ones that gRPC has are of 1 MiB, and it clears each, on both sides, before it copies a piece into it.
	exportChunk = 32<<10 - 64
	// checkpointPatience is how long an export waits for a checkpoint that covers its own record: many intervals.
	checkpointPatience = 30 * time.Second
	// checkpointPoll is how often it looks.
	checkpointPoll = 5 * time.Millisecond
	// withheldAll is the reason for which nothing is disclosed unless each field has one of its own.
	withheldAll = "not disclosed by the requester's choice"
)

// evidenceService implements EvidenceService over package evidence, which may not link gRPC.
type evidenceService struct {
	apiv1.UnimplementedEvidenceServiceServer
	node *Node
}

// ExportPolicy implements apiv1.EvidenceServiceServer.
func (s *evidenceService) ExportPolicy(ctx context.Context, req *apiv1.ExportPolicyRequest) (*apiv1.ExportPolicyResponse, error) {
	policy, err := s.node.policy(ctx, event.TenantID(req.GetTenant()))
	if err != nil {
		return nil, err
	}
	encoded, err := policy.Marshal()
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode policy: %v", err)
	}
	return &apiv1.ExportPolicyResponse{Policy: encoded}, nil
}

// policy is what a verifier of the tenant's bundles must be told to trust. It waits for the ledger: an export key that was put in force
// just now is in it.
func (n *Node) policy(ctx context.Context, tenant event.TenantID) (*evidence.Policy, error) {
	if err := n.settle(ctx, tenant); err != nil {
		return nil, status.Errorf(codes.Unavailable, "wait for the ledger: %v", err)
	}
	state, err := n.ledger.Registry(ctx, tenant)
	if err != nil || state.Genesis() == nil {
		return nil, status.Errorf(codes.Unavailable, "the log of %s is not committed yet", tenant)
	}
	origin := state.Genesis().GetOrigin()
	return &evidence.Policy{
		Witnesses: n.confirm.lines(), TimestampRoots: n.confirm.TimestampRoots,
		Version: evidence.PolicyVersion, Tenant: string(tenant), Origin: origin,
		LogKey: signer.VKey(origin, n.keys.log.Public()), SystemKey: n.keys.system.Public(), ExportKey: signer.ExportKey(state.ExportKey().PublicKey),
		TimeKey: signer.CosignatureVKey(origin+ledger.TimeKeySuffix, n.keys.time.Public()),
	}, nil
}

// settle waits until the ledger has all that the stream has of a tenant.
func (n *Node) settle(ctx context.Context, tenant event.TenantID) error {
	ctx, cancel := context.WithTimeout(ctx, checkpointPatience)
	defer cancel()
	seq, err := n.admission.LastSeq(ctx, tenant)
	if err != nil {
		return err
	}
	return n.ledger.WaitCommitted(ctx, seq)
}

// Export implements apiv1.EvidenceServiceServer. The export's own record is in the log before anything is read, so that
// the range has a leaf after it.
func (s *evidenceService) Export(req *apiv1.ExportRequest, stream grpc.ServerStreamingServer[apiv1.ExportResponse]) error {
	ctx := stream.Context()
	call, ok := access.From(ctx)
	if !ok || call.Recorded == 0 {
		return status.Error(codes.PermissionDenied, "the export was not recorded")
	}
	disclose, err := disclosure(req)
	if err != nil {
		return err
	}
	scope, reader, err := s.node.exportScope(ctx, req, call)
	if err != nil {
		return err
	}
	return s.node.export(ctx, stream, scope, reader, evidence.ExportOptions{Disclose: disclose, Held: req.GetCheckpoints()})
}

// disclosure reads which fields are to be withheld, PATH=REASON each.
func disclosure(req *apiv1.ExportRequest) (evidence.Disclose, error) {
	d := evidence.Disclose{Withhold: map[string]string{}}
	if req.GetDiscloseNothing() {
		d.Nothing = withheldAll
	}
	if len(req.GetDisclose()) > 0 {
		if d.Only = map[string]bool{}; req.GetDiscloseNothing() {
			return d, status.Error(codes.InvalidArgument, "disclose: cannot be together with disclose_nothing")
		}
	}
	for _, path := range req.GetDisclose() {
		d.Only[path] = true
	}
	for i, w := range req.GetWithhold() {
		path, reason, ok := strings.Cut(w, "=")
		if !ok || path == "" || reason == "" {
			return d, status.Errorf(codes.InvalidArgument, "withhold[%d]: want PATH=REASON", i)
		}
		d.Withhold[path] = reason
	}
	return d, nil
}

// exportScope waits until the export's record is committed and covered by a checkpoint, and bounds the range by it: what
// comes later is not in this bundle.
func (n *Node) exportScope(ctx context.Context, req *apiv1.ExportRequest, call access.Call) (evidence.Scope, *logReader, error) {
	tenant := event.TenantID(req.GetTenant())
	record, err := n.stream.Get(ctx, call.Recorded)
	if err != nil {
		return evidence.Scope{}, nil, status.Errorf(codes.Unavailable, "read the export's record: %v", err)
	}
	checkpoint, err := n.exportCheckpoint(ctx, req, call.Recorded)
	if err != nil {
		return evidence.Scope{}, nil, err
	}
	state, err := n.ledger.Registry(ctx, tenant)
	if err != nil {
		return evidence.Scope{}, nil, status.Errorf(codes.Unavailable, "read the log of %s: %v", tenant, err)
	}
	last := record.Time
	if req.GetAt() != 0 {
		if last, err = n.lastTime(ctx, tenant, req.GetAt()); err != nil {
			return evidence.Scope{}, nil, err
		}
	}
	to := last
	if req.GetTo() != 0 {
		to = min(to, req.GetTo())
	}
	grace := min(int64(req.GetGrace()), (last-to)/int64(time.Second))
	if err := scopeOfPart(state, req); err != nil {
		return evidence.Scope{}, nil, err
	}
	if req.GetFrom() < 0 || req.GetFrom() > to {
		return evidence.Scope{}, nil, status.Error(codes.InvalidArgument, "from: is after the end of the range")
	}
	return evidence.Scope{
		Version: evidence.ScopeVersion, TimeBasis: "received", Tenant: string(tenant), Origin: state.Genesis().GetOrigin(),
		From: evidence.Instant(req.GetFrom()), To: evidence.Instant(to), Grace: evidence.Seconds(grace),
		Instance: req.GetInstance(), Run: req.GetRun(), Requester: call.Principal.Name, Purpose: req.GetPurpose(),
		ExportedAt: evidence.Instant(n.cfg.Now().UnixNano()),
	}, n.logReader(tenant, state, checkpoint), nil
}

// checkpointsOfSize is how many checkpoints of one size are looked at. A log that is idle has one a minute; others confirm one of the first.
const checkpointsOfSize = 512

// exportCheckpoint is the checkpoint that an export is under: a new one, or of those that were signed at the size that the request names the
// one that most others have confirmed, and of equals the first, so that the same request gives the same files.
func (n *Node) exportCheckpoint(ctx context.Context, req *apiv1.ExportRequest, recorded uint64) (store.Checkpoint, error) {
	tenant := event.TenantID(req.GetTenant())
	if req.GetAt() == 0 {
		return n.coveringCheckpoint(ctx, tenant, recorded)
	}
	found, err := n.store.Checkpoints(ctx, string(tenant), req.GetAt(), checkpointsOfSize)
	switch {
	case err != nil:
		return store.Checkpoint{}, status.Errorf(codes.Unavailable, "read checkpoint: %v", err)
	case len(found) == 0:
		return store.Checkpoint{}, status.Errorf(codes.InvalidArgument, "at: the log never had a checkpoint of %d records or more", req.GetAt())
	case found[0].Size != req.GetAt():
		return store.Checkpoint{}, status.Errorf(codes.InvalidArgument, "at: the log has no checkpoint of %d records; the next one is of %d", req.GetAt(), found[0].Size)
	}
	best := found[0]
	for _, c := range found {
		if c.Size == best.Size && (c.Witnesses > best.Witnesses || c.Witnesses == best.Witnesses && c.Token != nil && best.Token == nil) {
			best = c
		}
	}
	return best, nil
}

// lastTime is when the last leaf of a log of a size was received. The range ends before it, so that there is a leaf after the range.
func (n *Node) lastTime(ctx context.Context, tenant event.TenantID, size uint64) (int64, error) {
	var last chain.Leaf
	var wrong error
	err := n.store.Leaves(ctx, string(tenant), size-1, size, func(b []byte) { last, wrong = chain.ParseLeaf(b) })
	if err := errors.Join(err, wrong); err != nil || last.Index != chain.Index(size-1) {
		return 0, status.Errorf(codes.Unavailable, "read the last leaf of %d: %v", size, err)
	}
	return last.Time, nil
}

// scopeOfPart refuses a part of a tenant that is none.
func scopeOfPart(state *registry.State, req *apiv1.ExportRequest) error {
	if req.GetInstance() == "" {
		if req.GetRun() != "" {
			return status.Error(codes.InvalidArgument, "run: name its instance too")
		}
		return nil
	}
	if _, known := state.Instance(req.GetInstance()); !known || req.GetInstance() == string(event.InstanceCustody) {
		return status.Errorf(codes.NotFound, "instance %q: not found", req.GetInstance())
	}
	return nil
}

// coveringCheckpoint waits for a checkpoint over everything up to a message.
func (n *Node) coveringCheckpoint(ctx context.Context, tenant event.TenantID, seq uint64) (store.Checkpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, checkpointPatience)
	defer cancel()
	if err := n.ledger.WaitCommitted(ctx, seq); err != nil {
		return store.Checkpoint{}, status.Errorf(codes.Unavailable, "wait for the ledger: %v", err)
	}
	head, _ := n.ledger.Head(tenant)
	n.ledger.WantCheckpoint()
	for {
		c, err := n.ledger.LatestCheckpoint(ctx, tenant)
		if err == nil && c.Size >= head.Size {
			return n.ledger.ConfirmCheckpoint(ctx, tenant)
		}
		if err != nil && !errors.Is(err, ledger.ErrNoTenant) {
			return store.Checkpoint{}, status.Errorf(codes.Unavailable, "read checkpoint: %v", err)
		}
		select {
		case <-time.After(checkpointPoll):
		case <-ctx.Done():
			return store.Checkpoint{}, status.Error(codes.Unavailable, "no checkpoint covers the export's own record yet")
		}
	}
}

// export streams the bundle.
func (n *Node) export(ctx context.Context, stream grpc.ServerStreamingServer[apiv1.ExportResponse], scope evidence.Scope, reader *logReader, o evidence.ExportOptions) error {
	key, err := n.exporter(reader.registry)
	if err != nil {
		return err
	}
	out := &bundleStream{stream: stream}
	w := bufio.NewWriterSize(out, exportChunk)
	o.Stamp = n.stampExport
	o.Tool, o.Dir, o.Progress = evidence.Tool{Name: "custody " + n.cfg.Version}, n.cfg.DataDir, out.progress
	summary, err := evidence.Export(ctx, w, reader, scope, key, o)
	if err == nil {
		err = w.Flush()
	}
	switch {
	case errors.Is(err, evidence.ErrHistory):
		return status.Errorf(codes.FailedPrecondition, "checkpoints: %v", err)
	case errors.Is(err, evidence.ErrPath):
		return status.Errorf(codes.InvalidArgument, "%v in the period, so nothing is exported", errors.Unwrap(err))
	case errors.Is(err, evidence.ErrScope), errors.Is(err, signer.ErrNote), errors.Is(err, chain.ErrCheckpoint):
		return status.Errorf(codes.InvalidArgument, "export: %v", err)
	case err != nil:
		return status.Error(codes.Internal, fmt.Sprintf("export: %v", err))
	}
	shown := summary.Disclosure.Records - summary.Disclosure.Outside
	return stream.Send(&apiv1.ExportResponse{Events: shown, Total: shown})
}

// bundleStream sends what is written to it.
type bundleStream struct {
	stream        grpc.ServerStreamingServer[apiv1.ExportResponse]
	events, total uint64
}

func (b *bundleStream) progress(done, total uint64) { b.events, b.total = done, total }

func (b *bundleStream) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, exportChunk) {
		if err := b.stream.Send(&apiv1.ExportResponse{Chunk: piece, Events: b.events, Total: b.total}); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

var _ evidence.Reader = (*logReader)(nil)

var _ chain.NodeReader = (*logReader)(nil)
