package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/signer"
	"github.com/agentcustody/custody/stream"
)

// tipIndex is the leaf index under which admission applies what the ledger has not folded yet. The true
// index is only known to the fold; admission asks no more than what is in force at the end.
const tipIndex = math.MaxInt64

// Source is what admission follows.
type Source interface {
	// Last returns the last message of a subject, as the stream's leader has it.
	Last(ctx context.Context, subject string) (m stream.Message, found bool, err error)
	// Read returns a reader of the subjects that match filter, from a sequence on.
	Read(from uint64, filter string) *stream.Reader
}

// Member is what a tenant's registry says about an emitter key now.
type Member struct {
	Instance event.InstanceID
	Producer eventv1.ProducerClass
	Key      signer.PublicKey
	Ended    bool   // revoked or rotated out
	Manifest uint32 // version in force of the instance's manifest, 0 if none
	Origin   string // of the tenant's log
}

// Admission is every tenant's registry at the end of the stream. It is safe for concurrent use.
type Admission struct {
	source Source
	system signer.PublicKey
	log    *slog.Logger

	mu      sync.RWMutex
	tenants map[event.TenantID]*registry.State
	erased  chan struct{} // closed and replaced with every tombstone that is applied

	progress *stream.Progress // of the system messages that are applied

	grants atomic.Pointer[map[access.Fingerprint][]access.Grant] // derived from tenants; replaced as a whole
	stop   context.CancelFunc
	done   chan struct{}
}

// NewAdmission starts from registries that contain the stream up to a sequence, takes them over, and
// follows. system is the key that signs Custody's own batches. Close ends it.
func NewAdmission(source Source, system signer.PublicKey, from map[event.TenantID]*registry.State, upTo uint64, log *slog.Logger) *Admission {
	ctx, stop := context.WithCancel(context.Background())
	a := &Admission{
		source: source, system: system, log: log, tenants: maps.Clone(from), progress: stream.NewProgress(upTo),
		erased: make(chan struct{}), stop: stop, done: make(chan struct{}),
	}
	if a.tenants == nil {
		a.tenants = make(map[event.TenantID]*registry.State)
	}
	a.indexGrants()
	go a.follow(ctx, source.Read(upTo+1, stream.SystemFilter))
	return a
}

// Close ends following.
func (a *Admission) Close() {
	a.stop()
	<-a.done
}

// follow applies every system message.
func (a *Admission) follow(ctx context.Context, reader *stream.Reader) {
	defer close(a.done)
	defer reader.Close()
	for {
		m, err := reader.Next(ctx)
		if err != nil {
			a.fail(ctx, err)
			return
		}
		a.take(m)
	}
}

// fail makes every later CatchUp fail: what admission holds gets old.
func (a *Admission) fail(ctx context.Context, err error) {
	err = fmt.Errorf("follow system messages: %w", err)
	a.progress.Fail(err)
	if ctx.Err() == nil {
		a.log.ErrorContext(ctx, "admission stopped", slog.Any("error", err))
	}
}

