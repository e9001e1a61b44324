package node

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain"
	"github.com/agentcustody/custody/contain/connector"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	"github.com/agentcustody/custody/query"
)

// openPatience bounds how long an approver waits until the ledger has what is asked about: many times what that takes.
const openPatience = 15 * time.Second

// openContainment folds what is in force, and follows.
func (n *Node) openContainment(ctx context.Context) (err error) {
	cfg := contain.Config{
		Source: n.stream, Recorder: n.system, Roster: n.admission, System: n.keys.system.Public(), Key: n.keys.system, Now: n.cfg.Now, Log: n.cfg.Log,
		Moderate: n.cfg.ModerateNeedsLease, ApproveHigh: n.cfg.ApproveHigh, Hold: n.holdRecords, Judged: n.judged, Reach: n.reach, Contents: sealedContents{n}, Way: &n.way,
	}
	if cfg.Connectors, err = n.connectors(); err != nil {
		return err
	}
	if n.cfg.RulesOff {
		cfg.Judged = nil // nobody waits for rules that do not run
	}
	if n.cfg.TuneContainment != nil {
		n.cfg.TuneContainment(&cfg)
	}
	if n.brake, err = contain.Open(ctx, cfg); err != nil {
		return err
	}
	n.later(func() error { n.brake.Close(); return nil })
	return nil
}

// reach is what the records say of a target.
func (n *Node) reach(ctx context.Context, t event.Target, instances []event.InstanceID) (r contain.Reach, err error) {
	r.Credentials, r.Descendants, err = n.store.Reach(ctx, t, instances)
	return r, err
}

// sealedContents opens what approvers are shown.
type sealedContents struct{ node *Node }

// Open implements contain.Contents.
func (c sealedContents) Open(ctx context.Context, tenant event.TenantID, id event.ID, path string, before uint64) (contain.Sealed, error) {
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	e, value, size, err := c.node.query.Sealed(ctx, tenant, id, path, before)
	if errors.Is(err, query.ErrNotOpen) {
		err = errors.Join(contain.ErrNotFound, err)
	}
	return contain.Sealed{Event: e, Value: value, Size: size}, err
}

// connectors reads the file of connectors, if there is one.
func (n *Node) connectors() ([]contain.Connector, error) {
	if n.cfg.Connectors != "" {
		return connector.Load(n.cfg.Connectors)
	}
	list, err := connector.Load(n.folder.path("connectors.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// holdRecords places a hold as the person who asked for the quarantine. It takes its turn with erasures.
func (n *Node) holdRecords(ctx context.Context, tenant event.TenantID, actor, reason, id, scope string) error {
	if reason == "" {
		reason = "quarantine"
	}
	ctx = access.With(ctx, access.Call{Principal: access.Principal{Name: actor}})
	_, err := n.retention.PlaceHold(ctx, &apiv1.PlaceHoldRequest{Tenant: string(tenant), Hold: id, Scope: scope, Reason: reason})
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// brake is what the list of instances says of containment.
type brake struct {
	engine *contain.Engine
	rules  *live.Engine
}

// Standing implements query.Brake.
func (b brake) Standing(tenant event.TenantID, instance event.InstanceID) query.Standing {
	s := b.engine.Standing(tenant, instance)
	return query.Standing{Level: string(s.Level), Proven: s.Proven, Part: s.Part, Lease: s.Lease}
}

// Waiting implements query.Brake.
func (b brake) Waiting(tenant event.TenantID) (map[event.InstanceID]query.Waiting, error) {
	waiting, err := b.rules.Waiting(tenant)
	all := make(map[event.InstanceID]query.Waiting, len(waiting))
	for instance, w := range waiting {
		all[instance] = query.Waiting(w)
	}
	return all, err
}

// Containment is the node's brake.
func (n *Node) Containment() *contain.Engine { return n.brake }
