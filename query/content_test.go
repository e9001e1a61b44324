package query_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"google.golang.org/protobuf/testing/protocmp"

	"github.com/agentcustody/custody/access"
	"github.com/agentcustody/custody/event"
	"github.com/agentcustody/custody/event/registry"
	"github.com/agentcustody/custody/ledger"
	apiv1 "github.com/agentcustody/custody/proto/custody/api/v1"
	eventv1 "github.com/agentcustody/custody/proto/custody/event/v1"
	"github.com/agentcustody/custody/query"
	"github.com/agentcustody/custody/signer/vault"
)

// sealedInRun is what a ticket seals: action, path and value.
var sealedInRun = []string{
	"identity.run_started goal=" + goal, "data.input_received content=" + question, "data.document_retrieved content=" + document,
	"execution.proposed arguments=" + arguments, "approval.requested shown=An agent asks for your approval of one call.",
	"approval.approved shown=" + shown,
}

// opened are the fields of rows as texts, and their states.
func opened(t *testing.T, rows []*apiv1.EventRow) (fields []string, states map[string]int) {
	t.Helper()
	states = map[string]int{}
	for _, r := range rows {
		e := parse(t, r)
		if len(r.GetOpened()) != len(e.GetSealed()) {
			t.Errorf("%s: %d of %d fields have a state", event.Action(e), len(r.GetOpened()), len(e.GetSealed()))
		}
		for i, o := range r.GetOpened() {
			states[o.GetState()]++
			if o.GetMediaType() != e.GetSealed()[i].GetMediaType() {
				t.Errorf("media type %q", o.GetMediaType())
			}
			first, _, _ := strings.Cut(string(o.GetValue()), "\n") // the text of a question has the call's id below
			fields = append(fields, event.Action(e)+" "+o.GetPath()+"="+first)
		}
	}
	return fields, states
}

