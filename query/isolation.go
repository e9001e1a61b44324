package query

import (
	"context"
	"encoding/hex"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/event"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// MaxShared bounds the connections of each kind in one answer: a list that nobody would read, and 4 MiB of it.
const MaxShared = 4_000

// Connection is one recorded connection of a tenant with another: the same value in records of both, or a cause across.
type Connection struct {
	Kind        string // "credential", "connector", "memory", "artefact", "cause" or "effect"
	Value       string // as the tenant's own record has it: a name, a digest in hexadecimal, or the id of its own event
	Other       event.TenantID
	Records     uint64 // of the tenant in the range that have it
	First, Last uint64 // their first and last index
}

// Review is what a tenant's log says about sharing something.
type Review struct {
	Record   uint64
	At       int64 // received, nanoseconds since 1970
	Reviewer string
	Outcome  string
	Until    int64 // nanoseconds since 1970; 0 is not stated
	Reason   string
}

// Isolation lists every recorded connection of a tenant's leaves [begin, end) with committed records of other tenants, whenever those
// came. A cause is one where a record of the tenant names another's event; an effect where another's names an event of the tenant.
func Isolation(ctx context.Context, st *store.Store, tenant event.TenantID, begin, end uint64) ([]Connection, error) {
	var list []Connection
	for _, part := range isolationParts {
		shared, err := part.find(ctx, st, string(tenant), begin, end)
		switch {
		case errors.Is(err, store.ErrTooMany):
			return nil, status.Errorf(codes.ResourceExhausted, "more than %d connections of the kind %s: ask for a shorter period", MaxShared, part.kind)
		case err != nil:
			return nil, readError(err)
		}
		for _, s := range shared {
			list = append(list, Connection{part.kind, part.show(s.Value), event.TenantID(s.Other), s.Records, s.First, s.Last})
		}
	}
	return list, nil
}

type finder func(ctx context.Context, st *store.Store, tenant string, begin, end uint64) ([]store.Shared, error)

// isolationParts are all kinds of connections that records can show.
var isolationParts = []struct {
	kind string
	find finder
	show func(string) string
}{
	{"credential", sharedColumn(store.SharedCredential), same},
	{"connector", sharedColumn(store.SharedConnector), same},
	{"memory", sharedColumn(store.SharedMemory), same},
	{"artefact", func(ctx context.Context, st *store.Store, tenant string, begin, end uint64) ([]store.Shared, error) {
		return st.SharedContents(ctx, tenant, begin, end, MaxShared)
	}, same},
	{"cause", func(ctx context.Context, st *store.Store, tenant string, begin, end uint64) ([]store.Shared, error) {
		return st.SharedCauses(ctx, tenant, begin, end, MaxShared)
	}, eventID},
	{"effect", func(ctx context.Context, st *store.Store, tenant string, begin, end uint64) ([]store.Shared, error) {
		return st.SharedEffects(ctx, tenant, begin, end, MaxShared)
	}, eventID},
}

func sharedColumn(c store.SharedColumn) finder {
	return func(ctx context.Context, st *store.Store, tenant string, begin, end uint64) ([]store.Shared, error) {
		return st.SharedValues(ctx, c, tenant, begin, end, MaxShared)
	}
}

func same(value string) string { return value }

// eventID is the text form of an id in hexadecimal.
func eventID(hexadecimal string) string {
	b, err := hex.DecodeString(hexadecimal)
	if id, wrong := event.IDFromBytes(b); err == nil && wrong == nil {
		return id.String()
	}
	return hexadecimal
}

// SharingReviews are the latest reviews of what a tenant shares, by "connector/NAME" and the like, among its leaves before end.
func SharingReviews(ctx context.Context, st *store.Store, tenant event.TenantID, end uint64) (map[string]Review, error) {
	latest := map[string]Review{}
	for row, err := range st.Search(ctx, store.Filter{Tenant: string(tenant), Action: "system.review", ToIndex: max(end, 1)}) {
		if err != nil {
			return nil, readError(err)
		}
		e, err := event.Parse(row.Bytes)
		if err != nil || row.Index >= end {
			continue // a column that was changed is found by a check
		}
		if x := e.GetSystem().GetReview(); x.GetTopic() == "sharing" {
			latest[x.GetSubject()] = review(row, e.GetSystem(), x)
		}
	}
	return latest, nil
}

func review(row *store.Row, s *eventv1.System, x *eventv1.Review) Review {
	return Review{row.Index, row.Received, s.GetActor(), x.GetOutcome(), x.GetNextAt(), s.GetReason()}
}
