package contain

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain/refusal"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
)

// MaxWait bounds how long Contain waits for the steps.
const MaxWait = 30 * time.Second

// Control implements ControlService.
type Control struct {
	apiv1.UnimplementedControlServiceServer
	Engine *Engine
}

// Watch serves one gate.
func (c Control) Watch(link watchStream) error { return c.Engine.Watch(link) }

// Service implements ContainmentService.
type Service struct {
	apiv1.UnimplementedContainmentServiceServer
	Engine *Engine
}

// order reads what a person asks for.
func order(ctx context.Context, tenant, target, reason string, breakGlass bool) (Order, error) {
	t, err := event.ParseTarget(target)
	switch {
	case err != nil:
		return Order{}, status.Errorf(codes.InvalidArgument, "target: %v", err)
	case string(t.Tenant) != tenant:
		return Order{}, status.Error(codes.InvalidArgument, "target: is of another tenant")
	case len(reason) > event.MaxText:
		return Order{}, status.Errorf(codes.InvalidArgument, "reason: longer than %d bytes", event.MaxText)
	}
	if detector, found := event.ScanSecrets([]byte(reason + "\n" + target)); found {
		return Order{}, status.Errorf(codes.InvalidArgument, "reason or target: looks like a secret (%s), and the record is for ever", detector)
	}
	call, _ := access.From(ctx)
	return Order{Target: t, Actor: call.Principal.Name, Reason: reason, BreakGlass: breakGlass}, nil
}

// ResolveTarget finds what a name can mean.
func (s *Service) ResolveTarget(ctx context.Context, r *apiv1.ResolveTargetRequest) (*apiv1.ResolveTargetResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ResolveTargetResponse)
	for _, tenant := range call.Tenants {
		if tenant != event.TenantOperator {
			response.Targets = append(response.Targets, s.Engine.candidates(tenant, r.GetName())...)
		}
	}
	slices.Sort(response.Targets)
	response.Targets = slices.Compact(response.Targets)
	return response, nil
}

// candidates are the targets of a tenant that a name can mean.
func (e *Engine) candidates(tenant event.TenantID, name string) (list []string) {
	if t, err := event.ParseTarget(name); err == nil {
		if t.Tenant == tenant {
			return []string{name}
		}
		return nil
	}
	add := func(t event.Target) { list = append(list, t.String()) }
	if string(tenant) == name {
		add(event.Target{Kind: event.TargetTenant, Tenant: tenant})
	}
	e.cfg.Roster.View(tenant, func(s *registry.State) {
		for _, i := range s.Instances() {
			if i.ID == name || string(tenant)+"/"+i.ID == name {
				add(event.Target{Kind: event.TargetInstance, Tenant: tenant, Instance: event.InstanceID(i.ID)})
			}
			for _, p := range i.Manifest.GetPermissions() {
				if p.GetConnector() == name && name != "" {
					add(event.Target{Kind: event.TargetConnector, Tenant: tenant, Instance: event.InstanceID(i.ID), Name: name})
				}
			}
		}
	})
	for _, c := range e.active(tenant) {
		if c.Target.Name == name || string(c.ID) == name {
			add(c.Target)
		}
	}
	return append(list, e.runningAs(tenant, name)...)
}

// runningAs are runs of this name with a call on its way.
func (e *Engine) runningAs(tenant event.TenantID, name string) (list []string) {
	for _, key := range e.gatesOf(event.Target{Kind: event.TargetTenant, Tenant: tenant}) {
		for _, call := range e.leases.standing(key.ID).running {
			if call.GetRun() == name && name != "" {
				list = append(list, event.Target{Kind: event.TargetRun, Tenant: tenant, Name: name}.String())
			}
		}
	}
	return list
}

// PlanContainment says what a containment would reach.
func (s *Service) PlanContainment(ctx context.Context, r *apiv1.PlanContainmentRequest) (*apiv1.PlanContainmentResponse, error) {
	o, err := order(ctx, r.GetTenant(), r.GetTarget(), "", false)
	if err != nil {
		return nil, err
	}
	level, err := ParseLevel(r.GetLevel())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "level: %v", err)
	}
	plan, err := s.Engine.Plan(ctx, o.Target, level)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &apiv1.PlanContainmentResponse{
		Plan: plan.ID, Instances: plan.Instances, Gates: texts(plan.Gates), Connectors: texts(plan.Connectors),
		Clients: plan.Clients, Irreversible: plan.Irreversible, SecondPerson: plan.SecondPerson, InFlight: plan.InFlight,
		Credentials: plan.Credentials, Descendants: plan.Descendants, Unknown: plan.Unknown,
		Revocations: plannedRevocations(s.Engine.rehearse(ctx, o.Target, level)),
	}, nil
}

func plannedRevocations(list []Rehearsal) []*apiv1.PlannedRevocation {
	all := make([]*apiv1.PlannedRevocation, len(list))
	for i, r := range list {
		all[i] = &apiv1.PlannedRevocation{Path: string(r.Path), Would: r.Would, Trouble: r.Trouble}
	}
	return all
}

func texts(paths []Path) []string {
	list := make([]string, len(paths))
	for i, p := range paths {
		list[i] = string(p)
	}
	return list
}

// Contain puts a containment in force, and waits a while for what the steps say.
func (s *Service) Contain(ctx context.Context, r *apiv1.ContainRequest) (*apiv1.ContainResponse, error) {
	if r.GetPlan() != "" {
		return s.apply(ctx, r)
	}
	o, err := order(ctx, r.GetTenant(), r.GetTarget(), r.GetReason(), r.GetBreakGlass())
	if err != nil {
		return nil, err
	}
	if o.Level, err = ParseLevel(r.GetLevel()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "level: %v", err)
	}
	o.Lasts = time.Duration(r.GetLasts())
	c, already, err := s.Engine.Contain(ctx, o)
	return s.contained(ctx, r, c, already, err)
}

