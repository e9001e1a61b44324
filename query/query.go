// Package query is the read API: search, trace, why and the list of instances, over committed events.
//
// # What a reader may trust
//
//   - Only what is committed is seen: rows at or before the ledger's head. An answer is of one head.
//   - Who may call what, and that the read is recorded before it is answered, is the business of package access; the
//     methods here refuse to answer a call that it has not decided about.
//   - Sealed content is opened only when the request asks for it, field by field, and each field says what it is:
//     disclosed, withheld or erased. What cannot be opened is withheld, never empty. What the log says is erased is not
//     opened, even if its key is still there. Of a value that travels as an object a row has the beginning and the length;
//     Content gives the whole.
//   - A cause is what an event claims. Edges carry their basis, and a cause that no committed event has is named as missing;
//     one that a limit has cut off is not, and the answer says that it is cut.
//
// # What a trace holds
//
// Of an event: all that led to it and all that came of it, but not what else came of its causes. Of a run: its events, and
// one step in each direction. Memories are followed over runs, instances and days although no event claims them: a read comes
// from the last write of its key before it; such an edge says that it is derived. Claims may form circles, and two events may share an id: each event comes once.
package query

import (
	"context"
	"io"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/object"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Limits of one answer.
const (
	// DefaultRows is what a search returns unless it says otherwise: a few screens.
	DefaultRows = 100
	// MaxRows bounds one search and one graph: more is a job for an export.
	MaxRows = 10_000
	// DefaultNodes is what a trace returns unless it says otherwise.
	DefaultNodes = 2_000
	// pageRows is how many rows go into one message: with 64 KiB an event it stays below the limit of a message.
	pageRows = 32
	// maxDepth bounds how far a graph is walked: a graph of MaxRows cannot be deeper.
	maxDepth = MaxRows
	// maxGraphBytes bounds the events of a graph, and what is opened of them: together with the edges it stays below the
	// limit of a message.
	maxGraphBytes = 16 << 20
	// edgeChunk is how many events one question about edges is of.
	edgeChunk = 1000
	// maxEdges bounds the answer to one such question: as many causes as its events can name.
	maxEdges = edgeChunk * event.MaxCauses
)

// Logs is what the ledger knows of committed logs. Implementations are safe for concurrent use.
type Logs interface {
	// Registry is a tenant's admission state at the committed head. It must not be changed.
	Registry(tenant event.TenantID) (*registry.State, bool)
	// OpenTails counts, by instance, the epochs that are neither closed nor followed.
	OpenTails(tenant event.TenantID) map[string]uint32
	// Size is the number of committed leaves of a tenant.
	Size(tenant event.TenantID) uint64
	// Wait returns when the committed head is past after, with the head, or with the context's error.
	Wait(ctx context.Context, after uint64) (head uint64, err error)
	// Head is the stream sequence up to which leaves are committed.
	Head() uint64
}

// Opener opens sealed content. vault.Vault is one.
type Opener interface {
	// Get returns the data key of a name and generation.
	Get(tenant, name string, generation uint32) (*vault.Key, error)
}

// Service implements apiv1.QueryServiceServer.
type Service struct {
	apiv1.UnimplementedQueryServiceServer
	Brake Brake // what the list of instances says of containment; nil says nothing

	store   *store.Store
	logs    Logs
	opener  Opener
	objects Objects

	ending context.Context // of answers that have no end of their own
	end    context.CancelFunc
}

// Objects reads sealed values that are too long for a batch. object.Store is one.
type Objects interface {
	// CopyTo writes the value that the salt and the reference's digest commit to. If there is an error, what was written is
	// not that value.
	CopyTo(w io.Writer, r *object.Ref, salt *[event.SaltSize]byte) error
}

// New returns the service.
func New(s *store.Store, logs Logs, opener Opener, objects Objects) *Service {
	ending, end := context.WithCancel(context.Background())
	return &Service{store: s, logs: logs, opener: opener, objects: objects, ending: ending, end: end}
}

// Drain ends the answers that go on for ever, with codes.Unavailable: whoever follows goes on elsewhere, or later.
func (s *Service) Drain() { s.end() }

// tenantOf is the tenant that access has let the call read. A call without a decision is refused: it came in by a way that
// nobody guards.
func tenantOf(ctx context.Context, requested string) (event.TenantID, error) {
	call, ok := access.From(ctx)
	if !ok {
		return "", status.Error(codes.PermissionDenied, "the call was not authorised")
	}
	for _, t := range call.Tenants {
		if string(t) == requested {
			return t, nil
		}
	}
	return "", status.Error(codes.PermissionDenied, "the call was not authorised")
}

// invalid is a wrong field of a request.
func invalid(field, format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, field+": "+format, args...)
}

// bounded checks a limit: 0 is the default.
func bounded(field string, given uint32, otherwise int) (int, error) {
	switch {
	case given == 0:
		return otherwise, nil
	case given > MaxRows:
		return 0, invalid(field, "at most %d", MaxRows)
	}
	return int(given), nil
}