// take applies one message. What is not a batch of the system key has no effect here; the fold judges it.
func (a *Admission) take(m stream.Message) {
	subject, err := stream.ParseSubject(m.Subject)
	if err != nil {
		return
	}
	tenant := event.TenantID(subject.Tenant)
	events, err := a.read(tenant, m.Data)
	if err != nil {
		a.log.Warn("system message not applied", slog.Uint64("stream_seq", m.Seq), slog.Any("error", err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.apply(tenant, events) {
		a.indexGrants()
	}
	a.progress.Reach(m.Seq)
}

// read returns the events of a batch that the system key signed.
func (a *Admission) read(tenant event.TenantID, data []byte) ([]*eventv1.Event, error) {
	b, err := event.ParseStreamBatch(data)
	if err != nil {
		return nil, err
	}
	if err := signer.VerifyDSSE(a.system, signer.PayloadTypeBatch, b.GetStatement(), b.GetSignature()); err != nil {
		return nil, err
	}
	st, err := event.ParseStatement(b.GetStatement())
	if err != nil {
		return nil, err
	}
	if st.GetTenant() != string(tenant) {
		return nil, errors.New("batch of another tenant")
	}
	events := make([]*eventv1.Event, 0, len(b.GetEvents()))
	for _, encoded := range b.GetEvents() {
		e, wrong := event.ParseMember(st, encoded)
		if wrong != nil {
			return nil, wrong
		}
		events = append(events, e)
	}
	return events, nil
}

// apply folds events into a tenant's registry and reports whether grants have changed. An event that does
// not apply changes nothing, as in the fold.
func (a *Admission) apply(tenant event.TenantID, events []*eventv1.Event) (grants bool) {
	state := a.tenants[tenant]
	if state == nil {
		state = registry.New()
	}
	for _, e := range events {
		if event.Kind(e) != event.KindSystem {
			continue
		}
		if err := state.Apply(indexOf(state, e), e); err != nil {
			a.log.Warn("system event does not apply", slog.String("tenant", string(tenant)), slog.Any("error", err))
			continue
		}
		grants = grants || e.GetSystem().GetGrant() != nil
		if e.GetSystem().GetErasure() != nil {
			close(a.erased)
			a.erased = make(chan struct{})
		}
	}
	if state.Genesis() != nil {
		a.tenants[tenant] = state
	}
	state.TakeDirty()
	return grants
}

// indexOf is the index under which an event is applied: 0 for a genesis.
func indexOf(s *registry.State, e *eventv1.Event) uint64 {
	if s.Genesis() == nil && e.GetSystem().GetGenesis() != nil {
		return 0
	}
	return tipIndex
}

// LastSeq is the stream sequence of a tenant's last system message, 0 if there is none.
func (a *Admission) LastSeq(ctx context.Context, tenant event.TenantID) (uint64, error) {
	last, _, err := a.source.Last(ctx, stream.SystemSubject(string(tenant)))
	if err != nil {
		return 0, fmt.Errorf("last system message of %s: %w", tenant, err)
	}
	return last.Seq, nil
}

// CatchUp returns when everything that stands in the stream for a tenant at the time of the call is applied.
func (a *Admission) CatchUp(ctx context.Context, tenant event.TenantID) error {
	seq, err := a.LastSeq(ctx, tenant)
	if err != nil {
		return err
	}
	return a.Await(ctx, seq)
}

// CatchUpAll returns when everything that stands in the stream for any tenant at the time of the call is
// applied.
func (a *Admission) CatchUpAll(ctx context.Context) error {
	last, _, err := a.source.Last(ctx, stream.SystemFilter)
	if err != nil {
		return fmt.Errorf("last system message: %w", err)
	}
	return a.Await(ctx, last.Seq)
}

// Await returns when the system message at a stream sequence is applied.
func (a *Admission) Await(ctx context.Context, seq uint64) error { return a.progress.Await(ctx, seq) }

// View lets look at a tenant's registry and reports whether the tenant exists. look must not keep the state
// nor change it.
func (a *Admission) View(tenant event.TenantID, look func(*registry.State)) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	state := a.tenants[tenant]
	if state == nil {
		return false
	}
	look(state)
	return true
}

// Tenants lists the tenants that have a log, the operator's among them, in ascending order.
func (a *Admission) Tenants() []event.TenantID {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return slices.Sorted(maps.Keys(a.tenants))
}

// Lookup says what is in force for an emitter key.
func (a *Admission) Lookup(tenant event.TenantID, id signer.KeyID) (m Member, known bool) {
	a.View(tenant, func(s *registry.State) {
		key, enrolled := s.Key(id)
		if known = enrolled && key.Instance != string(event.InstanceCustody); !known {
			return
		}
		instance, _ := s.Instance(key.Instance)
		m = Member{
			Instance: event.InstanceID(key.Instance), Producer: key.Producer, Key: signer.PublicKey(key.PublicKey),
			Ended: key.To != registry.Forever, Manifest: instance.Version(), Origin: s.Genesis().GetOrigin(),
		}
	})
	return m, known
}

// Find is Lookup that catches up once if the key is not known.
func (a *Admission) Find(ctx context.Context, tenant event.TenantID, id signer.KeyID) (Member, bool, error) {
	if m, known := a.Lookup(tenant, id); known {
		return m, true, nil
	}
	if err := a.CatchUp(ctx, tenant); err != nil {
		return Member{}, false, err
	}
	m, known := a.Lookup(tenant, id)
	return m, known, nil
}

// Erasure is the newest tombstone of a subject, zero if there is none.
func (a *Admission) Erasure(tenant event.TenantID, subject string) (e registry.Erasure) {
	a.View(tenant, func(s *registry.State) { e = s.Erasure(subject) })
	return e
}

// tombstones are the newest of every subject, and a channel that is closed when there are more.
func (a *Admission) tombstones() (all []Tombstone, more <-chan struct{}) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for tenant, state := range a.tenants {
		for subject, e := range state.Erasures() {
			all = append(all, Tombstone{tenant, subject, e.Generation})
		}
	}
	return all, a.erased
}

// Grants implements access.Grants: what a certificate's holder is in each log.
func (a *Admission) Grants(certificate access.Fingerprint) []access.Grant {
	return (*a.grants.Load())[certificate]
}

// indexGrants derives the grants of every certificate. The mutex is held for writing, or the admission is
// not shared yet.
func (a *Admission) indexGrants() {
	index, overAll := make(map[access.Fingerprint][]access.Grant), a.grantsOverAll()
	for _, tenant := range slices.Sorted(maps.Keys(a.tenants)) {
		for name, p := range people(a.tenants[tenant], overAll) {
			for certificate := range p.certificates {
				index[certificate] = append(index[certificate], access.Grant{Tenant: tenant, Name: name, Roles: p.roles})
			}
		}
	}
	a.grants.Store(&index)
}

// grantKey is what two logs must agree on for a grant over all tenants.
type grantKey struct {
	principal string
	role      eventv1.Role
}

// grantsOverAll are those of the operator's log.
func (a *Admission) grantsOverAll() map[grantKey]bool {
	all := make(map[grantKey]bool)
	if operator := a.tenants[event.TenantOperator]; operator != nil {
		for _, g := range operator.Grants() {
			all[grantKey{g.Principal, g.Role}] = true
		}
	}
	return all
}

// person is a principal in one log.
type person struct {
	roles        access.Roles
	certificates map[access.Fingerprint]bool
}

// people gathers the principals of a log. A grant over all tenants counts only while the operator's log has
// it too: taking it away there takes it away everywhere at once.
func people(state *registry.State, overAll map[grantKey]bool) map[string]*person {
	all := make(map[string]*person)
	for _, g := range state.Grants() {
		if g.AllTenants && !overAll[grantKey{g.Principal, g.Role}] {
			continue
		}
		p := all[g.Principal]
		if p == nil {
			p = &person{certificates: make(map[access.Fingerprint]bool)}
			all[g.Principal] = p
		}
		p.roles |= access.RolesOf(g.Role)
		for _, certificate := range g.Certificates {
			p.certificates[access.Fingerprint(certificate)] = true
		}
	}
	return all
}
