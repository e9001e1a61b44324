package query

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer/vault"
	"github.com/agentcustody/custody/store"
)

// view turns stored rows into answers for one call.
type view struct {
	service  *Service
	tenant   event.TenantID
	registry *registry.State // may be nil
	opens    bool            // sealed content is asked for
}

func (s *Service) view(tenant event.TenantID, opens bool) *view {
	state, _ := s.logs.Registry(tenant)
	return &view{service: s, tenant: tenant, registry: state, opens: opens}
}

// row is one row of an answer, nothing opened yet.
func (v *view) row(r *store.Row) *apiv1.EventRow {
	hash := r.LeafHash()
	return &apiv1.EventRow{
		Index: r.Index, ReceivedAt: r.Received, Verdict: r.Verdict.String(), Producer: r.Producer, Event: r.Bytes,
		LeafHash: hash[:], KeyId: r.KeyID[:], Seq: r.Seq, Suspect: v.suspect(r),
	}
}

func (v *view) rows(all []*store.Row) []*apiv1.EventRow {
	out := make([]*apiv1.EventRow, len(all))
	for i, r := range all {
		out[i] = v.row(r)
	}
	return out
}

// suspect reports whether the row's key was later said to be in doubt for its leaf.
func (v *view) suspect(r *store.Row) bool {
	if v.registry == nil {
		return false
	}
	key, ok := v.registry.Key(r.KeyID)
	return ok && key.SuspectAt(r.Index)
}

// States of a sealed field, as FORMAT names them.
const (
	disclosed = "disclosed"
	withheld  = "withheld"
	erased    = "erased"
)

// open discloses the sealed fields of rows, if the call asks for it.
func (v *view) open(ctx context.Context, rows []*apiv1.EventRow) error {
	if !v.opens || len(rows) == 0 {
		return nil
	}
	byIndex := make(map[uint64][]store.Opening, len(rows))
	indices := make([]uint64, len(rows))
	for i, r := range rows {
		indices[i] = r.GetIndex()
	}
	all, err := v.service.store.OpeningsOf(ctx, string(v.tenant), indices...)
	if err != nil {
		return readError(err)
	}
	for _, o := range all {
		byIndex[o.Index] = append(byIndex[o.Index], o)
	}
	for _, r := range rows {
		v.openRow(r, byIndex[r.GetIndex()])
	}
	return nil
}

// openAll is open for an answer in one message, which holds only so much.
func (v *view) openAll(ctx context.Context, rows []*apiv1.EventRow) error {
	size := 0
	for chunk := range slices.Chunk(rows, pageRows) {
		if err := v.open(ctx, chunk); err != nil {
			return err
		}
		for _, r := range chunk {
			for _, o := range r.GetOpened() {
				size += len(o.GetValue())
			}
		}
		if size > maxGraphBytes {
			return status.Errorf(codes.ResourceExhausted, "open: the content of these events is more than %d bytes: ask for fewer, or search", maxGraphBytes)
		}
	}
	return nil
}

func (v *view) openRow(r *apiv1.EventRow, openings []store.Opening) {
	e, err := event.Parse(r.GetEvent())
	if err != nil {
		return // held, or no event: there is nothing to open
	}
	for _, s := range e.GetSealed() {
		r.Opened = append(r.Opened, v.field(r.GetIndex(), e, s, openings))
	}
}

// field is one sealed field in one of its three states. What the log says is erased is not opened, whatever is left of it;
// content that came after the tombstone and was dropped is withheld. A value that does not match its digest is withheld too:
// it is not what was committed to.
func (v *view) field(index uint64, e *eventv1.Event, s *eventv1.Sealed, openings []store.Opening) *apiv1.OpenedField {
	out := &apiv1.OpenedField{Path: s.GetPath(), State: withheld, MediaType: s.GetMediaType(), Size: s.GetSize()}
	tombstone := v.erasure(s.GetSubject())
	at := slices.IndexFunc(openings, func(o store.Opening) bool { return o.Path == s.GetPath() })
	switch {
	case index < tombstone.Since && (at < 0 || openings[at].Generation <= tombstone.Generation):
		out.State = erased
	case at >= 0 && openings[at].Generation <= tombstone.Generation:
	case at >= 0:
		if value, err := v.decrypt(e, s, &openings[at]); err == nil {
			out.State, out.Value = disclosed, value
		}
	}
	return out
}

// erasure is the newest tombstone of a subject.
func (v *view) erasure(subject string) registry.Erasure {
	if v.registry == nil {
		return registry.Erasure{}
	}
	return v.registry.Erasure(subject)
}

var errMismatch = errors.New("opening does not match its digest")

// split opens an opening.
func (v *view) split(e *eventv1.Event, o *store.Opening) (salt [event.SaltSize]byte, value []byte, err error) {
	key, err := v.service.opener.Get(string(v.tenant), content.SubjectKey(o.Subject), o.Generation)
	if err != nil {
		return salt, nil, err
	}
	plaintext, err := vault.Open(key, content.AppendOpeningData(nil, v.tenant, event.ID(e.GetId()), o.Path), o.Ciphertext)
	if err != nil {
		return salt, nil, err
	}
	return content.SplitOpening(plaintext)
}

func (v *view) decrypt(e *eventv1.Event, s *eventv1.Sealed, o *store.Opening) ([]byte, error) {
	salt, value, err := v.split(e, o)
	if err != nil {
		return nil, err
	}
	if event.StandsForObject(s, &eventv1.Opening{Value: value}) {
		return v.beginning(e, s, &salt)
	}
	if digest := event.SealedDigest(event.ID(e.GetId()), s.GetPath(), s.GetMediaType(), &salt, value); string(digest[:]) != string(s.GetDigest()) {
		return nil, errMismatch
	}
	return value, nil
}

// readError is a failure of the store as a caller should see it.
func readError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	if errors.Is(err, store.ErrUnavailable) {
		return status.Error(codes.Unavailable, "the store does not answer")
	}
	return status.Errorf(codes.Internal, "read events: %v", err)
}
