package cases

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain/refusal"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// Service implements CaseService.
type Service struct {
	apiv1.UnimplementedCaseServiceServer
	Engine *Engine
}

// refuse is a request that cannot be met as it stands.
func refuse(code codes.Code, format string, args ...any) error {
	return status.Errorf(code, format, args...)
}

// checkReason refuses what must not stand in the log for ever.
func checkReason(reason string) error {
	if reason == "" {
		return refuse(codes.InvalidArgument, "reason: must be given: it is for the record")
	}
	if len(reason) > event.MaxText {
		return refuse(codes.InvalidArgument, "reason: longer than %d bytes", event.MaxText)
	}
	if detector, found := event.ScanSecrets([]byte(reason)); found {
		return refuse(codes.InvalidArgument, "reason: looks like a secret (%s), and the record is for ever", detector)
	}
	return nil
}

func actorOf(ctx context.Context) string {
	call, _ := access.From(ctx)
	return call.Principal.Name
}

// OpenCase opens a case, unless one about the target is open, and holds the records of the target.
func (s *Service) OpenCase(ctx context.Context, r *apiv1.OpenCaseRequest) (*apiv1.OpenCaseResponse, error) {
	target, err := s.target(r)
	if err != nil {
		return nil, err
	}
	act := &eventv1.Case{Action: opened, Target: target.String(), Events: r.GetEvents(), Firings: r.GetFirings()}
	cited, err := s.cited(ctx, target.Tenant, act)
	if err != nil {
		return nil, err
	}
	for _, x := range cited {
		act.TriggerAt = max(act.TriggerAt, x.Received)
	}
	s.gather(target, act)
	s.Engine.acting.Lock()
	defer s.Engine.acting.Unlock()
	id, already, err := s.open(ctx, target, act, r.GetReason())
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	if err := s.hold(ctx, target, id, r.GetReason()); err != nil {
		return nil, err
	}
	return &apiv1.OpenCaseResponse{Case: s.info(target.Tenant, id), Already: already}, nil
}

// gather adds to an opening what rules have found about its target, as far as it fits.
func (s *Service) gather(target event.Target, act *eventv1.Case) {
	if s.Engine.cfg.Gather == nil {
		return
	}
	for _, g := range s.Engine.cfg.Gather(target) {
		named := slices.ContainsFunc(act.GetFirings(), func(b []byte) bool { return event.ID(b) == g.Firing })
		if !named && len(act.GetFirings()) < event.MaxCited {
			act.Firings = append(act.Firings, g.Firing[:])
		}
		if g.Containment != "" && len(act.GetContainments()) < event.MaxCited {
			act.Containments = append(act.Containments, g.Containment)
		}
	}
}

// target is what the case is about. Runs, connectors, credentials and principals are listed nowhere, so any is taken.
func (s *Service) target(r *apiv1.OpenCaseRequest) (event.Target, error) {
	t, err := event.ParseTarget(r.GetTarget())
	if err != nil {
		return t, refuse(codes.InvalidArgument, "target: %v", err)
	}
	if string(t.Tenant) != r.GetTenant() {
		return t, refuse(codes.InvalidArgument, "target: is of another tenant")
	}
	known := false
	s.Engine.cfg.Roster.View(t.Tenant, func(state *registry.State) { _, known = state.Instance(string(t.Instance)) })
	if t.Instance != "" && t.Instance != event.AnyInstance && !known {
		return t, refuse(codes.NotFound, "target: no instance %s", t.Instance)
	}
	return t, checkReason(r.GetReason())
}

// open records the opening, if no case about the target is open.
func (s *Service) open(ctx context.Context, target event.Target, act *eventv1.Case, reason string) (id ID, already bool, err error) {
	e, full := s.Engine, false
	if err := e.catchUp(ctx, target.Tenant); err != nil {
		return "", false, err
	}
	e.look(target.Tenant, func(state *State) {
		if c := state.About(target); c != nil {
			id, already = c.ID, true
			return
		}
		id = state.NextID(target)
		full = len(slices.DeleteFunc(slices.Clone(state.All()), func(c *Case) bool { return !c.Open() })) >= MaxOpen
	})
	switch {
	case already:
		return id, true, nil
	case full:
		return "", false, refuse(codes.ResourceExhausted, "%d cases are open: close some first", MaxOpen)
	}
	act.Case = string(id)
	return id, false, e.record(ctx, target.Tenant, actorOf(ctx), reason, act)
}

// hold keeps the records of a case from erasure and expiry. What was opened before and could not be held is tried again.
func (s *Service) hold(ctx context.Context, target event.Target, id ID, reason string) error {
	if c := s.Engine.snapshot(target.Tenant, id); c != nil && c.Held {
		return nil
	}
	if err := s.Engine.cfg.Hold(ctx, target.Tenant, actorOf(ctx), reason, string(id), scopeOf(target)); err != nil {
		s.Engine.cfg.Log.ErrorContext(ctx, "records of a case are not held", slog.String("case", string(id)), slog.Any("error", err))
		return refuse(codes.Unavailable, "case %s is open, but its records are NOT HELD yet: open it again", id)
	}
	if err := s.Engine.catchUp(ctx, target.Tenant); err != nil {
		return s.failed(ctx, err)
	}
	return nil
}

