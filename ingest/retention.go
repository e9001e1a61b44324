package ingest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agentcustody/custody/access/content"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// erasePatience bounds each wait of an erasure: for batches on their way, which take at most publishTimeout, for the
// ledger, and for the key to be gone.
const erasePatience = 2 * publishTimeout

// errNoContent says that there is nothing to erase.
var errNoContent = fmt.Errorf("subject: no content about it can be opened: %w", registry.ErrUnknown)

// Contents knows what the committed records seal.
type Contents interface {
	// Settle returns when everything that the stream holds at the time of the call is committed.
	Settle(ctx context.Context) error
	// Seals reports whether a committed record of an instance or of a run, whichever is given, seals content about a subject.
	// If that cannot be excluded, the answer is yes.
	Seals(ctx context.Context, tenant event.TenantID, subject, instance, run string) (bool, error)
	// Expire drops the content of what a tenant's log received before a time, and returns the first leaf whose content is kept.
	// Doing it again finishes what a crash broke off.
	Expire(ctx context.Context, tenant event.TenantID, before time.Time) (firstKept uint64, err error)
}

// RetentionConfig is what erasures and holds need. Every field must be set.
type RetentionConfig struct {
	Admin    *Admin
	Door     *Service
	Keys     Keys
	Contents Contents
	Floor    time.Duration // content younger than this does not expire
}

// Retention implements RetentionService: it erases the content of a subject, and drops content that is old, unless a hold keeps it.
//
// An erasure goes through these steps; after a crash between any two of them the log says what is to be done.
//
//  1. A new generation of the subject's data key begins. A crash leaves a generation that nothing refers to.
//  2. Batches that were sealed under earlier generations reach the stream, and, if a hold on an instance or a run is in
//     force, the store. So no content of those generations is unknown when holds are looked at, and none comes later.
//  3. The tombstone is recorded. From here on readers open nothing of the subject up to its generation, and the door drops
//     what occurred before it.
//  4. The keys up to the tombstone's generation are destroyed, by reading the log: see destroyer.
type Retention struct {
	apiv1.UnimplementedRetentionServiceServer
	cfg       RetentionConfig
	admin     *Admin
	destroyer *destroyer
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// NewRetention destroys what an earlier process has left, as far as it can, and whatever gets a tombstone from now on.
// Close ends that.
func NewRetention(cfg RetentionConfig) *Retention {
	ctx, stop := context.WithCancel(context.Background())
	a := cfg.Admin.cfg
	r := &Retention{cfg: cfg, admin: cfg.Admin, destroyer: newDestroyer(a.Admission, cfg.Keys, a.Log), stop: stop}
	tombstones, _ := a.Admission.tombstones()
	_ = r.destroyer.all(tombstones) // what fails is logged and tried again by run
	r.done.Go(func() { r.destroyer.run(ctx) })
	return r
}

// Close ends the destruction of keys; the next process goes on with it.
func (r *Retention) Close() {
	r.stop()
	r.done.Wait()
}

// begin starts a change, as Admin's do. The caller unlocks the mutex of Admin.
func (r *Retention) begin(ctx context.Context, tenant, reason string, request proto.Message) error {
	if reason == "" {
		return badField("reason", "must be given: it is for the record")
	}
	return r.admin.begin(ctx, tenant, request)
}

// Erase implements apiv1.RetentionServiceServer.
func (r *Retention) Erase(ctx context.Context, q *apiv1.EraseRequest) (*apiv1.EraseResponse, error) {
	r.admin.mu.Lock()
	defer r.admin.mu.Unlock()
	if err := r.begin(ctx, q.GetTenant(), q.GetReason(), q); err != nil {
		return nil, err
	}
	if q.GetSubject() == "" || len(q.GetSubject()) > event.MaxID {
		return nil, badField("subject", fmt.Sprintf("must be 1 to %d bytes", event.MaxID))
	}
	t := Tombstone{Tenant: event.TenantID(q.GetTenant()), Subject: q.GetSubject()}
	var err error
	if t.Generation, err = r.retire(ctx, t); err != nil {
		return nil, r.admin.failed(ctx, "erase", err)
	}
	if err := r.bury(ctx, t, q.GetReason()); err != nil {
		return nil, err
	}
	return &apiv1.EraseResponse{Generation: t.Generation, Index: r.indexOf(ctx, t)}, nil
}

// retire does steps 1 and 2, and returns the generation up to which keys can be destroyed.
func (r *Retention) retire(ctx context.Context, t Tombstone) (uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, erasePatience)
	defer cancel()
	holds := r.holds(t.Tenant)
	if err := direct(holds, t.Subject); err != nil {
		return 0, err
	}
	last, err := r.cfg.Keys.Retire(string(t.Tenant), content.SubjectKey(t.Subject))
	if err == nil && last == 0 {
		err = errNoContent
	}
	if err != nil {
		return 0, err
	}
	if err := r.cfg.Door.flight.wait(ctx); err != nil {
		return 0, err
	}
	return last, r.indirect(ctx, holds, t)
}

// holds are those in force in a tenant, by id. The mutex of Admin is held, so that none is placed meanwhile.
func (r *Retention) holds(tenant event.TenantID) (holds []registry.Hold) {
	r.admin.cfg.Admission.View(tenant, func(s *registry.State) { holds = s.Holds() })
	return holds
}

// direct is an error if a hold covers the tenant or the subject.
func direct(holds []registry.Hold, subject string) error {
	for _, h := range holds {
		if h.Scope == "tenant" || h.Scope == "subject/"+subject {
			return &registry.HeldError{Hold: h}
		}
	}
	return nil
}