func testOpen(t *testing.T, s *scene) {
	_, started := s.one(t, "ticket-1", "started")
	found, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1", Open: true})
	traced := s.trace(t, &apiv1.TraceRequest{Run: "ticket-1", Open: true}).GetRows()
	why, err := s.auditor.Why(t.Context(), &apiv1.WhyRequest{Tenant: "acme", Event: started[:], Open: true})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		rows []*apiv1.EventRow
		want []string
	}{
		"search": {found, sealedInRun},
		"trace":  {traced, sealedInRun},
		"why":    {why.GetRows(), sealedInRun[1:]},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			fields, states := opened(t, test.rows)
			if diff := cmp.Diff(test.want, fields); diff != "" {
				t.Errorf("opened (-recorded +got):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]int{"disclosed": len(test.want)}, states); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
	for _, r := range slices.Concat(s.trace(t, &apiv1.TraceRequest{Run: "ticket-1"}).GetRows(), s.why(t, started).GetRows()) {
		if len(r.GetOpened()) > 0 {
			t.Errorf("%d is opened, and nobody asked", r.GetIndex())
		}
	}
}

// logs is the ledger as the readers want it.
type logs struct{ *ledger.Ledger }

func (l logs) Registry(tenant event.TenantID) (*registry.State, bool) {
	state, err := l.Ledger.Registry(context.Background(), tenant)
	return state, err == nil
}

func (l logs) Size(tenant event.TenantID) uint64 {
	head, _ := l.Ledger.Head(tenant)
	return head.Size
}

func (l logs) Head() uint64                                           { return l.Committed() }
func (l logs) Wait(ctx context.Context, after uint64) (uint64, error) { return l.Follow(ctx, after) }

// noKeys opens nothing.
type noKeys struct{}

func (noKeys) Get(string, string, uint32) (*vault.Key, error) {
	return nil, errors.New("the vault is closed")
}

// keyless is a service on the same logs that has no keys.
func (s *scene) keyless() *query.Service {
	return query.New(s.Node().Store(), logs{s.Node().Ledger()}, noKeys{}, nil)
}

func inAcme(t *testing.T) context.Context {
	return access.With(t.Context(), access.Call{Tenants: []event.TenantID{"acme"}})
}

func testWithheld(t *testing.T, s *scene) {
	got, err := s.keyless().Trace(inAcme(t), &apiv1.TraceRequest{Tenant: "acme", Run: "ticket-1", Open: true})
	if err != nil {
		t.Fatal(err)
	}
	fields, states := opened(t, got.GetRows())
	if diff := cmp.Diff(map[string]int{"withheld": len(sealedInRun)}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if fields[0] != "identity.run_started goal=" {
		t.Errorf("the first field is %q", fields[0])
	}
}

// testErased: what the log says is erased is not opened, even if its key is still there.
func testErased(t *testing.T, s *scene) {
	s.ticket(t, "erased", "subject-ann")
	s.settle(t)
	_, err := s.Node().System().Record(t.Context(), "acme", &eventv1.Event{Body: &eventv1.Event_System{System: &eventv1.System{
		Actor: "dana", Reason: "request of 4 May", Detail: &eventv1.System_Erasure{Erasure: &eventv1.Erasure{Subject: "subject-ann", Generation: 1}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	s.WaitCommitted()
	for run, want := range map[string]map[string]int{
		"erased":   {"erased": 4, "disclosed": 2}, // input, arguments, the question and what was shown are about her
		"ticket-1": {"disclosed": len(sealedInRun)},
	} {
		rows, _ := s.search(t, &apiv1.SearchRequest{Run: run, Open: true})
		if _, states := opened(t, rows); !cmp.Equal(want, states) {
			t.Errorf("%s: %v, want %v", run, states, want)
		}
	}
}

// testRecorded: each read is a leaf before its answer, and says whether content was opened.
func testRecorded(t *testing.T, s *scene) {
	_, started := s.one(t, "ticket-1", "started")
	why := &apiv1.WhyRequest{Tenant: "acme", Event: started[:]}
	for _, open := range []bool{false, true} {
		why.Open = open
		if _, err := s.auditor.Why(t.Context(), why); err != nil {
			t.Fatal(err)
		}
	}
	s.WaitCommitted()
	rows, _ := s.search(t, &apiv1.SearchRequest{Action: "system.access", Newest: true, Limit: 3})
	var got []bool
	for _, r := range rows {
		x := parse(t, r).GetSystem()
		if x.GetActor() != "dana" || len(x.GetAccess().GetQueryDigest()) != 32 {
			t.Errorf("the record says %v", x)
		}
		if x.GetAccess().GetMethod() == apiv1.QueryService_Why_FullMethodName {
			got = append(got, x.GetAccess().GetOpened())
		}
	}
	if diff := cmp.Diff([]bool{false, true}, got); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
}

// searchStream is the server's end of a search.
type searchStream struct {
	grpc.ServerStreamingServer[apiv1.SearchResponse]
	ctx context.Context //nolint:containedctx // a stream has its context by design
}

func (s searchStream) Context() context.Context { return s.ctx }

// testNotAuthorised: a call that access has not decided about, or has decided about for another tenant, reads nothing.
func testNotAuthorised(t *testing.T, s *scene) {
	service := s.keyless()
	_, started := s.one(t, "ticket-1", "started")
	elsewhere := access.With(t.Context(), access.Call{Tenants: []event.TenantID{"zeta"}})
	for name, ctx := range map[string]context.Context{"no decision": t.Context(), "another tenant": elsewhere} {
		t.Run(name, func(t *testing.T) {
			_, err := service.Trace(ctx, &apiv1.TraceRequest{Tenant: "acme", Run: "ticket-1"})
			wantCode(t, err, codes.PermissionDenied, "")
			_, err = service.Why(ctx, &apiv1.WhyRequest{Tenant: "acme", Event: started[:]})
			wantCode(t, err, codes.PermissionDenied, "")
			err = service.Search(&apiv1.SearchRequest{Tenant: "acme"}, searchStream{ctx: ctx})
			wantCode(t, err, codes.PermissionDenied, "")
		})
	}
	_, err := service.ListInstances(t.Context(), &apiv1.ListInstancesRequest{})
	wantCode(t, err, codes.PermissionDenied, "")
	zoe := apiv1.NewQueryServiceClient(s.Person("zeta", "zoe", eventv1.Role_ROLE_AUDITOR))
	_, _, err = searchAs(t.Context(), zoe, &apiv1.SearchRequest{})
	wantCode(t, err, codes.PermissionDenied, "")
}

// testSuspect: leaves of a key from an index on are marked, those before and those of others are not.
func testSuspect(t *testing.T, s *scene) {
	before, _ := s.search(t, &apiv1.SearchRequest{Run: "ticket-1"})
	from := before[4].GetIndex()
	_, err := apiv1.NewAdminServiceClient(s.Admin()).SuspectKey(t.Context(), &apiv1.SuspectKeyRequest{
		Tenant: "acme", KeyId: s.keyID[:], SuspectFrom: from, Reason: "laptop lost",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.WaitCommitted()
	all, _ := s.search(t, &apiv1.SearchRequest{Limit: 10_000})
	for _, r := range slices.Concat(all, s.trace(t, &apiv1.TraceRequest{Run: "ticket-1"}).GetRows()) {
		if want := bytes.Equal(r.GetKeyId(), s.keyID[:]) && r.GetIndex() >= from; r.GetSuspect() != want {
			t.Errorf("%d is suspect: %v, want %v", r.GetIndex(), r.GetSuspect(), want)
		}
	}
}

func testInstances(t *testing.T, s *scene) {
	admin := apiv1.NewAdminServiceClient(s.Admin())
	labels := &eventv1.Labels{Client: "Acme", Owner: "support", Environment: "production", Regulation: []string{"gdpr"}}
	for _, permission := range []*eventv1.Permission{nil, {Verb: eventv1.PermissionVerb_PERMISSION_VERB_READ, Tool: "wiki", Consequence: eventv1.Consequence_CONSEQUENCE_LOW}} {
		req := &apiv1.CreateInstanceRequest{Tenant: "acme", Instance: "archive-1", Labels: labels}
		if permission != nil {
			req.Instance, req.Permissions = "support-1", []*eventv1.Permission{permission}
		}
		if _, err := admin.CreateInstance(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(t)
	all, _ := s.search(t, &apiv1.SearchRequest{Instance: "support-1", Limit: 10_000})
	archive := &apiv1.InstanceInfo{Tenant: "acme", Instance: "archive-1", Labels: labels}
	support := &apiv1.InstanceInfo{
		Tenant: "acme", Instance: "support-1", Labels: labels, ManifestVersion: 2, LastSeenAt: all[len(all)-1].GetReceivedAt(),
		Events: uint64(len(all)), Emitters: 1, OpenTails: 1,
	}
	s.checkInstances(t, "", archive, support)
	s.checkInstances(t, "acme", archive, support)
	if err := s.emitter.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.WaitCommitted()
	all, _ = s.search(t, &apiv1.SearchRequest{Instance: "support-1", Limit: 10_000})
	support.Events, support.LastSeenAt, support.OpenTails = uint64(len(all)), all[len(all)-1].GetReceivedAt(), 0
	s.checkInstances(t, "", archive, support)
	_, err := s.auditor.ListInstances(t.Context(), &apiv1.ListInstancesRequest{Tenant: "zeta"})
	wantCode(t, err, codes.PermissionDenied, "")
}

func (s *scene) checkInstances(t *testing.T, tenant string, want ...*apiv1.InstanceInfo) {
	t.Helper()
	got, err := s.auditor.ListInstances(t.Context(), &apiv1.ListInstancesRequest{Tenant: tenant})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.GetInstances(), protocmp.Transform(), protocmp.IgnoreFields(&apiv1.InstanceInfo{}, "lease")); diff != "" {
		t.Errorf("instances of %q (-want +got):\n%s", tenant, diff)
	}
}
