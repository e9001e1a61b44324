package query

import (
	"context"

	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/store"
)

// maxPrevented is how many acts a counterfactual cut names; it counts all that it looks at.
const maxPrevented = 20

// Cut is the counterfactual cut: the acts of moderate, high or unknown consequence that a run, or the instance if run is empty,
// began after an index. A stop there would have prevented them, if the agent had done nothing else instead. It looks at MaxRows
// acts. It is for those who have authorised and recorded the read themselves.
func (s *Service) Cut(ctx context.Context, tenant event.TenantID, instance, run string, after uint64) (*apiv1.CaseCut, error) {
	manifests, err := s.manifestsOf(ctx, tenant, instance)
	if err != nil {
		return nil, err
	}
	cut := &apiv1.CaseCut{Index: after}
	b, looked := blast{service: s, tenant: tenant}, 0
	f := store.Filter{Instance: instance, Run: run, Action: "execution.started", FromIndex: after + 1, Limit: MaxRows + 1}
	err = b.each(ctx, f, func(r *store.Row, e *eventv1.Event) {
		if looked++; looked > MaxRows {
			cut.Partial = true
			return
		}
		prevent(cut, effectOf(r, e, manifests))
	})
	return cut, err
}

// prevent counts an act that would not have been.
func prevent(cut *apiv1.CaseCut, e *apiv1.Effect) {
	class := event.Consequences.Name(e.GetConsequence())
	switch {
	case e.GetConsequence() == eventv1.Consequence_CONSEQUENCE_LOW:
		return
	case e.GetIrreversible():
		cut.High++
	}
	if class == "" {
		class = "unknown"
	}
	if cut.Acts++; len(cut.Prevented) < maxPrevented {
		cut.Prevented = append(cut.Prevented, &apiv1.PreventedAct{
			Index: e.GetIndex(), Id: e.GetId(), Run: e.GetRun(), Tool: e.GetTool(), Destination: e.GetDestination(), Consequence: class,
		})
	}
}