// apply contains what a plan of the tenant says.
func (s *Service) apply(ctx context.Context, r *apiv1.ContainRequest) (*apiv1.ContainResponse, error) {
	tenant := event.Target{Kind: event.TargetTenant, Tenant: event.TenantID(r.GetTenant())}
	o, err := order(ctx, r.GetTenant(), tenant.String(), r.GetReason(), r.GetBreakGlass())
	if err != nil {
		return nil, err
	}
	o.Lasts = time.Duration(r.GetLasts())
	c, already, err := s.Engine.Apply(ctx, r.GetPlan(), o)
	return s.contained(ctx, r, c, already, err)
}

func (s *Service) contained(ctx context.Context, r *apiv1.ContainRequest, c *Containment, already bool, err error) (*apiv1.ContainResponse, error) {
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	c = s.Engine.settle(ctx, c, waitOf(r.GetWait()))
	return &apiv1.ContainResponse{Containment: s.Engine.info(c), Already: already}, nil
}

// settle waits until every step has said what it can by itself: gates acknowledge, connectors are proven.
func (e *Engine) settle(ctx context.Context, c *Containment, wait time.Duration) *Containment {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		moved := e.movement()
		if now := e.snapshot(c.Target.Tenant, c.ID); now != nil {
			c = now
		}
		if !c.Phase.Holds() || !slices.ContainsFunc(c.Steps, func(s Step) bool { return e.hasMoreToSay(c.Target.Tenant, s) }) {
			return c
		}
		select {
		case <-moved:
		case <-timer.C:
			return c
		case <-ctx.Done():
			return c
		}
	}
}

// hasMoreToSay reports whether waiting for a step makes sense: a gate that nobody is connected to says nothing.
func (e *Engine) hasMoreToSay(name event.TenantID, s Step) bool {
	if _, isGate := s.Path.Gate(); isGate {
		return s.State < acknowledged && e.standingOf(name, s.Path).connected
	}
	return s.State != verified && s.Doubt == ""
}

// Release lifts every containment of a target.
func (s *Service) Release(ctx context.Context, r *apiv1.ReleaseRequest) (*apiv1.ReleaseResponse, error) {
	o, err := order(ctx, r.GetTenant(), r.GetTarget(), r.GetReason(), r.GetBreakGlass())
	if err != nil {
		return nil, err
	}
	lifted, remaining, err := s.Engine.Release(ctx, o)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &apiv1.ReleaseResponse{Released: s.Engine.infos(lifted), Remaining: s.Engine.infos(remaining)}, nil
}

// ListContained lists containments.
func (s *Service) ListContained(ctx context.Context, r *apiv1.ListContainedRequest) (*apiv1.ListContainedResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ListContainedResponse)
	for _, tenant := range call.Tenants {
		var list []*Containment
		s.Engine.look(tenant, func(state *State) {
			for _, c := range state.All() {
				if r.GetAll() || c.Phase != Released {
					list = append(list, c.clone())
				}
			}
		})
		response.Containments = append(response.Containments, s.Engine.infos(list)...)
	}
	return response, nil
}

func (e *Engine) infos(list []*Containment) []*apiv1.ContainmentInfo {
	all := make([]*apiv1.ContainmentInfo, len(list))
	for i, c := range list {
		all[i] = e.info(c)
	}
	return all
}

func (e *Engine) info(c *Containment) *apiv1.ContainmentInfo {
	info := &apiv1.ContainmentInfo{
		Id: string(c.ID), Tenant: string(c.Target.Tenant), Target: c.Target.String(), Level: string(c.Level), State: string(c.Phase),
		Actor: c.Actor, Second: c.Second, BreakGlass: c.BreakGlass, Reason: c.Reason, RequestedAt: c.RequestedAt,
		ReleasedBy: c.Releaser, ReleaseBreakGlass: c.ReleaseGlass, Proven: c.Proven(), EndsAt: c.EndsAt(),
	}
	if c.Phase == Released {
		info.ReleasedAt = c.ReleaseAt
	}
	for i := range c.Steps {
		s := &c.Steps[i]
		info.Steps = append(info.Steps, &apiv1.StepInfo{
			Number: s.Number, Path: string(s.Path), Instance: e.instanceOf(c.Target.Tenant, s.Path), State: s.State,
			ReachedAt: s.ReachedAt, Proof: s.proof(e.standingOf(c.Target.Tenant, s.Path)), Escalated: s.Doubt != "", Observer: s.Observer,
			Credential: e.credentialOf(s.Path),
		})
	}
	return info
}

// refusing is how people are told what is theirs to mend.
var refusing = refusal.Service{Name: "contain", Prefix: "system.", Answers: []refusal.Answer{
	{Err: ErrNotFound, Code: codes.NotFound},
	{Err: ErrGrown, Code: codes.Aborted},
	{Err: ErrLasts, Code: codes.InvalidArgument},
	{Err: ErrNoPath, Code: codes.FailedPrecondition},
	{Err: ErrNoCanary, Code: codes.FailedPrecondition},
	{Err: ErrContained, Code: codes.FailedPrecondition},
	{Err: ErrTwo, Code: codes.FailedPrecondition},
	{Err: ErrNoKey, Code: codes.FailedPrecondition},
}}

func (s *Service) failed(ctx context.Context, err error) error {
	return refusing.Status(ctx, s.Engine.cfg.Log, err)
}