// indirect is an error if a hold covers an instance or a run with content about the subject.
func (r *Retention) indirect(ctx context.Context, holds []registry.Hold, t Tombstone) error {
	settled := false
	for _, h := range holds {
		kind, what, _ := strings.Cut(h.Scope, "/")
		if kind != "instance" && kind != "run" {
			continue
		}
		if !settled {
			if err := r.cfg.Contents.Settle(ctx); err != nil {
				return fmt.Errorf("wait for the ledger: %w", err)
			}
			settled = true
		}
		if err := r.covered(ctx, h, kind, what, t); err != nil {
			return err
		}
	}
	return nil
}

func (r *Retention) covered(ctx context.Context, h registry.Hold, kind, what string, t Tombstone) error {
	instance, run := what, ""
	if kind == "run" {
		instance, run = "", what
	}
	seals, err := r.cfg.Contents.Seals(ctx, t.Tenant, t.Subject, instance, run)
	switch {
	case err != nil:
		return fmt.Errorf("look what is held: %w", err)
	case seals:
		return &registry.HeldError{Hold: h}
	}
	return nil
}

// bury does steps 3 and 4. They go on also if whoever asked is gone.
func (r *Retention) bury(ctx context.Context, t Tombstone, reason string) error {
	tombstone := &eventv1.System{Actor: caller(ctx), Reason: reason, Detail: &eventv1.System_Erasure{
		Erasure: &eventv1.Erasure{Subject: t.Subject, Generation: t.Generation},
	}}
	if err := r.admin.change(ctx, t.Tenant, tombstone); err != nil {
		return err
	}
	if r.admin.cfg.Admission.Erasure(t.Tenant, t.Subject).Generation < t.Generation { // another process was faster with a hold
		return status.Error(codes.Aborted, "a hold was placed at the same time")
	}
	ctx, cancel := context.WithTimeout(ctx, erasePatience)
	defer cancel()
	if err := r.destroyer.await(ctx, t); err != nil {
		r.admin.cfg.Log.WarnContext(ctx, "erasure recorded, key not destroyed yet", slog.Any("error", err))
		return status.Error(codes.Unavailable, "the erasure is recorded; the key is destroyed as soon as its file can be written")
	}
	return nil
}

// indexOf is the leaf of a tombstone, nil if the ledger is behind.
func (r *Retention) indexOf(ctx context.Context, t Tombstone) *uint64 {
	state, err := r.admin.committed(ctx, t.Tenant)
	if err != nil {
		return nil
	}
	return new(state.Erasure(t.Subject).Since)
}

// PlaceHold implements apiv1.RetentionServiceServer.
func (r *Retention) PlaceHold(ctx context.Context, q *apiv1.PlaceHoldRequest) (*apiv1.PlaceHoldResponse, error) {
	r.admin.mu.Lock()
	defer r.admin.mu.Unlock()
	if err := r.begin(ctx, q.GetTenant(), q.GetReason(), q); err != nil {
		return nil, err
	}
	if instance, ok := strings.CutPrefix(q.GetScope(), "instance/"); ok {
		if _, known := r.admin.instance(q.GetTenant(), instance); !known {
			return nil, status.Error(codes.NotFound, "instance: unknown")
		}
	}
	hold := &eventv1.Hold{Hold: q.GetHold(), Scope: q.GetScope()}
	if hold.GetHold() == "" {
		hold.Hold = newHoldID(r.admin.cfg.Now())
	}
	err := r.admin.change(ctx, event.TenantID(q.GetTenant()), &eventv1.System{
		Actor: caller(ctx), Reason: q.GetReason(), Detail: &eventv1.System_Hold{Hold: hold},
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.PlaceHoldResponse{Hold: hold.GetHold()}, nil
}

// newHoldID is the day and 4 random bytes.
func newHoldID(now time.Time) string {
	var random [4]byte
	rand.Read(random[:]) // never fails
	return now.UTC().Format("2006-01-02") + "-" + hex.EncodeToString(random[:])
}

// LiftHold implements apiv1.RetentionServiceServer.
func (r *Retention) LiftHold(ctx context.Context, q *apiv1.LiftHoldRequest) (*apiv1.LiftHoldResponse, error) {
	r.admin.mu.Lock()
	defer r.admin.mu.Unlock()
	if err := r.begin(ctx, q.GetTenant(), q.GetReason(), q); err != nil {
		return nil, err
	}
	for _, h := range r.holds(event.TenantID(q.GetTenant())) {
		if h.ID != q.GetHold() {
			continue
		}
		lift := &eventv1.System{Actor: caller(ctx), Reason: q.GetReason(), Detail: &eventv1.System_Hold{
			Hold: &eventv1.Hold{Hold: h.ID, Scope: h.Scope, Lifted: true},
		}}
		return &apiv1.LiftHoldResponse{Scope: h.Scope}, r.admin.change(ctx, event.TenantID(q.GetTenant()), lift)
	}
	return nil, status.Error(codes.NotFound, "hold: none of that name is in force")
}

// ListHolds implements apiv1.RetentionServiceServer. The leaves that placed the holds only the ledger knows.
func (r *Retention) ListHolds(ctx context.Context, q *apiv1.ListHoldsRequest) (*apiv1.ListHoldsResponse, error) {
	state, err := r.admin.committed(ctx, event.TenantID(q.GetTenant()))
	if err != nil {
		return nil, r.admin.failed(ctx, "list holds", err)
	}
	response := new(apiv1.ListHoldsResponse)
	for _, h := range state.Holds() {
		response.Holds = append(response.Holds, &apiv1.HoldInfo{Hold: h.ID, Scope: h.Scope, Since: h.Since})
	}
	return response, nil
}
