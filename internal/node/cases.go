package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/agentcustody/custody/contain/cases"
	"github.com/agentcustody/custody/contain/live"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// openCases begins to fold the cases.
func (n *Node) openCases(context.Context) error {
	n.cases = cases.Open(cases.Config{
		Source: n.stream, Recorder: n.system, Roster: n.admission, Records: caseRecords{contents{n}}, System: n.keys.system.Public(),
		Hold: n.holdRecords, Log: n.cfg.Log,
		Fired:  func(tenant event.TenantID, firing event.ID) bool { return n.rules.Firing(tenant, firing) != nil },
		Gather: n.gatherFirings,
	})
	n.later(func() error { n.cases.Close(); return nil })
	return nil
}

// gatherFirings are those of live rules about a target that wait for a person, or whose containment is in force; the newest first.
func (n *Node) gatherFirings(t event.Target) (list []cases.Gathered) {
	about := func(f *live.Firing) bool {
		concerned := t.Kind == event.TargetTenant || t.Instance != "" && f.Instance == string(t.Instance) || t.Kind == event.TargetRun && f.Run == t.Name
		inForce := f.Containment != "" && !f.Released && f.State != live.StateFalsePositive
		return concerned && (f.Wants() || inForce)
	}
	for _, f := range slices.Backward(n.rules.Firings(t.Tenant, about)) {
		list = append(list, cases.Gathered{Firing: f.ID, Containment: f.Containment})
	}
	return list
}

// caseRecords implements cases.Records over what the node has committed.
type caseRecords struct{ contents }

// Find implements cases.Records.
func (c caseRecords) Find(ctx context.Context, tenant event.TenantID, ids []event.ID) (list []cases.Record, err error) {
	rows, err := c.node.store.EventsByIDs(ctx, string(tenant), ids, 0)
	if err != nil {
		return nil, fmt.Errorf("find the events of a case: %w", err)
	}
	for _, r := range rows {
		if e, err := event.Parse(r.Bytes); err == nil {
			list = append(list, cases.Record{ID: r.ID, Index: r.Index, Received: r.Received, Event: e})
		}
	}
	return list, nil
}

// Cut implements cases.Records.
func (c caseRecords) Cut(ctx context.Context, tenant event.TenantID, instance, run string, after uint64) (*apiv1.CaseCut, error) {
	return c.node.query.Cut(ctx, tenant, instance, run, after)
}
