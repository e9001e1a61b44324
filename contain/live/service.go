package live

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/contain/refusal"
	"github.com/agentcustody/custody/contain/rules"
	"github.com/agentcustody/custody/event"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
)

// maxListed is how many firings one call returns.
const maxListed = 1000

// Service implements FiringService.
type Service struct {
	apiv1.UnimplementedFiringServiceServer
	Engine *Engine
}

// ListFirings lists firings, the newest first.
func (s *Service) ListFirings(ctx context.Context, r *apiv1.ListFiringsRequest) (*apiv1.ListFiringsResponse, error) {
	if err := s.isOn(ctx); err != nil {
		return nil, err
	}
	call, _ := access.From(ctx)
	response := new(apiv1.ListFiringsResponse)
	for _, name := range call.Tenants {
		list := s.Engine.Firings(name, func(f *Firing) bool { return wanted(f, r) })
		for i := range list {
			response.Firings = append(response.Firings, s.info(name, &list[i]))
		}
	}
	most := maxListed
	if r.GetLimit() > 0 {
		most = min(most, int(r.GetLimit()))
	}
	response.Firings = gravest(response.Firings, most)
	return response, nil
}

// gravest cuts a list to the most severe, of these to the newest, and puts it in order, the newest first: a flood hides nothing grave.
func gravest(list []*apiv1.FiringInfo, most int) []*apiv1.FiringInfo {
	newest := func(a, b *apiv1.FiringInfo) int { return cmp.Compare(b.GetFiredAt(), a.GetFiredAt()) }
	slices.SortStableFunc(list, func(a, b *apiv1.FiringInfo) int {
		return cmp.Or(cmp.Compare(rank(rules.Severity(b.GetSeverity())), rank(rules.Severity(a.GetSeverity()))), newest(a, b))
	})
	list = list[:min(most, len(list))]
	slices.SortStableFunc(list, newest)
	return list
}

func wanted(f *Firing, r *apiv1.ListFiringsRequest) bool {
	return (r.GetAll() || f.Wants()) && (r.GetRule() == "" || r.GetRule() == f.Rule) && (r.GetInstance() == "" || r.GetInstance() == f.Instance)
}

// Wants reports whether the firing waits for a person: it is of a live rule, and nobody has taken it in hand.
func (f *Firing) Wants() bool { return f.State == StateOpen && f.Silent == "" }

// Firings are copies of a tenant's firings that a function wants, in the order of the log.
func (e *Engine) Firings(name event.TenantID, want func(*Firing) bool) (list []Firing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[name]
	if t == nil {
		return nil
	}
	for _, f := range t.book.All() {
		if want(f) {
			list = append(list, *f)
		}
	}
	return list
}

// Firing is a copy of one firing, nil if it is not remembered.
func (e *Engine) Firing(name event.TenantID, id event.ID) *Firing {
	list := e.Firings(name, func(f *Firing) bool { return f.ID == id })
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

func (s *Service) info(name event.TenantID, f *Firing) *apiv1.FiringInfo {
	info := &apiv1.FiringInfo{
		Id: f.ID.String(), Tenant: string(name), Rule: f.Rule, Version: f.Version, Severity: string(f.Severity), Action: string(f.Action),
		State: string(f.State), Index: f.Index, FiredAt: f.Time, Instance: f.Instance, Run: f.Run, Event: f.Event, Silent: f.Silent,
		NeedsPerson: f.NeedsPerson, Target: f.Target, Containment: f.Containment, Repeats: f.Repeats, LastAt: f.LastTime,
		Actor: f.Actor, Reason: f.Reason, ChangedAt: f.ChangedAt,
	}
	for _, id := range f.Evidence {
		info.Evidence = append(info.Evidence, id.String())
	}
	if r := s.Engine.cfg.Rules.Rule(f.Rule); r != nil {
		info.Description = r.Description
	}
	return info
}

// ParseFiring reads a firing's id as it is written. It is no event's id: a hash, whose version as a UUID is 8.
func ParseFiring(text string) (id event.ID, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err == nil && len(b) == len(id) {
		id = event.ID(b)
	}
	if err != nil || id.String() != text {
		return event.ID{}, errors.New("not the id of a firing")
	}
	return id, nil
}

// find reads an id and finds its firing.
func (s *Service) find(ctx context.Context, tenant, text string) (*Firing, error) {
	if err := s.isOn(ctx); err != nil {
		return nil, err
	}
	id, err := ParseFiring(text)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "firing: %v", err)
	}
	f := s.Engine.Firing(event.TenantID(tenant), id)
	if f == nil {
		return nil, status.Error(codes.NotFound, "firing: there is none of this id, or the server does not remember it any more")
	}
	return f, nil
}

// GetFiring returns one firing.
func (s *Service) GetFiring(ctx context.Context, r *apiv1.GetFiringRequest) (*apiv1.GetFiringResponse, error) {
	f, err := s.find(ctx, r.GetTenant(), r.GetFiring())
	if err != nil {
		return nil, err
	}
	return &apiv1.GetFiringResponse{Firing: s.info(event.TenantID(r.GetTenant()), f)}, nil
}