// scopeOf is what a hold on a target's records covers. Records of a credential or a principal can be anywhere.
func scopeOf(t event.Target) string {
	switch {
	case t.Kind == event.TargetRun:
		return "run/" + t.Name
	case t.Instance != "" && t.Instance != event.AnyInstance:
		return "instance/" + string(t.Instance)
	}
	return "tenant"
}

// cited finds the events that an act cites, in this tenant's log, and refuses any other.
func (s *Service) cited(ctx context.Context, tenant event.TenantID, act *eventv1.Case) ([]Record, error) {
	if len(act.GetEvents()) > event.MaxCited || len(act.GetFirings()) > event.MaxCited {
		return nil, refuse(codes.InvalidArgument, "events: at most %d at once", event.MaxCited)
	}
	var list []event.ID
	for _, b := range act.GetEvents() {
		id, err := event.IDFromBytes(b)
		if err != nil {
			return nil, refuse(codes.InvalidArgument, "events: not the id of an event")
		}
		list = append(list, id)
	}
	if err := s.fired(tenant, act); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	err := s.Engine.cfg.Records.Settle(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	found, err := s.Engine.cfg.Records.Find(ctx, tenant, list)
	if err != nil {
		return nil, err
	}
	for _, id := range list {
		if !slices.ContainsFunc(found, func(r Record) bool { return r.ID == id }) {
			return nil, refuse(codes.NotFound, "events: no committed event of %s has the id %s", tenant, id)
		}
	}
	return found, nil
}

// fired refuses firings that are not of this tenant.
func (s *Service) fired(tenant event.TenantID, act *eventv1.Case) error {
	for _, b := range act.GetFirings() {
		if len(b) != event.IDSize || !s.Engine.cfg.Fired(tenant, event.ID(b)) {
			return refuse(codes.NotFound, "firings: the server knows none of %s with the id %x", tenant, b)
		}
	}
	return nil
}

// RecordCase records one act in an open case.
func (s *Service) RecordCase(ctx context.Context, r *apiv1.RecordCaseRequest) (*apiv1.RecordCaseResponse, error) {
	tenant, act := event.TenantID(r.GetTenant()), r.GetAct()
	if act.GetAction() == opened || act.GetTriggerAt() != 0 {
		return nil, refuse(codes.InvalidArgument, "act: a case is opened by OpenCase")
	}
	if err := checkReason(r.GetReason()); err != nil {
		return nil, err
	}
	found, err := s.cited(ctx, tenant, act)
	if err != nil {
		return nil, err
	}
	s.Engine.acting.Lock()
	defer s.Engine.acting.Unlock()
	already, err := s.check(ctx, tenant, act, found)
	if err == nil && !already {
		err = s.Engine.record(ctx, tenant, actorOf(ctx), r.GetReason(), act)
	}
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &apiv1.RecordCaseResponse{Case: s.info(tenant, ID(act.GetCase())), Already: already}, nil
}

// check says why an act is not allowed where the case stands, or that the case has it already.
func (s *Service) check(ctx context.Context, tenant event.TenantID, act *eventv1.Case, found []Record) (already bool, err error) {
	if err := s.Engine.catchUp(ctx, tenant); err != nil {
		return false, err
	}
	s.Engine.look(tenant, func(state *State) {
		c := state.Find(ID(act.GetCase()))
		switch {
		case c == nil:
			err = refuse(codes.NotFound, "case: none of %s is called %s", tenant, event.Escape(act.GetCase()))
		case !c.Open() && act.GetAction() == closed:
			already = true
		case !c.Open():
			err = refuse(codes.FailedPrecondition, "%s is closed", c.ID)
		default:
			already, err = allowed(state, c, act, found)
		}
	})
	return already, err
}

// allowed is check for a case that is open.
func allowed(state *State, c *Case, act *eventv1.Case, found []Record) (already bool, err error) {
	switch act.GetAction() {
	case added:
		return false, known(state, act)
	case settled:
		return false, fits(act, found)
	case fixed:
		return mended(state, c, found)
	case closed:
		if missing := c.Missing(); len(missing) > 0 {
			return false, refuse(codes.FailedPrecondition, "%s cannot close yet: %s", c.ID, strings.Join(words(missing), "; "))
		}
	}
	return false, nil
}

// known refuses containments that are not of this tenant, and an act that adds nothing.
func known(state *State, act *eventv1.Case) error {
	if len(act.GetEvents())+len(act.GetFirings())+len(act.GetContainments()) == 0 {
		return refuse(codes.InvalidArgument, "events: name an event, a firing or a containment to add")
	}
	for _, id := range act.GetContainments() {
		if !state.contained(id) {
			return refuse(codes.NotFound, "containments: none in force or released is called %s", event.Escape(id))
		}
	}
	return nil
}

// showsItem are the actions of events that can show that an item is done; of the others any event can.
var showsItem = map[string][]string{
	"scopes":     {"system.manifest", "system.review"},
	"secrets":    {"system.key", "system.containment", "identity.credential_released", "identity.credential_bound"},
	"quarantine": {"system.containment"},
	"review":     {"system.review"},
}

// fits refuses events that cannot show what is settled by them.
func fits(act *eventv1.Case, found []Record) error {
	shows := showsItem[act.GetClass()]
	for _, r := range found {
		if action := event.Action(r.Event); shows != nil && !slices.Contains(shows, action) {
			return refuse(codes.FailedPrecondition, "events: %s is %s; %s is shown by %s", r.ID, action, act.GetClass(), strings.Join(shows, ", "))
		}
	}
	return nil
}

// mended refuses what is no change of the system.
func mended(state *State, c *Case, found []Record) (already bool, err error) {
	already = true
	for _, r := range found {
		if event.Action(r.Event) == "identity.run_started" {
			return false, refuse(codes.FailedPrecondition, "events: %s is a run's beginning: a changed prompt alone mends nothing, because the next one may change it back", r.ID)
		}
		if _, why := state.Mends(c, r.ID); why != "" {
			return false, refuse(codes.FailedPrecondition, "events: %s mends nothing: %s", r.ID, why)
		}
		already = already && slices.ContainsFunc(c.Fixes, func(f Fix) bool { return f.ID == r.ID })
	}
	return already, nil
}

// toDo says how to do what hinders closing.
var toDo = map[string]string{
	"trigger":    "trigger is not classified: custody case classify %s --trigger user|retrieval|memory|connector --event EVENT",
	"failure":    "failure is not classified: custody case classify %s --failure permissions|policy|prompt|monitoring --event EVENT",
	"scopes":     "scopes are presumed too broad until reviewed: put a manifest in force, or custody review --topic scope; or custody case settle %s scopes",
	"secrets":    "secrets are not rotated: custody key revoke or rotate; or custody case settle %s secrets",
	"rollback":   "nothing is rolled back: custody case settle %s rollback --event EVENT, or --not-needed",
	"quarantine": "nothing was paused or quarantined: custody contain; or custody case settle %s quarantine --not-needed",
	"review":     "nothing was reviewed: custody review; or custody case settle %s review --event EVENT",
	"fix":        "no change of the system is cited: custody case fix %s --event EVENT",
}

// words are what hinders closing, as a person needs it. Each has room for the case's id.
func words(missing []string) []string {
	list := make([]string, len(missing))
	for i, m := range missing {
		list[i], _, _ = strings.Cut(toDo[m], ":")
	}
	return list
}

// ListCases lists cases.
func (s *Service) ListCases(ctx context.Context, r *apiv1.ListCasesRequest) (*apiv1.ListCasesResponse, error) {
	call, _ := access.From(ctx)
	response := new(apiv1.ListCasesResponse)
	for _, tenant := range call.Tenants {
		if err := s.Engine.catchUp(ctx, tenant); err != nil {
			return nil, s.failed(ctx, err)
		}
		s.Engine.look(tenant, func(state *State) {
			for _, c := range state.All() {
				if c.Open() || r.GetAll() {
					response.Cases = append(response.Cases, infoOf(c))
				}
			}
		})
	}
	return response, nil
}

// GetCase shows one case.
func (s *Service) GetCase(ctx context.Context, r *apiv1.GetCaseRequest) (*apiv1.GetCaseResponse, error) {
	tenant := event.TenantID(r.GetTenant())
	if err := s.Engine.catchUp(ctx, tenant); err != nil {
		return nil, s.failed(ctx, err)
	}
	c := s.Engine.snapshot(tenant, ID(r.GetCase()))
	if c == nil {
		return nil, refuse(codes.NotFound, "case: none of %s is called %s", tenant, event.Escape(r.GetCase()))
	}
	response := &apiv1.GetCaseResponse{Case: infoOf(c)}
	found, err := s.Engine.cfg.Records.Find(ctx, tenant, c.citations())
	if err != nil {
		return nil, err
	}
	response.Events = c.citedEvents(found)
	response.Cut, err = s.cut(ctx, c, found)
	return response, err
}

// cut supposes a stop at the last event of the trigger, or of the opening while nobody has classified the trigger.
func (s *Service) cut(ctx context.Context, c *Case, found []Record) (*apiv1.CaseCut, error) {
	from := c.Trigger.Events
	if len(from) == 0 {
		from = c.Opening
	}
	for _, r := range slices.Backward(found) {
		if slices.Contains(from, r.ID) && r.Event.GetSystem() == nil {
			return s.Engine.cfg.Records.Cut(ctx, c.Target.Tenant, r.Event.GetInstance(), r.Event.GetRun(), r.Index)
		}
	}
	return nil, nil
}

// refusing is how people are told what is theirs to mend.
var refusing = refusal.Service{Name: "case", Prefix: "system.case."}

func (s *Service) failed(ctx context.Context, err error) error {
	return refusing.Status(ctx, s.Engine.cfg.Log, err)
}
