package node

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// oneVisit is the time within which a person's reads of a log's leaves are one record. Who follows a log reads again whenever it has grown: a
// record of each read would make it grow, and be read again.
const oneVisit = time.Hour

// maxVisits bounds what is remembered: people who read at the same time, in all tenants. Past it somebody is recorded again.
const maxVisits = 10_000

// notRecorded answers where a read of leaves could not be recorded.
var notRecorded = status.Error(codes.Unavailable, "the read could not be recorded, so nothing was read")

// visit is whose leaves a person reads.
type visit struct {
	tenant      event.TenantID
	certificate access.Fingerprint
}

// leafReads records who reads the leaves of a log: they hold no content and no name, but tell when something happened and of which kind.
// Checkpoints and hashes tell nothing, and are not recorded.
type leafReads struct {
	mu    sync.Mutex
	since map[visit]time.Time // of the newest record
}

// record makes a read of leaves durable before they are answered, once in a visit.
func (l *leafReads) record(ctx context.Context, n *Node, r *apiv1.ReadLogRequest) error {
	call, known := access.From(ctx)
	if !known {
		return notRecorded
	}
	v := visit{event.TenantID(r.GetTenant()), call.Principal.Certificate}
	now := n.cfg.Now()
	if !l.begins(v, now) {
		return nil
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err == nil {
		_, err = n.system.RecordRead(ctx, access.Read{
			Tenant: v.tenant, Principal: call.Principal, Method: apiv1.LogService_ReadLog_FullMethodName, QueryDigest: sha256.Sum256(encoded),
		})
	}
	if err != nil {
		slog.ErrorContext(ctx, "read of leaves refused: it could not be recorded", slog.Any("error", err))
		return notRecorded
	}
	l.recorded(v, now)
	return nil
}

// begins reports whether nothing was recorded within the last visit.
func (l *leafReads) begins(v visit, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, known := l.since[v]
	return !known || now.Sub(since) >= oneVisit
}

func (l *leafReads) recorded(v visit, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil || len(l.since) >= maxVisits {
		l.since = map[visit]time.Time{}
	}
	l.since[v] = now
}