// ChangeFiring records what a person makes of a firing. The same again changes nothing.
func (s *Service) ChangeFiring(ctx context.Context, r *apiv1.ChangeFiringRequest) (*apiv1.ChangeFiringResponse, error) {
	f, err := s.find(ctx, r.GetTenant(), r.GetFiring())
	if err != nil {
		return nil, err
	}
	if state := State(r.GetState()); state != StateAcknowledged && state != StateFalsePositive {
		return nil, status.Error(codes.InvalidArgument, "state: must be acknowledged or false_positive")
	}
	if f.State != State(r.GetState()) {
		change := &eventv1.FiringChange{Firing: f.ID[:], Rule: f.Rule, Version: f.Version, State: r.GetState()}
		if err := s.record(ctx, r.GetTenant(), r.GetReason(), &eventv1.System{Detail: &eventv1.System_Firing{Firing: change}}); err != nil {
			return nil, err
		}
	}
	if f, err = s.find(ctx, r.GetTenant(), r.GetFiring()); err != nil {
		return nil, err
	}
	return &apiv1.ChangeFiringResponse{Firing: s.info(event.TenantID(r.GetTenant()), f)}, nil
}

// record makes a person's word durable and returns when the rules have it.
func (s *Service) record(ctx context.Context, tenant, reason string, x *eventv1.System) error {
	if len(reason) > event.MaxText {
		return status.Errorf(codes.InvalidArgument, "reason: longer than %d bytes", event.MaxText)
	}
	if detector, found := event.ScanSecrets([]byte(reason)); found {
		return status.Errorf(codes.InvalidArgument, "reason: looks like a secret (%s), and the record is for ever", detector)
	}
	call, _ := access.From(ctx)
	x.Actor, x.Reason = call.Principal.Name, reason
	seq, err := s.Engine.cfg.Recorder.Record(ctx, event.TenantID(tenant), &eventv1.Event{Body: &eventv1.Event_System{System: x}})
	if err == nil {
		err = s.Engine.Await(ctx, seq)
	}
	return s.failed(ctx, err)
}

// refusing is how people are told what is theirs to mend.
var refusing = refusal.Service{Name: "rules", Prefix: "system.", Answers: []refusal.Answer{{Err: ErrOff, Code: codes.FailedPrecondition}}}

func (s *Service) failed(ctx context.Context, err error) error {
	return refusing.Status(ctx, s.Engine.cfg.Log, err)
}

// readPatience is how long a person waits for rules that have not read the stream yet, after a restart.
const readPatience = 5 * time.Second

// isOn refuses while the rules are off, and while they have not read all that there was at the start: an empty list would read as nothing
// having fired. Rules that have stopped list what they know.
func (s *Service) isOn(ctx context.Context) error {
	if s.Engine.cfg.Off {
		return s.failed(ctx, ErrOff)
	}
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	if err := s.Engine.Await(ctx, s.Engine.cfg.End); err != nil && ctx.Err() != nil {
		return status.Errorf(codes.Unavailable, "rules: they have read %d of the %d messages from before the start: ask again", s.Engine.Standing().Judged, s.Engine.cfg.End)
	}
	return nil
}

// ListRules lists the rules that run, with their modes.
func (s *Service) ListRules(ctx context.Context, r *apiv1.ListRulesRequest) (*apiv1.ListRulesResponse, error) {
	if err := s.isOn(ctx); err != nil {
		return nil, err
	}
	response := new(apiv1.ListRulesResponse)
	for _, x := range s.Engine.cfg.Rules.Rules {
		response.Rules = append(response.Rules, s.Engine.rule(event.TenantID(r.GetTenant()), x))
	}
	return response, nil
}

func (e *Engine) rule(name event.TenantID, r *rules.Rule) *apiv1.RuleInfo {
	digest := r.Digest()
	info := &apiv1.RuleInfo{
		Rule: r.ID, Version: r.Version, Digest: digest[:], Mode: string(rules.Shadow), Severity: string(r.Severity), Action: string(r.Action),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tenants[name]; t != nil {
		mode, stale := t.rules.Mode(r)
		info.Mode, info.Stale = string(mode), stale
	}
	return info
}

// edited reports whether the log knows this version of a rule with another meaning.
func (e *Engine) edited(name event.TenantID, r *rules.Rule) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tenants[name]
	return t != nil && t.rules.Edited(r)
}

// SetRuleMode lets a rule act, or not. The same again changes nothing.
func (s *Service) SetRuleMode(ctx context.Context, r *apiv1.SetRuleModeRequest) (*apiv1.SetRuleModeResponse, error) {
	if err := s.isOn(ctx); err != nil {
		return nil, err
	}
	rule := s.Engine.cfg.Rules.Rule(r.GetRule())
	if rule == nil {
		return nil, status.Error(codes.NotFound, "rule: the server runs none of this id")
	}
	mode, err := rules.ParseMode(r.GetMode())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "mode: must be shadow, live or off")
	}
	name := event.TenantID(r.GetTenant())
	if s.Engine.edited(name, rule) {
		return nil, status.Error(codes.FailedPrecondition, "rule: its text has changed and its version has not: count the version up")
	}
	if now := s.Engine.rule(name, rule); now.GetMode() != string(mode) || now.GetStale() {
		digest := rule.Digest()
		change := &eventv1.RuleChange{Rule: rule.ID, Version: rule.Version, SourceDigest: digest[:], Mode: string(mode)}
		if err := s.record(ctx, r.GetTenant(), r.GetReason(), &eventv1.System{Detail: &eventv1.System_Rule{Rule: change}}); err != nil {
			return nil, err
		}
	}
	return &apiv1.SetRuleModeResponse{Rule: s.Engine.rule(name, rule)}, nil
}
